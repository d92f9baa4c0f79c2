package hostile

import (
	"fmt"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

const wasiModule = "wasi_snapshot_preview1"

// action is something a module does, over and over.
type action struct {
	name  string
	kinds []string // of the fault that ends it; nil = the deadline
	code  func(m *wt.Module) []byte
}

// forever are the actions that have no end.
func forever() []action {
	overflow := []string{abi.FaultTrap, abi.FaultDeadline}
	loop := func(code ...[]byte) func(*wt.Module) []byte {
		return func(*wt.Module) []byte { return wt.Forever(code...) }
	}
	return []action{
		{"an empty loop", nil, loop()},
		{"a loop in a loop in a loop", nil, func(*wt.Module) []byte { return wt.Forever(wt.Forever(wt.Forever())) }},
		{"a loop with a condition", nil, func(*wt.Module) []byte {
			return wt.Loop(wt.NoResult, wt.I32Const(1), wt.BrIf(0))
		}},
		{"a loop by br_table", nil, func(*wt.Module) []byte {
			return wt.Loop(wt.NoResult, wt.I32Const(7), wt.BrTable(0, 0, 0))
		}},
		{"a loop with its work at the end", nil, func(*wt.Module) []byte {
			return wt.Forever(wt.Block(wt.NoResult, wt.Loop(wt.NoResult, wt.I32Const(0), wt.BrIf(0), wt.Br(2))))
		}},
		{"a loop that calls", nil, func(m *wt.Module) []byte { return wt.Forever(wt.Call(m.Func("", ""))) }},
		{"2^60 calls without a loop", nil, func(m *wt.Module) []byte {
			f := m.Func("", "")
			for range 60 {
				f = m.Func("", "", wt.Call(f), wt.Call(f))
			}
			return wt.Call(f)
		}},
		{"2^60 indirect calls without a loop", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(64))
			typ := m.Type("", "")
			first := m.Func("", "")
			for i := range 60 {
				m.Func("", "", wt.I32Const(int64(i)), wt.CallIndirect(typ, 0), wt.I32Const(int64(i)), wt.CallIndirect(typ, 0))
			}
			list := make([]int, 61)
			for i := range list {
				list[i] = first + i
			}
			m.Elem(0, list...)
			return wt.Call(first + 60)
		}},
		{"a recursion", overflow, func(m *wt.Module) []byte {
			return wt.Call(m.Func("", "", wt.Call(m.NextFunc())))
		}},
		{"a recursion with a large frame", overflow, func(m *wt.Module) []byte {
			f := m.NextFunc()
			var use []byte
			for i := range 500 {
				use = append(use, wt.Cat(wt.LocalGet(i), wt.I32Const(1), wt.Op(wt.OpI32Add), wt.LocalSet(i))...)
			}
			m.FuncLocals("", "", wt.Locals(wt.LocalGroup{N: 500, Type: wt.I32}), use, wt.Call(f), use)
			return wt.Call(f)
		}},
		{"a mutual recursion", overflow, func(m *wt.Module) []byte {
			f := m.NextFunc()
			for i := range 5 {
				m.Func("", "", wt.Call(f+(i+1)%5))
			}
			return wt.Call(f)
		}},
		{"an indirect recursion", overflow, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(1))
			f := m.NextFunc()
			m.Func("", "", wt.I32Const(0), wt.CallIndirect(m.Type("", ""), 0))
			m.Elem(0, f)
			return wt.Call(f)
		}},
		{"a recursion in a loop, again and again", nil, func(m *wt.Module) []byte {
			f := m.NextFunc() // to a depth of 10,000
			m.Func(wt.I32, "", wt.LocalGet(0), wt.If(wt.NoResult, wt.LocalGet(0), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.Call(f)))
			return wt.Forever(wt.I32Const(10_000), wt.Call(f))
		}},
		{"memory.fill in a loop", nil, loop(wt.I32Const(scratchAt), wt.I32Const(1), wt.I32Const(200<<10), wt.MemoryFill())},
		{"memory.copy in a loop", nil, loop(wt.I32Const(scratchAt), wt.I32Const(scratchAt+8), wt.I32Const(200<<10), wt.MemoryCopy())},
		{"memory.init in a loop", nil, func(m *wt.Module) []byte {
			d := m.PassiveData(make([]byte, 100<<10))
			return wt.Forever(wt.I32Const(scratchAt), wt.I32Const(0), wt.I32Const(100<<10), wt.MemoryInit(d))
		}},
		{"memory.grow by nothing in a loop", nil, loop(wt.I32Const(0), wt.MemoryGrow(), wt.Drop())},
		{"table.grow in a loop", nil, func(m *wt.Module) []byte {
			m.Table(wt.ExternRef, wt.Limits(0))
			return wt.Forever(wt.RefNull(wt.ExternRef), wt.I32Const(1000), wt.TableGrow(0), wt.Drop())
		}},
		{"table.fill in a loop", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(100_000))
			return wt.Forever(wt.I32Const(0), wt.RefNull(wt.FuncRef), wt.I32Const(100_000), wt.TableFill(0))
		}},
		{"table.copy in a loop", nil, func(m *wt.Module) []byte {
			m.Table(wt.FuncRef, wt.Limits(100_000))
			return wt.Forever(wt.I32Const(0), wt.I32Const(1), wt.I32Const(99_999), wt.TableCopy(0, 0))
		}},
		{"sched_yield in a loop", nil, wasiLoop("sched_yield", "", nil)},
		{"clock_time_get in a loop", nil, wasiLoop("clock_time_get", wt.I32+wt.I64+wt.I32, wt.Cat(wt.I32Const(1), wt.I64Const(0), wt.I32Const(scratchAt)))},
		{"random_get of 100 KiB in a loop", nil, wasiLoop("random_get", wt.I32+wt.I32, wt.Cat(wt.I32Const(scratchAt), wt.I32Const(100<<10)))},
		{"poll_oneoff of 4096 timers in a loop", nil, wasiLoop("poll_oneoff", wt.I32+wt.I32+wt.I32+wt.I32,
			wt.Cat(wt.I32Const(0), wt.I32Const(0), wt.I32Const(4096), wt.I32Const(scratchAt)))},
		{"fd_write of nothing a thousand times, in a loop", nil, wasiLoop("fd_write", wt.I32+wt.I32+wt.I32+wt.I32,
			wt.Cat(wt.I32Const(1), wt.I32Const(scratchAt), wt.I32Const(1024), wt.I32Const(scratchAt)))},
		{"a log of 4 KiB in a loop", nil, ownLoop(abi.ImportLog, wt.I32+wt.I32+wt.I32, "", wt.Cat(wt.I32Const(0), wt.I32Const(wt.ResponseAt), wt.I32Const(4096)))},
		{"a log of a hundred lines in a loop", nil, func(m *wt.Module) []byte {
			log := m.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
			return wt.Cat(wt.I32Const(scratchAt), wt.I32Const('\n'), wt.I32Const(100), wt.MemoryFill(),
				wt.Forever(wt.I32Const(8), wt.I32Const(scratchAt), wt.I32Const(100), wt.Call(log)))
		}},
		{"metric_observe in a loop", nil, func(m *wt.Module) []byte {
			define := m.ImportFunc(abi.ImportModule, abi.ImportMetricDefine, wt.I32+wt.I32+wt.I32, wt.I32)
			observe := m.ImportFunc(abi.ImportModule, abi.ImportMetricObserve, wt.I32+wt.F64, "")
			return wt.Cat(wt.I32Const(scratchAt), wt.I32Const('a'), wt.I32Const(4), wt.MemoryFill(),
				wt.I32Const(scratchAt), wt.I32Const(4), wt.I32Const(abi.MetricHistogram), wt.Call(define), wt.Drop(),
				wt.Forever(wt.I32Const(0), wt.F64Const(1), wt.Call(observe)))
		}},
		{"metric_define in a loop", nil, func(m *wt.Module) []byte {
			define := m.ImportFunc(abi.ImportModule, abi.ImportMetricDefine, wt.I32+wt.I32+wt.I32, wt.I32)
			at := wt.I32Const(scratchAt)
			return wt.Forever(at, at, wt.Mem(wt.OpI64Load, 0), wt.I64Const(1), wt.Op(wt.OpI64Add), wt.Mem(wt.OpI64Store, 0),
				at, wt.I32Const(8), wt.I32Const(0), wt.Call(define), wt.Drop())
		}},
		{"secret_get in a loop", nil, ownLoop(abi.ImportSecretGet, wt.I32+wt.I32+wt.I32+wt.I32, wt.I64,
			wt.Cat(wt.I32Const(0), wt.I32Const(3), wt.I32Const(scratchAt), wt.I32Const(64)))},
		{"random in a loop", nil, ownLoop(abi.ImportRandom, wt.I32+wt.I32, "", wt.Cat(wt.I32Const(scratchAt), wt.I32Const(100<<10)))},
		{"now in a loop", nil, ownLoop(abi.ImportNow, "", wt.I64, nil)},
	}
}

func wasiLoop(name, params string, args []byte) func(m *wt.Module) []byte {
	return hostLoop(wasiModule, name, params, wt.I32, args)
}

func ownLoop(name, params, results string, args []byte) func(m *wt.Module) []byte {
	return hostLoop(abi.ImportModule, name, params, results, args)
}

func hostLoop(module, name, params, results string, args []byte) func(m *wt.Module) []byte {
	return func(m *wt.Module) []byte {
		call := wt.Cat(args, wt.Call(m.ImportFunc(module, name, params, results)))
		if results != "" {
			call = append(call, wt.Drop()...)
		}
		return wt.Forever(call)
	}
}

// endless are all endless actions at all places.
func endless() []Case {
	var list []Case
	for i, p := range places() {
		for k, a := range forever() {
			kinds := a.kinds
			if kinds == nil {
				kinds = []string{abi.FaultDeadline}
			}
			list = append(list, Case{
				Name: a.name + " in " + p.name, Group: "endless", Tries: "to run for ever",
				Module: in(p, a.code), Outcome: p.outcome, Kinds: kinds, Slow: i > 0 && k%9 != 0,
			})
		}
	}
	return list
}

// straight are long runs of dear instructions without a loop or a call.
func straight() []Case {
	repeat := func(n int, code ...[]byte) []byte {
		one, all := wt.Cat(code...), []byte(nil)
		for range n {
			all = append(all, one...)
		}
		return all
	}
	grown := wt.Cat(wt.I32Const(pages-4), wt.MemoryGrow(), wt.Drop()) // all that it can have
	const most = (pages - 2) << 16
	var list []Case
	add := func(name string, code func(m *wt.Module) []byte) {
		list = append(list, Case{
			Name: name, Group: "straight", Tries: "to run long without a loop", Module: processing(code),
			Outcome: Faulty, Kinds: []string{abi.FaultDeadline},
		})
	}
	add("2,000 times memory.fill of all memory", func(*wt.Module) []byte {
		return wt.Cat(grown, repeat(2_000, wt.I32Const(scratchAt), wt.I32Const(7), wt.I32Const(most), wt.MemoryFill()))
	})
	add("2,000 times memory.copy of all memory", func(*wt.Module) []byte {
		return wt.Cat(grown, repeat(2_000, wt.I32Const(scratchAt), wt.I32Const(scratchAt+1), wt.I32Const(most), wt.MemoryCopy()))
	})
	add("2,000 times memory.init of 8 MiB", func(m *wt.Module) []byte {
		d := m.PassiveData(make([]byte, 8<<20))
		return wt.Cat(grown, repeat(2_000, wt.I32Const(scratchAt), wt.I32Const(0), wt.I32Const(8<<20), wt.MemoryInit(d)))
	})
	add("2,000 times table.fill", func(m *wt.Module) []byte {
		m.Table(wt.FuncRef, wt.Limits(500_000))
		return repeat(2_000, wt.I32Const(0), wt.RefNull(wt.FuncRef), wt.I32Const(500_000), wt.TableFill(0))
	})
	add("2,000 times table.copy", func(m *wt.Module) []byte {
		m.Table(wt.FuncRef, wt.Limits(500_000))
		return repeat(2_000, wt.I32Const(1), wt.I32Const(0), wt.I32Const(499_999), wt.TableCopy(0, 0))
	})
	for _, c := range []struct {
		module, name, params, results string
		args                          []byte
	}{
		{wasiModule, "random_get", wt.I32 + wt.I32, wt.I32, wt.Cat(wt.I32Const(scratchAt), wt.I32Const(1<<20))},
		{abi.ImportModule, abi.ImportRandom, wt.I32 + wt.I32, "", wt.Cat(wt.I32Const(scratchAt), wt.I32Const(1<<20))},
		{wasiModule, "poll_oneoff", wt.I32 + wt.I32 + wt.I32 + wt.I32, wt.I32, wt.Cat(wt.I32Const(0), wt.I32Const(0), wt.I32Const(4096), wt.I32Const(0))},
	} {
		add(fmt.Sprintf("10,000 times %s.%s", c.module, c.name), func(m *wt.Module) []byte {
			call := wt.Cat(c.args, wt.Call(m.ImportFunc(c.module, c.name, c.params, c.results)))
			if c.results != "" {
				call = append(call, wt.Drop()...)
			}
			return wt.Cat(grown, repeat(10_000, call))
		})
	}
	return list
}
