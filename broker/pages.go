package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// Bounds of one page of an operators' list.
const (
	defaultPage = 100
	maxPage     = 1000
	maxScanned  = 10_000  // records that are read for it, whatever fits
	scanPage    = 256     // records that are read at a time
	maxTaken    = 8 << 20 // bytes of the records that are in it, plus one record
	maxNamed    = 10      // unreadable records that one page's log line names
)

// User returns one user. Errors: CodeUnknownUser.
func (b *Broker) User(ctx context.Context, ref string) (UserInfo, error) {
	user, err := b.userByRef(ctx, ref)
	if err != nil {
		return UserInfo{}, b.internal(ctx, "reading a user", err)
	}
	return userInfo(user), nil
}

// ListUsers returns a page of the users that q selects. A page may have fewer than Limit, or
// none, and yet a Next: so many records were read for it.
func (b *Broker) ListUsers(ctx context.Context, q UserQuery) (UserPage, error) {
	page := UserPage{Users: []UserInfo{}}
	match := foldName(q.Match)
	prefix := userKey("")
	next, unreadable, err := b.scan(ctx, prefix, afterKey(prefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		user, err := session.DecodeUser(rec.Value)
		if err != nil || !userMatches(user, match) {
			return false, err
		}
		page.Users = append(page.Users, userInfo(user))
		return true, nil
	})
	if err != nil {
		return UserPage{}, b.internal(ctx, "listing users", err)
	}
	page.Next, page.Unreadable = strings.TrimPrefix(next, prefix), unreadable
	return page, nil
}

// userMatches looks for match, which is folded, in the user's name and e-mail address.
func userMatches(u *session.User, match string) bool {
	email, _ := u.Attributes["email"].(string)
	return strings.Contains(foldName(u.Username), match) || strings.Contains(foldName(email), match)
}

func afterKey(prefix, after string) string {
	if after == "" {
		return ""
	}
	return prefix + after
}

// scan hands the records below prefix and beyond after to take until it took limit of them,
// or more than maxTaken bytes of them, or maxScanned were read. next is the last key of those when there is more, else "". Records
// that cannot be read are left out, counted and logged: they must not hide those behind them.
func (b *Broker) scan(ctx context.Context, prefix, after string, limit int, take func(store.Record) (bool, error)) (next string, unreadable int, err error) {
	limit = min(orDefault(limit, defaultPage), maxPage)
	taken, read, size := 0, 0, 0
	var damaged []error
	defer func() { b.logUnreadable(ctx, unreadable, damaged) }()
	for {
		records, err := b.cfg.Store.List(ctx, prefix, after, scanPage)
		if err != nil {
			return "", unreadable, fmt.Errorf("listing: %w", err)
		}
		for _, rec := range records {
			if taken == limit || read == maxScanned || size > maxTaken {
				return after, unreadable, nil
			}
			ok, err := take(rec)
			switch {
			case errors.Is(err, session.ErrRecord):
				if unreadable++; unreadable <= maxNamed {
					damaged = append(damaged, fmt.Errorf("record %s: %w", rec.Key, err))
				}
			case err != nil:
				return "", unreadable, fmt.Errorf("record %s: %w", rec.Key, err)
			case ok:
				taken++
				size += len(rec.Value)
			}
			read++
			after = rec.Key
		}
		if len(records) < scanPage {
			return "", unreadable, nil
		}
	}
}

// logUnreadable writes one line a page, with the first of its damaged records.
func (b *Broker) logUnreadable(ctx context.Context, unreadable int, damaged []error) {
	if unreadable > 0 {
		b.cfg.Logger.ErrorContext(ctx, "stored records cannot be read", "unreadable", unreadable, "error", errors.Join(damaged...))
	}
}
