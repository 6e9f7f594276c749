package broker

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// A user may open openingBurst sessions at once, and one more for each openingEvery.
const (
	openingBurst = 300
	openingEvery = 10 * time.Second
	// openingUsers bounds the users whose sessions are counted. Beyond it the one who signed in
	// longest ago is forgotten, and the count starts again.
	openingUsers = 1 << 16
)

// openings bounds how fast a user opens sessions: each leaves a record for months, also when
// it ended at once. Safe for concurrent use.
type openings struct {
	mu    sync.Mutex // guards users
	users *simplelru.LRU[string, *rate.Limiter]
}

func newOpenings() *openings {
	users, err := simplelru.NewLRU[string, *rate.Limiter](openingUsers, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &openings{users: users}
}

// wait returns how long the user has to wait before the next session; zero: not at all.
func (o *openings) wait(uid string, now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	user, ok := o.users.Get(uid)
	if !ok {
		return 0
	}
	missing := 1 - user.TokensAt(now)
	return max(0, time.Duration(missing*float64(openingEvery)))
}

// opened counts a session. Those that were opened at the same moment may go below zero, which
// has to be made up for: the rate holds for any number of them.
func (o *openings) opened(uid string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	user, ok := o.users.Get(uid)
	if !ok {
		user = rate.NewLimiter(rate.Every(openingEvery), openingBurst)
		o.users.Add(uid, user)
	}
	user.ReserveN(now, 1)
}
