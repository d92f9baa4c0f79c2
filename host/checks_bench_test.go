package host

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/host/inspect"
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/sdk/abi"
)

// BenchmarkChecks compares, in one run, guests as wazero runs them ("plain"), as
// the host runs them ("rewritten"), and with what wazero itself has to end a call
// ("closeOnDone").
func BenchmarkChecks(b *testing.B) {
	for _, bc := range []struct {
		name, module, config string
	}{{"pass", "pass", ""}, {"json", "threshold", `{"pointer":"/mag","min":4.5}`}} {
		b.Run(bc.name, func(b *testing.B) {
			for _, mode := range benchModes {
				g := benchGuest(b, builtinModule(b, bc.module), bc.config, mode)
				b.Run(mode, func(b *testing.B) { benchCalls(b, g, 0) })
			}
		})
	}
	for _, bc := range benchLoops() {
		b.Run(bc.name, func(b *testing.B) {
			for _, mode := range benchModes {
				g := benchGuest(b, bc.module, "", mode)
				b.Run(mode, func(b *testing.B) { benchCalls(b, g, bc.ops) })
			}
		})
	}
}

// benchLoop is a guest that does something ops times for one event.
type benchLoop struct {
	name   string
	module []byte
	ops    int
}

func benchLoops() []benchLoop {
	const iterations = 1 << 20
	loop := func(body ...[]byte) []byte { // local 2 counts down
		return wt.Cat(wt.I32Const(iterations), wt.LocalSet(2),
			wt.Loop(wt.NoResult, wt.Cat(body...), wt.LocalGet(2), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.LocalTee(2), wt.BrIf(0)))
	}
	guest := func(parts func(w *wt.Module) []byte) []byte {
		w := new(wt.Module)
		body := wt.OnData(parts(w), wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize))
		return w.Plugin(wt.Plugin{Locals: wt.Locals(wt.LocalGroup{N: 3, Type: wt.I32}), Process: body}).Bytes()
	}
	address := wt.Cat(wt.LocalGet(2), wt.I32Const(0x7fff), wt.Op(wt.OpI32And))
	next := func(op byte) []byte { return wt.Cat(wt.Op(op), wt.LocalSet(3)) }
	return []benchLoop{
		{"loop/empty", guest(func(*wt.Module) []byte { return loop() }), iterations},
		{"loop/sum", guest(func(*wt.Module) []byte { return loop(wt.LocalGet(3), wt.LocalGet(2), next(wt.OpI32Add)) }), iterations},
		{"loop/bytes", guest(func(*wt.Module) []byte {
			return loop(wt.LocalGet(3), address, wt.Mem(wt.OpI32Load8U, 0), next(wt.OpI32Add))
		}), iterations},
		{"loop/hash", guest(func(*wt.Module) []byte {
			return loop(wt.LocalGet(3), address, wt.Mem(wt.OpI32Load8U, 0), wt.Op(wt.OpI32Xor), wt.I32Const(16777619), next(wt.OpI32Mul))
		}), iterations},
		{"loop/store", guest(func(*wt.Module) []byte { return loop(address, wt.LocalGet(2), wt.Mem(wt.OpI32Store8, 0)) }), iterations},
		{"loop/calls", guest(func(w *wt.Module) []byte {
			return loop(wt.LocalGet(2), wt.Call(w.Func(wt.I32, wt.I32, wt.LocalGet(0), wt.I32Const(3), wt.Op(wt.OpI32Mul))), wt.LocalSet(3))
		}), iterations},
		{"loop/short", guest(func(w *wt.Module) []byte { // calls a loop of 8
			inner := w.Func(wt.I32, "", wt.Loop(wt.NoResult, wt.LocalGet(0), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.LocalTee(0), wt.BrIf(0)))
			return loop(wt.I32Const(8), wt.Call(inner))
		}), iterations},
		{"recursion/fib", guest(func(w *wt.Module) []byte {
			fib := w.NextFunc()
			w.Func(wt.I32, wt.I32, wt.LocalGet(0), wt.I32Const(2), wt.Op(wt.OpI32LtS), wt.IfElse(wt.I32, wt.LocalGet(0), wt.Cat(
				wt.LocalGet(0), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.Call(fib), wt.LocalGet(0), wt.I32Const(2), wt.Op(wt.OpI32Sub), wt.Call(fib), wt.Op(wt.OpI32Add))))
			return wt.Cat(wt.I32Const(24), wt.Call(fib), wt.Drop())
		}), 150049},
	}
}

// benchCalls measures calls of a guest with a batch of JSON events, or with one
// event in which the guest does something ops times.
func benchCalls(b *testing.B, g *guest, ops int) {
	b.Helper()
	batch := jsonEvents(256)
	if ops == 0 {
		ops = len(batch)
	} else {
		batch = batch[:1]
	}
	total := abi.BatchHeaderSize
	for k := range batch {
		total += abi.EventSize(&batch[k])
	}
	lim := abi.ResponseLimits{Events: len(batch), Outputs: 1, MaxBytes: 8 << 20, MaxPerEvent: 16}
	res := &abi.Result{}
	for b.Loop() {
		if f := g.process(abi.BatchHeader{}, batch, total, lim, res); f != nil {
			b.Fatal(f)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*ops), "ns/each")
}

// jsonEvents returns n small JSON events, of which every second passes the filter.
func jsonEvents(n int) []abi.Event {
	list := events(n, 0)
	for i := range list {
		list[i].Payload = fmt.Appendf(nil, `{"id":"us%07d","place":"12 km SSE of Somewhere","time":1700000000000,"mag":%d.%d,"pad":%q}`,
			i, 4+i%2, 3, bytes.Repeat([]byte{'x'}, 128))
	}
	return list
}

func builtinModule(b *testing.B, name string) []byte {
	b.Helper()
	binary, err := builtin.Module(name)
	if err != nil {
		b.Fatal(err)
	}
	return binary
}

// benchGuest starts a guest as the host does, and for the other modes puts
// another instance into it.
func benchGuest(b *testing.B, binary []byte, config, mode string) *guest {
	b.Helper()
	gen := load(b, Spec{Module: binary, Config: []byte(config)})
	g, f := gen.newGuest(&InstanceSpec{}, func(int, string) {})
	if f != nil {
		b.Fatal(f)
	}
	b.Cleanup(g.release)
	g.deadline = time.Minute
	if mode != "rewritten" {
		replace(b, g, binary, mode == "closeOnDone")
	}
	doc, err := openDocument(&gen.spec, &InstanceSpec{Outputs: []string{"default"}})
	if err != nil {
		b.Fatal(err)
	}
	if f := g.open(doc); f != nil {
		b.Fatal(f)
	}
	return g
}

// replace puts an instance of the module as it is into a guest.
func replace(b *testing.B, g *guest, binary []byte, closeOnDone bool) {
	b.Helper()
	if err := g.shut(); err != nil {
		b.Fatal(err)
	}
	g.memory.release()
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		b.Fatal(err)
	}
	if g.memory, err = newMemory(g.gen.limit, &g.gen.memory); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(g.ctx)
	b.Cleanup(cancel)
	if closeOnDone {
		g.ctx = ctx
	}
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(maxMemory/wasmPage).WithCloseOnContextDone(closeOnDone))
	b.Cleanup(func() { rt.Close(context.Background()) })
	for name, funcs := range map[string]map[string]hostFunction{wasiModule: wasiFunctions(), abi.ImportModule: hostFunctions()} {
		if err := offer(ctx, rt, name, funcs, m); err != nil {
			b.Fatal(err)
		}
	}
	alloc := experimental.WithMemoryAllocator(g.ctx, experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return g.memory }))
	if g.mod, err = rt.InstantiateWithConfig(alloc, binary, wazero.NewModuleConfig().WithName("").WithStartFunctions()); err != nil {
		b.Fatal(err)
	}
	g.view = g.mod.Memory()
	g.bufferFn, g.processFn, g.openFn = g.export(abi.ExportBuffer), g.export(abi.ExportProcess), g.export(abi.ExportOpen)
	if fn := g.export(abi.ExportInitialize); fn != nil {
		if _, f := g.call(fn); f != nil {
			b.Fatal(f)
		}
	}
}
