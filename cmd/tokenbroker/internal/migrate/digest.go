package migrate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"tokenbroker/store"
)

// soonAfter is how long a record has to live at least to be in the sum of a digest. A migration is expected to take less.
const soonAfter = 2 * time.Hour

// digest is a digest of a set of records, in any order: the sum of their SHA-256. It finds damage; it is not made against forgers.
// Engines may round the end of a record up, so the digest has only whether there is one, and the sum of all ends. Records that end soon
// are compared one by one, because they may expire in one store before they are read.
type digest struct {
	limit   int64          // Unix seconds: records that end before are in soon
	soon    map[hash]int64 // their ends
	records int            // all of them
	long    int            // those in the sums
	sum     [len(hash{}) / 8]uint64
	ends    int64
}

type hash [sha256.Size]byte

func newDigest(now time.Time) *digest {
	return &digest{limit: now.Add(soonAfter).Unix(), soon: map[hash]int64{}}
}

// add adds a record of the source.
func (d *digest) add(w store.Write) {
	if w.ExpiresAt != 0 && w.ExpiresAt < d.limit {
		d.soon[hashOf(w)] = w.ExpiresAt
		d.records++
		return
	}
	d.addLong(w, hashOf(w))
}

func (d *digest) addLong(w store.Write, h hash) {
	for i := range d.sum {
		d.sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
	d.records++
	d.long++
	d.ends += w.ExpiresAt
}

// hashOf returns the hash of key, value and whether there is an end.
func hashOf(w store.Write) (sum hash) {
	h := sha256.New()
	head := binary.BigEndian.AppendUint64(nil, uint64(len(w.Key)))
	if head = append(head, 0); w.ExpiresAt != 0 {
		head[8] = 1
	}
	_, _ = h.Write(head)
	_, _ = h.Write([]byte(w.Key))
	_, _ = h.Write(w.Value)
	h.Sum(sum[:0])
	return sum
}

// found is the digest of what was found of the records of another one.
type found struct {
	digest
	of *digest
}

func (d *digest) newFound() *found { return &found{of: d, digest: digest{soon: map[hash]int64{}}} }

func (f *found) add(w store.Write) {
	h := hashOf(w)
	if _, soon := f.of.soon[h]; soon {
		f.soon[h] = w.ExpiresAt
		f.records++
		return
	}
	f.addLong(w, h)
}

// compare returns an error unless all records were found, except those that have expired at now. It returns the digest of
// both in hexadecimal.
func (f *found) compare(now time.Time) (text string, err error) {
	switch {
	case f.long != f.of.long:
		return "", fmt.Errorf("%w: it has %d that do not end soon, of %d", ErrDifferent, f.long, f.of.long)
	case f.sum != f.of.sum:
		return "", fmt.Errorf("%w: it has as many, and some are different", ErrDifferent)
	case f.ends < f.of.ends:
		return "", fmt.Errorf("%w: some end earlier", ErrDifferent)
	}
	for h, end := range f.of.soon {
		if is, ok := f.soon[h]; ok && is < end || !ok && end > now.Unix() {
			return "", fmt.Errorf("%w: one that ends at %s is missing or ends earlier", ErrDifferent, time.Unix(end, 0).UTC().Format(time.RFC3339))
		}
	}
	var all []byte
	for _, n := range f.sum {
		all = binary.BigEndian.AppendUint64(all, n)
	}
	return hex.EncodeToString(all), nil
}
