package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

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

type storeRecord struct {
	V  int    `json:"v"`
	ID string `json:"id"`
}

type timeFloorRecord struct {
	V         int   `json:"v"`
	TimeFloor int64 `json:"time_floor"`
}

// decode decodes a record and returns an error for another version than this one's: an unreadable ledger
// is an error, never "not revoked".
func decode(r store.Record, into any, v *int) error {
	if err := json.Unmarshal(r.Value, into); err != nil {
		return fmt.Errorf("reading ledger record %s: %w", r.Key, err)
	}
	if *v != version {
		return fmt.Errorf("reading ledger record %s: version %d, this program knows %d", r.Key, *v, version)
	}
	return nil
}

// eventRecord is the strongest event of its kind and value, and the batch that wrote it.
//
// A restart and every full answer read all of them, so their form is compact: a byte with the version,
// origin and operator each after a byte with its length, seq as a varint, the event in the binary form
// ([revocation.AppendEvent]), and four bytes of CRC-32C over everything before them. Version 1 was JSON,
// which can still be read.
type eventRecord struct {
	Origin string
	Seq    uint64
	Event  revocation.Event
}

// eventVersion is the version of an eventRecord; JSON begins with a brace.
const eventVersion = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decodeEvent decodes a record. Data that it cannot decode is an error, never "not revoked".
func decodeEvent(r store.Record) (eventRecord, error) {
	rec, err := parseEvent(r.Value)
	if err != nil {
		return eventRecord{}, fmt.Errorf("reading ledger record %s: %w", r.Key, err)
	}
	return rec, nil
}

var errDamaged = errors.New("it is damaged")

func parseEvent(data []byte) (rec eventRecord, err error) {
	if len(data) > 0 && data[0] == '{' {
		return parseJSONEvent(data)
	}
	f, err := fieldsOf(data)
	if err != nil {
		return rec, err
	}
	rec.Origin, rec.Seq = string(f.origin), f.seq
	rec.Event, err = revocation.DecodeEvent(f.event)
	rec.Event.By = string(f.by)
	return rec, err
}

// encodedEvent returns a record's event in the binary form. It is a part of the record if the record has
// that form.
func encodedEvent(data []byte) ([]byte, error) {
	if len(data) > 0 && data[0] == '{' {
		rec, err := parseJSONEvent(data)
		if err != nil {
			return nil, err
		}
		return revocation.AppendEvent(nil, rec.Event)
	}
	f, err := fieldsOf(data)
	return f.event, err
}

// fields are the parts of a record that is not JSON.
type fields struct {
	origin, by, event []byte
	seq               uint64
}

func fieldsOf(data []byte) (f fields, err error) {
	switch {
	case len(data) == 0:
		return f, errDamaged
	case data[0] != eventVersion:
		return f, fmt.Errorf("version %d, this program knows %d", data[0], eventVersion)
	}
	body := len(data) - crc32.Size
	if body < 1 || crc32.Checksum(data[:body], castagnoli) != binary.BigEndian.Uint32(data[body:]) {
		return f, errDamaged
	}
	rest, ok, ok2, n := []byte(nil), false, false, 0
	f.origin, rest, ok = cutText(data[1:body])
	f.by, rest, ok2 = cutText(rest)
	f.seq, n = binary.Uvarint(rest)
	if !ok || !ok2 || n <= 0 {
		return f, errDamaged
	}
	f.event = rest[n:]
	return f, nil
}

// cutText cuts off a text that follows a byte with its length.
func cutText(data []byte) (text, rest []byte, ok bool) {
	if len(data) == 0 || len(data)-1 < int(data[0]) {
		return nil, nil, false
	}
	n := 1 + int(data[0])
	return data[1:n], data[n:], true
}

func parseJSONEvent(data []byte) (eventRecord, error) {
	var rec struct {
		V      int              `json:"v"`
		Origin string           `json:"origin"`
		Seq    uint64           `json:"seq"`
		Event  revocation.Event `json:"event"`
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return eventRecord{}, err
	}
	if rec.V != version {
		return eventRecord{}, fmt.Errorf("version %d, as JSON this program knows %d", rec.V, version)
	}
	return eventRecord{Origin: rec.Origin, Seq: rec.Seq, Event: rec.Event}, nil
}
