// Package ledger knows what a store of the embedded server should hold, so that
// what is missing from it does not go unseen. The server itself drops what it
// cannot read: a flipped bit costs the rest of a block of messages and leaves no
// trace but a gap in the sequences.
//
// A Book is a small file, written every second or so, at the start and at the
// end, that has for every stream the first and the last sequence, the gaps that
// deletions left, copies of the files that describe it, and how far its
// consumers are. Check compares a store with its Book before the server opens
// it, and reads every block's checksums. What it finds is a Report: ranges of
// sequences that are lost, and damage that Mend can repair.
//
// The package reads and writes the files of nats-server 2.15; nothing here may
// run on a store that a server has open, save for Watch, which only reads.
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Name is the Book's file in the directory of the store.
const Name = "wasmill.ledger"

// version is that of the file; a Book of a later one is refused.
const version = 1

// Book is what a store should hold. It is plain data, not safe for concurrent use.
type Book struct {
	Version int                `json:"version"`
	Edition uint64             `json:"edition"` // grows with every Save: of two copies the later counts
	Time    time.Time          `json:"time"`
	Clean   bool               `json:"clean"` // nothing has been written to the store since
	Streams map[string]*Stream `json:"streams"`
	Losses  []Loss             `json:"losses,omitempty"`
}

// Stream is what a Book says of one stream.
type Stream struct {
	Created time.Time `json:"created"`
	First   uint64    `json:"first"`
	Last    uint64    `json:"last"`
	// Aged is the sequence up to which max_age may have removed messages soon
	// after the Book was written.
	Aged      uint64               `json:"aged,omitempty"`
	Deleted   int                  `json:"deleted,omitempty"` // messages between First and Last
	Gaps      []Range              `json:"gaps,omitempty"`    // sequences between two blocks that deletions left
	Meta      Meta                 `json:"meta"`
	Consumers map[string]*Consumer `json:"consumers,omitempty"`
}

// Meta are the two files that describe a stream or a consumer.
type Meta struct {
	Info []byte `json:"info"`
	Sum  []byte `json:"sum"`
}

// Consumer is how far a consumer of a stream is.
type Consumer struct {
	Meta      Meta      `json:"meta"`
	Delivered [2]uint64 `json:"delivered"` // consumer and stream sequence
	Acked     [2]uint64 `json:"acked"`
	State     uint32    `json:"state,omitempty"` // checksum of the state file, of a clean Book
}

// Loss is a set of messages that are gone and that nobody has removed.
type Loss struct {
	Stream   string    `json:"stream"`
	Ranges   []Range   `json:"ranges"`
	Count    uint64    `json:"count"`
	Cause    string    `json:"cause"`
	Found    time.Time `json:"found"`
	Accepted bool      `json:"accepted"` // by the operator
	// Unread is, for each consumer, how many of them it had not acknowledged; 0 =
	// it had acknowledged all.
	Unread map[string]uint64 `json:"unread,omitempty"`
}

// NewBook returns a Book of an empty store.
func NewBook() *Book {
	return &Book{Version: version, Streams: map[string]*Stream{}}
}

// ErrDamaged says that no copy of a Book can be read.
var ErrDamaged = errors.New("the ledger is damaged")

// ErrLaterVersion says that a later Wasmill has written it.
var ErrLaterVersion = errors.New("written by a later Wasmill")

// Load reads the latest of the copies of a Book. None is ErrNotExist; copies of
// which none is whole are ErrDamaged.
func Load(paths ...string) (*Book, error) {
	var best *Book
	var bad error
	for _, p := range paths {
		b, err := loadOne(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			bad = errors.Join(bad, err)
		case best == nil || b.Edition > best.Edition:
			best = b
		}
	}
	switch {
	case best != nil:
		return best, nil
	case bad != nil:
		return nil, bad
	}
	return nil, fs.ErrNotExist
}

func loadOne(path string) (*Book, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(sum) != checksum(body) {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, path)
	}
	b := NewBook()
	if err := json.Unmarshal(body, b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if b.Version > version {
		return nil, fmt.Errorf("%s has been %w (version %d of the ledger, this one knows %d): use that one", path, ErrLaterVersion, b.Version, version)
	}
	for name, s := range b.Streams {
		if s == nil {
			return nil, fmt.Errorf("%w: %s: nothing is said of stream %q", ErrDamaged, path, name)
		}
	}
	return b, nil
}

func checksum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// Save writes the Book to every path, each atomically, as a new edition. It
// reports what fails, and goes on with the next. After a power loss the Book may be
// gone, unless it is synced.
func (b *Book) Save(synced bool, paths ...string) error {
	b.Edition++
	b.Time = time.Now().UTC()
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	data := append([]byte(checksum(body)+"\n"), body...)
	var errs []error
	for _, p := range paths {
		errs = append(errs, writeFile(p, data, synced))
	}
	return errors.Join(errs...)
}

// writeFile replaces a file, or leaves it as it is. To sync it writes out every
// topic's pages on a file system that orders its journal: that is for stores
// whose pages are synced all the time.
func writeFile(path string, data []byte, synced bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".ledger-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	sync := func(f *os.File) error {
		if !synced {
			return nil
		}
		return f.Sync()
	}
	if err := errors.Join(chmod(f), write(f, data), sync(f), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil || !synced {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func chmod(f *os.File) error { return f.Chmod(0o600) }

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// Add records a loss, less what is known to be lost already.
func (b *Book) Add(l Loss) (fresh Loss, ok bool) {
	for i := range b.Losses {
		if b.Losses[i].Stream == l.Stream {
			l.Ranges = subtract(l.Ranges, b.Losses[i].Ranges)
		}
	}
	if l.Count = Count(l.Ranges); l.Count == 0 {
		return Loss{}, false
	}
	l.Unread = nil
	if s := b.Streams[l.Stream]; s != nil {
		l.Unread = s.unread(l.Ranges)
	}
	b.Losses = append(b.Losses, l)
	return l, true
}

func (s *Stream) unread(lost []Range) map[string]uint64 {
	out := map[string]uint64{}
	for name, c := range s.Consumers {
		out[name] = Count(above(lost, c.Acked[1]))
	}
	return out
}

// Unaccepted are the losses that no operator has accepted.
func (b *Book) Unaccepted() []Loss {
	var out []Loss
	for _, l := range b.Losses {
		if !l.Accepted {
			out = append(out, l)
		}
	}
	return out
}

// Accept marks every loss as accepted.
func (b *Book) Accept() {
	for i := range b.Losses {
		b.Losses[i].Accepted = true
	}
}
