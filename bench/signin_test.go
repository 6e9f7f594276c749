package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"testing"

	"golang.org/x/crypto/argon2"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/password"
)

// BenchmarkPasswordSignIn measures a durable broker.SignIn at the default cost of a password, from
// two clients for each core, compared with argon2id of golang.org/x/crypto at the same cost.
func BenchmarkPasswordSignIn(b *testing.B) {
	cores := runtime.GOMAXPROCS(0)
	atOnce := min(2*cores, clients)
	cost := password.DefaultParams
	if testing.Short() {
		cost = password.Params{Memory: 64, Time: 1, Threads: 1}
	}
	r := newRig(b, func(cfg *brokertest.Config) { cfg.Passwords = password.New(cost, cores, 2*clients, 0) })
	measure(b, atOnce, func(client int) error {
		_, err := r.SignIn(context.Background(), username(client), secret, broker.Request{})
		return err
	}, peer{name: "argon2id", share: 1, work: argon2idOnly(cores, cost)})
}

// argon2idOnly returns the work of hashing one password at a time on each core.
func argon2idOnly(cores int, cost password.Params) func(int) error {
	slots := make(chan struct{}, cores)
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	return func(int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		if len(argon2.IDKey([]byte(secret), salt, cost.Time, cost.Memory, cost.Threads, 32)) != 32 {
			return errors.New("argon2id returned no key")
		}
		return nil
	}
}
