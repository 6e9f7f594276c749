// Package backup is the file that holds a store's records: [Writer] makes one, [Open] reads
// it and refuses what is not whole.
//
// A file is, in this order:
//
//	magic    21 bytes: "tokenbroker backup 1\n"
//	length   4 bytes, big-endian: of the header, 1 … 4096
//	header   a JSON object, see [Header]
//	body     gzip (RFC 1952), one member, of the records
//	digest   32 bytes: SHA-256 of all before it
//
// A record of the body is the length of its key (1 … 1024), the key, the length of its value
// (up to 8 MiB), the value, and its expiry in Unix seconds (0: none). After the last one
// stands a 0 in the place of a key's length, and the number of records. Numbers are unsigned
// LEB128 as encoding/binary writes them.
package backup

import "errors"

// ErrDamaged is in the chain of every error about a file that is not a whole backup as it
// was written: another file, a part of one, a changed byte.
var ErrDamaged = errors.New("not a whole backup")

const (
	magic       = "tokenbroker backup 1\n"
	maxHeader   = 4096
	maxKey      = 1024
	maxValue    = 8 << 20
	compression = "gzip"
	// ContentType names the form in HTTP.
	ContentType = "application/vnd.tokenbroker.backup"
)

// Header says whose records these are and of when. Times are Unix seconds.
type Header struct {
	// Store is the id of the store that was backed up.
	Store string `json:"store"`
	// TakenAt is by the broker's clock, Wall by the machine's.
	TakenAt int64 `json:"taken_at"`
	Wall    int64 `json:"wall"`
	// Version is the program's.
	Version string `json:"version,omitempty"`
	// Compression is of the body; [NewWriter] sets it.
	Compression string `json:"compression"`
}
