package host

import (
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// guarded watches what a host function does with the memory of its guest: it
// writes a pattern, and says whether the function wrote outside of what it may.
type guarded struct {
	t    testing.TB
	g    *guest
	r    *recorder
	size uint32
}

func newGuarded(t testing.TB) *guarded {
	r := &recorder{}
	gen := load(t, Spec{
		Module: wt.NewPlugin(wt.Plugin{}), Grants: []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret},
		Secrets: map[string]string{"key": "correct horse battery"}, Log: r.log,
		Metric: func(string, string, int, float64) {},
	})
	g := start(t, gen).guest
	return &guarded{t, g, r, g.view.Size()}
}

// call calls one host function with hostile arguments. It may trap the guest;
// whatever else it panics with is a defect of the host.
func (w *guarded) call(name string, f hostFunction, args []uint64) {
	s := make([]uint64, max(1, len(f.sig.params)))
	for k := range f.sig.params {
		if k < len(args) {
			s[k] = args[k]
		}
		if f.sig.params[k] == wt.I32[0] {
			s[k] = uint64(uint32(s[k])) // as wazero passes it
		}
	}
	passed := slices.Clone(s)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			var argument *argumentError
			var exit exitError
			if !errors.As(r, &argument) && !errors.As(r, &exit) {
				w.t.Errorf("%s%v panicked: %v", name, passed, r)
			}
		default:
			w.t.Errorf("%s%v panicked: %v", name, passed, r)
		}
		if got := w.g.view.Size(); got != w.size {
			w.t.Errorf("%s%v changed the memory to %d bytes", name, passed, got)
		}
		if n := len(w.g.out.tail); n > 3*maxTail {
			w.t.Errorf("%s%v has the host keep %d bytes of output", name, passed, n)
		}
		if len(w.g.metrics) > maxMetrics {
			w.t.Errorf("%s%v made metric %d", name, passed, len(w.g.metrics))
		}
	}()
	f.fn(w.g, w.g.view, s)
	if len(f.sig.results) == 1 && f.sig.results[0] == wt.I32[0] && s[0] > math.MaxUint32 {
		w.t.Errorf("%s%v returned %#x as an i32", name, passed, s[0])
	}
}

// hostileValues are those that wrap, lie at an edge, or mean something.
func hostileValues(size uint32) []uint64 {
	n := uint64(size)
	return []uint64{
		0, 1, 2, 3, 8, 255, 256, 4096, 1 << 16, n - 65, n - 8, n - 4, n - 1, n, n + 1,
		math.MaxInt32, 1 << 31, math.MaxUint32 - 7, math.MaxUint32, math.MaxInt64, 1 << 63, math.MaxUint64,
		math.Float64bits(math.NaN()), math.Float64bits(math.Inf(-1)), math.Float64bits(math.MaxFloat64),
	}
}

// TestHostFunctionsBearAnyArgument tries every function with every pair of
// hostile values, in the order of its parameters.
func TestHostFunctionsBearAnyArgument(t *testing.T) {
	w := newGuarded(t)
	for name, f := range everyFunction() {
		for _, a := range hostileValues(w.size) {
			for _, b := range hostileValues(w.size) {
				w.call(name, f, []uint64{a, b, a, b, a, b, a, b, a})
				w.call(name, f, []uint64{8, a, b, 8, a, b, 8, a, b})
			}
		}
	}
}

func everyFunction() map[string]hostFunction {
	all := map[string]hostFunction{}
	for name, f := range wasiFunctions() {
		all[wasiModule+"."+name] = f
	}
	for name, f := range hostFunctions() {
		all[abi.ImportModule+"."+name] = f
	}
	return all
}

// FuzzImports calls the imports of module wasmill_v1, one after another on the
// same guest, with any arguments and any bytes in its memory.
func FuzzImports(f *testing.F) { fuzzFunctions(f, hostFunctions()) }

// FuzzWASI does the same with the functions of WASI.
func FuzzWASI(f *testing.F) { fuzzFunctions(f, wasiFunctions()) }

func fuzzFunctions(f *testing.F, funcs map[string]hostFunction) {
	names := slices.Sorted(maps.Keys(funcs))
	for i := range names {
		f.Add(uint8(i), uint64(8), uint64(16), uint64(24), uint64(32), []byte("\x08\x00\x00\x00\x10\x00\x00\x00key"))
		f.Add(uint8(i), uint64(1), uint64(math.MaxUint32), uint64(math.MaxUint32), uint64(1<<31), []byte{0xff})
	}
	w := newGuarded(f)
	f.Fuzz(func(t *testing.T, which uint8, a, b, c, d uint64, memory []byte) {
		w.t = t
		w.g.view.Write(0, memory[:min(len(memory), int(w.size))])
		name := names[int(which)%len(names)]
		w.call(name, funcs[name], []uint64{a, b, c, d, a, b, c, d, a})
		w.g.flushMetrics()
		if now := w.g.clock.monotonic(); now <= 0 {
			t.Errorf("%s set the guest's clock to %d", name, now)
		}
	})
}
