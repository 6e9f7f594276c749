package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// reasons are the codes that a revocation may carry (docs/design.md §7).
var reasons = []revocation.Reason{
	revocation.ReasonLogoff, revocation.ReasonReuse, revocation.ReasonRollback, revocation.ReasonRevoked,
	revocation.ReasonUserDisabled, revocation.ReasonAllOthers, revocation.ReasonBackchannel,
	revocation.ReasonUpstream, revocation.ReasonKeyCompromise, revocation.ReasonRestore,
}

// parseReason takes a reason's code; empty is "revoked".
func parseReason(code string) (revocation.Reason, error) {
	if code == "" {
		return revocation.ReasonRevoked, nil
	}
	reason := revocation.Reason(code)
	if !slices.Contains(reasons, reason) {
		return "", &Error{Code: CodeInvalidRevocation, Message: "The reason is none of the known codes."}
	}
	return reason, nil
}

// RevokeSession ends one session, of whatever channel, and its tokens. One that had ended
// before is Changed=false. Errors: CodeUnknownSession, CodeInvalidRevocation.
func (b *Broker) RevokeSession(ctx context.Context, sid, reason string, req Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	changed, seq, err := b.endSession(ctx, sid, why, req)
	if err != nil {
		return Revoked{}, err
	}
	return tell.revoked(ctx, Revoked{Kind: string(revocation.KindSID), Value: sid, Changed: changed}, seq), nil
}

// endSession is RevokeSession up to the disk; seq is zero when there was nothing to do.
func (b *Broker) endSession(ctx context.Context, sid string, reason revocation.Reason, req Request) (changed bool, seq uint64, err error) {
	uid, err := b.sessionOwner(ctx, sid)
	if err != nil {
		return false, 0, b.internal(ctx, "revoking a session", err)
	}
	result, err := b.ask(ctx, shardMessage{uid: uid, sid: sid, message: session.Revoke{Reason: reason}, by: req.Operator})
	if err != nil {
		return false, 0, err
	}
	if result.effects.Refusal != "" {
		return false, 0, errUnknownSession()
	}
	changed = result.effects.PutSession != nil
	b.audit(ctx, "session_revoke", req, "uid", uid, "sid", sid, "reason", string(reason), "changed", changed)
	return changed, result.seq, nil
}

// RevokeUser ends all sessions and tokens that the user has; new ones can be opened.
// Errors: CodeUnknownUser, CodeInvalidRevocation.
func (b *Broker) RevokeUser(ctx context.Context, ref, reason string, req Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	done, seq, err := b.endUserByRef(ctx, ref, why, req)
	if err != nil {
		return Revoked{}, err
	}
	return tell.revoked(ctx, done, seq), nil
}

// endUserByRef is RevokeUser up to the disk.
func (b *Broker) endUserByRef(ctx context.Context, ref string, reason revocation.Reason, req Request) (Revoked, uint64, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, 0, b.internal(ctx, "revoking a user", err)
	}
	return b.recordEnd(ctx, "user_revoke", user.UID, session.RevokeUser{Reason: reason}, req)
}

// sessionOwner returns the uid of the user whose session it is.
func (b *Broker) sessionOwner(ctx context.Context, sid string) (string, error) {
	if _, ok := parseID(sid); !ok {
		return "", errUnknownSession()
	}
	rec, err := b.cfg.Store.Get(ctx, sidKey(sid))
	if errors.Is(err, store.ErrNotFound) {
		return "", errUnknownSession()
	}
	if err != nil {
		return "", fmt.Errorf("reading the sid: %w", err)
	}
	var owner sidRecord
	if err := decodeRecord("the sid", rec.Value, &owner, &owner.V); err != nil {
		return "", err
	}
	return owner.UID, nil
}

func errUnknownSession() *Error {
	return &Error{Code: CodeUnknownSession, Message: "There is no such session."}
}
