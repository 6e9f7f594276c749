package backup

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"

	"tokenbroker/store"
)

// bufferSize is the size of the buffers between the layers of a backup, in bytes.
const bufferSize = 64 << 10

// Writer writes a backup as a stream. [Open] and [Check] refuse a stream that was not ended by Close.
type Writer struct {
	out     *bufio.Writer
	digest  hash.Hash
	summed  io.Writer // out and digest
	age     io.WriteCloser
	gzip    *gzip.Writer
	body    *bufio.Writer
	records uint64
}

// NewWriter begins a backup with a new key, which seal seals. Nothing is written to w
// before the records fill a buffer or Close is called.
func NewWriter(ctx context.Context, w io.Writer, h Header, seal Sealer) (*Writer, error) {
	h.Compression = compression
	header, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("encoding the header: %d bytes", len(header))
	}
	b := &Writer{out: bufio.NewWriterSize(w, bufferSize), digest: sha256.New()}
	b.summed = io.MultiWriter(b.out, b.digest)
	head := binary.BigEndian.AppendUint32([]byte(magic2), uint32(len(header)))
	head = append(head, header...)
	if _, err := b.summed.Write(head); err != nil {
		return nil, err
	}
	if b.age, err = age.Encrypt(b.summed, &recipient{ctx: ctx, seal: seal, head: head}); err != nil {
		return nil, fmt.Errorf("encrypting the backup: %w", err)
	}
	if b.gzip, err = gzip.NewWriterLevel(b.age, gzip.BestSpeed); err != nil {
		return nil, err
	}
	b.body = bufio.NewWriterSize(b.gzip, bufferSize)
	return b, nil
}

// Add writes one record: key, value and expiry.
func (b *Writer) Add(r store.Write) error {
	if r.Key == "" || len(r.Key) > store.MaxKeySize || len(r.Value) > maxValue || r.ExpiresAt < 0 {
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

// Close completes the backup. It does not close the underlying writer.
func (b *Writer) Close() error {
	if _, err := b.body.Write(binary.AppendUvarint([]byte{0}, b.records)); err != nil {
		return err
	}
	if err := b.body.Flush(); err != nil {
		return err
	}
	for _, layer := range []io.Closer{b.gzip, b.age} {
		if err := layer.Close(); err != nil {
			return err
		}
	}
	if _, err := b.summed.Write(binary.BigEndian.AppendUint64(nil, b.records)); err != nil {
		return err
	}
	if _, err := b.out.Write(b.digest.Sum(nil)); err != nil {
		return err
	}
	return b.out.Flush()
}

// Records returns the number of records that were added.
func (b *Writer) Records() uint64 { return b.records }
