package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// UserQuery selects users in the order of their uids. Match, when not empty, is looked for in user name and
// e-mail address without regard to case.
type UserQuery struct {
	Match, After string
	Limit        int // 1 … 1000; default 100
}

// UserPage is one page; Next is the After of the next one, or "".
type UserPage struct {
	Users []UserInfo `json:"users"`
	Next  string     `json:"next,omitempty"`
	// Unreadable is how many damaged records were passed over; the log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// SessionQuery selects sessions, of one user (uid or local user name) or of all.
type SessionQuery struct {
	User, After string
	Limit       int // 1 … 1000; default 100
	// Ended shows those that are over, too.
	Ended bool
}

// SessionPage is one page; Next is the After of the next one, or "".
type SessionPage struct {
	Sessions []SessionSummary `json:"sessions"`
	Next     string           `json:"next,omitempty"`
	// Unreadable is how many damaged records were passed over; the log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// Bounds of one page of an operators' list.
const (
	defaultPage = 100
	maxPage     = 1000
	maxScanned  = 10_000  // records that are read for it, whatever fits
	scanPage    = 256     // records that are read at a time
	maxTaken    = 8 << 20 // bytes of the records that are in it, plus one record
	maxNamed    = 10      // unreadable records that one page's log line names
)

// ListUsers returns a page of the users that q selects. A page may have fewer than Limit, or
// none, and yet a Next: so many records were read for it.
func (svc *Service) ListUsers(ctx context.Context, q UserQuery) (UserPage, error) {
	page := UserPage{Users: []UserInfo{}}
	match := directory.FoldName(q.Match)
	prefix := directory.UserKey("")
	next, unreadable, err := svc.scan(ctx, prefix, afterKey(prefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		user, err := session.DecodeUser(rec.Value)
		if err != nil || !userMatches(user, match) {
			return false, err
		}
		page.Users = append(page.Users, userInfo(user))
		return true, nil
	})
	if err != nil {
		return UserPage{}, commit.AppError(ctx, "listing users", err)
	}
	page.Next, page.Unreadable = strings.TrimPrefix(next, prefix), unreadable
	return page, nil
}

// userMatches looks for match, which is folded, in the user's name and e-mail address.
func userMatches(u *session.User, match string) bool {
	email, _ := u.Attributes["email"].(string)
	return strings.Contains(directory.FoldName(u.Username), match) || strings.Contains(directory.FoldName(email), match)
}

// ListSessions returns a page of the sessions that q selects, each judged by the user, the
// client and the floor as they are now; one whose user or client cannot be read is
// unreadable. A page may have fewer than Limit, or none, and yet a
// Next: so many records were read for it. Errors: CodeUnknownUser.
func (svc *Service) ListSessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	prefix := commit.SessionPrefix
	if q.User != "" {
		user, err := svc.userByRef(ctx, q.User)
		if err != nil {
			return SessionPage{}, commit.AppError(ctx, "listing sessions", err)
		}
		prefix = commit.SessionKey(user.UID, "")
	}
	if _, _, err := commit.ReadFloor(ctx, svc.cfg.Store); err != nil { // it is no single session's damage
		return SessionPage{}, commit.AppError(ctx, "listing sessions", err)
	}
	page := SessionPage{Sessions: []SessionSummary{}}
	uid, view := "", svc.path.View("")
	next, unreadable, err := svc.scan(ctx, prefix, afterKey(commit.SessionPrefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		s, err := session.DecodeSession(rec.Value)
		if err != nil {
			return false, err
		}
		if uid != s.UID { // keys are in the order of the users
			uid, view = s.UID, svc.path.View(s.UID)
		}
		summary, err := svc.summary(ctx, view, s)
		if err != nil || summary.State != stateLive && !q.Ended {
			return false, err
		}
		page.Sessions = append(page.Sessions, summary)
		return true, nil
	})
	if err != nil {
		return SessionPage{}, commit.AppError(ctx, "listing sessions", err)
	}
	page.Next, page.Unreadable = strings.TrimPrefix(next, commit.SessionPrefix), unreadable
	return page, nil
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
func (svc *Service) scan(ctx context.Context, prefix, after string, limit int, take func(store.Record) (bool, error)) (next string, unreadable int, err error) {
	if limit <= 0 {
		limit = defaultPage
	}
	limit = min(limit, maxPage)
	taken, read, size := 0, 0, 0
	var damaged []error
	defer func() { svc.logUnreadable(ctx, unreadable, damaged) }()
	for {
		records, err := svc.cfg.Store.List(ctx, prefix, after, scanPage)
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
func (svc *Service) logUnreadable(ctx context.Context, unreadable int, damaged []error) {
	if unreadable > 0 {
		svc.cfg.Logger.ErrorContext(ctx, "stored records cannot be read", "unreadable", unreadable, "error", errors.Join(damaged...))
	}
}
