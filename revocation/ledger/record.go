package ledger

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// version of the stored records that are JSON.
const version = 1

const (
	// pageSize is how many records are read at a time, pageBytes how much of the own batches;
	// eventPage is for the events.
	pageSize  = 1000
	pageBytes = 4 << 20
	// batchPage is pageSize for batches of unknown size: 16 MiB at most.
	batchPage = 32
)

// Keys of the record.
const (
	storeKey     = "ledger.store"
	timeFloorKey = "ledger.time_floor"
	batchPrefix  = "ledger.batch." // <origin>.<seq>: a [revocation.Batch]
	eventPrefix  = "ledger.event." // <kind>.<value>: an eventRecord
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

type storeRecord struct {
	V  int    `json:"v"`
	ID string `json:"id"`
}

type timeFloorRecord struct {
	V         int   `json:"v"`
	TimeFloor int64 `json:"time_floor"`
}

// batchKey sorts the batches of an origin by seq (16 digits hold [revocation.MaxSeq]).
func batchKey(origin string, seq uint64) string {
	return fmt.Sprintf("%s%s.%016d", batchPrefix, origin, seq)
}

// eventKey names a kind and value. A value that is no short plain name is hashed; the
// tilde keeps the hash apart from every plain one.
func eventKey(e revocation.Event) string {
	value := e.Value
	if len(value) > 64 || strings.ContainsFunc(value, notPlain) {
		sum := sha256.Sum256([]byte(value))
		value = "~" + encoding.EncodeToString(sum[:])
	}
	return eventPrefix + string(e.Kind) + "." + value
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func encode(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil { // plain structs of strings and numbers
		panic("encoding a ledger record: " + err.Error())
	}
	return data
}

// decode reads a record and refuses another version than this one's: an unreadable
// ledger is an error, never "not revoked".
func decode(r store.Record, into any, v *int) error {
	if err := json.Unmarshal(r.Value, into); err != nil {
		return fmt.Errorf("reading ledger record %s: %w", r.Key, err)
	}
	if *v != version {
		return fmt.Errorf("reading ledger record %s: version %d, this program knows %d", r.Key, *v, version)
	}
	return nil
}
