package hostile

import (
	"bytes"
	"fmt"

	wt "github.com/wasmill/wasmill/host/wasmtest"
)

// bombs are modules that are small, or valid at least, and cost far more to
// compile or to instantiate than their bytes let think. The caps of host/inspect
// name what each has too much of.
func bombs() []Case {
	var list []Case
	add := func(name, says string, module func(m *wt.Module) []byte) {
		list = append(list, Case{
			Name: name, Group: "bomb", Tries: "to cost the compiler time or memory", Outcome: Refused, Says: says,
			Module: func() []byte { return module(new(wt.Module).Plugin(wt.Plugin{})) },
		})
	}
	function := func(name, says string, locals func() []byte, code func(m *wt.Module) []byte) {
		add(name, says, func(m *wt.Module) []byte {
			var l []byte
			if locals != nil {
				l = locals()
			}
			m.FuncLocals("", "", l, code(m))
			return m.Bytes()
		})
	}
	section := func(name, says string, id byte, body func() []byte) {
		add(name, says, func(m *wt.Module) []byte {
			m.Replace = map[byte][]byte{id: body()}
			return m.Bytes()
		})
	}
	repeated := func(n int, entry ...[]byte) func() []byte {
		return func() []byte { return wt.Cat(wt.ULEB(uint64(n)), bytes.Repeat(wt.Cat(entry...), n)) }
	}
	nothing := func(*wt.Module) []byte { return nil }
	groups := func(n int, each uint64) func() []byte {
		return func() []byte {
			list := make([]wt.LocalGroup, n)
			for i := range list {
				list[i] = wt.LocalGroup{N: each, Type: []string{wt.I32, wt.V128}[i%2]}
			}
			return wt.Locals(list...)
		}
	}

	// Locals: 37 bytes that take 8 GB.
	function("1e9 locals", "locals", groups(1, 1e9), nothing)
	function("2^32-1 locals", "locals", groups(1, 1<<32-1), nothing)
	function("locals that overflow 2^32", "locals", groups(2, 1<<31), nothing)
	function("locals that overflow 2^64", "", groups(2, 1<<63), nothing)
	function("50,000 groups of one local", "locals", groups(50_000, 1), nothing)
	add("10,000 locals in each of 1,000 functions", "locals", func(m *wt.Module) []byte {
		for range 1000 {
			m.FuncLocals("", "", groups(1, 10_000)())
		}
		return m.Bytes()
	})

	// Nesting: 315 kB that take 28 s and 2.75 GB.
	for _, n := range []int{5_000, 50_000, 150_000} {
		for name, open := range map[string][]byte{"block": {0x02, 0x40}, "loop": {0x03, 0x40}} {
			function(fmt.Sprintf("%d nested %ss", n, name), "", nil, func(*wt.Module) []byte {
				return wt.Cat(bytes.Repeat(open, n), bytes.Repeat(wt.End(), n))
			})
		}
		function(fmt.Sprintf("%d nested ifs", n), "", nil, func(*wt.Module) []byte {
			return wt.Cat(bytes.Repeat(wt.Cat(wt.I32Const(1), []byte{0x04, 0x40}), n), bytes.Repeat(wt.End(), n))
		})
		function(fmt.Sprintf("%d blocks in a row", n*4), "", nil, func(*wt.Module) []byte {
			return bytes.Repeat(wt.Block(wt.NoResult), n*4)
		})
	}
	function("9,000 locals that live over 10,000 blocks", "", groups(1, 9000), func(*wt.Module) []byte {
		return bytes.Repeat(wt.Block(wt.NoResult, wt.LocalGet(0), wt.Drop()), 10_000)
	})
	function("a br_table of 1e6 labels", "labels", nil, func(*wt.Module) []byte {
		return wt.Cat(wt.I32Const(0), wt.Op(0x0e), wt.ULEB(1e6), make([]byte, 1e6+1))
	})
	function("a br_table of 2^32-1 labels", "", nil, func(*wt.Module) []byte {
		return wt.Cat(wt.I32Const(0), wt.Op(0x0e), wt.ULEB(1<<32-1))
	})
	function("a hundred br_tables of 30,000 labels", "", nil, func(*wt.Module) []byte {
		table := wt.Block(wt.NoResult, wt.I32Const(0), wt.Op(0x0e), wt.ULEB(30_000), make([]byte, 30_001))
		return bytes.Repeat(table, 100)
	})
	function("a function of 2 MiB", "size of a function", nil, func(*wt.Module) []byte {
		return bytes.Repeat(wt.Op(wt.OpNop), 2<<20)
	})
	function("a select of 2^32-1 types", "", nil, func(*wt.Module) []byte { return wt.Cat(wt.Op(0x1c), wt.ULEB(1<<32-1)) })

	// Types, functions, and what is counted by the thousand.
	section("a type of 100,000 parameters", "parameters and results", wt.SectionType, func() []byte {
		return wt.Vec(wt.FuncType(string(bytes.Repeat([]byte(wt.I32), 100_000)), ""))
	})
	section("a type of 100,000 results", "parameters and results", wt.SectionType, func() []byte {
		return wt.Vec(wt.FuncType("", string(bytes.Repeat([]byte(wt.I32), 100_000))))
	})
	section("a million types", "types", wt.SectionType, repeated(1e6, wt.FuncType("", "")))
	section("5,000 types of 255 parameters", "parameters and results of all types", wt.SectionType,
		repeated(5_000, wt.FuncType(string(bytes.Repeat([]byte(wt.I64), 255)), "")))
	section("a million functions", "functions", wt.SectionFunction, repeated(1e6, []byte{0}))
	section("1e5 imports", "imports", wt.SectionImport, repeated(1e5, wt.Name("a"), wt.Name("b"), []byte{0, 0}))
	section("1e6 globals", "globals", wt.SectionGlobal, repeated(1e6, []byte(wt.I32), []byte{0}, wt.I32Const(0), wt.End()))
	section("1e5 exports", "exports", wt.SectionExport, repeated(1e5, wt.Name("e"), []byte{0, 0}))
	section("a hundred tables", "tables", wt.SectionTable, repeated(100, []byte(wt.FuncRef), wt.Limits(1)))
	section("eight tables of a million entries", "entries of all tables", wt.SectionTable, repeated(8, []byte(wt.FuncRef), wt.Limits(1e6)))
	section("a table of 2^32-1 entries", "entries of all tables", wt.SectionTable, repeated(1, []byte(wt.FuncRef), wt.Limits(1<<32-1)))
	add("a million element segments", "element segments", func(m *wt.Module) []byte {
		m.Table(wt.FuncRef, wt.Limits(1))
		m.Replace = map[byte][]byte{wt.SectionElement: repeated(1e6, []byte{0}, wt.I32Const(0), wt.End(), []byte{0})()}
		return m.Bytes()
	})
	add("an element segment of a million entries", "element segments", func(m *wt.Module) []byte {
		m.Table(wt.FuncRef, wt.Limits(1))
		m.Replace = map[byte][]byte{wt.SectionElement: wt.Vec(wt.Cat([]byte{0}, wt.I32Const(0), wt.End(), repeated(1e6, []byte{0})()))}
		return m.Bytes()
	})
	section("a million data segments", "data segments", wt.SectionData, repeated(1e6, []byte{1, 0}))
	section("40 MiB of data", "data", wt.SectionData, func() []byte { return wt.Vec(wt.Cat([]byte{1}, wt.Name(string(make([]byte, 40<<20))))) })

	// What the caps let pass and the compiler works long at: it is compiled aside,
	// or refused there.
	for name, code := range map[string][]byte{
		"20,000 bulk operations": bytes.Repeat(wt.Cat(wt.I32Const(0), wt.I32Const(0), wt.I32Const(9), wt.MemoryFill()), 20_000),
		"20,000 indirect calls":  bytes.Repeat(wt.Cat(wt.I32Const(0), wt.CallIndirect(0, 0)), 20_000),
		"300,000 additions":      wt.Cat(wt.I32Const(0), bytes.Repeat(wt.Cat(wt.I32Const(1), wt.Op(wt.OpI32Add)), 300_000), wt.Drop()),
	} {
		list = append(list, Case{Name: name + " in a function", Group: "bomb", Tries: "to cost the compiler time or memory", Outcome: Any, Slow: true, Module: func() []byte {
			m := new(wt.Module)
			m.Type("", "")
			m.Table(wt.FuncRef, wt.Limits(1))
			m.Plugin(wt.Plugin{})
			m.Func("", "", code)
			return m.Bytes()
		}})
	}

	// Custom sections.
	custom := func(name, says string, outcome Outcome, tail func() []byte) {
		list = append(list, Case{Name: name, Group: "bomb", Tries: "to make the host read or keep much", Outcome: outcome, Says: says, Module: func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Tail = tail()
			return m.Bytes()
		}})
	}
	custom("10 MiB in a custom section", "", Harmless, func() []byte { return wt.Custom("x", make([]byte, 10<<20)) })
	custom("40 MiB in a custom section", "custom sections", Refused, func() []byte { return wt.Custom("x", make([]byte, 40<<20)) })
	custom("100,000 custom sections", "custom sections", Refused, func() []byte { return bytes.Repeat(wt.Custom("", nil), 100_000) })
	custom("a module of 65 MiB", "64 MiB", Refused, func() []byte { return wt.Custom("x", make([]byte, 65<<20)) })
	return list
}
