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

// turnOfRemembering is the number of calls in a turn, which takes a few tenths of a millisecond.
const turnOfRemembering = 2 << 10

// BenchmarkValidateSeenBefore validates the given number of tokens, which were validated before, in
// turn. It is compared with a map under a RWMutex and with one time.Since. Run it with -cpu 1,2:
// the calls come from that many goroutines. A token is warm if a server has just read it from a
// socket, and cold if all other tokens were read since its bytes were last read.
func BenchmarkValidateSeenBefore(b *testing.B) {
	for _, live := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		if testing.Short() && live > 1000 {
			continue // preparing takes seconds
		}
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			from := validatortest.New(b)
			from.Rotate("EdDSA") // the fastest to sign and check; a cached token does not depend on the algorithm
			tokens := newTokens(b, from, live)
			v := newValidator(b, from, 0)
			known := &remembered{byToken: make(map[string]*validator.Claims, live)}
			if err := forEach(live, func(i int) error {
				// The token in a request is another string than the remembered one.
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
					return errors.New("the clock went backwards")
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
					// A table of buckets may lack room for one token in ten thousand.
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

// stride is prime, so that consecutive tokens are not adjacent in memory.
const stride = 7919

// show returns a function that calls check for consecutive tokens, for the run of a [contender].
type show func(tokens []string, check func(token string) error) func(from, calls int) (time.Duration, error)

// showCold passes the tokens themselves to check, so that each was last read len(tokens) calls ago.
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

// showWarm passes copies that were made a moment before, [warmAtOnce] at a time, which fit into
// the first-level cache of the processor. Making the copies is not measured.
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
				warm[i] = unsafe.String(&room[i][0], n) // safe, because the validator copies the tokens that it remembers
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

// remembered is the cache that a team writes when validation is too slow. It does not check
// revocations.
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
		return errors.New("unknown or expired token")
	}
	return nil
}
