package badgerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// markName is the file with the mark, beside the store's other files. Everything that copies,
	// renames or replaces the store's directory takes the mark with it.
	markName = "tokenbroker.mark"
	// markMagic begins a slot; its last byte is the version.
	markMagic = "tbmark\x00\x01"
	// markSlots are overwritten in turn, so that a write which a power cut tears leaves the other.
	markSlots = 2
	// markSpacing keeps the slots in different sectors.
	markSpacing = 4096

	markBody = len(markMagic) + len(tag{}) + 3*8
	markSize = markBody + sha256.Size
)

// mark says how far the store has come. It is written after each commit, once that is on disk,
// and not waited for: so the store is at the mark or ahead of it, after a power cut as well. A
// store that is behind its mark has lost commits that were acknowledged.
type mark struct {
	tag tag
	// revision is the commit's.
	revision uint64
	// total is that of the contents after it.
	total group
}

func (m mark) encode() []byte {
	data := append(make([]byte, 0, markSize), markMagic...)
	data = append(data, m.tag[:]...)
	for _, n := range []uint64{m.revision, m.total.records, m.total.sum} {
		data = binary.BigEndian.AppendUint64(data, n)
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

func decodeMark(data []byte) (m mark, ok bool) {
	if len(data) < markSize || !bytes.HasPrefix(data, []byte(markMagic)) {
		return m, false
	}
	if sum := sha256.Sum256(data[:markBody]); !bytes.Equal(sum[:], data[markBody:markSize]) {
		return m, false
	}
	rest := data[len(markMagic):]
	rest = rest[copy(m.tag[:], rest):]
	m.revision = binary.BigEndian.Uint64(rest)
	m.total = group{binary.BigEndian.Uint64(rest[8:]), binary.BigEndian.Uint64(rest[16:])}
	return m, true
}

// markFile is the open file.
type markFile struct {
	file *os.File
	next int64 // the slot to write
}

var errMark = fmt.Errorf("its file %s is damaged", markName)

// openMark reads the mark of the store in dir. The error is [fs.ErrNotExist] where it has none.
func openMark(dir string) (*markFile, mark, error) {
	file, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDWR, 0) //nolint:gosec // below the operator's directory
	if err != nil {
		return nil, mark{}, err
	}
	var (
		best  mark
		found bool
	)
	f := &markFile{file: file}
	for slot := range int64(markSlots) {
		data := make([]byte, markSize)
		if _, err := file.ReadAt(data, slot*markSpacing); err != nil && !errors.Is(err, io.EOF) {
			return nil, mark{}, errors.Join(fmt.Errorf("reading %s: %w", markName, err), file.Close())
		}
		if m, ok := decodeMark(data); ok && (!found || m.revision > best.revision) {
			best, found, f.next = m, true, (slot+1)%markSlots
		}
	}
	if !found {
		return nil, mark{}, errors.Join(errMark, file.Close())
	}
	return f, best, nil
}

// createMark makes the mark of the store in dir. It is on disk, whole, when it returns.
func createMark(dir string, m mark) (*markFile, error) {
	path := filepath.Join(dir, markName)
	made := path + ".new"
	data := make([]byte, markSlots*markSpacing)
	for slot := range markSlots {
		copy(data[slot*markSpacing:], m.encode())
	}
	err := os.WriteFile(made, data, 0o600)
	if err == nil {
		err = syncFile(made)
	}
	if err == nil {
		err = rename(made, path)
	}
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", markName, err)
	}
	f, _, err := openMark(dir)
	return f, err
}

// write overwrites the older slot.
func (f *markFile) write(m mark) error {
	if _, err := f.file.WriteAt(m.encode(), f.next*markSpacing); err != nil {
		return fmt.Errorf("writing %s: %w", markName, err)
	}
	f.next = (f.next + 1) % markSlots
	return nil
}

// close brings the mark to the disk.
func (f *markFile) close() error {
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return fmt.Errorf("closing %s: %w", markName, err)
	}
	return nil
}

// absent reports whether openMark found no mark.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
