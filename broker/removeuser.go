package broker

import (
	"context"
	"errors"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// purgePage is how many sessions of a removed user are deleted at a time.
const purgePage = 100

// RemoveUser forgets the user with the links of all accounts and ends all sessions and
// tokens. A later login by one of the accounts makes a new user. Errors: CodeUnknownUser.
func (b *Broker) RemoveUser(ctx context.Context, ref string, req Request) (Revoked, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, b.internal(ctx, "removing a user", err)
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	removed, seq, err := b.recordEnd(ctx, "user_remove", user.UID, session.RemoveUser{}, req)
	if err != nil {
		return Revoked{}, err
	}
	if err := b.purgeSessions(ctx, user.UID); err != nil { // they are dead and expire by themselves
		b.cfg.Logger.WarnContext(ctx, "the sessions of a removed user are still stored", "uid", user.UID, "error", err)
	}
	return tell.revoked(ctx, removed, seq), nil
}

// removal deletes the removed user's record and what of the accounts leads to it.
func (v *userView) removal(ctx context.Context) ([]store.Write, error) {
	writes := []store.Write{{Key: userKey(v.uid), Delete: true, Expect: v.userRev}}
	if err := v.readListed(ctx); err != nil && !errors.Is(err, session.ErrRecord) {
		return nil, err
	}
	if v.listing.rev != 0 {
		writes = append(writes, store.Write{Key: listedKey(v.uid), Delete: true, Expect: v.listing.rev})
	}
	v.listing.put = "" // by a sign-in just before
	for _, a := range accountsOf(v.removed) {
		identity, rev, err := readIdentity(ctx, v.reader, a.Issuer, a.Subject)
		if err != nil {
			return nil, err
		}
		if rev != 0 && identity.UID == v.uid {
			writes = append(writes, store.Write{Key: identityKey(a.Issuer, a.Subject), Delete: true, Expect: rev})
		}
	}
	releases, err := v.nameReleases(ctx, v.removed)
	return append(writes, releases...), err
}

// purgeSessions deletes the records of a removed user's sessions. One that is written
// meanwhile stays: it is dead without its user.
func (b *Broker) purgeSessions(ctx context.Context, uid string) error {
	prefix, after := sessionKey(uid, ""), ""
	for {
		page, err := b.cfg.Store.List(ctx, prefix, after, purgePage)
		if err != nil {
			return fmt.Errorf("listing sessions: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		var request commitRequest
		for _, rec := range page {
			after = rec.Key
			writes := []store.Write{{Key: rec.Key, Delete: true, Expect: rec.Revision}}
			owner, err := b.cfg.Store.Get(ctx, sidKey(rec.Key[len(prefix):]))
			switch {
			case err == nil:
				writes = append(writes, store.Write{Key: owner.Key, Delete: true, Expect: owner.Revision})
			case !errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("reading the sid: %w", err)
			}
			request.changes = append(request.changes, change{Change: store.Change{Writes: writes}})
		}
		result, err := b.committer.Ask(ctx, request)
		if err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		for _, err := range result.errs {
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return fmt.Errorf("deleting sessions: %w", err)
			}
		}
	}
}
