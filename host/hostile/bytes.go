package hostile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// names are hostile names, in and outside of the name section.
func names() []Case {
	var list []Case
	named := func(name string, outcome Outcome, section func(process int) []byte) {
		c := Case{Name: name, Group: "name", Tries: "to drive the terminal, or cost the host", Outcome: outcome, Module: func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{Process: wt.OnData(wt.Unreachable())})
			m.Names = nil
			m.Tail = section(m.Exported(abi.ExportProcess))
			return m.Bytes()
		}}
		if outcome == Faulty {
			c.Kinds = []string{abi.FaultTrap}
		}
		list = append(list, c)
	}
	functions := func(entries ...[]byte) []byte { return wt.Custom("name", wt.Section(1, wt.Vec(entries...))) }
	entry := func(i int, name string) []byte { return wt.Cat(wt.ULEB(uint64(i)), wt.Name(name)) }
	for _, n := range []string{
		"\x1b]0;pwned\a", "\x1b[2J\x1b[1;1H", "a\nERROR everything is lost\n", "\r\x00", "\xff\xfe", "right\u202eto left", "\u2028", "",
		"\nwasm stack trace:\n", "\n\nGo runtime stack trace:", "panic: " + strings.Repeat("x", 3000),
	} {
		named(fmt.Sprintf("a function called %.20q", n), Faulty, func(process int) []byte { return functions(entry(process, n)) })
	}
	named("a name of 1 MiB", Any, func(process int) []byte { return functions(entry(process, strings.Repeat("n", 1<<20))) })
	named("100,000 names of one function", Any, func(process int) []byte {
		return wt.Custom("name", wt.Section(1, wt.ULEB(100_000), bytes.Repeat(entry(process, "n"), 100_000)))
	})
	named("names of functions that are not there", Any, func(int) []byte { return functions(entry(1<<31, "n"), entry(1<<32-1, "n")) })
	named("more names than bytes", Any, func(int) []byte { return wt.Custom("name", wt.Section(1, wt.ULEB(1<<32-1))) })
	named("a name longer than its section", Any, func(process int) []byte {
		return wt.Custom("name", wt.Section(1, wt.ULEB(1), wt.ULEB(uint64(process)), wt.ULEB(1<<31)))
	})
	named("ten name sections", Any, func(process int) []byte { return bytes.Repeat(functions(entry(process, "n")), 10) })
	named("a name section of garbage", Any, func(int) []byte { return wt.Custom("name", bytes.Repeat([]byte{0xff}, 1000)) })
	named("debug sections of garbage", Any, func(int) []byte {
		return wt.Cat(wt.Custom(".debug_info", bytes.Repeat([]byte{0xff}, 1000)), wt.Custom(".debug_line", nil), wt.Custom("sourceMappingURL", []byte("file:///etc/passwd")))
	})
	exported := func(name, export string, times int, outcome Outcome) {
		list = append(list, Case{Name: name, Group: "name", Tries: "to drive the terminal, or cost the host", Outcome: outcome, Module: func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			for i := range times {
				m.Export(fmt.Sprintf("%s%d", export, i), wt.KindFunc, 0)
			}
			return m.Bytes()
		}})
	}
	exported("an export that is no text", "\xff\xfe", 1, Refused)
	exported("an export that clears the screen", "\x1b[2J", 1, Harmless)
	exported("an export of 100 KiB", strings.Repeat("e", 100<<10), 1, Refused)
	list = append(list, Case{Name: "an export twice", Group: "name", Tries: "to have two meanings", Outcome: Refused, Module: func() []byte {
		m := new(wt.Module).Plugin(wt.Plugin{})
		m.Export(abi.ExportProcess, wt.KindFunc, 0)
		return m.Bytes()
	}})
	return list
}

// malformed are modules that are none.
func malformed() []Case {
	whole := func() []byte {
		m := new(wt.Module)
		m.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
		m.Table(wt.FuncRef, wt.Limits(1))
		m.Global(wt.I32, true, wt.I32Const(1))
		m.Plugin(wt.Plugin{})
		m.Elem(0, 1)
		m.Names = nil
		return m.Bytes()
	}
	var list []Case
	add := func(name string, module func() []byte) {
		list = append(list, Case{Name: name, Group: "malformed", Tries: "to trip the parser", Module: module, Outcome: Refused})
	}
	is := func(b []byte) func() []byte { return func() []byte { return b } }
	n := len(whole())
	for _, cut := range []int{0, 1, 4, 7, 8, 9, 10, 12, n / 8, n / 4, n / 3, n / 2, n * 2 / 3, n * 3 / 4, n - 40, n - 10, n - 2, n - 1} {
		add(fmt.Sprintf("a module cut off at byte %d", cut), func() []byte { return whole()[:cut] })
	}
	for name, b := range map[string][]byte{
		"native code":         []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00"),
		"text":                []byte("(module (func (loop (br 0))))"),
		"a component":         []byte("\x00asm\x0d\x00\x01\x00"),
		"version 2":           []byte("\x00asm\x02\x00\x00\x00"),
		"a megabyte of zeros": make([]byte, 1<<20),
		"a megabyte of 0xff":  bytes.Repeat([]byte{0xff}, 1<<20),
		"a header and 0xff":   append(wt.Header(), bytes.Repeat([]byte{0xff}, 1<<20)...),
	} {
		add(name, is(b))
	}
	for id := byte(0); id <= 14; id++ {
		add(fmt.Sprintf("section %d that is longer than the file", id), is(wt.Cat(wt.Header(), []byte{id}, wt.ULEB(1<<32-1))))
		add(fmt.Sprintf("section %d with 2^32-1 entries", id), is(wt.Cat(wt.Header(), wt.Section(id, wt.ULEB(1<<32-1)))))
		add(fmt.Sprintf("section %d whose number does not end", id), is(wt.Cat(wt.Header(), wt.Section(id, bytes.Repeat([]byte{0x80}, 100)))))
	}
	add("a section twice", func() []byte {
		m := new(wt.Module).Plugin(wt.Plugin{})
		m.Before = map[byte][]byte{wt.SectionExport: wt.Section(wt.SectionMemory, wt.Vec(wt.Limits(1)))}
		return m.Bytes()
	})
	add("sections out of order", func() []byte {
		m := new(wt.Module).Plugin(wt.Plugin{})
		m.Tail = wt.Section(wt.SectionGlobal, wt.Vec())
		return m.Bytes()
	})
	replaced := func(name string, id byte, body []byte) {
		add(name, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{})
			m.Replace = map[byte][]byte{id: body}
			return m.Bytes()
		})
	}
	replaced("functions of a type that is not there", wt.SectionFunction, wt.Vec([]byte{99}, []byte{99}, []byte{99}))
	replaced("fewer functions than bodies", wt.SectionFunction, wt.Vec([]byte{0}))
	replaced("bodies without functions", wt.SectionFunction, wt.Vec())
	replaced("no bodies", wt.SectionCode, wt.Vec())
	replaced("a body of no bytes", wt.SectionCode, wt.Vec([]byte{0}, []byte{0}, []byte{0}))
	replaced("a body that is longer than its section", wt.SectionCode, wt.Cat(wt.ULEB(3), wt.ULEB(1<<31)))
	replaced("an export of function 2^32-1", wt.SectionExport, wt.Vec(wt.Cat(wt.Name("memory"), []byte{2, 0}), wt.Cat(wt.Name(abi.ExportABI), []byte{0}, wt.ULEB(1<<32-1))))
	replaced("a start function that is not there", wt.SectionStart, wt.ULEB(1<<32-1))
	replaced("more data than it says", wt.SectionDataCount, wt.ULEB(0))
	replaced("data of a memory that is not there", wt.SectionData, wt.Vec(wt.Cat([]byte{2}, wt.ULEB(7), wt.I32Const(0), wt.End(), wt.Name("x"))))
	body := func(name string, code ...[]byte) {
		add(name, func() []byte { return wt.NewPlugin(wt.Plugin{Process: wt.Cat(code...)}) })
	}
	body("code that leaves nothing", wt.Op(wt.OpNop))
	add("an import that is no text", func() []byte {
		m := new(wt.Module)
		m.ImportFunc("\xff\xfe", "\xc0\xaf", "", "")
		return m.Plugin(wt.Plugin{}).Bytes()
	})
	body("code that leaves too much", wt.I64Const(0), wt.I64Const(0))
	body("a pop from nothing", wt.Drop(), wt.I64Const(0))
	body("an end too many", wt.I64Const(0), wt.End(), wt.End())
	body("a block without an end", wt.Op(0x02, 0x40), wt.I64Const(0))
	body("an else without an if", wt.Op(0x05), wt.I64Const(0))
	body("a branch out of everything", wt.Br(1<<31))
	body("a local that is not there", wt.LocalGet(1<<31), wt.Drop(), wt.I64Const(0))
	body("a global that is not there", wt.GlobalGet(0), wt.Drop(), wt.I64Const(0))
	body("a call of what is not there", wt.Call(1<<31), wt.I64Const(0))
	body("a table that is not there", wt.I32Const(0), wt.CallIndirect(0, 5), wt.I64Const(0))
	body("a block of a type that is not there", wt.Block(string(wt.SLEB(1<<31)), nil), wt.I64Const(0))
	for op := 0xd3; op <= 0xff; op += 4 {
		body(fmt.Sprintf("opcode %#x", op), wt.Op(byte(op)), wt.I64Const(0))
	}
	for name, code := range map[string][]byte{
		"an exception": wt.Op(0x08, 0), "a tail call": wt.Op(0x12, 0), "an atomic access": wt.Op(0xfe, 0x10, 2, 0), "a struct": wt.Op(0xfb, 0, 0),
		"relaxed SIMD": wt.SIMD(0x100), "a misc operation that is none": wt.Op(0xfc, 99),
	} {
		body(name, code, wt.I64Const(0))
	}
	return list
}

// mutants are modules of which some bytes were changed at random, the same ones
// in each run. What comes of them nobody can say; the host bears it.
func mutants() []Case {
	const mutants = 150
	var sources [][]byte
	for _, a := range forever()[:16] {
		sources = append(sources, in(places()[0], a.code)())
	}
	list := make([]Case, 0, mutants)
	for seed := range uint64(mutants) {
		list = append(list, Case{
			Name: fmt.Sprintf("mutant %d", seed), Group: "mutant", Tries: "what chance has it try", Outcome: Any, Slow: seed%5 != 0,
			Module: func() []byte {
				r := rand.New(rand.NewPCG(seed, 0))
				b := bytes.Clone(sources[r.IntN(len(sources))])
				for range 1 + r.IntN(4) {
					switch at := 8 + r.IntN(len(b)-8); r.IntN(4) {
					case 0:
						b[at] = byte(r.Uint32())
					case 1:
						b[at] ^= 1 << r.IntN(8)
					case 2:
						b = append(b[:at:at], b[min(len(b), at+1+r.IntN(4)):]...)
					default:
						b = append(b[:at:at], append([]byte{byte(r.Uint32())}, b[at:]...)...)
					}
					if len(b) < 16 {
						break
					}
				}
				return b
			},
		})
	}
	return list
}
