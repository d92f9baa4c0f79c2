package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/sdk/abi"
)

// scratch lives as long as the test binary: the Go guest and its compiled code.
var scratch string

// compileWorker is the argument that makes the test binary a worker.
const compileWorker = "compile-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == compileWorker {
		os.Exit(CompileWorker(os.Args[2], os.Stdin, os.Stdout))
	}
	var err error
	if scratch, err = os.MkdirTemp("", "host-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(scratch)
	os.Exit(code)
}

// goGuest builds testdata/guest once and returns the path of the module.
var goGuest = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-w", "-buildmode=c-shared", "-o", path, "./testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build testdata/guest: %w\n%s", err, out)
	}
	return path, nil
})

// goSpec is a Spec of the Go guest in that mode.
func goSpec(t testing.TB, mode string) Spec {
	t.Helper()
	path, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Name: "guest", Path: path, Config: []byte(`{"mode":"` + mode + `"}`)}
}

// openHost returns an open Host that shares its compile cache with other tests
// when shared is set; it must be left without instances when the test ends.
func openHost(t testing.TB, shared bool) *Host {
	t.Helper()
	dir := ""
	if shared {
		dir = filepath.Join(scratch, "cache")
	}
	h := New(Options{CacheDir: dir})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func load(t testing.TB, spec Spec) *Generation {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	h := openHost(t, spec.Path != "")
	gen, err := h.Load(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

func start(t testing.TB, gen *Generation) *Instance {
	t.Helper()
	i, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p", Partition: 1, Outputs: []string{"default", "other"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Discard)
	return i
}

// run loads a module, starts it and gives it one batch of n events.
func run(t *testing.T, spec Spec, n int) (*Instance, *abi.Result, error) {
	t.Helper()
	i := start(t, load(t, spec))
	res := &abi.Result{}
	return i, res, i.Process(t.Context(), abi.BatchHeader{ID: 1}, events(n, 20), res)
}

// events returns n events with payloads of size bytes.
func events(n, size int) []abi.Event {
	list := make([]abi.Event, n)
	for i := range list {
		list[i] = abi.Event{
			Seq: uint64(i) + 1, Attempt: 1, Time: 1_700_000_000_000_000_000,
			Subject: []byte("quakes.raw.us"), Key: []byte("us"), Payload: bytes.Repeat([]byte{'x'}, size),
		}
	}
	return list
}

// wantFault checks that err is a Fault of that kind whose text has all of parts.
func wantFault(t *testing.T, err error, kind string, parts ...string) {
	t.Helper()
	f := faultOf(t, err)
	if f.Kind != kind {
		t.Errorf("kind is %q, want %q (%s)", f.Kind, kind, f.Message)
	}
	for _, p := range parts {
		if !strings.Contains(f.Message+"\n"+f.Detail, p) {
			t.Errorf("fault does not say %q:\nmessage: %s\ndetail: %s", p, f.Message, f.Detail)
		}
	}
	if len(f.Message) > maxMessage || len(f.Detail) > maxDetail || strings.Contains(f.Message, "\n") {
		t.Errorf("fault is out of bounds: message %d bytes, detail %d bytes", len(f.Message), len(f.Detail))
	}
}

func faultOf(t *testing.T, err error) *Fault {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) {
		t.Fatalf("error is %v, want a Fault", err)
	}
	return f
}
