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

// UserQuery selects users in the order of their uids. If Match is not empty, it selects users whose name or
// e-mail address contains it, regardless of case.
type UserQuery struct {
	Match, After string
	Limit        int // 1 … 1000; default 100
}

// UserPage is one page; Next is the After of the next one, or "".
type UserPage struct {
	Users []UserInfo `json:"users"`
	Next  string     `json:"next,omitempty"`
	// Unreadable is the number of damaged records that were skipped. The log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// SessionQuery selects sessions, of one user (uid or local user name) or of all.
type SessionQuery struct {
	User, After string
	Limit       int // 1 … 1000; default 100
	// Ended also selects sessions that have ended.
	Ended bool
}

// SessionPage is one page; Next is the After of the next one, or "".
type SessionPage struct {
	Sessions []SessionSummary `json:"sessions"`
	Next     string           `json:"next,omitempty"`
	// Unreadable is the number of damaged records that were skipped. The log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// Bounds of one page of an operators' list.
const (
	defaultPage = 100
	maxPage     = 1000
	maxScanned  = 10_000  // records that are read for a page
	scanPage    = 256     // records that are read at a time
	maxTaken    = 8 << 20 // bytes of the page's records, plus one record
	maxNamed    = 10      // unreadable records in a page's log line
)

// ListUsers returns a page of the users that q selects. A page with a Next may have fewer users than Limit, or
// none, because the number of records read for it is bounded.
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

// userMatches reports whether the user's name or e-mail address contains match, which is folded.
func userMatches(u *session.User, match string) bool {
	email, _ := u.Attributes["email"].(string)
	return strings.Contains(directory.FoldName(u.Username), match) || strings.Contains(directory.FoldName(email), match)
}

// ListSessions returns a page of the sessions that q selects, each judged by the current user,
// client and floor. A session whose user or client cannot be read is
// unreadable. A page with a Next may have fewer sessions than Limit, or none, because the
// number of records read for it is bounded. Errors: CodeUnknownUser.
func (svc *Service) ListSessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	prefix := commit.SessionPrefix
	if q.User != "" {
		user, err := svc.userByRef(ctx, q.User)
		if err != nil {
			return SessionPage{}, commit.AppError(ctx, "listing sessions", err)
		}
		prefix = commit.SessionKey(user.UID, "")
	}
	if _, _, err := commit.ReadFloor(ctx, svc.cfg.Store); err != nil { // a damaged floor affects all sessions
		return SessionPage{}, commit.AppError(ctx, "listing sessions", err)
	}
	page := SessionPage{Sessions: []SessionSummary{}}
	uid, view := "", svc.path.View("")
	next, unreadable, err := svc.scan(ctx, prefix, afterKey(commit.SessionPrefix, q.After), q.Limit, func(rec store.Record) (bool, error) {
		s, err := session.DecodeSession(rec.Value)
		if err != nil {
			return false, err
		}
		if uid != s.UID { // keys are ordered by user
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

// scan passes the records under prefix that follow the key after to take, until take has taken limit records or
// more than maxTaken bytes of them, or maxScanned were read. If there are more, next is the key of the last one,
// and otherwise "". Unreadable records are skipped, counted and logged: they must not hide the records after them.
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

// logUnreadable writes one line for a page, with the first of its damaged records.
func (svc *Service) logUnreadable(ctx context.Context, unreadable int, damaged []error) {
	if unreadable > 0 {
		svc.cfg.Logger.ErrorContext(ctx, "stored records cannot be read", "unreadable", unreadable, "error", errors.Join(damaged...))
	}
}
