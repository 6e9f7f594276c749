package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Restored prepares a store that was filled from a backup.
type Restored struct {
	Store  store.Store
	Ledger broker.Ledger
	Clock  broker.Clock
	// AccessLife is the longest lifetime of an access token.
	AccessLife time.Duration
	// Replaced is the store that Store replaces. It is nil if there is none, or if it cannot be read.
	Replaced store.Reader
}

// SignOut ends every session and token of both stores. It raises the floor epoch above
// all that were drawn, and records the event.
func (r Restored) SignOut(ctx context.Context) (epoch int64, err error) {
	floor, rev, err := commit.ReadFloor(ctx, r.Store)
	if err != nil {
		return 0, err
	}
	if r.Replaced != nil {
		old, _, err := commit.ReadFloor(ctx, r.Replaced)
		if err != nil {
			return 0, fmt.Errorf("in the replaced store: %w", err)
		}
		floor.Last, floor.MaxExp = max(floor.Last, old.Last), max(floor.MaxExp, old.MaxExp)
	}
	if rev == 0 { // no epoch was drawn, or the record is lost
		highest, err := r.highestEpoch(ctx)
		if err != nil {
			return 0, fmt.Errorf("looking for the last epoch: %w", err)
		}
		floor.Last = max(floor.Last, highest)
	}
	now := r.Clock.Now()
	floor = floor.NextEpoch(now, revocation.KindAll)
	raised, err := floor.Write(rev)
	if err != nil {
		return 0, err
	}
	index, err := directory.RestartIndex(ctx, r.Store)
	if err != nil {
		return 0, err
	}
	change := store.Change{
		Writes: append(index, raised),
		Events: []revocation.Event{{
			Kind: revocation.KindAll, At: now.Unix(), Reason: revocation.ReasonRestore, Epoch: floor.Epoch,
			ExpiresAt: floor.EventExpiry(now, r.AccessLife),
		}},
	}
	if err := r.Store.Commit(ctx, []store.Change{change}, r.Ledger.Seal)[0]; err != nil {
		return 0, fmt.Errorf("raising the floor: %w", err)
	}
	r.Ledger.Committed()
	return floor.Epoch, nil
}

// restoredPage is the number of users or clients that are read at a time.
const restoredPage = 1000

// highestEpoch returns the highest recorded epoch of everybody, of any user and of any client.
// It skips unreadable records.
func (r Restored) highestEpoch(ctx context.Context) (int64, error) {
	everybody, _, err := r.Ledger.Find(ctx, revocation.KindAll, "")
	if err != nil {
		return 0, err
	}
	highest := everybody.Epoch
	for prefix, epoch := range map[string]func(value []byte) int64{
		directory.UserKey(""): func(value []byte) int64 {
			user, err := session.DecodeUser(value)
			if err != nil {
				return 0
			}
			return user.Epoch
		},
		directory.ClientKey(""): func(value []byte) int64 {
			var client directory.ClientRecord
			if err := directory.DecodeRecord("client", value, &client, &client.V); err != nil {
				return 0
			}
			return client.Epoch
		},
	} {
		for after := ""; ; {
			page, err := r.Store.List(ctx, prefix, after, restoredPage)
			if err != nil {
				return 0, err
			}
			for _, rec := range page {
				highest = max(highest, epoch(rec.Value))
			}
			if len(page) < restoredPage {
				break
			}
			after = page[len(page)-1].Key
		}
	}
	return highest, nil
}

// KeepDisabled disables the users who are disabled in the replaced store and not in the backup,
// and returns their names. A restore must not admit a user who was disabled since the backup.
func (r Restored) KeepDisabled(ctx context.Context) (disabled []string, err error) {
	if r.Replaced == nil {
		return nil, nil
	}
	for after := ""; ; {
		page, err := r.Replaced.List(ctx, directory.UserKey(""), after, restoredPage)
		if err != nil {
			return nil, fmt.Errorf("listing the replaced store's users: %w", err)
		}
		for _, rec := range page {
			name, err := r.keepDisabled(ctx, rec)
			if err != nil {
				return nil, err
			}
			if name != "" {
				disabled = append(disabled, name)
			}
		}
		if len(page) < restoredPage {
			return disabled, nil
		}
		after = page[len(page)-1].Key
	}
}

// keepDisabled is KeepDisabled for one user of the replaced store. name is empty unless the user is now disabled.
func (r Restored) keepDisabled(ctx context.Context, replaced store.Record) (name string, err error) {
	was, err := session.DecodeUser(replaced.Value)
	if errors.Is(err, session.ErrRecord) || err == nil && !was.Disabled {
		return "", nil // a damaged record is ignored
	}
	if err != nil {
		return "", err
	}
	rec, err := r.Store.Get(ctx, replaced.Key)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	user, err := session.DecodeUser(rec.Value)
	if err != nil || user.Disabled {
		return "", nil //nolint:nilerr // a user whose record is damaged cannot sign in
	}
	user.Disabled = true
	write, err := directory.PutUser(user, rec.Revision)
	if err != nil {
		return "", err
	}
	if err := r.Store.Commit(ctx, []store.Change{{Writes: []store.Write{write}}}, nil)[0]; err != nil {
		return "", fmt.Errorf("disabling a user: %w", err)
	}
	return cmp.Or(user.Username, user.UID), nil
}
