package badgerstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// inventoryVersion is the version of the encoded form.
const inventoryVersion = 1

// inventory summarizes what a store holds: for each time at which records expire, how many there are
// and the sum of their fingerprints. A sum does not depend on the order, so that a commit can add
// what it writes and subtract what it replaces. Every commit stores the inventory after it in
// the same transaction. The next start counts the records and compares.
//
// The sums detect damage. They do not protect against an attacker who can write the files.
type inventory struct {
	// tag is a random id of the store, which its mark also contains.
	tag tag
	// horizon is in Unix seconds. The engine may have removed groups that expire by then, so they
	// are not counted.
	horizon int64
	// groups are the records by their expiry in Unix seconds, zero for those that do not expire.
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
// that there are few groups: all of them are in every commit. Times in the past are returned as they are.
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

// counts reports whether records with that expiry are in the inventory. Earlier versions wrote
// expiries to the second; such records are counted once they are written again.
func (c *inventory) counts(expires int64) bool {
	return expires == 0 || expires%hour == 0 && expires > c.horizon
}

// add counts a record.
func (c *inventory) add(key []byte, version uint64, expires int64) {
	c.addGroup(expires, group{1, fingerprint(key, version, expires)})
}

// remove subtracts a record.
func (c *inventory) remove(key []byte, version uint64, expires int64) {
	c.addGroup(expires, group{^uint64(0), -fingerprint(key, version, expires)})
}

// merge adds the groups of another inventory.
func (c *inventory) merge(other *inventory) {
	for expires, g := range other.groups {
		c.addGroup(expires, g)
	}
}

func (c *inventory) addGroup(expires int64, added group) {
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

// fingerprint returns a hash of a version of a record, without its value, which the engine's own
// checksums cover.
func fingerprint(key []byte, version uint64, expires int64) uint64 {
	var buf [128]byte
	data := append(buf[:0], key...)
	data = binary.BigEndian.AppendUint64(data, version)
	return xxhash.Sum64(binary.BigEndian.AppendUint64(data, uint64(expires)))
}

// forget drops the groups that expire by now. The horizon only rises.
func (c *inventory) forget(now int64) {
	c.horizon = max(c.horizon, now)
	maps.DeleteFunc(c.groups, func(expires int64, _ group) bool { return !c.counts(expires) })
}

func (c *inventory) clone() *inventory {
	next := *c
	next.groups = maps.Clone(c.groups)
	return &next
}

// total returns the sum of all groups.
func (c *inventory) total() (all group) {
	for _, g := range c.groups {
		all.records += g.records
		all.sum += g.sum
	}
	return all
}

// size returns an upper bound of the length of the encoded form.
func (c *inventory) size() int64 {
	return int64(1 + len(c.tag) + 2*binary.MaxVarintLen64 + len(c.groups)*(2*binary.MaxVarintLen64+8))
}

// encode returns the stored form: a byte with the version, the tag, the horizon and the number of
// groups; then for each group, in order of time, the hours since the previous one, the number of
// records, and the eight bytes of the sum. Numbers without a length are unsigned LEB128.
func (c *inventory) encode() []byte {
	data := make([]byte, 0, c.size())
	data = append(data, inventoryVersion)
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

const (
	// markName is the file with the mark, in the directory of the store. Everything that copies,
	// renames or replaces the store's directory takes the mark with it.
	markName = "tokenbroker.mark"
	// markMagic begins a slot; its last byte is the version.
	markMagic = "tbmark\x00\x01"
	// markSlots are overwritten in turn, so that a write that a power failure tears leaves the other slot intact.
	markSlots = 2
	// markSpacing keeps the slots in different sectors.
	markSpacing = 4096

	markBody = len(markMagic) + len(tag{}) + 3*8
	markSize = markBody + sha256.Size
)

// commitMark identifies the last commit. It is written after the commit is on disk, without an fsync,
// so that the store is at its mark or ahead of it, also after a power failure. A
// store that is behind its mark has lost commits that were acknowledged.
type commitMark struct {
	tag tag
	// revision is the commit's.
	revision uint64
	// total is that of the inventory after it.
	total group
}

func (m commitMark) encode() []byte {
	data := append(make([]byte, 0, markSize), markMagic...)
	data = append(data, m.tag[:]...)
	for _, n := range []uint64{m.revision, m.total.records, m.total.sum} {
		data = binary.BigEndian.AppendUint64(data, n)
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

// markFile is the open file with the mark.
type markFile struct {
	file *os.File
	next int64 // the slot to write
}

// write overwrites the older slot.
func (f *markFile) write(m commitMark) error {
	if _, err := f.file.WriteAt(m.encode(), f.next*markSpacing); err != nil {
		return fmt.Errorf("writing %s: %w", markName, err)
	}
	f.next = (f.next + 1) % markSlots
	return nil
}

// close syncs the mark to the disk and closes the file.
func (f *markFile) close() error {
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return fmt.Errorf("closing %s: %w", markName, err)
	}
	return nil
}
