package enduser

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/session"
)

// Refresh rotates the session of a cookie's refresh token. The token's mac is checked
// first, then csrf, and only then is anything read; the answer is durable.
//
// Errors: CodeNoSession (missing, damaged, forged, wrong secret or unknown), CodeCSRF,
// CodeWrongChannel, CodeSessionExpired, CodeSessionEnded, CodeSessionRevoked,
// CodeUserDisabled, CodeRefreshReused, CodeGenerationAhead; CodeTooManyReplays ends nothing.
func (svc *Service) Refresh(ctx context.Context, refreshText, csrf string, req broker.Request) (*broker.Grant, error) {
	token, err := credential.ParseRefreshToken(refreshText, svc.cfg.Secrets)
	if err != nil {
		return nil, commit.Refused(session.RefuseUnknown)
	}
	uid, sid := token.UID.String(), token.SID.String()
	current, ok := credential.MatchCSRF(svc.cfg.Secrets, sid, csrf)
	if !ok {
		svc.audit.Info(ctx, "csrf_mismatch", req, "uid", uid, "sid", sid)
		return nil, errCSRF()
	}
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, Message: session.Rotate{
		Generation: token.Generation, SecretHash: token.SecretHash(), Channel: session.ChannelCookie, Source: token.Source(req),
	}})
	if err != nil {
		return nil, err
	}
	eff := result.Effects
	if eff.Refusal != "" {
		svc.audit.Info(ctx, "refresh_refused", req, seen(token, req, "refusal", string(eff.Refusal))...)
		return nil, commit.Refused(eff.Refusal)
	}
	if err := svc.traceRefresh(ctx, eff, token, req); err != nil {
		return nil, err
	}
	return svc.grant(ctx, eff, token, current)
}

// traceRefresh logs an answered refresh. The error is CodeTooManyReplays.
func (svc *Service) traceRefresh(ctx context.Context, eff session.Effects, token credential.RefreshToken, req broker.Request) error {
	switch {
	case eff.Replayed && !svc.replays.allow(token):
		err := errTooManyReplays()
		svc.audit.Info(ctx, "refresh_refused", req, seen(token, req, "refusal", string(err.Code))...)
		return err
	case eff.Replayed:
		svc.audit.Info(ctx, "refresh_replayed", req, seen(token, req)...)
		if eff.AddressChanged {
			if n := svc.replays.elsewhere(token); n >= suspiciousReplays {
				svc.audit.Warn(ctx, "refresh_replayed_elsewhere", req, seen(token, req, "in_a_row", n)...)
			}
		}
	case eff.AddressChanged:
		svc.audit.Info(ctx, "session_address_changed", req, seen(token, req)...)
	case svc.audit.Logger.Enabled(ctx, slog.LevelDebug): // most refreshes are not logged, and cost nothing here
		svc.audit.Debug(ctx, "refresh", req, seen(token, req)...)
	}
	return nil
}

func errCSRF() *broker.Error {
	return &broker.Error{Code: broker.CodeCSRF, Message: "The CSRF token is missing or belongs to another session."}
}

// seen returns what an audit line contains of a request that presents the token, and more.
func seen(t credential.RefreshToken, req broker.Request, more ...any) []any {
	return append([]any{"uid", t.UID.String(), "sid", t.SID.String(), "generation", t.Generation, "user_agent", req.UserAgent}, more...)
}

const (
	// maxReplays is how often one superseded refresh token is answered within its grace: the
	// tabs of a browser that all had the same one.
	maxReplays = 128
	// replayedTokens bounds the tokens whose replays are counted. Beyond it the least recently
	// replayed one is forgotten, and its count starts again.
	replayedTokens = 1 << 16
	// suspiciousReplays: of so many generations in a row each was replayed from another address than
	// that of the rotation. A change of network does that once; a thief who follows the
	// owner's rotations has to do it at each of them.
	suspiciousReplays = 3
)

// replays counts how often superseded refresh tokens were presented. Safe for concurrent use.
type replays struct {
	mu     sync.Mutex // guards what is below
	counts *simplelru.LRU[replayedToken, int]
	rows   *simplelru.LRU[broker.ID, row] // by session
}

// row is a number of generations in a row that were replayed from elsewhere.
type row struct {
	latest uint32 // generation
	n      int
}

// replayedToken names a refresh token without its secret.
type replayedToken struct {
	sid        broker.ID
	generation uint32
}

func newReplays() *replays {
	counts, err := simplelru.NewLRU[replayedToken, int](replayedTokens, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	rows, err := simplelru.NewLRU[broker.ID, row](replayedTokens, nil)
	if err != nil {
		panic(err)
	}
	return &replays{counts: counts, rows: rows}
}

// allow counts a replay and reports whether the token may still be answered.
func (r *replays) allow(token credential.RefreshToken) bool {
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

// elsewhere counts a replay from another address than that of the latest rotation. It returns the
// number of generations in a row that were replayed so, once for each; otherwise 0.
func (r *replays) elsewhere(token credential.RefreshToken) (inARow int) {
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
