package rewrite

import (
	"bytes"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/host/inspect"
)

// What a host looks at is the same in an outline, and what wazero makes
// instances of is the same in a stub.
func TestStubsAndOutlines(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(100) {
		binary, _ := randomModule(seed)
		m, err := inspect.Parse(binary, inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		rewritten, err := Module(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := inspect.Parse(rewritten, inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		same := func(what string, a, b *inspect.Module) {
			t.Helper()
			ok := slices.EqualFunc(a.Exports, b.Exports, func(x, y inspect.Export) bool {
				return bytes.Equal(x.Name, y.Name) && x.Kind == y.Kind && x.Index == y.Index
			})
			if !ok || len(a.Bodies) != len(b.Bodies) || !slices.Equal(a.Funcs, b.Funcs) || len(a.Types) != len(b.Types) ||
				len(a.Imports) != len(b.Imports) || len(a.Globals) != len(b.Globals) || !slices.Equal(a.Memories, b.Memories) {
				t.Errorf("module %d: its %s differs", seed, what)
			}
		}
		outline, err := inspect.Parse(Outline(m), inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		same("outline", outline, m)
		b := Stub(rewritten)
		if seen[string(b)] {
			t.Errorf("module %d has the stub of another", seed)
		}
		seen[string(b)] = true
		stub, err := inspect.Parse(b, inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		same("stub", stub, whole)
		if len(stub.Data) != len(whole.Data) || len(stub.Elements) != len(whole.Elements) || stub.Start != whole.Start {
			t.Errorf("module %d: its stub has other segments", seed)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	a, err := Version()
	if err != nil || len(a) != 64 {
		t.Fatalf("%q, %v", a, err)
	}
	if b, err := Version(); a != b || err != nil {
		t.Errorf("%q and %q, %v", a, b, err)
	}
}
