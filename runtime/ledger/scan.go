package ledger

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// scan is what a stream's blocks hold, in their order.
type scan struct {
	blocks     []*block
	tombstones []Range
	last       uint64 // what the server will take for the last sequence when it has no index
	messages   uint64
	bytes      uint64
	largest    uint64
	expired    uint64
	unread     []int // places in blocks of those that the budget did not reach
}

type blockFile struct {
	index int
	size  int64
	mod   time.Time
}

func blockPath(dir string, index int) string {
	return filepath.Join(dir, messagesDir, strconv.Itoa(index)+".blk")
}

// blockFiles lists the blocks of the stream in dir, oldest first.
func blockFiles(dir string) ([]blockFile, error) {
	entries, err := os.ReadDir(filepath.Join(dir, messagesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []blockFile
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".blk")
		index, err := strconv.Atoi(name)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, blockFile{index, info.Size(), info.ModTime()})
	}
	slices.SortFunc(files, func(a, b blockFile) int { return cmp.Compare(a.index, b.index) })
	return files, nil
}

// scanStream reads the blocks of a stream, the newest first and as many as
// budget has bytes for; of the others only the beginning.
func scanStream(dir, name string, cutoff int64, budget *int64) (*scan, error) {
	files, err := blockFiles(dir)
	if err != nil {
		return nil, err
	}
	s := &scan{blocks: make([]*block, len(files))}
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := len(files) - 1; i >= 0; i-- {
		f := files[i]
		if *budget -= f.size; *budget < 0 && i < len(files)-1 {
			if b := peek(blockPath(dir, f.index), name, f); b != nil {
				s.blocks[i] = b
				s.unread = append(s.unread, i)
				continue
			}
		}
		group.Go(func() error {
			b, err := readBlock(blockPath(dir, f.index), name, f.index, cutoff)
			if errors.Is(err, fs.ErrNotExist) {
				b, err = &block{index: f.index}, nil
			}
			s.blocks[i] = b
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, b := range s.blocks {
		if b.last == 0 && b.first > 0 && i+1 < len(s.blocks) { // only peeked at
			b.last = max(b.first, s.nextFirst(i)-1)
		}
		s.tombstones = union(s.tombstones, b.tombstones)
		s.last = max(s.last, b.last)
		if n := len(b.tombstones); n > 0 && b.first == 0 {
			s.last = max(s.last, b.tombstones[n-1].Last)
		}
		s.messages += b.messages
		s.bytes += b.bytes
		s.largest = max(s.largest, b.largest)
		s.expired = max(s.expired, b.expired)
	}
	return s, nil
}

// parallel is how many blocks are read at once: as many block buffers are held.
const parallel = 4

// nextFirst is the first sequence behind block i.
func (s *scan) nextFirst(i int) uint64 {
	for _, b := range s.blocks[i+1:] {
		if b.first > 0 {
			return b.first
		}
	}
	return 0
}

// peek finds the first message of a block without reading all of it; nil when
// its beginning does not say.
func peek(path, stream string, f blockFile) *block {
	const head = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	buf := make([]byte, min(head, f.size))
	if _, err := file.ReadAt(buf, 0); err != nil {
		return nil
	}
	h, err := blockHash(stream, f.index)
	if err != nil {
		return nil
	}
	for i := 0; i < len(buf); {
		seq, at, n := record(buf[i:], h)
		if n == 0 {
			return nil
		}
		if seq&tombstoneBit == 0 && seq&^erasedBit > 0 {
			return &block{index: f.index, size: f.size, first: seq &^ erasedBit, firstTime: at}
		}
		i += n
	}
	return nil
}

// damaged says whether any block has bytes that are no record.
func (s *scan) damaged() bool {
	return slices.ContainsFunc(s.blocks, func(b *block) bool { return len(b.damage) > 0 })
}

// Causes of a loss, for people.
const (
	causeDamage    = "damaged on disk"
	causeMissing   = "missing from the store"
	causeRecreated = "the stream was deleted and made anew"
	causeServer    = "the server could not read them"
)

// lost compares the blocks with what should be there. Without a Book (known is
// nil) only damage between two messages shows how much is gone.
func (s *scan) lost(known *Stream, clean bool) (damaged, missing []Range) {
	var gone []Range // accounted for: deleted, or by retention
	gone = union(gone, s.tombstones)
	if known != nil {
		gone = union(gone, known.Gaps)
		if known.First > 1 {
			gone = union(gone, []Range{{1, known.First - 1}})
		}
		if !clean {
			gone = union(gone, s.retained(known))
		}
	}
	hit := func(r Range, evidence bool) {
		lost := subtract([]Range{r}, gone)
		switch {
		case evidence:
			damaged = union(damaged, lost)
		case known != nil:
			missing = union(missing, lost)
		}
	}
	prev, tail := uint64(0), false
	for _, b := range s.blocks {
		if b.unreadable {
			continue
		}
		if b.first == 0 {
			tail = tail || b.tailDamaged
			continue
		}
		switch evidence := tail || b.headDamaged; {
		case prev > 0 && b.first > prev+1:
			hit(Range{prev + 1, b.first - 1}, evidence)
		case prev == 0 && known != nil && known.First > 0 && b.first > known.First && known.First <= known.Last:
			hit(Range{known.First, min(b.first-1, known.Last)}, evidence)
		}
		for _, g := range b.gaps {
			if g.damaged {
				hit(g.Range, true)
			}
		}
		prev, tail = max(prev, b.last), b.tailDamaged
	}
	if known != nil && known.Last > prev {
		if r := (Range{max(prev+1, known.First), known.Last}); r.First <= r.Last {
			hit(r, tail)
		}
	}
	return damaged, missing
}

// retained is what limits of the stream may have removed since the Book was
// written: the oldest messages, when those that are there fill the limit, and
// what had reached its age.
func (s *scan) retained(known *Stream) []Range {
	info := known.Meta.stream()
	var first uint64
	for _, b := range s.blocks {
		if b.first > 0 {
			first = b.first
			break
		}
	}
	full := info.MaxBytes > 0 && s.bytes+s.largest >= uint64(info.MaxBytes) ||
		info.MaxMsgs > 0 && s.messages >= uint64(info.MaxMsgs)
	switch {
	case full && first > 1:
		return []Range{{1, max(first-1, known.Aged)}}
	case info.MaxAge > 0 && known.Aged > 0:
		return []Range{{1, known.Aged}}
	}
	return nil
}
