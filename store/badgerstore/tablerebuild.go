package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	boptions "github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// rebuildTable returns a new table of the readable blocks of a damaged one, and a description of the
// damage. The form is Badger's (table/builder.go); here every length is checked,
// where Badger would panic. Without a valid index the blocks cannot be found.
func rebuildTable(path string) (rebuilt []byte, damaged string) {
	defer func() {
		if recover() != nil { // of the index, whose offsets are not checked by its package
			rebuilt, damaged = nil, "its index cannot be read"
		}
	}()
	data, err := os.ReadFile(path) //nolint:gosec // below the operator's directory
	if err != nil {
		return nil, "it cannot be read: " + err.Error()
	}
	index, err := tableIndex(data)
	if err != nil {
		return nil, err.Error()
	}
	o := badger.DefaultOptions("")
	builder := table.NewTableBuilder(table.Options{
		BlockSize: o.BlockSize, BloomFalsePositive: o.BloomFalsePositive, Compression: boptions.Snappy, TableSize: uint64(4*len(data) + 1<<20),
	})
	defer builder.Close()
	bad := 0
	for i := range index.OffsetsLength() {
		var block fb.BlockOffset
		if !index.Offsets(&block, i) {
			return nil, "its index cannot be read"
		}
		entries, err := blockEntries(data, int64(block.Offset()), int64(block.Len()))
		if err != nil {
			bad++
			continue
		}
		for _, e := range entries {
			builder.Add(e.key, e.value, 0)
		}
	}
	damaged = fmt.Sprintf("%d of its %d blocks cannot be read", bad, index.OffsetsLength())
	if builder.Empty() {
		return nil, damaged
	}
	return builder.Finish(), damaged
}

var errTable = errors.New("its index cannot be read")

// tableIndex reads the index. A table ends with the index, its length, its checksum and the length
// of the checksum.
func tableIndex(data []byte) (*fb.TableIndex, error) {
	body, sum, ok := cutChecksum(data)
	if !ok || len(body) < 4 {
		return nil, errTable
	}
	length := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	body = body[:len(body)-4]
	if length > int64(len(body)) {
		return nil, errTable
	}
	index := body[int64(len(body))-length:]
	if y.VerifyChecksum(index, sum) != nil {
		return nil, errTable
	}
	return fb.GetRootAsTableIndex(index, 0), nil
}

// cutChecksum removes a checksum and its length from the end.
func cutChecksum(data []byte) (body []byte, sum *pb.Checksum, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	length := int64(binary.BigEndian.Uint32(data[len(data)-4:]))
	data = data[:len(data)-4]
	if length > int64(len(data)) {
		return nil, nil, false
	}
	at := int64(len(data)) - length
	sum = &pb.Checksum{}
	return data[:at], sum, proto.Unmarshal(data[at:], sum) == nil
}

type tableEntry struct {
	key   []byte
	value y.ValueStruct
}

var errBlock = errors.New("a damaged block")

// blockEntries reads a block: its entries, their offsets, the number of offsets, and a checksum.
// An entry is the length of the prefix that its key shares with the first key of the block, the length
// of the rest of the key, that rest, and the value. Lengths and offsets are in the machine's byte order.
func blockEntries(data []byte, at, length int64) ([]tableEntry, error) {
	if at < 0 || length < 0 || at+length > int64(len(data)) {
		return nil, errBlock
	}
	block, err := snappy.Decode(nil, data[at:at+length])
	if err != nil {
		return nil, errBlock
	}
	body, sum, ok := cutChecksum(block)
	if !ok || len(body) < 4 || y.VerifyChecksum(body, sum) != nil {
		return nil, errBlock
	}
	many := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	end := int64(len(body)) - 4 - 4*many
	if end < 0 {
		return nil, errBlock
	}
	offsets := body[end : len(body)-4]
	var first []byte
	entries := make([]tableEntry, 0, many)
	for i := range many {
		from, to := int64(binary.NativeEndian.Uint32(offsets[4*i:])), end
		if i+1 < many {
			to = int64(binary.NativeEndian.Uint32(offsets[4*i+4:]))
		}
		const header, least = 4, 3 // of an entry, of a value
		if from+header > to || to > end {
			return nil, errBlock
		}
		entry := body[from:to]
		shared, rest := int(binary.NativeEndian.Uint16(entry)), int(binary.NativeEndian.Uint16(entry[2:]))
		if shared > len(first) || header+rest+least > len(entry) {
			return nil, errBlock
		}
		e := tableEntry{key: append(append([]byte(nil), first[:shared]...), entry[header:header+rest]...)}
		e.value.Decode(entry[header+rest:])
		if first == nil {
			first = e.key
		}
		entries = append(entries, e)
	}
	return entries, nil
}
