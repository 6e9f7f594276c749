package etcdstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"tokenbroker/store"
)

// A stored value is a byte, then eight bytes with the time at which the record expires (Unix seconds, big endian) if the byte is
// expiringValue, and the record's value.
const (
	plainValue    = 0
	expiringValue = 1
)

// valueOverhead is how much longer a stored value is than the record's.
const valueOverhead = 9

var errDamaged = errors.New("the stored value is damaged")

func encodeValue(w store.Write) string {
	if w.ExpiresAt == 0 {
		return string(append([]byte{plainValue}, w.Value...))
	}
	head := binary.BigEndian.AppendUint64([]byte{expiringValue}, uint64(w.ExpiresAt))
	return string(append(head, w.Value...))
}

// decodeValue returns the value of a record and the time at which it expires, zero if it does not.
func decodeValue(stored []byte) (value []byte, expires int64, err error) {
	switch {
	case len(stored) > 0 && stored[0] == plainValue:
		return append([]byte{}, stored[1:]...), 0, nil
	case len(stored) >= valueOverhead && stored[0] == expiringValue:
		return append([]byte{}, stored[valueOverhead:]...), int64(binary.BigEndian.Uint64(stored[1:valueOverhead])), nil
	}
	return nil, 0, errDamaged
}

// record returns the record of a stored pair, and false if it has expired.
func (s *Store) record(kv *mvccpb.KeyValue) (store.Record, bool, error) {
	w, live, err := s.export(kv)
	return store.Record{Key: w.Key, Value: w.Value, Revision: store.Revision(kv.ModRevision)}, live, err
}

// export returns the record of a stored pair as a blind write, and false if it has expired.
func (s *Store) export(kv *mvccpb.KeyValue) (w store.Write, live bool, err error) {
	value, expires, err := decodeValue(kv.Value)
	if err != nil {
		return w, false, fmt.Errorf("reading %q: %w", s.key(kv.Key), err)
	}
	live = expires == 0 || expires > s.config.Now().Unix()
	return store.Write{Key: s.key(kv.Key), Value: value, Blind: true, ExpiresAt: expires}, live, nil
}

// maxExpired bounds the revisions of expired records that are remembered.
const maxExpired = 4096

// remember remembers the revision of an expired record that was read, or forgets that of the key if it is zero.
func (s *Store) remember(key string, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision == 0 {
		delete(s.expired, key)
		return
	}
	if len(s.expired) >= maxExpired {
		clear(s.expired) // a change of one of the keys gets one conflict more
	}
	s.expired[key] = revision
}

// absent returns the revision that a key without a record has in etcd: zero, or that of the expired record that was
// read.
func (s *Store) absent(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired[key]
}
