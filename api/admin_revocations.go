package api

import (
	"net/http"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// revocationsAnswer is the body of GET /admin/v1/revocations.
type revocationsAnswer struct {
	Revocations []revocation.Event `json:"revocations"`
	Next        string             `json:"next,omitempty"`
}

// listRevocations is GET /admin/v1/revocations?after=&limit=.
func (a *admin) listRevocations(w http.ResponseWriter, r *http.Request) error {
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
	return writeJSON(w, http.StatusOK, revocationsAnswer{Revocations: events, Next: next})
}

// revoke is POST /admin/v1/revocations {kind, value, reason?, note?}. For the kind sub the
// value is a uid or a local user name.
func (a *admin) revoke(w http.ResponseWriter, r *http.Request) error {
	var kind, value, note string
	reason := string(revocation.ReasonRevoked)
	err := readJSON(w, r, member{"kind", &kind, true}, member{"value", &value, true},
		member{"reason", &reason, false}, member{"note", &note, false})
	if err != nil {
		return err
	}
	refuse := func(detail string) error {
		return &broker.Error{Code: broker.CodeInvalidRevocation, Message: detail}
	}
	if !knownReason(revocation.Reason(reason)) {
		return refuse("reason is none of the known codes")
	}
	var revoked broker.Revoked
	switch revocation.Kind(kind) {
	case revocation.KindSub:
		revoked, err = a.cfg.Operators.RevokeUser(r.Context(), value, reason, operatorRequest(r, note))
	case revocation.KindSID:
		revoked, err = a.cfg.Operators.RevokeSession(r.Context(), value, reason, operatorRequest(r, note))
	default:
		return refuse("kind must be sub or sid")
	}
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked)
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
