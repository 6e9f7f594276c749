// Package replays counts and logs the refresh tokens that are presented again within their grace.
package replays

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

const (
	// maxReplays is how often one superseded refresh token is answered within its grace period: for the
	// tabs of a browser that all have the same token.
	maxReplays = 128
	// replayedTokens bounds the tokens whose replays are counted. Beyond it, the least recently
	// replayed token is forgotten, and its count starts again.
	replayedTokens = 1 << 16
	// suspiciousReplays is how many consecutive generations have to be replayed from an address other than
	// that of the rotation to be reported. A change of network does that once; a thief who follows the
	// owner's rotations has to do it at each of them.
	suspiciousReplays = 3
)

// Counter counts how often superseded refresh tokens were presented. It is safe for concurrent use.
type Counter struct {
	mu     sync.Mutex // guards the fields below
	counts *simplelru.LRU[replayedToken, int]
	rows   *simplelru.LRU[broker.ID, row] // by session
}

// row counts consecutive generations that were replayed from another address.
type row struct {
	latest uint32 // generation
	n      int
}

// replayedToken identifies a refresh token without its secret.
type replayedToken struct {
	sid        broker.ID
	generation uint32
}

// NewCounter returns a counter without counts.
func NewCounter() *Counter {
	counts, err := simplelru.NewLRU[replayedToken, int](replayedTokens, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	rows, err := simplelru.NewLRU[broker.ID, row](replayedTokens, nil)
	if err != nil {
		panic(err)
	}
	return &Counter{counts: counts, rows: rows}
}

// allow counts a replay and reports whether the token may still be answered.
func (r *Counter) allow(token credential.RefreshToken) bool {
	key := replayedToken{sid: token.SID, generation: token.Generation}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := r.counts.Get(key)
	if n >= maxReplays {
		return false
	}
	r.counts.Add(key, n+1)
	return true
}

// elsewhere counts a replay from an address other than that of the latest rotation. It returns the
// number of consecutive generations that were replayed so, once for each generation; otherwise 0.
func (r *Counter) elsewhere(token credential.RefreshToken) (inARow int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row, found := r.rows.Get(token.SID)
	switch {
	case found && token.Generation <= row.latest:
		return 0
	case found && token.Generation == row.latest+1:
		row.n++
	default:
		row.n = 1
	}
	row.latest = token.Generation
	r.rows.Add(token.SID, row)
	return row.n
}

func errTooManyReplays() *broker.Error {
	return &broker.Error{
		Code: broker.CodeTooManyReplays, RetryAfter: time.Second,
		Message: "This refresh token was replaced and has been presented too often since; use the one that replaced it.",
	}
}

// Answered logs a refresh that the step answered. The error is CodeTooManyReplays.
func (r *Counter) Answered(ctx context.Context, audit broker.Audit, eff session.Effects, token credential.RefreshToken, req broker.Request) error {
	switch {
	case eff.Replayed && !r.allow(token):
		err := errTooManyReplays()
		audit.Info(ctx, "refresh_refused", req, Seen(token, req, "refusal", string(err.Code))...)
		return err
	case eff.Replayed:
		audit.Info(ctx, "refresh_replayed", req, Seen(token, req)...)
		if eff.AddressChanged {
			if n := r.elsewhere(token); n >= suspiciousReplays {
				audit.Warn(ctx, "refresh_replayed_elsewhere", req, Seen(token, req, "in_a_row", n)...)
			}
		}
	case eff.AddressChanged:
		audit.Info(ctx, "session_address_changed", req, Seen(token, req)...)
	case audit.Logger.Enabled(ctx, slog.LevelDebug): // most refreshes are not logged, and build no attributes
		audit.Debug(ctx, "refresh", req, Seen(token, req)...)
	}
	return nil
}

// Seen returns the attributes of an audit line for a request that presents the token, followed by more.
func Seen(t credential.RefreshToken, req broker.Request, more ...any) []any {
	return append([]any{"uid", t.UID.String(), "sid", t.SID.String(), "generation", t.Generation, "user_agent", req.UserAgent}, more...)
}
