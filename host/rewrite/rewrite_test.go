package rewrite

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/host/inspect"
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/builtin"
)

// instance rewrites a module and instantiates it.
func instance(t *testing.T, m *wt.Module, o Options) api.Module {
	t.Helper()
	rt := wazero.NewRuntime(t.Context())
	t.Cleanup(func() { rt.Close(t.Context()) })
	_, err := rt.NewHostModuleBuilder(LinkerHost).NewFunctionBuilder().WithFunc(func() int64 { return Quantum }).Export(TickFunc).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := inspect.Parse(m.Bytes(), inspect.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	binary, err := Module(parsed, o)
	if err != nil {
		t.Fatal(err)
	}
	i, err := rt.Instantiate(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := link(t.Context(), rt, i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestNamesOfOurs(t *testing.T) {
	for _, name := range []string{TickTable, Start, Prefix} {
		m := new(wt.Module)
		m.ExportFunc(name, "", "")
		parsed, err := inspect.Parse(m.Bytes(), inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Module(parsed, Options{}); err == nil || !strings.Contains(err.Error(), "are the host's") {
			t.Errorf("a module that exports %q: %v", name, err)
		}
	}
}

// What is appended lies right behind the module's own indices. A module that
// names one more than it has must not get that far.
func TestWhatIsAppendedIsOutOfReach(t *testing.T) {
	for name, body := range map[string][]byte{
		"the fuel":    wt.Cat(wt.I64Const(1<<62), wt.GlobalSet(1)),
		"the table":   wt.Cat(wt.I32Const(0), wt.RefNull(wt.FuncRef), wt.Op(opTableSet), wt.ULEB(1)),
		"a helper":    wt.Cat(wt.I32Const(0), wt.Call(1)),
		"a type":      wt.Cat(wt.I32Const(0), wt.CallIndirect(1, 0), wt.Drop()),
		"the counter": wt.Cat(wt.I32Const(1<<30), wt.LocalSet(0), wt.Forever()),
	} {
		m := new(wt.Module)
		m.Global(wt.I64, true, wt.I64Const(0))
		m.Table(wt.FuncRef, wt.Limits(1))
		m.Func("", "", body)
		if _, err := inspect.Parse(m.Bytes(), inspect.Caps{}); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("a module that names %s: %v", name, err)
		}
	}
}

const opTableSet = 0x26

func TestTablesGrowToALimit(t *testing.T) {
	m := new(wt.Module)
	m.Table(wt.FuncRef, wt.Limits(3))
	m.ExportFunc("grow", wt.I32, wt.I32, wt.RefNull(wt.FuncRef), wt.LocalGet(0), wt.TableGrow(0))
	grow := instance(t, m, Options{TableEntries: 10}).ExportedFunction("grow")
	for _, step := range []struct {
		by, want uint32
	}{{5, 3}, {3, ^uint32(0)}, {0, 8}, {2, 8}, {0, 10}, {1, ^uint32(0)}, {^uint32(0), ^uint32(0)}} {
		if got, err := grow.Call(t.Context(), uint64(step.by)); err != nil || uint32(got[0]) != step.want {
			t.Errorf("by %d: %v (%v), want %d", step.by, got, err, step.want)
		}
	}
}

// Bulk operations in pieces do what they do at once, also when source and
// destination overlap, and write nothing when a bound is missed.
func TestBulkOperationsInPieces(t *testing.T) {
	const pages = 4
	m := new(wt.Module)
	m.Memory(wt.Limits(pages))
	m.Export("memory", wt.KindMemory, 0)
	segment := bytes.Repeat([]byte("0123456789abcde"), 10_000)
	data := m.PassiveData(segment)
	args := wt.Cat(wt.LocalGet(0), wt.LocalGet(1), wt.LocalGet(2))
	m.ExportFunc("copy", wt.I32+wt.I32+wt.I32, "", args, wt.MemoryCopy())
	m.ExportFunc("fill", wt.I32+wt.I32+wt.I32, "", args, wt.MemoryFill())
	m.ExportFunc("init", wt.I32+wt.I32+wt.I32, "", args, wt.MemoryInit(data))
	for _, eager := range []bool{false, true} {
		i := instance(t, m, Options{Eager: eager})
		mem, _ := i.Memory().Read(0, pages<<16)
		for k := range mem {
			mem[k] = byte(k * 7 >> 3)
		}
		want := bytes.Clone(mem)
		for _, step := range []struct {
			op      string
			d, s, n uint32
			trap    bool
		}{
			{"copy", 100, 0, 150_000, false},
			{"copy", 0, 100, 150_000, false},
			{"copy", 70_000, 0, 65_537, false},
			{"copy", 0, 1, pages << 16, true},
			{"copy", 1, 0, ^uint32(0), true},
			{"fill", 3, 0xab, 140_000, false},
			{"fill", 3, 0xcd, pages << 16, true},
			{"fill", ^uint32(0), 1, 2, true},
			{"init", 11, 5, 149_000, false},
			{"init", 0, 2, 150_000, true},
			{"init", 200_000, 0, 100_000, true},
		} {
			_, err := i.ExportedFunction(step.op).Call(t.Context(), uint64(step.d), uint64(step.s), uint64(step.n))
			if (err != nil) != step.trap {
				t.Fatalf("%+v: %v", step, err)
			}
			if !step.trap {
				to := want[step.d:][:step.n]
				switch step.op {
				case "copy":
					copy(to, want[step.s:])
				case "fill":
					copy(to, bytes.Repeat([]byte{byte(step.s)}, len(to)))
				case "init":
					copy(to, segment[step.s:])
				}
			}
			if !bytes.Equal(mem, want) {
				t.Fatalf("%+v (eager: %v): the memory is not what it should be", step, eager)
			}
		}
	}
}

// BenchmarkModule is what a Go plugin of 2 MB costs to inspect and rewrite.
func BenchmarkModule(b *testing.B) {
	binary, err := builtin.Modules()["threshold"]()
	if err != nil {
		b.Fatal(err)
	}
	parse := func(b *testing.B) *inspect.Module {
		m, err := inspect.Parse(binary, inspect.Caps{})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	run := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(binary)))
			for b.Loop() {
				f(b)
			}
		})
	}
	m := parse(b)
	run("inspect", func(b *testing.B) { parse(b) })
	run("rewrite", func(b *testing.B) {
		if _, err := Module(m, Options{}); err != nil {
			b.Fatal(err)
		}
	})
	run("both", func(b *testing.B) {
		if _, err := Module(parse(b), Options{}); err != nil {
			b.Fatal(err)
		}
	})
}
