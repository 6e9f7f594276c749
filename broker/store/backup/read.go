package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"tokenbroker/broker/store"
)

// File is a backup that was found whole. Close it.
type File struct {
	file *os.File
	size int64
	// Header and Records are what it says of itself.
	Header  Header
	Records uint64
}

// Open reads the whole file and checks all of it, and shows each record to look on the way; it
// keeps nothing of it in memory. An error about its content wraps [ErrDamaged].
func Open(ctx context.Context, path string, look func(store.Write)) (*File, error) {
	// Without waiting for the writer of a pipe, which no signal would end.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	f := &File{file: file}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	if err == nil {
		f.size = info.Size()
		err = f.Each(ctx, func(w store.Write) error { look(w); return nil })
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	return f, nil
}

// Close gives the file up.
func (f *File) Close() error { return f.file.Close() }

// Each gives the records in the order of their keys, each as a blind write for another store.
// What it gave is good only when it returns nil: the digest is compared at the end.
func (f *File) Each(ctx context.Context, give func(store.Write) error) error {
	end := f.size - sha256.Size
	if end < 0 {
		return fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	digest := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(io.NewSectionReader(f.file, 0, end), digest), 64<<10)
	header, err := readHeader(r)
	if err != nil {
		return err
	}
	records, err := eachRecord(ctx, r, give)
	if err != nil {
		return err
	}
	var want [sha256.Size]byte
	if _, err := f.file.ReadAt(want[:], end); err != nil {
		return damaged("its end", err)
	}
	if !bytes.Equal(digest.Sum(nil), want[:]) {
		return fmt.Errorf("%w: its content does not match its digest", ErrDamaged)
	}
	f.Header, f.Records = header, records
	return nil
}

func readHeader(r io.Reader) (h Header, err error) {
	head := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return h, damaged("its beginning", err)
	}
	if string(head[:len(magic)]) != magic {
		return h, fmt.Errorf("%w: it does not begin as one does, or is of a newer program", ErrDamaged)
	}
	n := binary.BigEndian.Uint32(head[len(magic):])
	if n == 0 || n > maxHeader {
		return h, fmt.Errorf("%w: a header of %d bytes", ErrDamaged, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, damaged("its header", err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, damaged("its header", err)
	}
	if h.Compression != compression || h.Store == "" || h.TakenAt <= 0 {
		return h, fmt.Errorf("%w: its header lacks a store, a time or a known compression", ErrDamaged)
	}
	return h, nil
}

// eachRecord reads the body, to the last byte of r.
func eachRecord(ctx context.Context, r *bufio.Reader, give func(store.Write) error) (records uint64, err error) {
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
		if err := give(w); err != nil {
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

// readRecord reads one record; without a key it is the end.
func readRecord(r *bufio.Reader) (w store.Write, err error) {
	key, err := readBytes(r, maxKey)
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
		return w, errors.New("an expiry beyond all times")
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

// damaged says where the file ends or stops making sense.
func damaged(where string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, where, err)
}
