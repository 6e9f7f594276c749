package admin

import (
	"net/http"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// revocationsAnswer is the body of GET /admin/v1/revocations.
type revocationsAnswer struct {
	Revocations []revocation.Event `json:"revocations"`
	Next        string             `json:"next,omitempty"`
}

// listRevocations is GET /admin/v1/revocations?after=&limit=.
func (a *handler) listRevocations(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	events, next, err := a.cfg.Revocations.List(r.Context(), q.after, q.limit)
	if err != nil {
		return err
	}
	if events == nil {
		events = []revocation.Event{}
	}
	return httpapi.WriteJSON(w, http.StatusOK, revocationsAnswer{Revocations: events, Next: next})
}

// revoke is POST /admin/v1/revocations?wait= {kind, value, reason?, note?}. For the kind sub the
// value is a uid or a local user name; the kind all has none.
func (a *handler) revoke(w http.ResponseWriter, r *http.Request) error {
	var kind, value, note string
	reason := string(revocation.ReasonRevoked)
	err := readJSON(w, r, httpapi.Required("kind", &kind), httpapi.Optional("value", &value),
		httpapi.Optional("reason", &reason), httpapi.Optional("note", &note))
	switch {
	case err != nil:
		return err
	case !knownReason(revocation.Reason(reason)):
		return invalidRevocation("reason is unknown; leave it out, or use a code that the API documents for revocations")
	case value == "" && revocation.Kind(kind) != revocation.KindAll:
		return httpapi.InvalidBody("value is missing or empty")
	}
	var revoked operator.Revoked
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	do, ctx := a.cfg.Operators, r.Context()
	switch revocation.Kind(kind) {
	case revocation.KindSub:
		revoked, err = do.RevokeUser(ctx, value, reason, req)
	case revocation.KindSID:
		revoked, err = do.RevokeSession(ctx, value, reason, req)
	case revocation.KindJTI:
		revoked, err = do.RevokeToken(ctx, value, reason, req)
	case revocation.KindClient:
		revoked, err = do.RevokeClient(ctx, value, reason, req)
	case revocation.KindAll:
		if value != "" {
			return invalidRevocation("the kind all has no value; leave value out")
		}
		revoked, err = do.RevokeEverybody(ctx, reason, req)
	default:
		return invalidRevocation("kind must be sub, sid, jti, client or all")
	}
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked.Broadcast, revoked)
}

// revokeBulk is POST /admin/v1/revocations/bulk?wait= {kind, values, reason?, note?}: many values
// of one kind. The size of the body is checked before it is parsed.
func (a *handler) revokeBulk(w http.ResponseWriter, r *http.Request) error {
	var kind, note string
	var values []string
	reason := string(revocation.ReasonRevoked)
	err := readJSON(w, r, httpapi.Required("kind", &kind), httpapi.Required("values", &values),
		httpapi.Optional("reason", &reason), httpapi.Optional("note", &note))
	switch {
	case err != nil:
		return err
	case values == nil:
		return httpapi.InvalidBody("values is missing or empty")
	case !knownReason(revocation.Reason(reason)):
		return invalidRevocation("reason is unknown; leave it out, or use a code that the API documents for revocations")
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	done, err := a.cfg.Operators.RevokeBulk(r.Context(), operator.BulkRevocation{
		Kind: revocation.Kind(kind), Values: values, Reason: reason,
	}, req)
	if err != nil {
		return err
	}
	return writeRevoked(w, done.Broadcast, done)
}

// checkRevocation is GET /admin/v1/revocations/check?value=&kind=.
func (a *handler) checkRevocation(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	check, err := a.cfg.Operators.CheckRevocation(r.Context(), revocation.Kind(q.values.Get("kind")), q.values.Get("value"))
	if err != nil {
		return err
	}
	if check.Events == nil {
		check.Events = []revocation.Recorded{}
	}
	return httpapi.WriteJSON(w, http.StatusOK, check)
}

func invalidRevocation(detail string) error {
	return &broker.Error{Code: broker.CodeInvalidRevocation, Message: detail}
}

func knownReason(reason revocation.Reason) bool {
	switch reason {
	case revocation.ReasonLogoff, revocation.ReasonReuse, revocation.ReasonRollback, revocation.ReasonRevoked,
		revocation.ReasonUserDisabled, revocation.ReasonAllOthers, revocation.ReasonBackchannel,
		revocation.ReasonUpstream, revocation.ReasonKeyCompromise, revocation.ReasonRestore:
		return true
	}
	return false
}
