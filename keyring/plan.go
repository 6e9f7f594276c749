package keyring

import (
	"fmt"
	"slices"
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
	// clockLeeway is what clocks may differ by, and what foreign validators allow.
	clockLeeway = 60 * time.Second
	// masterProof bounds how long a process must have run before it believes its clock
	// that a master secret is too old to be needed.
	masterProof = 24 * time.Hour
	// maxMasters bounds the secrets that a refresh token may have to be tried with.
	maxMasters = 32
	// maxHistory bounds the lines of retired and of compromised keys. The ids of
	// compromised keys stay for ever.
	maxHistory = 32
	// maxRetiring bounds the keys of a purpose that stay published for tokens of a clock that
	// was far ahead: services take no set of more than 100.
	maxRetiring = 32
	// thousandths and maxJitter: a planned rotation is up to 5 % early or late.
	thousandths = 1000
	maxJitter   = 50
)

// limits are the lengths that the policy works with.
type limits struct {
	algorithm   Algorithm
	cacheLife   time.Duration // of a JWK set
	margin      time.Duration // within which every broker of the store knows of a change
	tokenLife   time.Duration
	masterLife  time.Duration
	rotateEvery time.Duration // 0: by hand only
}

// plan is one step of the keyring's life over a copy of the record: pure policy, without a
// clock, I/O or randomness. What it needs a fresh key for is told by a *lackError; it is then
// begun again with that key in stock.
type plan struct {
	rec    *record
	limits limits
	now    time.Time
	// lastExpiry is the largest exp of all tokens ever signed, zero if that is not known.
	lastExpiry time.Time
	// ran is how long this process, on its monotonic clock, has known what the mark names
	// in the state that the mark names; not at all is 0.
	ran func(mark string) time.Duration
	// expiryAtSight is the largest exp of all tokens that had been signed when this process
	// learned what the mark names, zero if that is not known.
	expiryAtSight func(mark string) time.Time
	stock         stock
	changes       []Change
	changed       bool // rec is to be stored
}

// need is a fresh key that a plan lacks.
type need struct {
	purpose   Purpose
	algorithm Algorithm
}

type lackError struct{ need need }

func (e *lackError) Error() string {
	return fmt.Sprintf("keyring: a fresh %s key for %s is lacking", e.need.purpose, e.need.algorithm)
}

// stock is what was made for a plan. Jitter is drawn, states and times are the plan's to set.
type stock struct {
	keys    map[need]keyRecord
	masters []masterRecord // at most one
}

func (p *plan) find(purpose Purpose, state State) *keyRecord {
	i := slices.IndexFunc(p.rec.Keys, func(k keyRecord) bool { return k.Purpose == purpose && k.State == state })
	if i < 0 {
		return nil
	}
	return &p.rec.Keys[i]
}

func (p *plan) note(what string, key KeyInfo) {
	p.changed = true
	p.changes = append(p.changes, Change{What: what, Key: key, At: p.now.UTC().Truncate(time.Second)})
}

// addNext puts a fresh next key of the purpose into the record. asked is when a rotation to
// it was asked for, 0 for not at all.
func (p *plan) addNext(purpose Purpose, algorithm Algorithm, asked int64) error {
	want := need{purpose, algorithm}
	k, ok := p.stock.keys[want]
	if !ok {
		return &lackError{want}
	}
	k.State, k.Created, k.Asked = StateNext, p.now.Unix(), asked
	p.rec.Keys = append(p.rec.Keys, k)
	p.note(ChangeMade, k.info())
	return nil
}

// mark names a key in its state, for plan.ran.
func (k *keyRecord) mark() string { return k.KID + " " + string(k.State) }

func (m *masterRecord) mark() string { return m.ID + " " + string(m.State) }

// marks are all that plan.ran may be asked for.
func (r *record) marks() []string {
	all := []string{r.cacheMark(), r.TokenLife.mark()}
	for i := range r.Keys {
		all = append(all, r.Keys[i].mark())
	}
	for i := range r.Masters {
		all = append(all, r.Masters[i].mark())
	}
	return all
}

func (r *record) cacheMark() string { return fmt.Sprintf("cache life %d", r.CacheLife) }

func (l lifeRecord) mark() string { return fmt.Sprintf("token life %d", l.Published) }

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
