package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Clone returns a copy that shares nothing with b.
func (b *Book) Clone() (*Book, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	c := NewBook()
	return c, json.Unmarshal(data, c)
}

// Export gives the blocks of a stream to add, by their paths relative to dir,
// while a server has the stream open: oldest first, and of the newest what is
// whole. known, the stream's entry in a Book of before, is made to say what was
// given: first and last sequence, and the gaps between blocks.
func Export(dir, name string, known *Stream, add func(path string, data []byte) error) error {
	files, err := blockFiles(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	var gaps []Range
	first, last := uint64(0), uint64(0)
	for i, f := range files {
		path := blockPath(filepath.Join(dir, name), f.index)
		data, b, err := exportBlock(path, name, f.index, i == len(files)-1)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
			continue // retention was faster
		}
		if err != nil {
			return fmt.Errorf("read block %d of topic %q: %w", f.index, name, err)
		}
		if err := add(filepath.Join(name, messagesDir, filepath.Base(path)), data); err != nil {
			return err
		}
		if b.first == 0 {
			continue
		}
		if first == 0 {
			first = b.first
		} else if b.first > last+1 {
			gaps = append(gaps, Range{last + 1, b.first - 1})
		}
		last = max(last, b.last)
	}
	if first == 0 {
		first, last = known.Last+1, known.Last
	}
	known.First, known.Gaps = max(known.First, first), union(known.Gaps, gaps)
	known.reach(last)
	known.Last = max(known.Last, last)
	return nil
}

// reach says that the messages behind last, which the stream has got to, are
// not there.
func (s *Stream) reach(last uint64) {
	if last < s.Last {
		s.Gaps = union(s.Gaps, []Range{{last + 1, s.Last}})
	}
}

// Advance makes a stream go on behind last without what is in between: a
// sequence that was used must not be used again.
func (s *Stream) Advance(last uint64) {
	was := s.Last
	s.Last = max(s.Last, last)
	s.reach(was)
}

// exportBlock reads a block until what looks damaged is no write at work.
func exportBlock(path, stream string, index int, newest bool) ([]byte, *block, error) {
	for try := 0; ; try++ {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		b, err := parseBlock(data, stream, index, 0)
		if err != nil {
			return nil, nil, err
		}
		n := len(b.damage)
		switch {
		case n == 0:
			return data, b, nil
		case newest && n == 1 && b.damage[0].to == len(data):
			return data[:b.damage[0].from], b, nil
		case try == 2:
			return nil, nil, fmt.Errorf("%d places of it are damaged: a start of Wasmill reports what is lost and mends the rest", n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Furnish writes the descriptions of the streams and consumers of a Book, and
// the places of the consumers, to a store that has only blocks.
func Furnish(dir string, book *Book) error {
	for name, s := range book.Streams {
		sdir := filepath.Join(dir, name)
		if err := s.Meta.write(sdir); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(sdir, messagesDir), 0o750); err != nil {
			return err
		}
		for consumer, c := range s.Consumers {
			cdir := filepath.Join(sdir, consumersDir, consumer)
			if err := c.Meta.write(cdir); err != nil {
				return err
			}
			at := place{acked: c.Acked}
			if err := writeFile(filepath.Join(cdir, consumerState), at.encode(), true); err != nil {
				return err
			}
		}
	}
	return nil
}
