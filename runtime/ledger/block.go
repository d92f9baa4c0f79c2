package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/minio/highwayhash"
)

// A block file of nats-server holds records, one after the other:
//
//	length(4) sequence(8) time(8) subject length(2) subject [headers length(4) headers] payload checksum(8)
//
// The top bit of the length says that there are headers. The two top bits of
// the sequence mark a record of something else than a message.
const (
	recordHeader   = 22
	recordChecksum = 8
	minRecord      = recordHeader + recordChecksum
	maxRecord      = 32 << 20

	// searchBudget bounds how many bytes of a block are hashed while looking for
	// whole records behind damage: payloads may look like records.
	searchBudget = 256 << 20

	headersBit   = 1 << 31
	erasedBit    = 1 << 63 // the message was there and has been erased
	tombstoneBit = 1 << 62 // a message of an earlier place has been deleted
)

// gap is a hole in the sequences within a block.
type gap struct {
	Range
	damaged bool // there are bytes between its neighbours that are no record
}

// block is what one block file holds.
type block struct {
	index       int
	size        int64
	unreadable  bool    // compressed by the server: nothing is known of it
	first, last uint64  // messages and erased ones; 0 and 0 when there are none
	gaps        []gap   // between first and last
	tombstones  []Range // deleted messages, anywhere in the stream
	damage      []extent
	headDamaged bool // before the first message
	tailDamaged bool // behind the last one
	messages    uint64
	bytes       uint64 // of the messages
	largest     uint64
	firstTime   int64
	expired     uint64 // highest sequence stored before the cutoff of readBlock
}

// extent is a part of a file.
type extent struct{ from, to int }

// blockHash is the keyed checksum of the records of one block.
func blockHash(stream string, index int) (hash.Hash64, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	return highwayhash.New64(key[:])
}

// plausible is the length of the record that b may start with: what it costs to
// find out whether it does.
func plausible(b []byte) int {
	if len(b) < minRecord {
		return 0
	}
	n := int(binary.LittleEndian.Uint32(b) &^ headersBit)
	if n < minRecord || n > maxRecord || n > len(b) {
		return 0
	}
	return n
}

// record reads the record at the start of b. n is its length, 0 when there is
// none that is whole.
func record(b []byte, h hash.Hash64) (seq uint64, at int64, n int) {
	if len(b) < minRecord {
		return 0, 0, 0
	}
	length := binary.LittleEndian.Uint32(b)
	n = plausible(b)
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	skip := subject
	if length&headersBit != 0 {
		skip += 4
	}
	if n == 0 || skip > n-minRecord {
		return 0, 0, 0
	}
	h.Reset()
	_, _ = h.Write(b[4:20])
	_, _ = h.Write(b[recordHeader : recordHeader+subject])
	_, _ = h.Write(b[recordHeader+skip : n-recordChecksum])
	var sum [recordChecksum]byte
	if !bytes.Equal(h.Sum(sum[:0]), b[n-recordChecksum:n]) {
		return 0, 0, 0
	}
	return binary.LittleEndian.Uint64(b[4:]), int64(binary.LittleEndian.Uint64(b[12:])), n
}

// readBlock checks every record of a block file. Behind damage it looks for the
// next record that is whole. Messages stored before cutoff (Unix ns) count as
// expired.
func readBlock(path, stream string, index int, cutoff int64) (*block, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	buf, ok := buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer buffers.Put(buf)
	*buf = slices.Grow((*buf)[:0], int(info.Size()))
	n, err := io.ReadFull(f, (*buf)[:info.Size()])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) { // it has become shorter
		return nil, err
	}
	return parseBlock((*buf)[:n], stream, index, cutoff)
}

// buffers are of the size of a block: a start reads many.
var buffers sync.Pool

func parseBlock(data []byte, stream string, index int, cutoff int64) (*block, error) {
	h, err := blockHash(stream, index)
	if err != nil {
		return nil, err
	}
	b := &block{index: index, size: int64(len(data))}
	if bytes.HasPrefix(data, []byte("cmp")) {
		b.unreadable = true
		return b, nil
	}
	var tombstones []uint64
	search := searchBudget
	damaged := false // since the last message
	for i := 0; i < len(data); {
		seq, at, n := record(data[i:], h)
		if n == 0 {
			from := i
			for i++; i < len(data); i++ {
				if search -= plausible(data[i:]); search < 0 {
					i = len(data)
					break
				}
				if seq, _, n := record(data[i:], h); n > 0 && (seq&tombstoneBit != 0 || seq&^erasedBit > b.last) {
					break
				}
			}
			b.damage = append(b.damage, extent{from, i})
			damaged = true
			continue
		}
		i += n
		if seq&tombstoneBit != 0 {
			tombstones = append(tombstones, seq&^(tombstoneBit|erasedBit))
			continue
		}
		erased := seq&erasedBit != 0
		seq &^= erasedBit
		if seq == 0 || seq <= b.last {
			continue
		}
		switch {
		case b.first == 0:
			b.first, b.firstTime, b.headDamaged = seq, at, damaged
		case seq > b.last+1:
			b.gaps = append(b.gaps, gap{Range{b.last + 1, seq - 1}, damaged})
		}
		damaged = false
		b.last = seq
		if at <= cutoff {
			b.expired = seq
		}
		if !erased {
			b.messages++
			b.bytes += uint64(n)
			b.largest = max(b.largest, uint64(n))
		}
	}
	b.tailDamaged = damaged
	b.tombstones = sequences(tombstones)
	return b, nil
}

// mendBlock replaces a block file by one without what is damaged in it, so that
// the server, which cuts a block at the first damage, keeps what is behind.
func mendBlock(path, stream string, index int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b, err := parseBlock(data, stream, index, 0)
	if err != nil || len(b.damage) == 0 {
		return err
	}
	whole := make([]byte, 0, len(data))
	from := 0
	for _, d := range b.damage {
		whole = append(whole, data[from:d.from]...)
		from = d.to
	}
	return writeFile(path, append(whole, data[from:]...), true)
}

// tombstone is a block that only says that a sequence has been used: the
// stream goes on behind it.
func tombstone(stream string, index int, seq uint64, at int64) ([]byte, error) {
	h, err := blockHash(stream, index)
	if err != nil {
		return nil, err
	}
	b := make([]byte, recordHeader, minRecord)
	binary.LittleEndian.PutUint32(b, minRecord)
	binary.LittleEndian.PutUint64(b[4:], seq|tombstoneBit)
	binary.LittleEndian.PutUint64(b[12:], uint64(at))
	_, _ = h.Write(b[4:20])
	return h.Sum(b), nil
}
