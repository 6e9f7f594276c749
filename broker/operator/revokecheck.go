package operator

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// RevocationCheck is the answer to whether a value is revoked, and by what.
type RevocationCheck struct {
	Kind  string `json:"kind,omitempty"` // as in the request
	Value string `json:"value"`
	// Revoked is true if there is an event or the session was ended. An event of kind sub, client or
	// all applies to tokens and sessions with a lower epoch.
	Revoked bool `json:"revoked"`
	// Events are all events that apply to the value; for a session also those of its user, its client
	// and everybody. An event without expires_at is permanent.
	Events []revocation.Recorded `json:"events"`
	// Session is the session with that sid, if it is on record.
	Session *SessionSummary `json:"session,omitempty"`
}

// CheckRevocation returns whether a value is revoked, and by what. An empty kind checks a jti,
// sid, sub, client and kid of that value. For sub, the value may be a local user name. An unknown value
// is not revoked. Errors: CodeInvalidRevocation.
func (svc *Service) CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (RevocationCheck, error) {
	kinds := []revocation.Kind{kind}
	switch kind {
	case "":
		kinds = []revocation.Kind{
			revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID,
		}
	case revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID, revocation.KindAll:
	default:
		return RevocationCheck{}, &broker.Error{Code: broker.CodeInvalidRevocation, Message: "The kind is unknown; it must be jti, sid, sub, client, kid or all."}
	}
	if (value == "") != (kind == revocation.KindAll) || len(value) > maxRevokedValue {
		return RevocationCheck{}, &broker.Error{Code: broker.CodeInvalidRevocation, Message: fmt.Sprintf(
			"The value must have 1 to %d bytes; for the kind all, leave it out.", maxRevokedValue)}
	}
	check := RevocationCheck{Kind: string(kind), Value: value, Events: []revocation.Recorded{}}
	for _, k := range kinds {
		if err := svc.checkKind(ctx, &check, k, value); err != nil {
			return RevocationCheck{}, commit.AppError(ctx, "checking a revocation", err)
		}
	}
	check.Revoked = len(check.Events) > 0
	if s := check.Session; s != nil && s.State != stateLive && s.State != string(broker.CodeSessionExpired) {
		check.Revoked = true
	}
	return check, nil
}

func (svc *Service) checkKind(ctx context.Context, check *RevocationCheck, kind revocation.Kind, value string) error {
	if kind == revocation.KindSub {
		user, err := svc.userByRef(ctx, value)
		var app *broker.Error
		switch {
		case errors.As(err, &app): // the uid of a removed user may still have an event
		case err != nil:
			return err
		default:
			value = user.UID
		}
	}
	if err := svc.findEvent(ctx, check, kind, value, anyEpoch); err != nil {
		return err
	}
	if kind != revocation.KindSID {
		return nil
	}
	return svc.checkSession(ctx, check, value)
}

// anyEpoch is below every epoch.
const anyEpoch = -1

// findEvent adds the event of a kind and value, if it applies to sessions and tokens of the epoch made.
func (svc *Service) findEvent(ctx context.Context, check *RevocationCheck, kind revocation.Kind, value string, made int64) error {
	found, ok, err := svc.cfg.Ledger.Find(ctx, kind, value)
	if err != nil {
		return fmt.Errorf("asking the ledger: %w", err)
	}
	if kind == revocation.KindKID {
		found.ExpiresAt = 0 // the event expires with the tokens, but the key stays compromised
	}
	if ok && found.Epoch > made {
		check.Events = append(check.Events, found)
	}
	return nil
}

// checkSession adds the session of a sid, and the other events that apply to it.
func (svc *Service) checkSession(ctx context.Context, check *RevocationCheck, sid string) error {
	uid, err := commit.SessionOwner(ctx, svc.cfg.Store, sid)
	if err != nil || uid == "" {
		return err
	}
	rec, err := svc.cfg.Store.Get(ctx, commit.SessionKey(uid, sid))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the session: %w", err)
	}
	s, err := session.DecodeSession(rec.Value)
	if err != nil {
		return err
	}
	summary, err := svc.summary(ctx, svc.path.View(uid), s)
	if err != nil {
		return err
	}
	check.Session = &summary
	for _, of := range []struct {
		kind  revocation.Kind
		value string
		made  int64
	}{
		{revocation.KindSub, uid, s.SEP}, {revocation.KindClient, s.ClientID, s.CEP}, {revocation.KindAll, "", s.SEP},
	} {
		if err := svc.findEvent(ctx, check, of.kind, of.value, of.made); err != nil {
			return err
		}
	}
	return nil
}
