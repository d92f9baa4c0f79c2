package ledger

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// State is what a running server says of one stream.
type State struct {
	Name    string
	First   uint64
	Last    uint64
	Deleted int      // messages between First and Last
	Aged    uint64   // up to here max_age may remove messages within the next seconds
	Lost    []uint64 // what the server could not read
}

// Watcher keeps a Book in step with a store that a server has open. It only
// reads the store. Its methods must not be called at the same time.
type Watcher struct {
	dir      string // of the streams
	book     *Book
	internal []string // streams whose messages are not events, see Options
	notes    []string
	streams  map[string]*watched
}

// watched is what a Watcher remembers of a stream between two looks.
type watched struct {
	meta      stamp
	consumers map[string]stamp
	blocks    map[int]walked
	deleted   int
	trailing  []Range // deleted messages behind the last one
	missed    int     // looks at which the server did not list it
}

type stamp struct {
	mod  time.Time
	size int64
}

type walked struct {
	info        os.FileInfo
	first, last uint64
}

// NewWatcher returns a Watcher of the streams in dir. What is lost of the internal
// ones is a note, and no Loss.
func NewWatcher(dir string, book *Book, internal ...string) *Watcher {
	return &Watcher{dir: dir, book: book, internal: internal, streams: map[string]*watched{}}
}

// Notes returns what else Observe has found, once.
func (w *Watcher) Notes() []string {
	notes := w.notes
	w.notes = nil
	return notes
}

// Observe brings the Book up to date. It returns what is newly lost; a stream
// that is gone from the server at two looks is.
func (w *Watcher) Observe(states []State) (fresh []Loss, err error) {
	w.book.Clean = false
	lose := func(name string, ranges []Range, cause string) {
		if slices.Contains(w.internal, name) {
			if len(ranges) > 0 {
				w.notes = append(w.notes, internalNote(name, ranges, cause))
			}
			return
		}
		if l, ok := w.book.Add(Loss{Stream: name, Ranges: ranges, Cause: cause, Found: time.Now().UTC()}); ok {
			fresh = append(fresh, l)
		}
	}
	seen := map[string]bool{}
	var errs []error
	for i := range states {
		st := &states[i]
		seen[st.Name] = true
		seq := w.book.Streams[st.Name]
		if created, changed := w.describe(st.Name); changed && seq != nil && !created.Equal(seq.Created) {
			lose(st.Name, []Range{{seq.First, seq.Last}}, causeRecreated)
			delete(w.book.Streams, st.Name)
		}
		// After a kill the server takes blocks for lost that it has deleted since it
		// wrote its index last: what was before the first one, or is a known gap.
		var deleted []Range
		if seq = w.book.Streams[st.Name]; seq != nil {
			deleted = union([]Range{{1, max(seq.First, 1) - 1}}, seq.Gaps)
		}
		errs = append(errs, w.stream(st))
		if len(st.Lost) > 0 {
			lose(st.Name, subtract(sequences(st.Lost), deleted), causeServer)
		}
	}
	for name, s := range w.book.Streams {
		if seen[name] {
			continue
		}
		c := w.watched(name)
		if c.missed++; c.missed > 1 {
			lose(name, []Range{{s.First, s.Last}}, causeMissing)
			delete(w.book.Streams, name)
			delete(w.streams, name)
		}
	}
	return fresh, errors.Join(errs...)
}

func (w *Watcher) watched(name string) *watched {
	c := w.streams[name]
	if c == nil {
		c = &watched{consumers: map[string]stamp{}, blocks: map[int]walked{}}
		w.streams[name] = c
	}
	return c
}

// describe says when the stream on disk was created, if its description has
// changed since the last look and is whole.
func (w *Watcher) describe(name string) (time.Time, bool) {
	dir := filepath.Join(w.dir, name)
	if !fresh(&w.watched(name).meta, filepath.Join(dir, metaInfo)) {
		return time.Time{}, false
	}
	m := readMeta(dir)
	return m.stream().Created, m.whole(name)
}

// fresh says whether a file has changed since its stamp, which it renews.
func fresh(s *stamp, path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	now := stamp{info.ModTime(), info.Size()}
	old := *s
	*s = now
	return now != old
}

func (w *Watcher) stream(st *State) error {
	c := w.watched(st.Name)
	c.missed = 0
	dir := filepath.Join(w.dir, st.Name)
	s := w.book.Streams[st.Name]
	if s == nil {
		s = &Stream{}
	}
	// The server replaces the files in two steps: in between they do not match.
	if m := readMeta(dir); m.whole(st.Name) {
		s.Meta, s.Created = m, m.stream().Created
	}
	if len(s.Meta.Info) == 0 {
		return nil // next time
	}
	w.book.Streams[st.Name] = s
	s.First, s.Last, s.Aged = st.First, st.Last, st.Aged
	var err error
	if s.Deleted = st.Deleted; st.Deleted == 0 {
		s.Gaps = nil
	} else {
		err = c.gaps(dir, s)
	}
	return errors.Join(err, c.places(dir, st.Name, s))
}

// gaps finds the sequences between blocks that deletions left. Within a block
// they need no record: without damage a hole there is a deletion.
func (c *watched) gaps(dir string, s *Stream) error {
	files, err := blockFiles(dir)
	if err != nil {
		return err
	}
	now := map[int]walked{}
	looked := false // at the newest block
	active := len(files) - 1
	for i, f := range files {
		path := blockPath(dir, f.index)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if old, ok := c.blocks[f.index]; ok && os.SameFile(old.info, info) &&
			(info.Size() <= old.info.Size() || i == active && c.deleted == s.Deleted) {
			// The server replaces a block that it compacts. One that has only
			// become shorter is damaged, which is not a deletion.
			now[f.index] = old
			continue
		}
		first, last, whole, err := walk(path)
		if err != nil {
			return err
		}
		if !whole && i != active {
			last = 0 // not known: no gap behind it
		}
		now[f.index] = walked{info, first, last}
		looked = looked || i == active
	}
	c.blocks, c.deleted = now, s.Deleted
	var gaps []Range
	prev := uint64(0)
	for _, index := range slices.Sorted(maps.Keys(now)) {
		b := now[index]
		if b.first == 0 {
			continue
		}
		if prev > 0 && b.first > prev+1 {
			gaps = append(gaps, Range{prev + 1, b.first - 1})
		}
		prev = b.last
	}
	if looked {
		// What the server had told of was in the file when it was read: what is
		// not there has been deleted, and compacted.
		c.trailing = nil
		if prev > 0 && prev < s.Last {
			c.trailing = []Range{{prev + 1, s.Last}}
		}
	}
	s.Gaps = union(gaps, c.trailing)
	return nil
}

// walk goes over the records of a block without checking them. whole is false
// when they do not end with the file.
func walk(path string) (first, last uint64, whole bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	i := 0
	for i < len(data) {
		n := plausible(data[i:])
		if n == 0 {
			break
		}
		seq := binary.LittleEndian.Uint64(data[i+4:])
		i += n
		if seq &= ^uint64(erasedBit); seq&tombstoneBit != 0 || seq <= last {
			continue
		}
		if first == 0 {
			first = seq
		}
		last = seq
	}
	return first, last, i == len(data), nil
}

// places notes the consumers of a stream.
func (c *watched) places(dir, name string, s *Stream) error {
	entries, err := os.ReadDir(filepath.Join(dir, consumersDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	consumers := map[string]*Consumer{}
	for _, e := range entries {
		cdir := filepath.Join(dir, consumersDir, e.Name())
		k := s.Consumers[e.Name()]
		if k == nil {
			k = &Consumer{}
		}
		st := c.consumers[e.Name()]
		if fresh(&st, filepath.Join(cdir, metaInfo)) || len(k.Meta.Info) == 0 {
			if m := readMeta(cdir); m.whole(name + "/" + e.Name()) {
				k.Meta = m
			} else {
				st = stamp{}
			}
		}
		c.consumers[e.Name()] = st
		if len(k.Meta.Info) == 0 {
			continue
		}
		k.State = 0
		if data, err := os.ReadFile(filepath.Join(cdir, consumerState)); err == nil {
			if p, ok := parsePlace(data); ok {
				k.Acked, k.Delivered, k.State = p.acked, p.delivered, stateChecksum(data)
			}
		}
		consumers[e.Name()] = k
	}
	s.Consumers = consumers
	return nil
}

// Finish brings the Book up to date with a store whose server has stopped in
// order. When every stream can be read it is Clean.
func (w *Watcher) Finish() error {
	entries, err := os.ReadDir(w.dir) // a stream may be newer than the last look
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	clean := true
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		index, err := os.ReadFile(filepath.Join(w.dir, name, messagesDir, indexFile))
		first, last, messages, ok := bounds(index, name)
		if err != nil || !ok {
			clean = false
			continue
		}
		st := State{Name: name, First: first, Last: last, Deleted: int(last - first + 1 - messages)}
		if s := w.book.Streams[name]; s != nil {
			st.Aged = s.Aged
		}
		errs = append(errs, w.stream(&st))
	}
	for name := range w.book.Streams {
		_, err := os.Stat(filepath.Join(w.dir, name))
		clean = clean && err == nil
	}
	err = errors.Join(errs...)
	w.book.Clean = clean && err == nil
	return err
}

// Scrub reads a block of a store that the server has open and returns what is
// lost of it, and its size in bytes. A block that the server has replaced or removed meanwhile is fine.
func Scrub(dir string, b Block) (lost []Range, size int64, err error) {
	path := blockPath(filepath.Join(dir, b.Stream), b.Index)
	for try := 0; ; try++ {
		got, err := readBlock(path, b.Stream, b.Index, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if len(got.damage) == 0 || try == 2 {
			return subtract(got.missing(b), union(b.gone, got.tombstones)), got.size, nil
		}
		time.Sleep(100 * time.Millisecond) // it may be in the middle of a write
	}
}

// missing are the sequences of a block that damage has taken, or that the server
// has cut off when it came upon damage.
func (b *block) missing(was Block) []Range {
	var out []Range
	if b.unreadable || was.next == 0 {
		return nil
	}
	if b.first == 0 {
		return []Range{{was.first, was.next - 1}}
	}
	if b.headDamaged && b.first > was.first {
		out = append(out, Range{was.first, b.first - 1})
	}
	for _, g := range b.gaps {
		if g.damaged {
			out = append(out, g.Range)
		}
	}
	if was.next > b.last+1 {
		out = append(out, Range{b.last + 1, was.next - 1})
	}
	return out
}
