// Package backup reads and writes the file with a backup of a store's records. [Writer] writes it,
// [Check] reports without a key whether it is complete and undamaged, and [Open] decrypts it and refuses
// everything that was not written by a holder of the key.
//
// A file of format 2 consists of, in this order:
//
//	magic    21 bytes: "tokenbroker backup 2\n"
//	length   4 bytes, big-endian: of the header, 1 … 4096
//	header   a JSON object, see [Header]
//	body     an age file (age-encryption.org/v1) with one stanza, see below
//	records  8 bytes, big-endian: how many records there are
//	digest   32 bytes: SHA-256 of everything before it
//
// The stanza of the age file is "-> tokenbroker-kek"; its body is the age file key, sealed by
// [Sealer] and bound to magic, length and header. The decrypted body is one member of gzip
// (RFC 1952) with the records. age encrypts it in chunks of 64 KiB, each of which
// authenticates its number and whether it is the last, so that no part can be changed, left
// out, repeated, moved, or taken from another file. The digest authenticates nothing: it detects
// damage without a key. The number of records is compared with the one in the body.
//
// A record is the length of its key (1 … 1024), the key, the length of its value (up to
// 8 MiB), the value, and its expiry in Unix seconds (0: none). The last record is followed by a 0
// in the place of a key's length, and by the number of records. Numbers are unsigned LEB128 as
// encoding/binary writes them.
//
// Format 1 ("tokenbroker backup 1\n") has the gzip member as its body and no number of
// records. It is neither encrypted nor authenticated; only [Options.InsecureFormat1] reads it.
package backup

import (
	"context"
	"errors"
)

// ErrDamaged is in the chain of every error about a file that is not a complete and unchanged backup:
// another file, a part of one, a changed byte.
var ErrDamaged = errors.New("not a whole backup")

// ErrFormat1 is in the chain of the error about a backup of format 1, which is not authenticated.
var ErrFormat1 = errors.New("a backup of format 1, which is not authenticated")

const (
	magic1      = "tokenbroker backup 1\n"
	magic2      = "tokenbroker backup 2\n"
	maxHeader   = 4096
	maxValue    = 8 << 20
	compression = "gzip"
	// ContentType is the media type of a backup in HTTP.
	ContentType = "application/vnd.tokenbroker.backup"
)

// Header identifies the store and the time of the backup. Times are Unix seconds. It can be read
// without a key, and [Open] authenticates it.
type Header struct {
	// Store is the id of the store that was backed up.
	Store string `json:"store"`
	// TakenAt is the time of the backup by the broker's clock, Wall by the machine's.
	TakenAt int64 `json:"taken_at"`
	Wall    int64 `json:"wall"`
	// Version is the version of the program that wrote the backup.
	Version string `json:"version,omitempty"`
	// Compression is the compression of the body; [NewWriter] sets it.
	Compression string `json:"compression"`
}

// Sealer encrypts the key of a backup and binds it to aad. It must use a key that is used for nothing else.
type Sealer interface {
	Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error)
}

// Opener reverses [Sealer].
type Opener interface {
	Open(ctx context.Context, sealed, aad []byte) ([]byte, error)
}
