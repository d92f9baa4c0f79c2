package host

import (
	"context"
	"crypto/rand"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Error numbers that imports return, negated; those of WASI preview 1.
const (
	errnoSuccess    = 0
	errnoBadFile    = 8
	errnoFault      = 21
	errnoInvalid    = 28
	errnoNotExist   = 44
	errnoNoSpace    = 51 // ENOSPC
	errnoNoSystem   = 52
	errnoNotSocket  = 57
	errnoPipe       = 70 // ESPIPE: not seekable
	errnoNotCapable = 76
)

// Bounds of the names that guests pass.
const (
	maxMetrics    = 64 // per plugin generation
	maxMetricName = 64
	maxSecretName = 256
)

// hostFunction is one import. fn gets the calling guest, its memory and the
// parameters, and leaves its result in s[0].
type hostFunction struct {
	sig   signature
	grant string // "" = always there
	fn    func(g *guest, mem api.Memory, s []uint64)
}

// hostFunctions are the imports of module wasmill_v1.
func hostFunctions() map[string]hostFunction {
	const i32, i64, f64 = "\x7f", "\x7e", "\x7c"
	return map[string]hostFunction{
		abi.ImportLog:           {signature{i32 + i32 + i32, ""}, "", importLog},
		abi.ImportMetricDefine:  {signature{i32 + i32 + i32, i32}, "", importMetricDefine},
		abi.ImportMetricAdd:     {signature{i32 + i64, ""}, "", importMetricAdd},
		abi.ImportMetricObserve: {signature{i32 + f64, ""}, "", importMetricObserve},
		abi.ImportNow:           {signature{"", i64}, abi.GrantClock, importNow},
		abi.ImportRandom:        {signature{i32 + i32, ""}, abi.GrantRandom, importRandom},
		abi.ImportSecretGet:     {signature{i32 + i32 + i32 + i32, i64}, abi.GrantSecret, importSecretGet},
	}
}

// guestKey finds the calling guest in the context of its calls: the host
// modules belong to the runtime and serve all its instances.
type guestKey struct{}

// offer defines in rt, under the name module, those of funcs that m imports.
func offer(ctx context.Context, rt wazero.Runtime, name string, funcs map[string]hostFunction, m *inspect.Module) error {
	b := rt.NewHostModuleBuilder(name)
	done := map[string]bool{}
	for _, e := range m.Imports {
		export := string(e.Name)
		f, ok := funcs[export]
		if string(e.Module) != name || !ok || done[export] {
			continue
		}
		done[export] = true
		call := func(ctx context.Context, mod api.Module, s []uint64) {
			g, _ := ctx.Value(guestKey{}).(*guest)
			g.ticker.called()
			f.fn(g, mod.Memory(), s)
		}
		b = b.NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(call), []byte(f.sig.params), []byte(f.sig.results)).
			Export(export)
	}
	if len(done) == 0 {
		return nil
	}
	_, err := b.Instantiate(ctx)
	return err
}

// argument returns a view of n bytes at p of the guest's memory, or traps the
// guest (invariant A6).
func argument(mem api.Memory, fn string, p, n uint64) []byte {
	b, ok := mem.Read(uint32(p), uint32(n))
	if !ok {
		panic(&argumentError{fn, "the pointer or length it got lies outside the plugin's memory"})
	}
	return b
}

// importLog is log(level, ptr, len): one line, or several, in the log; what is
// longer than maxLine is cut.
func importLog(g *guest, mem api.Memory, s []uint64) {
	b := argument(mem, abi.ImportLog, s[1], s[2])
	level := max(abi.LevelDebug, min(abi.LevelError, int(int32(s[0]))))
	g.out.message(level, b)
}

// importMetricDefine is metric_define(ptr, len, kind) -> i32: an id ≥ 0, or an
// error number negated. A name may be defined again with the same kind.
func importMetricDefine(g *guest, mem api.Memory, s []uint64) {
	name := argument(mem, abi.ImportMetricDefine, s[0], s[1])
	kind := uint32(s[2])
	s[0] = api.EncodeI32(g.define(name, kind))
}

func (g *guest) define(name []byte, kind uint32) int32 {
	if !metricName(name) || kind > abi.MetricHistogram {
		return -errnoInvalid
	}
	for i, m := range g.metrics {
		if m.name == string(name) {
			if m.kind != int(kind) {
				return -errnoInvalid
			}
			return int32(i)
		}
	}
	if errno := g.gen.defineMetric(string(name), int(kind)); errno != 0 {
		return -errno
	}
	g.metrics = append(g.metrics, metric{name: string(name), kind: int(kind)})
	return int32(len(g.metrics) - 1)
}

// metricName says whether b is [a-z_][a-z0-9_]*, at most 64 bytes.
func metricName(b []byte) bool {
	for i, c := range b {
		if (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxMetricName
}

// metric is what one guest added to one of its metrics during the current call.
// Counters and gauges are reported once a call, not once an event.
type metric struct {
	name    string
	kind    int
	value   float64 // counter: added in this call; gauge: its value
	touched bool
}

// importMetricAdd is metric_add(id, n): a counter grows by n ≥ 0, a gauge moves
// by n. What does not fit the metric's kind is ignored: a plugin must not fail
// over a metric.
func importMetricAdd(g *guest, _ api.Memory, s []uint64) {
	id, n := uint32(s[0]), int64(s[1])
	if uint64(id) >= uint64(len(g.metrics)) {
		return
	}
	m := &g.metrics[id]
	if m.kind == abi.MetricCounter && n >= 0 || m.kind == abi.MetricGauge {
		m.value += float64(n)
		m.touched = true
	}
}

// importMetricObserve is metric_observe(id, v): a gauge becomes v, a histogram
// observes it.
func importMetricObserve(g *guest, _ api.Memory, s []uint64) {
	id, v := uint32(s[0]), api.DecodeF64(s[1])
	if uint64(id) >= uint64(len(g.metrics)) || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	switch m := &g.metrics[id]; m.kind {
	case abi.MetricGauge:
		m.value, m.touched = v, true
	case abi.MetricHistogram:
		if g.observe.take(g.gen.gate) {
			g.report(m.name, m.kind, v)
		}
	}
}

// tokens are a guest's own few of its generation's, so that not every
// observation takes the gate's lock.
type tokens struct {
	left int
	skip int // observations to cut before the gate is asked again
	cut  uint64
}

func (t *tokens) take(g *gate) bool {
	const chunk = 1024
	if t.left == 0 && t.skip == 0 {
		if t.left = g.values(chunk); t.left == 0 {
			t.skip = chunk
		}
	}
	if t.left > 0 {
		t.left--
		return true
	}
	t.skip--
	t.cut++
	return false
}

// settle gives back what the call did not use.
func (t *tokens) settle(g *gate) {
	if t.left > 0 || t.cut > 0 {
		g.give(t.left, t.cut)
	}
	*t = tokens{}
}

// flushMetrics reports what the call changed.
func (g *guest) flushMetrics() {
	g.observe.settle(g.gen.gate)
	for i := range g.metrics {
		m := &g.metrics[i]
		if !m.touched {
			continue
		}
		m.touched = false
		g.report(m.name, m.kind, m.value)
		if m.kind == abi.MetricCounter {
			m.value = 0
		}
	}
}

// importNow is now() -> i64: the host's clock, ns since the Unix epoch. It is
// only there under the grant that makes the guest's wall clock the host's.
func importNow(g *guest, _ api.Memory, s []uint64) { s[0] = uint64(g.clock.realtime()) }

// importRandom is random(ptr, len): len bytes from the system.
func importRandom(g *guest, mem api.Memory, s []uint64) {
	b := argument(mem, abi.ImportRandom, s[0], s[1])
	if len(b) > maxRandom {
		panic(&argumentError{abi.ImportRandom, "more than 1 MiB of random bytes at once"})
	}
	g.ticker.dear()
	g.random(b, true)
}

// random fills b with the system's numbers, or with those of the guest's own
// generator.
func (g *guest) random(b []byte, granted bool) {
	if granted && g.gen.spec.Fixed == nil {
		_, _ = rand.Read(b) // never fails: it ends the process rather than return weak numbers
		return
	}
	_, _ = g.rand.Read(b) // never fails
}

// importSecretGet is secret_get(key, key len, buf, cap) -> i64: the length of
// the secret, which is written to buf if it fits in cap; -ENOENT (44) when the
// plugin has no secret of that name.
func importSecretGet(g *guest, mem api.Memory, s []uint64) {
	key := argument(mem, abi.ImportSecretGet, s[0], s[1])
	buf := argument(mem, abi.ImportSecretGet, s[2], s[3])
	s[0] = uint64(g.secret(key, buf))
}

func (g *guest) secret(key, buf []byte) int64 {
	if len(key) > maxSecretName {
		return -errnoInvalid
	}
	v, ok := g.gen.spec.Secrets[string(key)]
	if !ok {
		return -errnoNotExist
	}
	if len(v) <= len(buf) {
		copy(buf, v)
	}
	return int64(len(v))
}
