package inspect_test

import (
	"errors"
	"runtime/metrics"
	"testing"

	"github.com/wasmill/wasmill/host/inspect"
	wt "github.com/wasmill/wasmill/host/wasmtest"
)

// allocated returns the bytes that the process has allocated since it began.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzParse shows that the parser survives any bytes, that it allocates at most
// a small multiple of them, and that what it lets pass decodes again in as many
// steps as there are bytes of code: the time is linear, by count and not by clock.
func FuzzParse(f *testing.F) {
	full := wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Block(wt.NoResult, wt.I32Const(1), wt.BrTable(0, 1, 0)), wt.I64Const(0))})
	f.Add(full)
	for i := range full {
		f.Add(full[:i])
	}
	f.Add(append(full, wt.Custom("name", []byte{1, 4, 1, 0, 1, 'a'})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Fuzzing runs other things beside; a finding must repeat.
		var m *inspect.Module
		var err error
		least := ^uint64(0)
		for range 3 {
			before := allocated()
			m, err = inspect.Parse(b, inspect.Caps{})
			least = min(least, allocated()-before)
		}
		// The largest entry of a list takes 160 bytes and is at least 2 bytes of
		// the module; lists are allocated once, when their length is known.
		if bound := 64<<10 + 100*uint64(len(b)); least > bound {
			t.Fatalf("parsing %d bytes took %d bytes", len(b), least)
		}
		if err != nil {
			var e *inspect.Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) || e.Error() == "" {
				t.Fatalf("error is %#v", err)
			}
			return
		}
		code := 0
		for _, body := range m.Bodies {
			code += body.End - body.Code
		}
		if n := decodeAll(t, m); n > code {
			t.Fatalf("%d instructions in %d bytes", n, code)
		}
		for i, name := range m.FuncNames() {
			if int(i) >= len(m.Funcs) || len(name) > 256 {
				t.Fatalf("function %d of %d has a name of %d bytes", i, len(m.Funcs), len(name))
			}
		}
	})
}
