package backup

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"tokenbroker/broker/store"
)

// Writer writes a backup as a stream. A stream without Close is refused by [Open].
type Writer struct {
	w       io.Writer
	digest  hash.Hash
	gzip    *gzip.Writer
	body    *bufio.Writer
	records uint64
}

// NewWriter writes the head of a backup.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Compression = compression
	header, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("encoding the header: %d bytes", len(header))
	}
	b := &Writer{w: w, digest: sha256.New()}
	out := io.MultiWriter(w, b.digest)
	head := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(header)))
	if _, err := out.Write(append(head, header...)); err != nil {
		return nil, err
	}
	if b.gzip, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
		return nil, err
	}
	b.body = bufio.NewWriterSize(b.gzip, 64<<10)
	return b, nil
}

// Add writes one record: key, value and expiry.
func (b *Writer) Add(r store.Write) error {
	if r.Key == "" || len(r.Key) > maxKey || len(r.Value) > maxValue || r.ExpiresAt < 0 {
		return fmt.Errorf("the record %.64q does not fit into a backup", r.Key)
	}
	buf := binary.AppendUvarint(nil, uint64(len(r.Key)))
	buf = append(buf, r.Key...)
	buf = binary.AppendUvarint(buf, uint64(len(r.Value)))
	buf = append(buf, r.Value...)
	buf = binary.AppendUvarint(buf, uint64(r.ExpiresAt))
	b.records++
	_, err := b.body.Write(buf)
	return err
}

// Close ends the backup, which is whole then. It does not close what is written to.
func (b *Writer) Close() error {
	if _, err := b.body.Write(binary.AppendUvarint([]byte{0}, b.records)); err != nil {
		return err
	}
	if err := b.body.Flush(); err != nil {
		return err
	}
	if err := b.gzip.Close(); err != nil {
		return err
	}
	_, err := b.w.Write(b.digest.Sum(nil))
	return err
}

// Records is how many were added.
func (b *Writer) Records() uint64 { return b.records }
