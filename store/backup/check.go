package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Summary is what a backup states about itself. Only [Open] authenticates it.
type Summary struct {
	Header  Header
	Records uint64
}

// Check reads a backup of format 2 and compares it with its digest, which needs no key: it
// detects damage, not forgery. An error about its content wraps [ErrDamaged] or [ErrFormat1].
func Check(ctx context.Context, path string) (Summary, error) {
	f, err := openWhole(ctx, path)
	if err != nil {
		return Summary{}, fmt.Errorf("reading the backup %s: %w", path, err)
	}
	defer func() { _ = f.Close() }() // only read
	if f.format1 {
		return Summary{}, fmt.Errorf("reading the backup %s: %w", path, ErrFormat1)
	}
	return f.Summary, nil
}

// openWhole opens the file, reads its head and its end, and compares all of it with its digest.
func openWhole(ctx context.Context, path string) (*File, error) {
	// O_NONBLOCK: opening must not wait for the writer of a pipe, which no signal would interrupt.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	f := &File{file: file}
	if err := f.readWhole(ctx); err != nil {
		_ = file.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) readWhole(ctx context.Context) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	if err := f.readHead(); err != nil {
		return err
	}
	end := info.Size() - sha256.Size
	f.body, f.bodySize = int64(len(f.head)), end-int64(len(f.head))
	if !f.format1 {
		f.bodySize -= recordsSize
	}
	if f.bodySize < 0 {
		return fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, contextReader{ctx, io.NewSectionReader(f.file, 0, end)}); err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	tail := make([]byte, info.Size()-f.body-f.bodySize)
	if _, err := f.file.ReadAt(tail, f.body+f.bodySize); err != nil {
		return damaged("its end", err)
	}
	if !bytes.Equal(digest.Sum(nil), tail[len(tail)-sha256.Size:]) {
		return fmt.Errorf("%w: its content does not match its digest", ErrDamaged)
	}
	if !f.format1 {
		f.Records = binary.BigEndian.Uint64(tail)
	}
	return nil
}

// readHead reads everything before the body.
func (f *File) readHead() error {
	r := io.NewSectionReader(f.file, 0, int64(len(magic2)+4+maxHeader))
	head := make([]byte, len(magic2)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return damaged("its beginning", err)
	}
	switch string(head[:len(magic2)]) {
	case magic1:
		f.format1 = true
	case magic2:
	default:
		return fmt.Errorf("%w: it does not begin as one does, or is of a newer program", ErrDamaged)
	}
	n := binary.BigEndian.Uint32(head[len(magic2):])
	if n == 0 || n > maxHeader {
		return fmt.Errorf("%w: a header of %d bytes", ErrDamaged, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return damaged("its header", err)
	}
	if err := json.Unmarshal(text, &f.Header); err != nil {
		return damaged("its header", err)
	}
	if f.Header.Compression != compression || f.Header.Store == "" || f.Header.TakenAt <= 0 {
		return fmt.Errorf("%w: its header lacks a store, a time or a known compression", ErrDamaged)
	}
	f.head = append(head, text...)
	return nil
}

// contextReader returns the error of ctx when ctx has ended.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives for one copy
	r   io.Reader
}

// Read implements [io.Reader].
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// damaged returns an error that names the part of the file that is missing or invalid.
func damaged(where string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, where, err)
}
