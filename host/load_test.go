package host

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestLoadRefuses(t *testing.T) {
	valid := wt.NewPlugin(wt.Plugin{})
	noImports := func(edit func(w *wt.Module)) []byte {
		w := new(wt.Module).Plugin(wt.Plugin{})
		edit(w)
		return w.Bytes()
	}
	importing := func(module, name, params, results string) []byte {
		w := new(wt.Module)
		w.ImportFunc(module, name, params, results)
		return w.Plugin(wt.Plugin{}).Bytes()
	}
	importingKind := func(kind byte, desc []byte) []byte {
		w := new(wt.Module)
		w.Plugin(wt.Plugin{})
		w.Imports = append(w.Imports, wt.Import{Module: "env", Name: "thing", Kind: kind, Desc: desc})
		return w.Bytes()
	}
	for _, tc := range []struct {
		name   string
		module []byte
		want   string // in the message
	}{
		{"an empty file", []byte{}, "the file is empty"},
		{"a few bytes", []byte{0}, "is not WebAssembly"},
		{"JSON", []byte(`{"a":1}`), "is not WebAssembly"},
		{"native code", []byte("\x7fELF\x02\x01\x01\x00\x00"), "GOOS=wasip1 GOARCH=wasm"},
		{"text format", []byte("(module)"), "wat2wasm"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"a later version", []byte("\x00asm\x02\x00\x00\x00"), "version other than 1"},
		{"a header and nothing else", []byte("\x00asm\x01\x00\x00\x00"), "does not export wasmill_abi_v1, wasmill_buffer, wasmill_process"},
		{"a module cut off in a section", valid[:len(valid)-9], "is not a valid WebAssembly module"},
		{"a section longer than the file", []byte("\x00asm\x01\x00\x00\x00\x01\xff\xff\xff\xff\x0f"), "where 0 are left"},
		{"a number of too many bytes", []byte("\x00asm\x01\x00\x00\x00\x01\xff\xff\xff\xff\xff\x01"), "too large"},
		{"more types than bytes", []byte("\x00asm\x01\x00\x00\x00\x01\x05\xff\xff\xff\xff\x0f"), "entries in 0 bytes"},
		{"a type that is no function", []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x5f\x00\x00"), "garbage collection"},
		{"a command", noImports(func(w *wt.Module) { w.ExportFunc(abi.ExportStart, "", "") }), "-buildmode=c-shared"},
		{"no memory", noImports(func(w *wt.Module) { w.Memories, w.Exports, w.Datas = nil, w.Exports[1:], nil }), "has no memory"},
		{"a memory that is not exported", noImports(func(w *wt.Module) { w.Without(abi.ExportMemory) }), `does not export its memory as "memory"`},
		{"an imported memory", importingKind(wt.KindMemory, []byte{0, 1}), "a second memory"},
		{"an imported table", importingKind(wt.KindTable, []byte{0x70, 0, 1}), "env.thing (table)"},
		{"an imported global", importingKind(wt.KindGlobal, []byte{0x7f, 0}), "env.thing (global)"},
		{"an import of an unknown kind", importingKind(9, nil), "unknown kind 9"},
		{"a 64-bit memory", wt.NewPlugin(wt.Plugin{Limits: []byte{4, 2}}), "wasm32"},
		{"a shared memory", wt.NewPlugin(wt.Plugin{Limits: []byte{3, 2, 2}}), "threads"},
		{"a memory above the limit", wt.NewPlugin(wt.Plugin{Limits: wt.Limits(17)}), "needs 1088 KiB of memory to start, its limit is 1 MiB"},
		{"a memory beyond all bounds", wt.NewPlugin(wt.Plugin{Limits: wt.Limits(1 << 31)}), "more than 4 GiB"},
		{"a missing export", noImports(func(w *wt.Module) { w.Without(abi.ExportBuffer) }), "does not export wasmill_buffer"},
		{"another version of the ABI", noImports(func(w *wt.Module) {
			w.Exports = w.Exports[:1]
			w.ExportFunc("wasmill_abi_v2", "", wt.I32, wt.I32Const(2<<16))
		}), "version 2 of the plugin ABI"},
		{"an export that is not a function", noImports(func(w *wt.Module) { w.Export(abi.ExportClose, wt.KindMemory, 0) }), "exports wasmill_close as a memory"},
		{"an export of no function", noImports(func(w *wt.Module) { w.Export(abi.ExportClose, wt.KindFunc, 99) }), "the export wasmill_close is function 99, which does not exist"},
		{"an export of another signature", noImports(func(w *wt.Module) {
			w.ExportFunc(abi.ExportOpen, wt.I32+wt.I32, wt.I64, wt.I64Const(0))
		}), "exports wasmill_open as (i32, i32) -> i64; version 1 of the plugin ABI has (i32, i32) -> i32"},
		{"an unknown import", importing("env", "abcdef", wt.I32+wt.F64, ""), "imports env.abcdef, which the host does not have"},
		{"AssemblyScript's abort", importing("env", "abort", wt.I32+wt.I32+wt.I32+wt.I32, ""), "--use abort="},
		{"an unknown import of our module", importing(abi.ImportModule, "launch_missiles", "", ""), "wasmill_v1.launch_missiles"},
		{"an unknown function of WASI", importing(wasiModule, "fd_teleport", wt.I32, wt.I32), wasiModule + ".fd_teleport"},
		{"the clock without a grant", importing(abi.ImportModule, abi.ImportNow, "", wt.I64), `imports wasmill_v1.now, which needs the grant "clock"`},
		{"randomness without a grant", importing(abi.ImportModule, abi.ImportRandom, wt.I32+wt.I32, ""), `grant "random"`},
		{"secrets without a grant", importing(abi.ImportModule, abi.ImportSecretGet, wt.I32+wt.I32+wt.I32+wt.I32, wt.I64), `grant "secret"`},
		{"an import of another signature", importing(abi.ImportModule, abi.ImportLog, wt.I32, ""), "imports wasmill_v1.log as (i32) -> (); the host has (i32, i32, i32) -> ()"},
		{"a WASI import of another signature", importing(wasiModule, "fd_write", wt.I64, wt.I32), "the host has (i32, i32, i32, i32) -> i32"},
		{"a name that is no text", importing("env", "\x1b[31mé\n", "", ""), "env.�[31mé�"},
		{"a body that is not valid code", wt.NewPlugin(wt.Plugin{Process: wt.I32Const(1)}), "is not a valid WebAssembly module"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := openHost(t, false)
			_, err := h.Load(t.Context(), Spec{Name: "bad", Module: tc.module, Limits: Limits{Memory: 1 << 20}})
			var refused *LoadError
			if !errors.As(err, &refused) {
				t.Fatalf("error is %v, want a LoadError", err)
			}
			if !strings.HasPrefix(err.Error(), `plugin "bad": `) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %q, want it to say %q", err, tc.want)
			}
		})
	}

	t.Run("a list of unknown imports names five", func(t *testing.T) {
		w := new(wt.Module)
		for _, name := range strings.Split("abcdefgh", "") {
			w.ImportFunc("env", name, "", "")
		}
		_, err := openHost(t, false).Load(t.Context(), Spec{Name: "bad", Module: w.Plugin(wt.Plugin{}).Bytes()})
		if err == nil || !strings.Contains(err.Error(), "env.a, env.b, env.c, env.d, env.e and 3 more") {
			t.Error(err)
		}
	})
	t.Run("a pin that does not match", func(t *testing.T) {
		_, err := openHost(t, false).Load(t.Context(), Spec{Name: "bad", Module: valid, SHA256: strings.Repeat("0", 64)})
		if err == nil || !strings.Contains(err.Error(), "its pin is 0000") {
			t.Error(err)
		}
	})
	t.Run("an unknown grant", func(t *testing.T) {
		_, err := openHost(t, false).Load(t.Context(), Spec{Name: "bad", Module: valid, Grants: []string{"network"}})
		if err == nil || !strings.Contains(err.Error(), `the grant "network"`) {
			t.Error(err)
		}
	})
}

func TestLoadRefusesFiles(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.wasm")
	if err := os.WriteFile(huge, wt.NewPlugin(wt.Plugin{}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, maxModule+1); err != nil { // sparse
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"one that is not there", filepath.Join(dir, "none.wasm"), "build the plugin first"},
		{"a directory", dir, "is not a regular file"},
		{"one above 64 MiB", huge, "is larger than 64 MiB"},
		{"a device", os.DevNull, "is not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openHost(t, false).Load(t.Context(), Spec{Name: "bad", Path: tc.path})
			var refused *LoadError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) || refused.Path != tc.path {
				t.Errorf("error is %v, want a LoadError that says %q", err, tc.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Run("a generation knows its digest, size and load time", func(t *testing.T) {
		module := wt.NewPlugin(wt.Plugin{})
		gen := load(t, Spec{Module: module})
		if len(gen.Digest()) != 64 || gen.Size() != len(module) || gen.LoadTime() <= 0 || gen.Memory() != 0 {
			t.Errorf("digest %q, size %d, load time %s, memory %d", gen.Digest(), gen.Size(), gen.LoadTime(), gen.Memory())
		}
		load(t, Spec{Module: module, SHA256: strings.ToUpper(gen.Digest())}) // a pin in capitals
	})
	t.Run("granted imports are there", func(t *testing.T) {
		w := new(wt.Module)
		w.ImportFunc(abi.ImportModule, abi.ImportNow, "", wt.I64)
		w.ImportFunc(abi.ImportModule, abi.ImportRandom, wt.I32+wt.I32, "")
		w.ImportFunc(abi.ImportModule, abi.ImportSecretGet, wt.I32+wt.I32+wt.I32+wt.I32, wt.I64)
		start(t, load(t, Spec{Module: w.Plugin(wt.Plugin{}).Bytes(), Grants: []string{"secret", "clock", "random", "clock"}}))
	})
	t.Run("loads of one module at once all succeed", func(t *testing.T) {
		h := openHost(t, false)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				gen, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
				if err != nil {
					t.Error(err)
					return
				}
				i, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p"})
				if err != nil {
					t.Error(err)
					return
				}
				i.Discard()
				if err := gen.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("generations of one module share its code, and one outlives the other", func(t *testing.T) {
		h := openHost(t, false)
		spec := Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Unreachable())})}
		var gens []*Generation
		for _, limit := range []int64{1 << 20, 2 << 20} {
			spec.Limits.Memory = limit
			gen, err := h.Load(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			gens = append(gens, gen)
		}
		old, i := start(t, gens[0]), start(t, gens[1])
		old.Discard()
		if err := gens[0].Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtime.GC() // what nobody holds any more is unmapped
		for range 2 {
			err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
			wantFault(t, err, abi.FaultTrap, "run_the_batch")
		}
	})
	t.Run("a configuration that nobody takes is worth a warning", func(t *testing.T) {
		for config, warned := range map[string]bool{`{"a":1}`: true, "{}": false, "": false} {
			log := &bytes.Buffer{}
			h := New(Options{Log: slog.New(slog.NewTextHandler(log, nil))})
			if err := h.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{}), Config: []byte(config)}); err != nil {
				t.Error(err)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if strings.Contains(log.String(), "wasmill_open") != warned {
				t.Errorf("configuration %q: log is %q", config, log)
			}
		}
	})
	t.Run("a cancelled load is not the module's fault", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h := openHost(t, false)
		h.compiling <- struct{}{} // another load is compiling
		_, err := h.Load(ctx, Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
		<-h.compiling
		var refused *LoadError
		if !errors.Is(err, context.Canceled) || errors.As(err, &refused) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("a closed host loads nothing", func(t *testing.T) {
		h := New(Options{})
		if _, err := h.Load(t.Context(), Spec{Module: wt.NewPlugin(wt.Plugin{})}); !errors.Is(err, ErrClosed) {
			t.Errorf("error is %v, want ErrClosed", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	t.Run("a generation with an instance closes with the instance", func(t *testing.T) {
		h := openHost(t, false)
		gen, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
		if err != nil {
			t.Fatal(err)
		}
		i := start(t, gen)
		if err := gen.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}); err != nil {
			t.Errorf("the running instance must go on: %v", err)
		}
		if _, err := gen.NewInstance(t.Context(), InstanceSpec{}); !errors.Is(err, ErrClosed) {
			t.Errorf("a new instance of a closed generation: %v, want ErrClosed", err)
		}
		i.Discard()
		gen.mu.Lock()
		closed := gen.mu.closed
		gen.mu.Unlock()
		if !closed || gen.Memory() != 0 {
			t.Errorf("closed %v, memory %d after the last instance", closed, gen.Memory())
		}
		if err := gen.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("a host says which plugin still has instances", func(t *testing.T) {
		h := New(Options{})
		if err := h.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		gen, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
		if err != nil {
			t.Fatal(err)
		}
		i := start(t, gen)
		if err := h.Close(t.Context()); err == nil || !strings.Contains(err.Error(), `"test" still has 1 instances`) {
			t.Errorf("error is %v", err)
		}
		i.Discard()
		if err := h.Close(t.Context()); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	})
}

func TestCloseWaitsForACompilation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{})
		if err := h.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.compiling <- struct{}{} // a load is compiling
		closed := make(chan error, 1)
		go func() { closed <- h.Close(t.Context()) }()
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("Close did not wait")
		}
		<-h.compiling
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
