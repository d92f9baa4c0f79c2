package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/wasmill/wasmill/host/inspect"
)

// way is how a module is run to be compared.
type way int

const (
	plain way = iota
	rewritten
	eager
	interpreted // plain, by wazero's interpreter
)

func (w way) String() string { return [...]string{"plain", "rewritten", "eager", "interpreted"}[w] }

func (w way) checked() bool { return w == rewritten || w == eager }

// startFailed is how wazero begins the error of a start function.
var startFailed = regexp.MustCompile(`^start function\[\d+\] failed: `)

var errTooLong = errors.New("the module runs too long for a test")

// trace runs a module and returns what can be seen of it: of each call of each
// exported function, with some arguments, its results or its trap; then its
// globals and memory. A call that needs more than most ticks ends with errTooLong.
func trace(ctx context.Context, binary []byte, w way, most int) (string, error) {
	config := wazero.NewRuntimeConfig()
	if w == interpreted {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config.WithMemoryLimitPages(64))
	defer rt.Close(ctx)
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(m.Imports, func(i inspect.Import) bool { return string(i.Module) == wasi_snapshot_preview1.ModuleName }) {
		if _, err := wasi_snapshot_preview1.Instantiate(ctx, rt); err != nil {
			return "", err
		}
	}
	ticks := 0
	_, err = rt.NewHostModuleBuilder(LinkerHost).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
			if ticks++; ticks > most {
				panic(errTooLong)
			}
			stack[0] = Quantum
			if w == eager {
				stack[0] = 0
			}
		}), nil, []api.ValueType{api.ValueTypeI64}).Export(TickFunc).Instantiate(ctx)
	if err != nil {
		return "", err
	}
	if w.checked() {
		if binary, err = Module(m, Options{Eager: w == eager}); err != nil {
			return "", err
		}
	}
	var out strings.Builder
	note := func(name string, results []uint64, types []api.ValueType, err error) {
		if err != nil { // without the stack trace
			first, _, _ := strings.Cut(err.Error(), "\n")
			first = strings.TrimPrefix(startFailed.ReplaceAllString(first, ""), "wasm error: ")
			fmt.Fprintf(&out, "%s: %s\n", name, first)
			return
		}
		for i, t := range types {
			if slices.Contains(types, 0x7b) || t == api.ValueTypeExternref || t == 0x70 {
				results = nil // a reference is an address
				break
			}
			if t == api.ValueTypeF32 && results[i]&0x7fffffff > 0x7f800000 || t == api.ValueTypeF64 && results[i]&^(1<<63) > 0x7ff<<52 {
				results[i] = 0x7ff8 // the bits of a NaN are not determined
			}
		}
		fmt.Fprintf(&out, "%s: %x\n", name, results)
	}
	instance, err := rt.InstantiateWithConfig(ctx, binary, wazero.NewModuleConfig().
		WithName("").WithStartFunctions().WithStdout(&out).WithStderr(&out).WithArgs("test"))
	if err == nil && w.checked() {
		err = link(ctx, rt, instance)
	}
	if errors.Is(err, errTooLong) {
		return "", err
	}
	if err != nil {
		note("instantiate", nil, nil, err)
		return out.String(), nil
	}
	definitions := instance.ExportedFunctionDefinitions()
	var names []string
	for name := range definitions {
		if !strings.HasPrefix(name, Prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f := instance.ExportedFunction(name)
		for round := range 3 {
			var args []uint64
			for i := range definitions[name].ParamTypes() {
				args = append(args, []uint64{0, 1<<31 - 1 + uint64(i), 0x3ff80000_3f800001}[round])
			}
			if slices.ContainsFunc(definitions[name].ParamTypes(), func(t api.ValueType) bool { return t < 0x7c }) {
				continue // vectors and references
			}
			if g := instance.ExportedGlobal("g0"); g != nil {
				if m, ok := g.(api.MutableGlobal); ok && g.Type() == api.ValueTypeI32 {
					m.Set(200) // the gas of a random module
				}
			}
			results, err := f.Call(ctx, args...)
			if errors.Is(err, errTooLong) {
				return "", err
			}
			note(name, results, definitions[name].ResultTypes(), err)
		}
	}
	for i := range 8 {
		if g := instance.ExportedGlobal(fmt.Sprintf("g%d", i)); g != nil {
			note(fmt.Sprintf("global %d", i), []uint64{g.Get()}, []api.ValueType{g.Type()}, nil)
		}
	}
	if mem := instance.Memory(); mem != nil && instance.ExportedMemory("memory") != nil {
		b, _ := mem.Read(0, mem.Size())
		fmt.Fprintf(&out, "memory: %d bytes %x\n", len(b), bytes.TrimRight(b, "\x00"))
	}
	return out.String(), nil
}

// sameInAllWays checks that a module does the same in all ways. The error is
// errTooLong.
func sameInAllWays(t *testing.T, binary []byte) (what string, err error) {
	t.Helper()
	const most = 1 << 20
	want, err := trace(t.Context(), binary, plain, most)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []way{rewritten, eager} {
		got, err := trace(t.Context(), binary, w, most)
		if errors.Is(err, errTooLong) {
			return want, err
		}
		if err != nil {
			t.Fatalf("%s: %v", w, err)
		}
		if got != want && !miscompiled(t, binary, got) {
			t.Errorf("%s it does\n%.2000s\nplain\n%.2000s", w, got, want)
		}
	}
	return want, nil
}

// miscompiled says whether a module does, by the interpreter and plain, what it
// does rewritten: then it is the compiler that makes something else of the plain
// one. (Of 300 random modules one shows such a difference.)
func miscompiled(t *testing.T, binary []byte, got string) bool {
	t.Helper()
	if want, err := trace(context.Background(), binary, interpreted, 0); err != nil || got != want {
		return false
	}
	t.Log("wazero's compiler and its interpreter do not agree on the plain module; rewritten it does what the interpreter does")
	return true
}

// TestRandomModules compares random modules with and without rewriting.
func TestRandomModules(t *testing.T) {
	n := uint64(300)
	if raceEnabled {
		n = 30
	}
	calls, traps := 0, 0
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			binary, _ := randomModule(seed)
			what, err := sameInAllWays(t, binary)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(what) {
				if strings.HasPrefix(line, "f") {
					calls++
					if !strings.Contains(line, ": [") {
						traps++
					}
				}
			}
		})
	}
	t.Logf("%d calls, %d of them trapped", calls, traps)
	if calls < int(n) || traps == 0 || traps > calls*3/4 {
		t.Errorf("%d of %d calls trapped: the modules say little", traps, calls)
	}
}

// TestRealModules compares the modules of other people that lie in the source of
// wazero: programs of many compilers, and what its fuzzing found.
func TestRealModules(t *testing.T) {
	dir, err := wazeroDir()
	if err != nil {
		t.Fatal(err)
	}
	seen, compared := 0, 0
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".wasm" || strings.Contains(path, "spectest") {
			return err
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m, err := inspect.Parse(binary, inspect.Caps{})
		if err != nil {
			t.Logf("%s: %v", filepath.Base(path), err)
			return nil // of proposals that the host does not have
		}
		seen++
		if raceEnabled && len(binary) > 20<<10 || slices.ContainsFunc(m.Imports, foreign) {
			return nil
		}
		compared++
		t.Run(strings.TrimPrefix(path, dir), func(t *testing.T) {
			ctx := t.Context()
			got, err := trace(ctx, binary, rewritten, 50)
			if errors.Is(err, errTooLong) {
				return // endless by intention
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := trace(ctx, binary, plain, 0)
			if err != nil || got != want && !miscompiled(t, binary, got) {
				t.Errorf("rewritten it does\n%.2000s\nplain\n%.2000s (%v)", got, want, err)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d modules, %d compared", seen, compared)
}

// foreign says whether an import is of something that the test does not have.
func foreign(i inspect.Import) bool { return string(i.Module) != wasi_snapshot_preview1.ModuleName }

// FuzzRewrite shows that whatever inspect lets pass and wazero takes is, after
// rewriting, still valid and computes the same.
func FuzzRewrite(f *testing.F) {
	for seed := range uint64(20) {
		binary, _ := randomModule(seed)
		f.Add(binary)
	}
	f.Fuzz(func(t *testing.T, binary []byte) {
		m, err := inspect.Parse(binary, inspect.Caps{})
		if err != nil || len(m.Imports) > 0 {
			return
		}
		ctx := context.Background()
		got, err := trace(ctx, binary, rewritten, 20)
		if err != nil {
			return // too long, or a name that is ours
		}
		want, err := trace(ctx, binary, plain, 0)
		if err != nil {
			t.Fatal(err)
		}
		const invalid = "instantiate: invalid" // and where, which differs
		if strings.HasPrefix(got, invalid) && strings.HasPrefix(want, invalid) {
			return
		}
		if got != want && !miscompiled(t, binary, got) {
			t.Errorf("rewritten it does\n%.2000s\nplain\n%.2000s", got, want)
		}
	})
}

// FuzzRandomModule compares more random modules than TestRandomModules.
func FuzzRandomModule(f *testing.F) {
	f.Add(uint64(300))
	f.Fuzz(func(t *testing.T, seed uint64) {
		binary, _ := randomModule(seed)
		_, _ = sameInAllWays(t, binary) // one that runs too long says nothing
	})
}
