package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options say how a store is checked.
type Options struct {
	// Internal are streams whose messages are not events: what is lost of them
	// is said, and is no Loss.
	Internal []string
	// Budget is how many bytes of blocks are read; the rest is in Report.Unread.
	Budget int64
}

// Report is what Check found.
type Report struct {
	Losses  []Loss   // new ones, in the Book already
	Repairs []string // what Mend will do, a line each
	Notes   []string // what else should be known
	Unread  []Block  // blocks that the budget did not reach
	mends   []func() error
}

// Block names a block file that has not been read yet.
type Block struct {
	Stream      string
	Index       int
	first, next uint64  // its first sequence, and that of the block behind it
	gone        []Range // sequences that are known to be deleted
}

// ageSlack is for how long after the Book was written what max_age removes is
// expected.
const ageSlack = 30 * time.Second

// Check compares the streams in dir with book, which it brings up to date: what
// is lost is added to its losses, and the places that retention may reach while
// the server opens the store are noted. It changes no file.
func Check(dir string, book *Book, opts Options) (*Report, error) {
	r := &Report{}
	names := slices.Collect(maps.Keys(book.Streams))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		// The server deletes streams under a name with a dot in front.
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	budget := opts.Budget
	for _, name := range names {
		c := &checker{report: r, book: book, dir: filepath.Join(dir, name), name: name, internal: slices.Contains(opts.Internal, name)}
		if err := c.check(&budget); err != nil {
			return nil, fmt.Errorf("check topic %q in %s: %w", name, c.dir, err)
		}
	}
	return r, nil
}

// Mend does the repairs. The Book must be saved before.
func (r *Report) Mend() error {
	for _, f := range r.mends {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) repair(f func() error, format string, args ...any) {
	r.mends = append(r.mends, f)
	r.Repairs = append(r.Repairs, fmt.Sprintf(format, args...))
}

// checker checks one stream.
type checker struct {
	report   *Report
	book     *Book
	dir      string
	name     string
	internal bool
}

func (c *checker) check(budget *int64) error {
	known := c.book.Streams[c.name]
	meta := readMeta(c.dir)
	_, err := os.Stat(c.dir)
	gone := errors.Is(err, fs.ErrNotExist)
	switch whole := meta.whole(c.name); {
	case !whole && known != nil:
		meta = known.Meta
		c.report.repair(func() error { return meta.write(c.dir) }, "topic %q: its description was damaged and is written anew", c.name)
	case !whole:
		return nil // the server will not take it for a stream, and the broker says so
	case known != nil && !meta.stream().Created.Equal(known.Created):
		c.lose([]Range{{known.First, known.Last}}, causeRecreated)
		delete(c.book.Streams, c.name)
		known = nil
	}
	info := meta.stream()
	cutoff := int64(0)
	if info.MaxAge > 0 {
		cutoff = time.Now().Add(ageSlack - info.MaxAge).UnixNano()
	}
	s, err := scanStream(c.dir, c.name, cutoff, budget)
	if err != nil {
		return err
	}
	for _, i := range s.unread {
		b := Block{Stream: c.name, Index: s.blocks[i].index, first: s.blocks[i].first, next: s.nextFirst(i), gone: s.tombstones}
		if known != nil {
			b.gone = union(b.gone, known.Gaps)
		}
		c.report.Unread = append(c.report.Unread, b)
	}
	damaged, missing := s.lost(known, c.book.Clean)
	c.lose(damaged, causeDamage)
	c.lose(missing, causeMissing)
	c.mendBlocks(s, known, len(damaged)+len(missing) > 0 || gone)
	if known == nil {
		known = &Stream{Created: info.Created, Meta: meta, First: 1, Last: s.last}
		if len(s.blocks) > 0 {
			known.First = max(1, s.nextFirst(-1))
		}
		c.book.Streams[c.name] = known
	}
	if info.MaxAge > 0 {
		known.Aged = max(known.Aged, s.expired)
	}
	c.consumers(known, max(known.Last, s.last))
	return nil
}

func (c *checker) lose(ranges []Range, cause string) {
	if len(ranges) == 0 {
		return
	}
	if c.internal {
		c.report.Notes = append(c.report.Notes, internalNote(c.name, ranges, cause))
		return
	}
	if l, ok := c.book.Add(Loss{Stream: c.name, Ranges: ranges, Cause: cause, Found: time.Now().UTC()}); ok {
		c.report.Losses = append(c.report.Losses, l)
	}
}

func internalNote(stream string, ranges []Range, cause string) string {
	return fmt.Sprintf("stream %q: records %s are gone (%s); what they said is taken from elsewhere, and events may be repeated", stream, Describe(ranges), cause)
}

// mendBlocks takes out of the blocks what is damaged, and sees to it that no
// sequence is used twice. The index is removed with it: the server makes it
// anew from the blocks.
func (c *checker) mendBlocks(s *scan, known *Stream, lossy bool) {
	index, err := os.ReadFile(filepath.Join(c.dir, messagesDir, indexFile))
	_, indexed, _, ok := bounds(index, c.name)
	valid := err == nil && ok
	if s.damaged() || lossy {
		valid = false
		for _, b := range s.blocks {
			if len(b.damage) == 0 {
				continue
			}
			n := 0
			for _, d := range b.damage {
				n += d.to - d.from
			}
			c.report.repair(func() error { return mendBlock(blockPath(c.dir, b.index), c.name, b.index) },
				"topic %q: %d damaged bytes are taken out of block %d", c.name, n, b.index)
		}
		c.report.mends = append(c.report.mends, func() error { return remove(filepath.Join(c.dir, messagesDir, indexFile)) })
	}
	last := s.last
	if known != nil {
		last = max(last, known.Last)
	}
	if valid && indexed >= last || s.last >= last {
		return
	}
	next := 1
	if n := len(s.blocks); n > 0 {
		next = s.blocks[n-1].index + 1
	}
	c.report.repair(func() error {
		b, err := tombstone(c.name, next, last, time.Now().UnixNano())
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(c.dir, messagesDir), 0o750); err != nil {
			return err
		}
		return errors.Join(writeFile(blockPath(c.dir, next), b, true), remove(filepath.Join(c.dir, messagesDir, indexFile)))
	}, "topic %q: it goes on behind sequence %d, so that none is used twice", c.name, last)
}

// consumers mends descriptions and places of consumers; last is the last
// sequence that a place can name.
func (c *checker) consumers(known *Stream, last uint64) {
	for _, name := range slices.Sorted(maps.Keys(known.Consumers)) {
		k := known.Consumers[name]
		dir := filepath.Join(c.dir, consumersDir, name)
		meta := readMeta(dir)
		if !meta.whole(c.name + "/" + name) {
			c.report.repair(func() error { return k.Meta.write(dir) }, "consumer %q of topic %q: its description was damaged and is written anew", name, c.name)
		}
		path := filepath.Join(dir, consumerState)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && k.Delivered == [2]uint64{} && k.State == 0 {
			continue // it has not been given anything yet
		}
		p, ok := parsePlace(data)
		ok = ok && err == nil && p.delivered[1] <= last
		if ok && c.book.Clean && k.State != 0 {
			ok = stateChecksum(data) == k.State
		}
		if ok {
			continue
		}
		at := place{acked: k.Acked}
		c.report.repair(func() error { return writeFile(path, at.encode(), true) },
			"consumer %q of topic %q: its place was damaged and is again behind %d", name, c.name, k.Acked[1])
	}
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
