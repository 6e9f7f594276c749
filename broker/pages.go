package broker

import (
	"context"
	"fmt"
	"strings"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
)

// Bounds of one page of an operators' list.
const (
	defaultPage = 100
	maxPage     = 1000
	maxScanned  = 10_000 // records that are read for it, whatever fits
	scanPage    = 256    // records that are read at a time
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
	match := strings.ToLower(q.Match)
	prefix := userKey("")
	next, err := b.scan(ctx, prefix, afterKey(prefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
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
	page.Next = strings.TrimPrefix(next, prefix)
	return page, nil
}

// userMatches looks for match, in lower case, in the user's name and e-mail address.
func userMatches(u *session.User, match string) bool {
	email, _ := u.Attributes["email"].(string)
	return strings.Contains(strings.ToLower(u.Username), match) || strings.Contains(strings.ToLower(email), match)
}

func afterKey(prefix, after string) string {
	if after == "" {
		return ""
	}
	return prefix + after
}

// scan hands the records below prefix and beyond after to take until it took limit of them or
// maxScanned were read. next is the last key of those when there is more, else "".
func (b *Broker) scan(ctx context.Context, prefix, after string, limit int, take func(store.Record) (bool, error)) (next string, err error) {
	limit = min(orDefault(limit, defaultPage), maxPage)
	taken, read := 0, 0
	for {
		records, err := b.cfg.Store.List(ctx, prefix, after, scanPage)
		if err != nil {
			return "", fmt.Errorf("listing: %w", err)
		}
		for _, rec := range records {
			if taken == limit || read == maxScanned {
				return after, nil
			}
			ok, err := take(rec)
			if err != nil {
				return "", fmt.Errorf("record %s: %w", rec.Key, err)
			}
			if ok {
				taken++
			}
			read++
			after = rec.Key
		}
		if len(records) < scanPage {
			return "", nil
		}
	}
}
