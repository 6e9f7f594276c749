package origins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// Config of a [Run]. Engine, Name and KEK are required.
type Config struct {
	Engine store.Engine
	// Name is the name of the broker, which is unique among the brokers of the engine and the same in each run.
	Name string
	// Address is the address of the broker's public listener and Build the version of its program, for operators.
	Address, Build string
	// KEK is the fingerprint of the key encryption key. Brokers of one engine have the same key.
	KEK string
	// Issuer is the issuer of the broker's tokens. Brokers of one engine have the same one. If empty, it is not compared.
	Issuer string
	// AccessLife is the longest life of the access tokens that the broker signs, see [Run.AccessLife].
	AccessLife time.Duration
	// Wall returns the time of the machine's wall clock. If nil, [time.Now] is used.
	Wall func() time.Time
	// Mono returns the time since the process started, on its monotonic clock. If nil, it is the time since Join.
	Mono func() time.Duration
	// Sleep waits for d or until ctx ends, whose error it then returns. If nil, it uses a timer.
	Sleep func(ctx context.Context, d time.Duration) error
	// Outdated returns the names of the services that this broker hears and that do not understand several
	// origins. It is called at most once a second. If nil, there are none.
	Outdated func() []string
	// Force joins although another live broker hears such services.
	Force bool
	// Maintenance says that the run is not a broker but a program that needs the store for itself, and what it does, such as
	// "restore". Join waits until no other origin is live, or returns [ErrRunning], and from then on no broker joins until
	// the program calls [Run.Finish]. If empty, the run is a broker.
	Maintenance string
	// Speaks has the lowest and the highest version of the store that the program can use. If zero, it is what this program can
	// use; anything else is for tests of other versions.
	Speaks [2]int
	// Grace is how long a refresh token that was replaced is still accepted. Two brokers whose clocks are as far
	// apart or more do not both run. If zero, this limit is 5 s.
	Grace time.Duration
	// Logger receives joins, endings and disagreeing clocks. If nil, [slog.Default] is used.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	if c.Engine == nil || c.Name == "" || c.KEK == "" {
		return errors.New("engine, name and KEK are required")
	}
	for _, text := range []string{c.Name, c.Address, c.Build, c.KEK, c.Issuer} {
		if len(text) > maxText {
			return fmt.Errorf("%.20q… has more than %d bytes", text, maxText)
		}
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Mono == nil {
		began := time.Now()
		c.Mono = func() time.Duration { return time.Since(began) }
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Outdated == nil {
		c.Outdated = func() []string { return nil }
	}
	c.Speaks = orOwn(c.Speaks)
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	// joinLimit is the number of origins on record from which none joins. It leaves room for brokers that join at the same time.
	joinLimit = revocation.MaxOrigins - 16
	// maxText is the length of a text in a record, and maxOutdated the number of names in it.
	maxText, maxOutdated = 256, 16
)

// Errors of a run. With ErrRewound, ErrNameTaken and ErrStoreVersion the process cannot continue.
var (
	// ErrNameTaken is returned by Join and Rejoin if another broker that has this name is running, and by Tick of the one of
	// two such brokers that joined later.
	ErrNameTaken = errors.New("another running broker has the same name")
	// ErrOtherKEK is returned by Join if another live broker has another key encryption key.
	ErrOtherKEK = errors.New("another running broker has another key encryption key")
	// ErrOtherIssuer is returned by Join if another live broker has another issuer.
	ErrOtherIssuer = errors.New("another running broker has another issuer")
	// ErrOtherVersion is returned by Join if another live broker cannot use the version of the store.
	ErrOtherVersion = errors.New("another running broker cannot use the version of the store")
	// ErrStoreVersion is returned if this program cannot use the version of the store, by Join, by Rejoin, and by a run that
	// was ended in the meantime. The process cannot continue.
	ErrStoreVersion = errors.New("this program cannot use the version of the store")
	// ErrOutdated is returned by Join if another live broker hears services that do not understand several origins.
	ErrOutdated = errors.New("another running broker hears services that cannot follow several brokers")
	// ErrMaintenance is returned by Join and Rejoin while another program has the store for itself, and after one was
	// interrupted: the store may be incomplete.
	ErrMaintenance = errors.New("the store is being changed as a whole, or a change of it was interrupted")
	// ErrRunning is returned by Join of a program that needs the store for itself if a broker runs, or another such program.
	ErrRunning = errors.New("a broker is running")
	// ErrFull is returned by Join if too many origins are on record.
	ErrFull = errors.New("too many runs of brokers on record")
	// ErrRemoved is the result of a change whose commit cannot be settled, because another broker has ended the origin and removed its
	// record. The change may have been written. It wraps [store.ErrFenced].
	ErrRemoved = fmt.Errorf("%w, and the record of the origin was removed", store.ErrFenced)
	// ErrRewound is returned if the engine has lost what it had committed, such as after a restore of an older state
	// of it: acknowledged revocations may be missing.
	ErrRewound = errors.New("the engine was rewound to an earlier state: end all brokers, run 'tokenbroker floor raise', and start them again (docs/backup.md)")
)
