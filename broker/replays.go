package broker

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxReplays is how often one superseded refresh token is answered within its grace: the
	// tabs of a browser that all had the same one.
	maxReplays = 128
	// replayedTokens bounds the tokens whose replays are counted. Beyond it the least recently
	// replayed one is forgotten, and its count starts again.
	replayedTokens = 1 << 16
)

// replays counts how often superseded refresh tokens were presented. Safe for concurrent use.
type replays struct {
	mu     sync.Mutex // guards counts
	counts *simplelru.LRU[replayedToken, int]
}

// replayedToken names a refresh token without its secret.
type replayedToken struct {
	sid        id
	generation uint32
}

func newReplays() *replays {
	counts, err := simplelru.NewLRU[replayedToken, int](replayedTokens, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &replays{counts: counts}
}

// allow counts a replay and reports whether the token may still be answered.
func (r *replays) allow(token refreshToken) bool {
	key := replayedToken{sid: token.sid, generation: token.generation}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := r.counts.Get(key)
	if n >= maxReplays {
		return false
	}
	r.counts.Add(key, n+1)
	return true
}

func errTooManyReplays() *Error {
	return &Error{
		Code: CodeTooManyReplays, RetryAfter: time.Second,
		Message: "This refresh token was replaced and has been presented too often since; use the one that replaced it.",
	}
}
