package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Ranges behave as the sets of numbers that they are.
func TestRanges(t *testing.T) {
	set := func(ranges []Range) map[uint64]bool {
		m := map[uint64]bool{}
		for _, r := range ranges {
			for s := r.First; s <= r.Last; s++ {
				m[s] = true
			}
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint64Range(1, 40))
		a, b := sequences(numbers.Draw(t, "a")), sequences(numbers.Draw(t, "b"))
		inA, inB := set(a), set(b)
		if n := Count(a); n != uint64(len(inA)) {
			t.Fatalf("%v: Count is %d, want %d", a, n, len(inA))
		}
		floor := rapid.Uint64Range(0, 41).Draw(t, "floor")
		for s := uint64(1); s <= 40; s++ {
			if got := set(union(a, b))[s]; got != (inA[s] || inB[s]) {
				t.Fatalf("union of %v and %v at %d: %v", a, b, s, got)
			}
			if got := set(subtract(a, b))[s]; got != (inA[s] && !inB[s]) {
				t.Fatalf("%v without %v at %d: %v", a, b, s, got)
			}
			if got := set(above(a, floor))[s]; got != (inA[s] && s > floor) {
				t.Fatalf("%v above %d at %d: %v", a, floor, s, got)
			}
		}
	})
	if got := Describe([]Range{{1, 1}, {3, 9}}); got != "1, 3–9" {
		t.Errorf("Describe says %q", got)
	}
}

func TestBook(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if _, err := Load(a, b); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	book := NewBook()
	book.Streams["s"] = &Stream{First: 1, Last: 9, Consumers: map[string]*Consumer{"c": {Acked: [2]uint64{4, 4}}}}
	if err := book.Save(true, a, b); err != nil {
		t.Fatal(err)
	}
	got, err := Load(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(book, got); diff != "" {
		t.Errorf("read back (-saved +loaded):\n%s", diff)
	}

	t.Run("a loss is counted once, for those who had not read it", func(t *testing.T) {
		if _, ok := book.Add(Loss{Stream: "s", Ranges: []Range{{3, 5}}}); !ok {
			t.Fatal("not added")
		}
		l, ok := book.Add(Loss{Stream: "s", Ranges: []Range{{4, 7}}})
		if diff := cmp.Diff(Loss{Stream: "s", Ranges: []Range{{6, 7}}, Count: 2, Unread: map[string]uint64{"c": 2}}, l); diff != "" || !ok {
			t.Errorf("%v, (-want +got):\n%s", ok, diff)
		}
		if _, ok := book.Add(Loss{Stream: "s", Ranges: []Range{{3, 7}}}); ok {
			t.Error("added again")
		}
		if n := len(book.Unaccepted()); n != 2 {
			t.Errorf("%d losses are open", n)
		}
		if book.Accept(); len(book.Unaccepted()) != 0 {
			t.Error("still open")
		}
	})

	t.Run("the later of two copies counts, and the one that is whole", func(t *testing.T) {
		if err := book.Save(false, b); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(a, b); err != nil || got.Edition != 2 {
			t.Fatalf("%v %v", got, err)
		}
		flip(t, b)
		if got, err := Load(a, b); err != nil || got.Edition != 1 {
			t.Fatalf("%v %v", got, err)
		}
		flip(t, a)
		if _, err := Load(a, b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("both are damaged: %v", err)
		}
	})

	t.Run("one of a later version is not understood", func(t *testing.T) {
		later := NewBook()
		later.Version = version + 1
		if err := later.Save(false, a); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(a); err == nil || errors.Is(err, ErrDamaged) {
			t.Fatalf("%v", err)
		}
	})
}

func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzBlock: whatever a block file holds, reading it ends, and what it says is
// consistent.
func FuzzBlock(f *testing.F) {
	stone, err := tombstone("s", 1, 7, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stone)
	f.Add(append([]byte("garbage"), stone...))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBlock(data, "s", 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, d := range b.damage {
			if d.from < at || d.to <= d.from || d.to > len(data) {
				t.Fatalf("damage %v of %d bytes", b.damage, len(data))
			}
			at = d.to
		}
		for _, g := range b.gaps {
			if g.First <= b.first || g.Last >= b.last || g.First > g.Last {
				t.Fatalf("gap %v within %d–%d", g, b.first, b.last)
			}
		}
	})
}

// FuzzPlace: a consumer's state file is read without harm, and what is written
// is read back.
func FuzzPlace(f *testing.F) {
	p := place{acked: [2]uint64{3, 9}}
	f.Add(p.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := parsePlace(data)
		if !ok {
			return
		}
		again, ok := parsePlace((&place{acked: p.acked}).encode())
		if !ok || again.acked != p.acked || again.delivered != p.acked {
			t.Fatalf("%v %v, was %v", again, ok, p)
		}
	})
}

// After a kill the server takes for lost what its index still names, though it was
// deleted since. What it really has lost is a Loss, but of the runtime's own streams.
func TestWatcherBelievesTheServerAsFarAsItCan(t *testing.T) {
	state := []State{{Name: "s", First: 20, Last: 40, Lost: []uint64{5, 19, 25, 26, 30}}}
	for _, internal := range []bool{false, true} {
		book := NewBook()
		book.Streams["s"] = &Stream{First: 20, Last: 40, Gaps: []Range{{25, 27}}}
		w := NewWatcher(t.TempDir(), book)
		if internal {
			w = NewWatcher(t.TempDir(), book, "s")
		}
		fresh, err := w.Observe(state)
		if err != nil {
			t.Fatal(err)
		}
		notes := w.Notes()
		switch {
		case internal:
			if len(fresh)+len(book.Losses) > 0 || len(notes) != 1 || !strings.Contains(notes[0], "records 30 are gone") {
				t.Errorf("of an internal stream: %+v, %q", fresh, notes)
			}
		case len(fresh) != 1 || len(notes) > 0:
			t.Errorf("%+v, %q", fresh, notes)
		default:
			if diff := cmp.Diff([]Range{{30, 30}}, fresh[0].Ranges); diff != "" {
				t.Error(diff)
			}
		}
	}
}
