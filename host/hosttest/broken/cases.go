package broken

import (
	"encoding/json"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Case is one plugin that is wrong.
type Case struct {
	Name     string
	Module   []byte
	Config   json.RawMessage
	Deadline time.Duration // 0 = the suite's own
	Check    string        // that has to fail
	Says     string        // a part of its reason
}

const clock = "wasi_snapshot_preview1"

// Cases returns all of them.
func Cases() []Case {
	globals := func(n int) func(m *wt.Module) {
		return func(m *wt.Module) {
			for range n {
				m.Global(wt.I32, true, i32(0))
			}
		}
	}
	trapIf := func(condition ...[]byte) []byte {
		return wt.Cat(wt.Cat(condition...), wt.If(wt.NoResult, wt.Unreachable()))
	}
	return []Case{
		{
			Name: "not a module", Module: []byte("\x7fELF"), Check: "module", Says: "is native code",
		},
		{
			Name: "the wrong ABI version", Module: guest{plugin: wt.Plugin{Version: i32(2 << 16)}}.bytes(),
			Check: "version", Says: "says version 2.0",
		},
		{
			Name: "a missing export", Module: new(guest).module().Without(abi.ExportProcess).Bytes(),
			Check: "exports", Says: "does not export wasmill_process",
		},
		{
			Name: "a command", Module: func() []byte {
				m := new(guest).module()
				m.ExportFunc(abi.ExportStart, "", "")
				return m.Bytes()
			}(),
			Check: "exports", Says: "it exports _start",
		},
		{
			Name: "an export with another signature", Module: func() []byte {
				m := new(guest).module().Without(abi.ExportProcess)
				m.ExportFunc(abi.ExportProcess, wt.I32+wt.I32, wt.I32, i32(0))
				return m.Bytes()
			}(),
			Check: "exports", Says: "(i32, i32) -> i64",
		},
		{
			Name: "an import that is not granted", Module: guest{prepare: func(m *wt.Module) { m.ImportFunc(abi.ImportModule, abi.ImportNow, "", wt.I64) }}.bytes(),
			Check: "imports", Says: `needs the grant "clock"`,
		},
		{
			Name: "an import that no host has", Module: guest{prepare: func(m *wt.Module) { m.ImportFunc("env", "abort", wt.I32, "") }}.bytes(),
			Check: "imports", Says: "env.abort",
		},
		{
			Name: "a memory that is not exported", Module: new(guest).module().Without(abi.ExportMemory).Bytes(),
			Check: "memory", Says: "does not export its memory",
		},
		{
			Name: "constructors that nobody calls", Module: func() []byte {
				m := new(guest).module()
				m.ExportFunc("__wasm_call_ctors", "", "")
				return m.Bytes()
			}(),
			Check: "start", Says: "its constructors never run",
		},
		{
			Name: "a trap in _initialize", Module: guest{plugin: wt.Plugin{Initialize: wt.Unreachable()}}.bytes(),
			Check: "start", Says: "trap: unreachable",
		},
		{
			Name: "a misaligned buffer", Module: guest{plugin: wt.Plugin{Buffer: wt.Cat(room(), i32(4), wt.Op(wt.OpI32Add))}}.bytes(),
			Check: "buffer", Says: "not a multiple of 8",
		},
		{
			Name: "a buffer that is too small", Module: guest{plugin: wt.Plugin{Buffer: i32(bufferAt)}}.bytes(),
			Check: "buffer", Says: "its memory ends at",
		},
		{
			Name: "a buffer that takes 64 KiB at the most", Module: guest{plugin: wt.Plugin{Buffer: wt.Cat(
				wt.LocalGet(0), i32(1<<16), wt.Op(wt.OpI32GtU), wt.If(wt.NoResult, i32(0), wt.Return()), room())}}.bytes(),
			Check: "buffer", Says: "wasmill_buffer(65537)",
		},
		{
			Name: "a response outside of its memory", Module: guest{answer: wt.Answer(0x7fff_0000, 24)}.bytes(),
			Check: "batch: no events", Says: "at address 2147418112, its memory ends at",
		},
		{
			Name: "a wrong count of records", Module: guest{records: wt.Cat(wt.LocalGet(count), wt.LocalGet(count), wt.Op(wt.OpI32Add))}.bytes(),
			Check: "batch: one event", Says: "counts exceed the response",
		},
		{
			Name: "outputs in the wrong order", Module: guest{source: wt.Cat(wt.LocalGet(count), i32(1), wt.Op(wt.OpI32Sub), wt.LocalGet(index), wt.Op(wt.OpI32Sub))}.bytes(),
			Check: "batch: three events", Says: "not in the order of their events",
		},
		{
			Name: "an output flag that nobody knows", Module: guest{finish: wt.Cat(wt.LocalGet(count), wt.If(wt.NoResult, store(resp, 32, i32(4))))}.bytes(),
			Check: "batch: one event", Says: "record flags are unknown",
		},
		{
			Name: "two outcomes of one event", Module: guest{record: []byte{}, records: i32(0), finish: wt.Cat(
				wt.LocalGet(count), wt.If(wt.NoResult,
					outcome(), outcome(), store(resp, 8, i32(2))))}.bytes(),
			Check: "batch: one event", Says: "outcomes are not in the order of their events",
		},
		{
			Name: "an outcome of an event that has an output", Module: guest{finish: wt.Cat(
				wt.LocalGet(count), wt.If(wt.NoResult, outcome(), store(resp, 8, i32(1))))}.bytes(),
			Check: "batch: one event", Says: "event has an outcome and outputs",
		},
		{
			Name: "a trap on an empty payload", Module: guest{event: trapIf(load(at, 40), wt.Op(wt.OpI32Eqz))}.bytes(),
			Check: "batch: empty payload", Says: "trap: unreachable",
		},
		{
			Name: "a batch given up for one odd payload", Module: guest{event: wt.Cat(
				load(at, 40), i32(3), wt.Op(wt.OpI32Eq), wt.If(wt.NoResult, wt.I64Const(-1), wt.Return()))}.bytes(),
			Check: "batch: odd payloads", Says: "wasmill_process failed with code -1",
		},
		{
			Name: "a drain that never ends", Module: guest{begin: wt.Cat(
				wt.LocalGet(ptr), wt.Mem(wt.OpI32Load16U, 6), i32(int64(abi.KindDrain)), wt.Op(wt.OpI32Eq), wt.If(wt.NoResult, wt.Forever()))}.bytes(),
			Deadline: time.Second, Check: "batch: drain", Says: "deadline",
		},
		{
			Name: "a header that is taken to have 32 bytes", Module: guest{header: wt.Cat(wt.LocalGet(ptr), i32(abi.BatchHeaderSize), wt.Op(wt.OpI32Add), wt.LocalSet(at))}.bytes(),
			Check: "appended fields", Says: "bytes more",
		},
		{
			Name: "flags that are passed over", Module: guest{flags: []byte{}}.bytes(),
			Check: "unknown flags", Says: "processed as if it had none",
		},
		{
			Name: "a batch that is read where the first one was", Module: guest{
				prepare: globals(1),
				plugin: wt.Plugin{
					Limits: wt.Limits(400),
					// Large batches lie elsewhere.
					Buffer: wt.Cat(room(), wt.LocalGet(0), i32(100<<10), wt.Op(wt.OpI32GtU), i32(20), wt.Op(wt.OpI32Shl), wt.Op(wt.OpI32Add)),
				},
				begin: wt.Cat(
					wt.GlobalGet(0), wt.Op(wt.OpI32Eqz), wt.If(wt.NoResult, wt.LocalGet(ptr), wt.GlobalSet(0)),
					wt.LocalGet(size), i32(100<<10), wt.Op(wt.OpI32GtU), wt.If(wt.NoResult, wt.GlobalGet(0), wt.LocalSet(ptr))),
			}.bytes(),
			Check: "memory growth", Says: "is answered in another way",
		},
		{
			Name: "a page of memory lost with each batch", Module: guest{begin: wt.Cat(i32(1), wt.MemoryGrow(), wt.Drop())}.bytes(),
			Check: "steady memory", Says: "its memory grows with the events",
		},
		{
			Name: "a page of memory lost now and then", Module: guest{
				prepare: globals(1),
				begin: wt.Cat(wt.GlobalGet(0), i32(1), wt.Op(wt.OpI32Add), i32(7), wt.Op(wt.OpI32And), wt.GlobalSet(0),
					wt.GlobalGet(0), wt.Op(wt.OpI32Eqz), wt.If(wt.NoResult, i32(1), wt.MemoryGrow(), wt.Drop())),
			}.bytes(),
			Check: "steady memory", Says: "its memory grows with the events",
		},
		{
			Name: "a clock in its outputs", Module: guest{
				prepare: func(m *wt.Module) { m.ImportFunc(clock, "clock_time_get", wt.I32+wt.I64+wt.I32, wt.I32) },
				record: wt.Cat(
					store(out, 0, i32(40)), store(out, 4, wt.LocalGet(index)), store(out, 8, i32(0)), store(out, 12, i32(0)),
					store(out, 16, i32(0)), store(out, 20, i32(0)), store(out, 24, i32(0)), store(out, 28, i32(8)),
					i32(1), wt.I64Const(1), wt.LocalGet(out), i32(32), wt.Op(wt.OpI32Add), wt.Call(0), wt.Drop(),
					add(out, i32(40))),
			}.bytes(),
			Check: "determinism", Says: "is answered in two ways",
		},
		{
			Name: "a trap on a configuration that will not do", Module: guest{plugin: wt.Plugin{Open: wt.Cat(
				wt.LocalGet(1), i32(50<<10), wt.Op(wt.OpI32GtU), wt.If(wt.NoResult, wt.Unreachable()), i32(0))}}.bytes(),
			Check: "wrong configuration", Says: "trap: unreachable",
		},
		{
			Name: "a configuration refused without a word", Module: guest{plugin: wt.Plugin{Open: wt.Cat(
				wt.LocalGet(1), i32(50<<10), wt.Op(wt.OpI32GtU), wt.If(wt.NoResult, i32(-28), wt.Return()), i32(0))}}.bytes(),
			Check: "wrong configuration", Says: "without a word",
		},
		{
			Name: "a configuration that it does not take", Module: guest{plugin: wt.Plugin{Open: i32(-28)}}.bytes(),
			Check: "open", Says: "does not take {}",
		},
		{
			Name: "a trap when it is opened again", Module: guest{prepare: globals(1), plugin: wt.Plugin{Open: wt.Cat(
				trapIf(wt.GlobalGet(0)), i32(1), wt.GlobalSet(0), i32(0))}}.bytes(),
			Check: "open again", Says: "a second wasmill_open",
		},
		{
			Name: "a close that answers with nothing", Module: guest{plugin: wt.Plugin{Close: wt.I64Const(0)}}.bytes(),
			Check: "close", Says: "response is shorter than its header",
		},
		{
			Name: "a loop after its end", Module: guest{
				prepare: globals(1),
				plugin:  wt.Plugin{Close: wt.Cat(i32(1), wt.GlobalSet(0), wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize))},
				begin:   wt.Cat(wt.GlobalGet(0), wt.If(wt.NoResult, wt.Forever())),
			}.bytes(),
			Deadline: time.Second, Check: "after the end", Says: "deadline",
		},
		{
			Name: "a snapshot that cannot be restored", Module: guest{plugin: wt.Plugin{Snapshot: wt.I64Const(0)}}.bytes(),
			Check: "snapshot", Says: "only one of",
		},
		{
			Name: "a snapshot without the state", Module: guest{plugin: wt.Plugin{
				Snapshot: wt.Answer(stateAt, 4), Restore: i32(0),
			}}.withState().bytes(),
			Check: "snapshot", Says: "answers in another way",
		},
	}
}

// outcome writes "drop" for event 0 at out.
func outcome() []byte {
	return wt.Cat(store(out, 0, i32(0)), store(out, 4, i32(1)), store(out, 8, i32(0)), store(out, 12, i32(0)), add(out, i32(abi.OutcomeSize)))
}
