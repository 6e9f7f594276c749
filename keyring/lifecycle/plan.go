// Package lifecycle holds the rules of a key's life: which state a key is in, when it may start
// to sign, when it leaves the JWK set, and which rotation is due. The states are those of
// RFC 7583 (published, ready, active, retired) under the names that operators see.
//
// The package is pure: it has no clock, I/O, randomness, goroutine or lock, and no key material.
// Package keyring is the shell around it. It reads the stored record, plans a change, and stores
// the result by compare-and-set:
//
//	p := lifecycle.NewPlan(lifecycle.Input{Set: set, Policy: policy, Now: now, Mono: mono, Observed: seen})
//	err := p.ApplyDue() // or Rotate, Compromise, ConfigureAlgorithm, SetTokenLife
//	if p.Changed() {
//		// store p.Set, then report p.Changes(); after a conflict read the record and plan again
//	}
//
// A plan that needs a new key fails with a [*MissingKeyError]. The caller makes the key, adds it to
// [Input.Spare] and plans again.
//
// A plan never trusts the wall clock to prove that time has passed. What has to last, such as the
// publication of a next key, is counted on the monotonic clock of the process that observed it
// ([Observations]).
package lifecycle

import (
	"fmt"
	"time"
)

// The kinds of [Change.What].
const (
	ChangeMade          = "key_made"
	ChangeScheduled     = "key_scheduled"
	ChangeActivated     = "key_activated"
	ChangeRetiring      = "key_retiring"
	ChangeRetired       = "key_retired"
	ChangeCompromised   = "key_compromised"
	ChangeMasterRotated = "master_rotated"
	ChangeMasterDropped = "master_dropped"
	ChangeResealed      = "keyring_resealed"
)

// Change is one thing that happened to a key. It holds no key material. Key is the key
// afterwards; it is empty for [ChangeResealed].
type Change struct {
	What string    `json:"what"`
	Key  KeyInfo   `json:"key,omitzero"`
	At   time.Time `json:"at"`
}

const (
	// clockLeeway is the largest difference between clocks that the rules allow for, and that
	// validators allow.
	clockLeeway = 60 * time.Second
	// masterProof is how long a process must have run before it trusts its clock that a master
	// secret is too old to be needed.
	masterProof = 24 * time.Hour
	// maxMasters bounds the secrets that a refresh token may have to be tried with.
	maxMasters = 32
	// maxHistory bounds the retired keys and the compromised keys that are listed. The ids of
	// compromised keys stay permanently.
	maxHistory = 32
	// maxRetiring bounds the keys of a purpose that stay published for tokens of a clock that was
	// far ahead: services accept no set of more than 100 keys.
	maxRetiring = 32
	// MaxJitter is the largest value of [Key.Jitter] in either direction: a scheduled rotation is
	// up to 5 % early or late.
	MaxJitter   = 50
	thousandths = 1000
)

// Policy is the configuration of the rules.
type Policy struct {
	Algorithm   Algorithm     // of access keys
	CacheLife   time.Duration // of a JWK set
	Margin      time.Duration // within which every broker of the store knows of a change, or has stopped to sign and publish
	TokenLife   time.Duration // the longest life of an access token
	MasterLife  time.Duration // how long a master secret is accepted after its rotation
	RotateEvery time.Duration // zero: only manual rotation
}

// Input is everything that a plan depends on.
type Input struct {
	// Set is not changed: the plan works on a copy.
	Set    *KeySet
	Policy Policy
	Now    time.Time
	// Mono is the present reading of the clock that Observed was counted on.
	Mono     time.Duration
	Observed Observations
	// LastExpiry is the largest exp of all tokens ever signed, zero if that is not known.
	LastExpiry time.Time
	Spare      Spare
}

// Spare holds new keys that a plan may use, each for one purpose and algorithm. The plan sets
// their states and times; jitter is drawn by the caller.
type Spare map[KeyType]Key

// KeyType is a kind of key that a plan may need.
type KeyType struct {
	Purpose   Purpose
	Algorithm Algorithm
}

// MissingKeyError reports that a plan needs a new key of Type in [Input.Spare].
type MissingKeyError struct{ Type KeyType }

// Error implements error.
func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("keyring: a new %s key for %s is missing", e.Type.Purpose, e.Type.Algorithm)
}

// Plan decides one change of a key set, on a copy of it. It is for one goroutine.
type Plan struct {
	Input   // with a Set of its own
	changes []Change
	changed bool
}

// NewPlan begins a plan. All times that it returns are in UTC.
func NewPlan(in Input) *Plan {
	in.Set, in.Now = in.Set.clone(), in.Now.UTC()
	return &Plan{Input: in}
}

// Changed reports whether the set has to be stored. That can be without any of [Plan.Changes].
func (p *Plan) Changed() bool { return p.changed }

// Changes returns what happened to keys, in order.
func (p *Plan) Changes() []Change { return p.changes }

func (p *Plan) note(what string, k *Key) {
	p.changed = true
	p.changes = append(p.changes, Change{What: what, Key: k.Info(), At: p.Now.Truncate(time.Second)})
}

// take returns a new next key from the spare ones.
func (p *Plan) take(want KeyType) (Key, error) {
	k, ok := p.Spare[want]
	if !ok {
		return Key{}, &MissingKeyError{want}
	}
	k.State, k.Created = StateNext, p.Now.Unix()
	return k, nil
}

// ApplyDue makes the changes that are due. A clock that is behind the keys' own times is an error
// that wraps [ErrClockBehind]: nothing is rotated by such a clock, but the plan still has the
// changes that are safe, and they can be stored.
func (p *Plan) ApplyDue() error {
	p.rememberCacheLife()
	p.markReady()
	p.removeRetiring()
	p.dropMasters()
	p.trimHistory()
	if err := p.checkClock(); err != nil {
		return err
	}
	for _, purpose := range signingPurposes {
		if err := p.rotateIfDue(purpose); err != nil {
			return err
		}
	}
	return p.rotateMasterIfDue()
}

// fact names something in a key set whose duration is counted, such as a key in its state.
type fact string

func (k *Key) fact() fact { return fact(k.KID + " " + string(k.State)) }

func (s *KeySet) cacheLifeFact() fact { return fact(fmt.Sprintf("cache life %d", s.CacheLife)) }

func (l TokenLife) fact() fact { return fact(fmt.Sprintf("token life %d", l.Published)) }

// Observations is what one process has observed of the key set: since when each of its facts has
// held. The zero value has observed nothing. It is not changed after it was made.
type Observations map[fact]observation

type observation struct {
	since time.Duration // on the monotonic clock
	// lastExpiry is the largest exp of all tokens that had been signed by then, zero if that is
	// not known. It is noted once it includes every token that may have been signed without the fact.
	lastExpiry time.Time
	noted      bool
}

// Observe returns the observations after the process has read set at mono: facts that it knew
// keep their beginning, others begin now.
func (o Observations) Observe(set *KeySet, mono time.Duration) Observations {
	next := Observations{}
	observe := func(f fact) {
		seen, ok := o[f]
		if !ok {
			seen = observation{since: mono}
		}
		next[f] = seen
	}
	observe(set.cacheLifeFact())
	observe(set.TokenLife.fact())
	for k := range set.All() {
		observe(k.fact())
	}
	return next
}

// NoteExpiry returns the observations with the largest exp of all tokens signed so far added to
// those that need it. settled is how long after an observation other brokers may still sign without
// knowing the fact: at mono, an observation that is younger will need a later value as well.
func (o Observations) NoteExpiry(lastExpiry time.Time, mono, settled time.Duration) Observations {
	next := make(Observations, len(o))
	for f, seen := range o {
		if !seen.noted {
			seen.lastExpiry, seen.noted = lastExpiry.UTC(), mono-seen.since >= settled
		}
		next[f] = seen
	}
	return next
}

// observedFor returns how long this process has known the fact, zero if it does not.
func (p *Plan) observedFor(f fact) time.Duration {
	if seen, ok := p.Observed[f]; ok {
		return p.Mono - seen.since
	}
	return 0
}
