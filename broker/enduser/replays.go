package enduser

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
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

// replays counts how often superseded refresh tokens were presented. It is safe for concurrent use.
type replays struct {
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

// elsewhere counts a replay from an address other than that of the latest rotation. It returns the
// number of consecutive generations that were replayed so, once for each generation; otherwise 0.
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
