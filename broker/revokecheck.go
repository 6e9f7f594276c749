package broker

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// CheckRevocation says whether a value is revoked and what by. An empty kind asks for a jti,
// sid, sub, client and kid of that value; for sub it may be a local user name. A value that
// nothing is known of is not revoked. Errors: CodeInvalidRevocation.
func (b *Broker) CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (RevocationCheck, error) {
	kinds := []revocation.Kind{kind}
	switch kind {
	case "":
		kinds = []revocation.Kind{
			revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID,
		}
	case revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID, revocation.KindAll:
	default:
		return RevocationCheck{}, &Error{Code: CodeInvalidRevocation, Message: "The kind is none of jti, sid, sub, client, kid and all."}
	}
	if (value == "") != (kind == revocation.KindAll) || len(value) > maxRevokedValue {
		return RevocationCheck{}, &Error{Code: CodeInvalidRevocation, Message: fmt.Sprintf(
			"The value must have 1 to %d bytes, and none for the kind all.", maxRevokedValue)}
	}
	check := RevocationCheck{Kind: string(kind), Value: value, Events: []revocation.Recorded{}}
	for _, k := range kinds {
		if err := b.checkKind(ctx, &check, k, value); err != nil {
			return RevocationCheck{}, b.internal(ctx, "checking a revocation", err)
		}
	}
	check.Revoked = len(check.Events) > 0
	if s := check.Session; s != nil && s.State != stateLive && s.State != string(CodeSessionExpired) {
		check.Revoked = true
	}
	return check, nil
}

func (b *Broker) checkKind(ctx context.Context, check *RevocationCheck, kind revocation.Kind, value string) error {
	if kind == revocation.KindSub {
		user, err := b.userByRef(ctx, value)
		var app *Error
		switch {
		case errors.As(err, &app): // a removed user's uid is in the record all the same
		case err != nil:
			return err
		default:
			value = user.UID
		}
	}
	if err := b.findEvent(ctx, check, kind, value, anyEpoch); err != nil {
		return err
	}
	if kind != revocation.KindSID {
		return nil
	}
	return b.checkSession(ctx, check, value)
}

// anyEpoch is below every epoch.
const anyEpoch = -1

// findEvent adds the event of a kind and value, if it hits what was made under that epoch.
func (b *Broker) findEvent(ctx context.Context, check *RevocationCheck, kind revocation.Kind, value string, made int64) error {
	found, ok, err := b.cfg.Ledger.Find(ctx, kind, value)
	if err != nil {
		return fmt.Errorf("asking the ledger: %w", err)
	}
	if kind == revocation.KindKID {
		found.ExpiresAt = 0 // its event ends with its tokens; that it is dead does not
	}
	if ok && found.Epoch > made {
		check.Events = append(check.Events, found)
	}
	return nil
}

// checkSession adds the session of a sid, and what else hits it.
func (b *Broker) checkSession(ctx context.Context, check *RevocationCheck, sid string) error {
	uid, err := b.sessionOwner(ctx, sid)
	var app *Error
	if errors.As(err, &app) {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := b.cfg.Store.Get(ctx, sessionKey(uid, sid))
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
	summary, err := b.summary(ctx, newUserView(b.cfg.Store, uid), s)
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
		if err := b.findEvent(ctx, check, of.kind, of.value, of.made); err != nil {
			return err
		}
	}
	return nil
}
