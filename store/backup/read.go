package backup

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"tokenbroker/store"
)

// recordsSize is the length of the number of records before the digest, in bytes.
const recordsSize = 8

// Options are the options of [Open].
type Options struct {
	// Opener opens the backup's key; it is required.
	Opener Opener
	// InsecureFormat1 also reads a backup of format 1. It MUST NOT be set for a file that
	// anyone else could have written, because its author chooses every password and role in it. A backup
	// of format 2 is authenticated in any case.
	InsecureFormat1 bool
}

// File is an open backup that was found complete and, unless it is of format 1, authentic. The caller
// closes it.
type File struct {
	file           *os.File
	format1        bool
	head           []byte // magic, length and header
	body, bodySize int64  // where in file the body is
	opener         Opener
	Summary
}

// Open reads the whole file, checks and authenticates all of it, and passes each record to inspect
// on the way; it does not keep the records in memory. The records are authentic only if Open
// returns without an error. An error about the content wraps [ErrDamaged] or [ErrFormat1]; an
// error of the Opener is in the chain as it is.
func Open(ctx context.Context, path string, opts Options, inspect func(store.Write)) (*File, error) {
	f, err := openWhole(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	f.opener = opts.Opener
	if f.format1 && !opts.InsecureFormat1 {
		err = ErrFormat1
	} else {
		err = f.Each(ctx, func(w store.Write) error { inspect(w); return nil })
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Authenticated reports whether a holder of the key wrote the backup. Anyone could have written a file of format 1.
func (f *File) Authenticated() bool { return !f.format1 }

// Each calls fn for every record in the order of their keys, each as a blind write for another store. The
// records are authentic only if Each returns nil, because the end of the file is verified last.
func (f *File) Each(ctx context.Context, fn func(store.Write) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f.file, f.body, f.bodySize), bufferSize)
	if !f.format1 {
		body, err := decrypt(ctx, r, f.opener, f.head)
		if err != nil {
			return err
		}
		r = bufio.NewReaderSize(body, bufferSize)
	}
	records, err := eachRecord(ctx, r, fn)
	if err != nil {
		return err
	}
	if f.format1 {
		f.Records = records
	}
	if records != f.Records {
		return fmt.Errorf("%w: it has %d records and states that it has %d", ErrDamaged, records, f.Records)
	}
	return nil
}

// eachRecord reads the body, which extends to the end of r.
func eachRecord(ctx context.Context, r *bufio.Reader, fn func(store.Write) error) (records uint64, err error) {
	unzip, err := gzip.NewReader(r)
	if err != nil {
		return 0, damaged("its body", err)
	}
	unzip.Multistream(false)
	body := bufio.NewReaderSize(unzip, 64<<10)
	last := ""
	for ; ; records++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		w, err := readRecord(body)
		if err != nil {
			return 0, damaged(fmt.Sprintf("record %d", records+1), err)
		}
		if w.Key == "" {
			break
		}
		if w.Key <= last {
			return 0, fmt.Errorf("%w: its records are not in order", ErrDamaged)
		}
		last = w.Key
		if err := fn(w); err != nil {
			return 0, err
		}
	}
	count, err := binary.ReadUvarint(body)
	if err != nil || count != records {
		return 0, fmt.Errorf("%w: it counts %d records and has %d", ErrDamaged, count, records)
	}
	for _, rest := range []io.ByteReader{body, r} {
		if _, err := rest.ReadByte(); !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("%w: something follows its records", ErrDamaged)
		}
	}
	return records, nil
}

// readRecord reads one record. A record without a key is the end.
func readRecord(r *bufio.Reader) (w store.Write, err error) {
	key, err := readBytes(r, store.MaxKeySize)
	if err != nil || len(key) == 0 {
		return w, err
	}
	w = store.Write{Key: string(key), Blind: true}
	if w.Value, err = readBytes(r, maxValue); err != nil {
		return w, err
	}
	expires, err := binary.ReadUvarint(r)
	if err != nil {
		return w, err
	}
	if w.ExpiresAt = int64(expires); w.ExpiresAt < 0 {
		return w, errors.New("the expiry is out of range")
	}
	return w, nil
}

func readBytes(r *bufio.Reader, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%d bytes where at most %d may be", n, limit)
	}
	data := make([]byte, n)
	_, err = io.ReadFull(r, data)
	return data, err
}
