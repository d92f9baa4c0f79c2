package host

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host/inspect"
	wt "github.com/wasmill/wasmill/host/wasmtest"
)

// withWorker is an open Host that compiles aside, in this test binary.
func withWorker(t testing.TB, o Options) *Host {
	t.Helper()
	worker, err := Executable(compileWorker)
	if err != nil {
		t.Fatal(err)
	}
	o.Worker = worker
	h := New(o)
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// bomb is a module that passes every cap and takes far more than a worker may:
// the value of each block of many depends on all locals.
func bomb(locals, loops int) []byte {
	var set, get []byte
	for i := range locals {
		set = wt.Cat(set, wt.I32Const(0), wt.Mem(wt.OpI32Load, 0), wt.LocalSet(i))
		get = wt.Cat(get, wt.I32Const(0), wt.LocalGet(i), wt.Mem(wt.OpI32Store, 0))
	}
	loop := wt.Loop(wt.NoResult, wt.I32Const(0), wt.Mem(wt.OpI32Load, 0), wt.BrIf(0))
	m := new(wt.Module).Plugin(wt.Plugin{})
	f := m.FuncLocals("", "", wt.Locals(wt.LocalGroup{N: uint64(locals), Type: wt.I32}), set, bytes.Repeat(loop, loops), get)
	m.Names = map[int]string{f: "the_bomb"}
	return m.Bytes()
}

func TestWorker(t *testing.T) {
	t.Run("a module is compiled aside and kept", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		for range 2 {
			h := withWorker(t, Options{CacheDir: dir})
			gen, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
			if err != nil {
				t.Fatal(err)
			}
			start(t, gen)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, storeWork+"*")); len(left) > 0 {
			t.Errorf("workers left %q", left)
		}
	})
	t.Run("without a directory there is one for as long as the Host is open", func(t *testing.T) {
		worker, err := Executable(compileWorker)
		if err != nil {
			t.Fatal(err)
		}
		h := New(Options{Worker: worker})
		if err := h.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		dir := h.dir
		if _, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})}); err != nil {
			t.Error(err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory is left: %v", err)
		}
	})
	t.Run("a module that is not valid", func(t *testing.T) {
		_, err := withWorker(t, Options{}).Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{Process: wt.I32Const(1)})})
		if err == nil || !strings.Contains(err.Error(), "is not a valid WebAssembly module") {
			t.Error(err)
		}
	})
	t.Run("a bomb ends the worker, not the process", func(t *testing.T) {
		_, err := withWorker(t, Options{}).Load(t.Context(), Spec{Name: "test", Module: bomb(190, 5000)})
		var dear *CompileError
		if !errors.As(err, &dear) || dear.Limit == "" || !strings.Contains(err.Error(), "the_bomb") {
			t.Errorf("error is %v, want a CompileError that names the_bomb", err)
		}
		t.Log(err)
	})
	t.Run("a worker that crashes or does not start", func(t *testing.T) {
		for program, want := range map[string]string{"/nowhere/worker": "does not start", "false": "ended with exit status 1"} {
			h := withWorker(t, Options{})
			h.worker = []string{program}
			_, err := h.Load(t.Context(), Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{})})
			var failed *CompileError
			if !errors.As(err, &failed) || failed.Limit != "" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v, want it to say %q", program, err, want)
			}
		}
	})
	t.Run("what it may take is said in words", func(t *testing.T) {
		m, err := inspect.Parse(wt.NewPlugin(wt.Plugin{}), inspect.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		if err := tooDear("time", "takes long", m); !strings.Contains(err.Error(), "its largest function is") {
			t.Error(err)
		}
	})
}
