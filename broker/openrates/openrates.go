// Package openrates limits how often a user opens sessions.
package openrates

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// A user may open openBurst sessions at once, and one more for each openEvery.
const (
	openBurst = 300
	openEvery = 10 * time.Second
	// openUsers bounds the users whose sessions are counted. Beyond it, the user who signed in
	// least recently is forgotten, and that user's count starts again.
	openUsers = 1 << 16
)

// Limiter limits the rate at which a user opens sessions, because each leaves a record for months, even
// if it is ended immediately. It is safe for concurrent use.
type Limiter struct {
	mu    sync.Mutex // guards users
	users *simplelru.LRU[string, *rate.Limiter]
}

// New returns a limiter without counts.
func New() *Limiter {
	users, err := simplelru.NewLRU[string, *rate.Limiter](openUsers, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Limiter{users: users}
}

// Wait returns how long the user has to wait before opening the next session.
func (o *Limiter) Wait(uid string, now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	user, ok := o.users.Get(uid)
	if !ok {
		return 0
	}
	missing := 1 - user.TokensAt(now)
	return max(0, time.Duration(missing*float64(openEvery)))
}

// Opened counts a session. Sessions that are opened concurrently may make the allowance negative, which
// later ones have to wait for: the rate holds for any number of them.
func (o *Limiter) Opened(uid string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	user, ok := o.users.Get(uid)
	if !ok {
		user = rate.NewLimiter(rate.Every(openEvery), openBurst)
		o.users.Add(uid, user)
	}
	user.ReserveN(now, 1)
}
