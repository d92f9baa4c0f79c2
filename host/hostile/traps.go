package hostile

import (
	"fmt"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// traps are all ways to trap, at all places where a plugin's code runs.
func traps() []Case {
	zero := func(code ...[]byte) func(*wt.Module) []byte {
		return func(*wt.Module) []byte { return wt.Cat(wt.Cat(code...), wt.Drop()) }
	}
	actions := []action{
		{"unreachable", nil, func(*wt.Module) []byte { return wt.Unreachable() }},
		{"a division by zero", nil, zero(wt.I32Const(1), wt.I32Const(0), wt.Op(wt.OpI32DivS))},
		{"a remainder of zero", nil, zero(wt.I32Const(1), wt.I32Const(0), wt.Op(wt.OpI32RemU))},
		{"a division that overflows", nil, zero(wt.I64Const(-1<<63), wt.I64Const(-1), wt.Op(wt.OpI64DivS))},
		{"a number that is no integer", nil, zero(wt.F64Const(1e300), wt.Op(wt.OpI32TruncF64S))},
		{"a load behind the memory", nil, zero(wt.I32Const(-1), wt.Mem(wt.OpI64Load, 0))},
		{"a load with an offset near 2^32", nil, zero(wt.I32Const(-8), wt.Mem(wt.OpI64Load, 1<<32-1))},
		{"a store behind the memory", nil, func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(4<<16-3), wt.I32Const(1), wt.Mem(wt.OpI32Store, 0))
		}},
		{"a fill behind the memory", nil, func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(1<<16), wt.I32Const(1), wt.I32Const(-1), wt.MemoryFill())
		}},
		{"a copy from behind the memory", nil, func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(0), wt.I32Const(-16), wt.I32Const(32), wt.MemoryCopy())
		}},
		{"data that was dropped", nil, func(m *wt.Module) []byte {
			d := m.PassiveData([]byte("gone"))
			return wt.Cat(wt.DataDrop(d), wt.I32Const(0), wt.I32Const(0), wt.I32Const(4), wt.MemoryInit(d))
		}},
		{"a call of nothing", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(1))
			return wt.Cat(wt.I32Const(0), wt.CallIndirect(m.Type("", ""), 0))
		}},
		{"a call behind the table", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(1))
			return wt.Cat(wt.I32Const(-1), wt.CallIndirect(m.Type("", ""), 0))
		}},
		{"a call of another type", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(1))
			m.Elem(0, m.Func(wt.I64, "", nil))
			return wt.Cat(wt.I32Const(0), wt.CallIndirect(m.Type("", ""), 0))
		}},
		{"a table that is copied from behind its end", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(4))
			return wt.Cat(wt.I32Const(0), wt.I32Const(3), wt.I32Const(-1), wt.TableCopy(0, 0))
		}},
		{"proc_exit(0)", nil, exits(0)},
		{"proc_exit(1)", nil, exits(1)},
		{"proc_exit(2^32-1)", nil, exits(-1)},
	}
	var list []Case
	for _, p := range places() {
		for _, a := range actions {
			list = append(list, Case{
				Name: a.name + " in " + p.name, Group: "trap", Tries: "to stop in the middle",
				Module: in(p, a.code), Outcome: p.outcome, Kinds: []string{abi.FaultTrap},
			})
		}
	}
	// At every point of a batch: when the event with a sequence is in it, or when
	// so many batches have come.
	for _, seq := range []int64{1, 2, 3} {
		list = append(list, Case{
			Name: fmt.Sprintf("a trap at event %d of a batch", seq), Group: "trap", Tries: "to stop in the middle",
			Module: processing(func(*wt.Module) []byte { return atEvent(seq, wt.Unreachable()) }), Outcome: Faulty, Kinds: []string{abi.FaultTrap},
		})
	}
	return list
}

func exits(code int64) func(*wt.Module) []byte {
	return func(m *wt.Module) []byte {
		return wt.Cat(wt.I32Const(code), wt.Call(m.ImportFunc(wasiModule, "proc_exit", wt.I32, "")))
	}
}

// atEvent walks the records of the batch, in local 0, and runs code at that sequence.
func atEvent(seq int64, code []byte) []byte {
	at := wt.LocalGet(0)
	return wt.Cat(
		at, wt.I32Const(abi.BatchHeaderSize), wt.Op(wt.OpI32Add), wt.LocalSet(0),
		wt.Loop(wt.NoResult,
			at, wt.Mem(wt.OpI64Load, 8), wt.I64Const(seq), wt.Op(wt.OpI64Eq), wt.If(wt.NoResult, code),
			at, at, wt.Mem(wt.OpI32Load, 0), wt.Op(wt.OpI32Add), wt.LocalTee(0),
			wt.Mem(wt.OpI32Load, 0), wt.BrIf(0)))
}

// memories are what can be done with the size of a memory or a table.
func memories() []Case {
	untilRefused := wt.Loop(wt.NoResult, wt.I32Const(1), wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.BrIf(0))
	fill := wt.Cat(wt.I32Const(scratchAt), wt.I32Const(1), wt.MemorySize(), wt.I32Const(16), wt.Op(wt.OpI32Shl),
		wt.I32Const(scratchAt+4096), wt.Op(wt.OpI32Sub), wt.MemoryFill())
	c := func(name string, outcome Outcome, kinds []string, module func() []byte) Case {
		return Case{Name: name, Group: "memory", Tries: "to take memory", Module: module, Outcome: outcome, Kinds: kinds}
	}
	limits := func(l []byte) func() []byte { return func() []byte { return wt.NewPlugin(wt.Plugin{Limits: l}) } }
	return []Case{
		c("memory.grow page by page up to the limit", Harmless, nil, processing(func(*wt.Module) []byte { return untilRefused })),
		c("memory.grow page by page, and a trap", Faulty, []string{abi.FaultOutOfMemory}, processing(func(*wt.Module) []byte {
			return wt.Cat(untilRefused, wt.Unreachable())
		})),
		c("memory.grow by 4 GiB", Harmless, nil, processing(func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(65536), wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, wt.Unreachable()))
		})),
		c("memory.grow by -1", Harmless, nil, processing(func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(-1), wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, wt.Unreachable()))
		})),
		c("all memory that it can have, and written to", Faulty, []string{abi.FaultBadResponse}, processing(func(*wt.Module) []byte {
			return wt.Cat(untilRefused, fill)
		})),
		c("a memory of 4 GiB to start", Refused, nil, limits(wt.Limits(65536))),
		c("a memory one page above the limit", Refused, nil, limits(wt.Limits(pages+1))),
		c("a memory of 2^40 pages", Refused, nil, limits(wt.Limits(1<<40))),
		c("a memory whose maximum is below its minimum", Refused, nil, limits(wt.Limits(4, 1))),
		c("a maximum of 4 GiB", Harmless, nil, limits(wt.Limits(4, 65536))),
		c("a 64-bit memory", Refused, nil, limits([]byte{4, 4})),
		c("a shared memory", Refused, nil, limits([]byte{3, 4, 8})),
		c("two memories", Refused, nil, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Memory(wt.Limits(1))
			return m.Bytes()
		}),
		c("no memory", Refused, nil, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Memories, m.Datas = nil, nil
			return m.Without(abi.ExportMemory).Bytes()
		}),
		c("table.grow by 1e9", Harmless, nil, processing(func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(1))
			return wt.Cat(wt.RefNull(wt.FuncRef), wt.I32Const(1e9), wt.TableGrow(0), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, wt.Unreachable()))
		})),
		c("table.grow of eight tables, each in a loop", Faulty, []string{abi.FaultDeadline, abi.FaultTrap, abi.FaultOutOfMemory}, processing(func(m *wt.Module) []byte {
			var code []byte
			for range 8 {
				t := m.Table(wt.ExternRef, wt.Limits(0))
				code = append(code, wt.Cat(wt.RefNull(wt.ExternRef), wt.I32Const(100_000), wt.TableGrow(t), wt.Drop())...)
			}
			return wt.Forever(code)
		})),
		c("a table of 1e9 entries", Refused, nil, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Table(wt.FuncRef, wt.Limits(1e9))
			return m.Bytes()
		}),
		c("data behind the memory", NoStart, []string{abi.FaultTrap}, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Data(1<<31-1, []byte("x"))
			return m.Bytes()
		}),
		c("data at a negative address", NoStart, []string{abi.FaultTrap}, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Data(-1, []byte("x"))
			return m.Bytes()
		}),
		// wazero leaves them out without a word.
		c("elements behind the table", Harmless, nil, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Table(wt.FuncRef, wt.Limits(1))
			m.Elem(1<<30, 0)
			return m.Bytes()
		}),
	}
}
