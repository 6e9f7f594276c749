// Package origins keeps the records of the brokers that share an engine. An origin is one run of one
// broker, with a random id. Its record is its fence: every commit of the run compares and rewrites it,
// so that a commit that was sent twice is written once, and a run that another broker has ended can
// no longer write. The record also has the run's head, by which every broker knows what the others have
// recorded, and the run's clock.
package origins

import (
	"encoding/json"
	"fmt"
	"strings"

	"tokenbroker/store"
)

// Prefix is the prefix of the keys of the records. The id of the origin follows.
const Prefix = "origin."

// Record is the stored record of an origin.
type Record struct {
	// V is the version of the store as the broker knew it when it wrote the record.
	V int `json:"v"`
	// N is the number of commits of the run. It rises with each commit of the run and only then.
	N uint64 `json:"n"`
	// Head is the sequence number of the run's last batch of revocations.
	Head uint64 `json:"head"`
	// Ended says that the run has ended: its head is final.
	Ended bool `json:"ended,omitempty"`
	// Last is the revision of the run's last commit, if the record was written since by a settlement or an
	// ending. Otherwise it is zero, and the revision of the record is that of the last commit.
	Last store.Revision `json:"last,omitempty"`
	// Joined orders the origins by the time at which they joined. It is not a clock.
	Joined uint64 `json:"joined"`
	// ClockMS is the wall clock of the broker (Unix ms) before its last commit was sent, and SinceMS when it joined.
	ClockMS int64 `json:"clock_ms"`
	SinceMS int64 `json:"since_ms"`
	// Name is the configured name of the broker, which is the same in each of its runs, and Address the
	// address of its public listener.
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	// Build is the version of the broker's program.
	Build string `json:"build,omitempty"`
	// KEK is the fingerprint of the broker's key encryption key.
	KEK string `json:"kek"`
	// Issuer is the issuer of the broker's tokens, and AccessS the longest life of an access token that the broker signs, in
	// seconds. Brokers of earlier versions have neither.
	Issuer  string `json:"issuer,omitempty"`
	AccessS int64  `json:"access_s,omitempty"`
	// Speaks has the lowest and the highest version of the store that the broker can use, see [StoreVersion].
	Speaks [2]int `json:"speaks"`
	// Outdated has the names of services that the broker hears and that do not understand several origins.
	Outdated []string `json:"outdated,omitempty"`
	// EngineMS is how long the broker's last view took to read before its last commit, in milliseconds. It is zero if the
	// broker had not read one, or is older.
	EngineMS float64 `json:"engine_ms,omitempty"`
}

// Origin is a record with the id of the origin and the revision of the record.
type Origin struct {
	ID string
	Record
	Revision store.Revision
}

// lastCommit returns the revision of the origin's last commit.
func (o Origin) lastCommit() store.Revision {
	if o.Last != 0 {
		return o.Last
	}
	return o.Revision
}

// younger reports whether o joined after p.
func (o Origin) younger(p Origin) bool {
	if o.Joined != p.Joined {
		return o.Joined > p.Joined
	}
	return o.ID > p.ID
}

// recreated reports whether o is the record of before, which had no batches, written again after its removal by a late copy
// of its creation.
func (o Origin) recreated(before Origin) bool {
	return o.N == 0 && before.N > 0 && before.Head == 0 && o.Revision > before.Revision
}

// end returns the write that ends the origin, unless its record has changed.
func (o Origin) end() store.Write {
	r := o.Record
	r.Last, r.Ended = o.lastCommit(), true
	return store.Write{Key: Key(o.ID), Value: r.Encode(), Expect: o.Revision}
}

// remove returns the write that deletes the record, unless it has changed.
func (o Origin) remove() store.Write {
	return store.Write{Key: Key(o.ID), Delete: true, Expect: o.Revision}
}

// Key returns the key of the record of an origin.
func Key(origin string) string { return Prefix + origin }

// Encode returns the stored form.
func (r Record) Encode() []byte {
	data, err := json.Marshal(r)
	if err != nil { // a plain struct
		panic("encoding an origin: " + err.Error())
	}
	return data
}

// originOf decodes a stored record.
func originOf(stored store.Record) (Origin, error) {
	r, err := Decode(stored)
	return Origin{ID: strings.TrimPrefix(stored.Key, Prefix), Record: r, Revision: stored.Revision}, err
}

// Decode decodes a stored record. It accepts those of later versions, which have the same members and may have others.
func Decode(stored store.Record) (Record, error) {
	var r Record
	if err := json.Unmarshal(stored.Value, &r); err != nil {
		return Record{}, fmt.Errorf("reading %s: %w", stored.Key, err)
	}
	if r.V < 1 {
		return Record{}, fmt.Errorf("reading %s: version %d", stored.Key, r.V)
	}
	return r, nil
}
