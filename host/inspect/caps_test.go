package inspect_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host/inspect"
	wt "github.com/wasmill/wasmill/host/wasmtest"
)

func times(n int, code ...[]byte) []byte { return bytes.Repeat(wt.Cat(code...), n) }

// TestCaps: for each cap a module that just passes it and one that does not.
func TestCaps(t *testing.T) {
	function := func(f wt.Func, types ...[]byte) []byte {
		m := &wt.Module{Types: append([][]byte{wt.FuncType("", "")}, types...), Funcs: []wt.Func{f}, Names: map[int]string{0: "main.run"}}
		m.Types = append(m.Types, wt.FuncType("", ""))
		return m.Bytes()
	}
	module := func(edit func(m *wt.Module)) []byte {
		m := &wt.Module{Types: [][]byte{wt.FuncType("", "")}}
		edit(m)
		return m.Bytes()
	}
	list := func(n int, item []byte) (l [][]byte) {
		for range n {
			l = append(l, item)
		}
		return l
	}
	locals := func(n int) []byte { return wt.Locals(wt.LocalGroup{N: uint64(n), Type: wt.I64}) }
	for _, tc := range []struct {
		cap   string
		caps  inspect.Caps
		make  func(n int) []byte // n = 3 passes, 4 does not
		parts []string           // of the message
	}{
		{"function types", inspect.Caps{Types: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Types = list(n, wt.FuncType("", "")) })
		}, []string{"type section", "at byte 0x", "4 types, at most 3 are allowed"}},
		{"parameters and results of a type", inspect.Caps{TypeValues: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Types = append(m.Types, wt.FuncType(wt.I32, strings.Repeat(wt.I32, n-1))) })
		}, []string{"type section: type 1 at byte 0x", "in memory"}},
		{"parameters and results of all types", inspect.Caps{TypesTotal: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Types = list(n, wt.FuncType(wt.I32, "")) })
		}, []string{"type 3"}},
		{"imports", inspect.Caps{Imports: 3}, func(n int) []byte {
			return module(func(m *wt.Module) {
				for range n {
					m.Imports = append(m.Imports, wt.Import{Module: "env", Name: "f", Desc: wt.ULEB(0)})
				}
			})
		}, []string{"import section"}},
		{"functions", inspect.Caps{Functions: 3}, func(n int) []byte {
			return module(func(m *wt.Module) {
				m.Imports = []wt.Import{{Module: "env", Name: "f", Desc: wt.ULEB(0)}}
				m.Funcs = make([]wt.Func, n-1)
			})
		}, []string{"function section", "4 functions"}},
		{"tables", inspect.Caps{Tables: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Tables = list(n, wt.Cat([]byte(wt.FuncRef), wt.Limits(0))) })
		}, []string{"table section: table 3"}},
		{"entries of all tables at the start", inspect.Caps{TableEntries: 300}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Tables = list(n, wt.Cat([]byte(wt.FuncRef), wt.Limits(100))) })
		}, []string{"table 3"}},
		{"pages of memory at the start", inspect.Caps{MemoryPages: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Memories = [][]byte{wt.Limits(uint64(n))} })
		}, []string{"memory section: memory 0"}},
		{"globals", inspect.Caps{Globals: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Globals = list(n, wt.Cat([]byte(wt.I32), []byte{0}, wt.I32Const(1), wt.End())) })
		}, []string{"global section"}},
		{"exports", inspect.Caps{Exports: 3}, func(n int) []byte {
			return module(func(m *wt.Module) {
				m.Funcs = []wt.Func{{}}
				for i := range n {
					m.Exports = append(m.Exports, wt.Export{Name: fmt.Sprint(i), Kind: wt.KindFunc})
				}
			})
		}, []string{"export section"}},
		{"element segments", inspect.Caps{Segments: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Elements = list(n, []byte{1, 0, 0}) })
		}, []string{"element section"}},
		{"entries of all element segments", inspect.Caps{ElementItems: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Funcs, m.Elements = []wt.Func{{}}, list(n, []byte{1, 0, 1, 0}) })
		}, []string{"element section: element 3"}},
		{"data segments", inspect.Caps{Segments: 3}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Datas = list(n, []byte{1, 0}) })
		}, []string{"data section"}},
		{"data of all segments", inspect.Caps{DataBytes: 30}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Datas = list(n, wt.Cat([]byte{1}, wt.Name("0123456789"))) })
		}, []string{"data section: data 3"}},
		{"custom sections", inspect.Caps{CustomCount: 3}, func(n int) []byte {
			return append(module(func(*wt.Module) {}), times(n, wt.Custom("x", nil))...)
		}, []string{"strip"}},
		{"custom sections together", inspect.Caps{CustomBytes: 33}, func(n int) []byte {
			return append(module(func(*wt.Module) {}), times(n, wt.Custom("x", make([]byte, 9)))...)
		}, []string{"custom section"}},
		{"length of a name", inspect.Caps{NameBytes: 3}, func(n int) []byte {
			return module(func(m *wt.Module) {
				m.Funcs, m.Exports = []wt.Func{{}}, []wt.Export{{Name: strings.Repeat("x", n), Kind: wt.KindFunc}}
			})
		}, []string{"export section: export 0"}},
		{"size of a function", inspect.Caps{BodyBytes: 5}, func(n int) []byte {
			return function(wt.Func{Body: times(n, wt.Op(wt.OpNop))})
		}, []string{"code section: function 0 (main.run) at byte 0x", "split the function"}},
		{"code of all functions", inspect.Caps{CodeBytes: 9}, func(n int) []byte {
			return module(func(m *wt.Module) { m.Funcs = make([]wt.Func, n) })
		}, []string{"code section"}},
		{"locals of a function", inspect.Caps{Locals: 3}, func(n int) []byte {
			return function(wt.Func{Locals: locals(n)})
		}, []string{"function 0 (main.run)", "4 locals"}},
		{"locals of all functions", inspect.Caps{LocalsTotal: 3}, func(n int) []byte {
			return module(func(m *wt.Module) {
				for range n {
					m.Funcs = append(m.Funcs, wt.Func{Locals: locals(1)})
				}
			})
		}, []string{"function 3"}},
		{"nesting of blocks", inspect.Caps{Depth: 3}, func(n int) []byte {
			return function(wt.Func{Body: wt.Cat(times(n, []byte{2, 0x40}), times(n, wt.End()))})
		}, []string{"(main.run)", "Go nests"}},
		{"blocks and branches of a function", inspect.Caps{Blocks: 6}, func(n int) []byte {
			return function(wt.Func{Body: times(n, wt.Block(wt.NoResult, wt.I32Const(0), wt.BrIf(0)))})
		}, []string{"(main.run)", "7 blocks"}},
		{"locals times blocks of a function", inspect.Caps{LiveLocals: 12}, func(n int) []byte {
			return function(wt.Func{Locals: locals(4), Body: times(n, wt.Block(wt.NoResult))})
		}, []string{"(main.run)"}},
		{"labels of a br_table", inspect.Caps{Labels: 3}, func(n int) []byte {
			return function(wt.Func{Body: wt.Cat(wt.I32Const(0), wt.BrTable(make([]int, n+1)...))})
		}, []string{"(main.run)", "4 labels"}},
		{"labels of all br_tables", inspect.Caps{LabelsTotal: 6}, func(n int) []byte {
			return module(func(m *wt.Module) {
				for range n {
					m.Funcs = append(m.Funcs, wt.Func{Body: wt.Cat(wt.I32Const(0), wt.BrTable(0, 0, 0))})
				}
			})
		}, []string{"function 3"}},
		{"values that calls and branches of a function move", inspect.Caps{Values: 40}, func(n int) []byte {
			return function(wt.Func{Type: 1, Body: wt.Cat(times(n, wt.Call(0)), wt.Unreachable())}, wt.FuncType("", strings.Repeat(wt.I32, 10)))
		}, []string{"(main.run)"}},
		{"values that calls and branches of all functions move", inspect.Caps{ValuesTotal: 6}, func(n int) []byte {
			return module(func(m *wt.Module) {
				m.Types = append(m.Types, wt.FuncType(wt.I32, wt.I32))
				for range n {
					m.Funcs = append(m.Funcs, wt.Func{Type: 1, Body: wt.Cat(wt.LocalGet(0), wt.Return())})
				}
			})
		}, []string{"function 3"}},
	} {
		t.Run(tc.cap, func(t *testing.T) {
			if _, err := inspect.Parse(tc.make(3), tc.caps); err != nil {
				t.Fatalf("what is just allowed: %v", err)
			}
			_, err := inspect.Parse(tc.make(4), tc.caps)
			var e *inspect.Error
			if !errors.As(err, &e) || e.Kind != inspect.TooLarge || e.Rule != tc.cap {
				t.Fatalf("error is %v, want it to be over the cap %q", err, tc.cap)
			}
			for _, part := range tc.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error is %q, want it to say %q", err, part)
				}
			}
		})
	}
	t.Run("size of the module", func(t *testing.T) {
		b := module(func(*wt.Module) {})
		if _, err := inspect.Parse(b, inspect.Caps{ModuleBytes: len(b)}); err != nil {
			t.Error(err)
		}
		if _, err := inspect.Parse(b, inspect.Caps{ModuleBytes: len(b) - 1}); err == nil || !strings.Contains(err.Error(), "strip") {
			t.Error(err)
		}
	})
}

// TestLies: what a module claims and does not have is refused before anything
// is allocated for it.
func TestLies(t *testing.T) {
	for id := range byte(13) {
		claim := wt.PaddedULEB(1<<32-1, 5)
		b := wt.Cat(wt.Header(), wt.Section(id, claim, make([]byte, 64)))
		got := testing.AllocsPerRun(5, func() {
			if _, err := inspect.Parse(b, inspect.Caps{}); err == nil && id != inspect.SectionDataCount {
				t.Errorf("section %d with 2^32-1 entries passes", id)
			}
		})
		if got > 20 {
			t.Errorf("section %d: %v allocations", id, got)
		}
	}
}

func TestNames(t *testing.T) {
	m := &wt.Module{Types: [][]byte{wt.FuncType("", "")}, Funcs: make([]wt.Func, 3)}
	m.Names = map[int]string{0: "a", 2: strings.Repeat("é", 300)}
	parsed, err := inspect.Parse(m.Bytes(), inspect.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	clean := parsed.AppendNames(nil)
	if name := string(parsed.FuncName(2)); name != strings.Repeat("é", 128) {
		t.Errorf("name 2 is %q, want 256 bytes of it", name)
	}
	for _, lie := range [][]byte{
		nil, {1}, {1, 0x80}, {1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f}, {1, 3, 1, 9, 0}, {1, 4, 1, 0, 1, 0xff}, {0, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		m.Names = nil
		parsed, err := inspect.Parse(append(m.Bytes(), wt.Custom("name", lie)...), inspect.Caps{})
		if err != nil {
			t.Fatalf("%x: %v", lie, err)
		}
		if names := parsed.AppendNames(nil); len(names) > 0 {
			t.Errorf("%x gives the names %q", lie, names)
		}
	}
	m.Names = nil
	parsed, err = inspect.Parse(append(m.Bytes(), clean...), inspect.Caps{})
	if err != nil || string(parsed.FuncName(0)) != "a" || !bytes.Equal(parsed.AppendNames(nil), clean) {
		t.Errorf("names do not survive: %v", err)
	}
}
