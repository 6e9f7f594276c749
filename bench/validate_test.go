package bench

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// turnOfRemembering is the calls to a turn: some tenths of a millisecond.
const turnOfRemembering = 2 << 10

// BenchmarkValidateSeenBefore validates tokens that were validated before, so many of them
// in turn, compared with a map under a RWMutex and compared with one time.Since. Run it with -cpu 1,2:
// the calls come from that many goroutines. A token is warm when a server has just read it
// from a socket, and cold when its bytes were last read as many tokens ago as there are.
func BenchmarkValidateSeenBefore(b *testing.B) {
	for _, live := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		if testing.Short() && live > 1000 {
			continue // seconds to prepare
		}
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			from := validatortest.New(b)
			from.Rotate("EdDSA") // is signed and checked soonest; a hit knows no algorithm
			tokens := newTokens(b, from, live)
			v := newValidator(b, from, 0)
			known := &remembered{byToken: make(map[string]*validator.Claims, live)}
			if err := forEach(live, func(i int) error {
				// What a request brings is another string than the one that is remembered.
				claims, err := v.Validate(b.Context(), strings.Clone(tokens[i]))
				known.put(strings.Clone(tokens[i]), claims)
				return err
			}); err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			ours := func(token string) error {
				_, err := v.Validate(ctx, token)
				return err
			}
			since := func(string) error {
				if time.Since(started) < 0 {
					return errors.New("time ran back")
				}
				return nil
			}
			for _, way := range []struct {
				name string
				show show
			}{{"warm", showWarm}, {"cold", showCold}} {
				b.Run(way.name, func(b *testing.B) {
					before := v.Stats().Verified
					calls := takeTurns(b,
						contender{"ours", turnOfRemembering, way.show(tokens, ours)},
						contender{"map", turnOfRemembering, way.show(tokens, known.check)},
						contender{"time-since", turnOfRemembering, way.show(tokens, since)})
					// A table of buckets may have no room for one in ten thousand.
					signatures := float64(v.Stats().Verified-before) / float64(calls)
					if b.ReportMetric(signatures, "signatures/op"); signatures > 0.01 {
						b.Error("too many of the tokens are not remembered")
					}
					reportAllocations(b, func(i int) error { return ours(tokens[i%live]) })
				})
			}
		})
	}
}

var started = time.Now()

const warmAtOnce = 32

// stride is prime, so that tokens that follow each other here do not in memory.
const stride = 7919

// show returns a [contender] the tokens in the order in which check is to see them.
type show func(tokens []string, check func(token string) error) func(from, calls int) (time.Duration, error)

// showCold shows the tokens in their order in memory.
func showCold(tokens []string, check func(token string) error) func(from, calls int) (time.Duration, error) {
	return func(from, calls int) (time.Duration, error) {
		began := time.Now()
		for i := range calls {
			if err := check(tokens[(from+i)*stride%len(tokens)]); err != nil {
				return 0, err
			}
		}
		return time.Since(began), nil
	}
}

// showWarm shows copies that were made a moment ago, as many at a time as fit into the
// processor's nearest cache, [warmAtOnce]. Making them is not measured.
func showWarm(tokens []string, check func(token string) error) func(from, calls int) (time.Duration, error) {
	const longest = 1500
	return func(from, calls int) (time.Duration, error) {
		var (
			took time.Duration
			room [warmAtOnce][longest]byte
			all  [warmAtOnce]string
		)
		for done := 0; done < calls; done += warmAtOnce {
			warm := all[:min(warmAtOnce, calls-done)]
			for i := range warm {
				n := copy(room[i][:], tokens[(from+done+i)*stride%len(tokens)])
				warm[i] = unsafe.String(&room[i][0], n) // no reference is kept: remembered tokens are copied
			}
			began := time.Now()
			for i := range warm {
				if err := check(warm[i]); err != nil {
					return 0, err
				}
			}
			took += time.Since(began)
		}
		return took, nil
	}
}

// remembered is what a team writes when validation is too slow: it knows no revocation.
type remembered struct {
	mu      sync.RWMutex
	byToken map[string]*validator.Claims // guarded by mu
}

func (r *remembered) put(token string, claims *validator.Claims) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byToken[token] = claims
}

func (r *remembered) check(token string) error {
	r.mu.RLock()
	claims := r.byToken[token]
	r.mu.RUnlock()
	if claims == nil || !time.Now().Before(claims.ExpiresAt) {
		return errors.New("not known, or expired")
	}
	return nil
}
