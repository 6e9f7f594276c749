package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// contentsVersion is the version of the encoded form.
const contentsVersion = 1

// contents sums up what a store holds: how many records, and the sum of their fingerprints, for
// each time at which records expire. Sums do not depend on an order, so that a commit can add
// what it writes and subtract what that replaces. Every commit stores the contents after it in
// the same transaction, and a start counts the records and compares.
//
// The sums find damage. They are no protection against somebody who can write the files.
type contents struct {
	// tag is a random name of the store, which its mark also has.
	tag tag
	// horizon (Unix seconds): the engine may have removed groups that expire by then, so they
	// are not counted.
	horizon int64
	// groups are the records by their expiry in Unix seconds; zero: they do not expire.
	groups map[int64]group
}

type tag [16]byte

// group is how many records expire at one time, and the sum of their fingerprints (modulo 2^64).
type group struct{ records, sum uint64 }

const (
	hour = 3600
	day  = 24 * hour
	week = 7 * day
)

// roundExpiry returns the time, at or after at, at which the engine may remove a record, so
// that few groups expire at times of their own: their number is in every commit. Times that are
// past are returned as they are.
func roundExpiry(at, now int64) int64 {
	if at <= now {
		return at
	}
	step := int64(4 * week)
	switch left := at - now; {
	case left <= day:
		step = hour
	case left <= 8*day:
		step = day
	case left <= 400*day:
		step = week
	}
	return (at-1)/step*step + step
}

// counts reports whether records with that expiry are in the contents. Earlier versions wrote
// expiries to the second; such records are counted once they are written again.
func (c *contents) counts(expires int64) bool {
	return expires == 0 || expires%hour == 0 && expires > c.horizon
}

// add counts a record.
func (c *contents) add(key []byte, version uint64, expires int64) {
	c.addGroup(expires, group{1, fingerprint(key, version, expires)})
}

// remove takes a record out again.
func (c *contents) remove(key []byte, version uint64, expires int64) {
	c.addGroup(expires, group{^uint64(0), -fingerprint(key, version, expires)})
}

// merge adds what another count found.
func (c *contents) merge(other *contents) {
	for expires, g := range other.groups {
		c.addGroup(expires, g)
	}
}

func (c *contents) addGroup(expires int64, added group) {
	if !c.counts(expires) {
		return
	}
	g := c.groups[expires]
	g.records += added.records
	g.sum += added.sum
	if g == (group{}) {
		delete(c.groups, expires)
		return
	}
	c.groups[expires] = g
}

// fingerprint stands for a version of a record. Its value is not read: the engine's own
// checksums cover that.
func fingerprint(key []byte, version uint64, expires int64) uint64 {
	var buf [128]byte
	data := append(buf[:0], key...)
	data = binary.BigEndian.AppendUint64(data, version)
	return xxhash.Sum64(binary.BigEndian.AppendUint64(data, uint64(expires)))
}

// forget drops the groups that expire by now. The horizon only rises.
func (c *contents) forget(now int64) {
	c.horizon = max(c.horizon, now)
	maps.DeleteFunc(c.groups, func(expires int64, _ group) bool { return !c.counts(expires) })
}

func (c *contents) clone() *contents {
	next := *c
	next.groups = maps.Clone(c.groups)
	return &next
}

// total returns the sum of all groups.
func (c *contents) total() (all group) {
	for _, g := range c.groups {
		all.records += g.records
		all.sum += g.sum
	}
	return all
}

// size is at least the length of the encoded form.
func (c *contents) size() int64 {
	return int64(1 + len(c.tag) + 2*binary.MaxVarintLen64 + len(c.groups)*(2*binary.MaxVarintLen64+8))
}

// encode: a byte with the version, the tag, the horizon and the number of groups; then for each
// group in the order of time the hours since the one before, the number of records, and the
// eight bytes of the sum. Numbers without a length are unsigned LEB128.
func (c *contents) encode() []byte {
	data := make([]byte, 0, c.size())
	data = append(data, contentsVersion)
	data = append(data, c.tag[:]...)
	data = binary.AppendUvarint(data, uint64(c.horizon))
	data = binary.AppendUvarint(data, uint64(len(c.groups)))
	last := int64(0)
	for _, expires := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[expires]
		data = binary.AppendUvarint(data, uint64(expires-last)/hour)
		data = binary.AppendUvarint(data, g.records)
		data = binary.BigEndian.AppendUint64(data, g.sum)
		last = expires
	}
	return data
}

var errContents = errors.New("the record of what the store holds cannot be read")

// decodeContents reads the encoded form.
func decodeContents(data []byte) (*contents, error) {
	c := &contents{groups: map[int64]group{}}
	if len(data) < 1+len(c.tag) {
		return nil, errContents
	}
	if data[0] != contentsVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program knows %d", errContents, data[0], contentsVersion)
	}
	copy(c.tag[:], data[1:])
	r := bytes.NewReader(data[1+len(c.tag):])
	horizon, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, errContents
	}
	c.horizon = int64(horizon)
	many, err := binary.ReadUvarint(r)
	if err != nil || many > uint64(len(data)) {
		return nil, errContents
	}
	last := int64(0)
	for range many {
		hours, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, errContents
		}
		records, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, errContents
		}
		var sum [8]byte
		if _, err := r.Read(sum[:]); err != nil {
			return nil, errContents
		}
		last += int64(hours) * hour
		c.groups[last] = group{records, binary.BigEndian.Uint64(sum[:])}
	}
	return c, nil
}

// compare returns what found, counted at now, lacks of c, or nil if it lacks nothing.
func (c *contents) compare(found *contents, now int64) error {
	var want, missing, extra uint64
	differs := false
	expected := c.clone()
	expected.forget(now)
	for _, expires := range slices.Compact(slices.Sorted(func(yield func(int64) bool) {
		for expires := range expected.groups {
			if !yield(expires) {
				return
			}
		}
		for expires := range found.groups {
			if expected.counts(expires) && !yield(expires) {
				return
			}
		}
	})) {
		a, b := expected.groups[expires], found.groups[expires]
		want += a.records
		missing += max(a.records, b.records) - b.records
		extra += max(a.records, b.records) - a.records
		differs = differs || a != b
	}
	switch {
	case !differs:
		return nil
	case missing > 0:
		return fmt.Errorf("%d of the %d records that it held after its last commit are missing", missing, want)
	case extra > 0:
		return fmt.Errorf("it holds %d records that were removed, beside the %d of its last commit", extra, want)
	}
	return fmt.Errorf("some of its %d records are older than its last commit", want)
}
