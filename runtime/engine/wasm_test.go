package engine_test

import (
	"slices"

	"github.com/wasmill/wasmill/sdk/abi"
)

// A small WebAssembly encoder and one guest made with it: the puppet, which
// does what the event tells it. It returns the payload of the first event of a
// batch as its response, byte for byte, so that a test can put any response
// before the host. Some payloads are orders instead:
//
//	"R" + 8 bytes  return that i64
//	"T"            trap
//	"M"            take memory until there is no more, then trap
//	"E"            give up with a negative code
type puppet struct {
	memory  []byte // limits in pages; nil = the default, an empty one = no memory
	version int64  // 0 = the host's
	start   bool   // a command
	imports [][2]string
	open    []byte // body of wasmill_open; nil = none
	always  []byte // the response to every event, whatever it says; nil = as above
	without string // an export to leave out
}

const (
	wasmI32 = "\x7f"
	wasmI64 = "\x7e"

	puppetResponse = 1024     // address of the empty response
	puppetBuffer   = 64 << 10 // address of the input
)

func (p puppet) module() []byte {
	type function struct {
		name, params, results string
		body                  []byte
	}
	version := int64(abi.Version)
	if p.version != 0 {
		version = p.version
	}
	var w abi.ResponseWriter
	w.Reset()
	empty := slices.Clone(w.Bytes())
	data := slices.Concat(empty, p.always)

	get := func(i byte) []byte { return []byte{0x20, i} }
	load := func(offset byte) []byte { return []byte{0x20, 0, 0x28, 2, offset} } // of the batch
	i32 := func(v int64) []byte { return wasmJoin([]byte{0x41}, wasmSigned(v)) }
	add := []byte{0x6a}
	order := func(c byte, body ...[]byte) []byte {
		return wasmJoin(get(1), []byte{0x2d, 0, 0}, i32(int64(c)), []byte{0x46, 0x04, 0x40}, wasmJoin(body...), []byte{0x0b})
	}
	process := wasmJoin(
		load(8), []byte{0x04, 0x7e}, // events in the batch? (result i64)
		// Local 1 becomes the address of the payload: behind the batch's header of
		// 32 bytes, the event's of 48, and its subject, key and headers.
		get(0), i32(32+48), add, load(32+28), add, load(32+32), add, load(32+36), add, []byte{0x21, 1},
		order('R', get(1), []byte{0x29, 0, 1, 0x0f}),
		order('T', []byte{0x00}),
		order('M', []byte{0x03, 0x40}, i32(1), []byte{0x40, 0}, i32(-1), []byte{0x47, 0x0d, 0, 0x0b, 0x00}),
		order('E', []byte{0x42}, wasmSigned(-7), []byte{0x0f}),
		get(1), []byte{0xad, 0x42, 32, 0x86}, load(32+40), []byte{0xad, 0x84},
		[]byte{0x05, 0x42}, wasmSigned(puppetResponse<<32|int64(len(empty))),
		[]byte{0x0b},
	)
	if p.always != nil {
		process = wasmJoin(
			load(8), []byte{0x04, 0x7e, 0x42}, wasmSigned((puppetResponse+int64(len(empty)))<<32|int64(len(p.always))),
			[]byte{0x05, 0x42}, wasmSigned(puppetResponse<<32|int64(len(empty))), []byte{0x0b},
		)
	}
	functions := []function{
		{abi.ExportABI, "", wasmI32, i32(version)},
		{abi.ExportBuffer, wasmI32, wasmI32, i32(puppetBuffer)},
		{abi.ExportProcess, wasmI32 + wasmI32, wasmI64, process},
	}
	if p.open != nil {
		functions = append(functions, function{abi.ExportOpen, wasmI32 + wasmI32, wasmI32, p.open})
	}
	if p.start {
		functions = append(functions, function{abi.ExportStart, "", "", nil})
	}

	var types, imports, funcs, exports, code []byte
	n, exported := 0, 0
	for _, i := range p.imports {
		types = wasmJoin(types, []byte{0x60, 0, 0})
		imports = wasmJoin(imports, wasmString(i[0]), wasmString(i[1]), []byte{0}, wasmSize(n))
		n++
	}
	for _, f := range functions {
		types = wasmJoin(types, []byte{0x60}, wasmString(f.params), wasmString(f.results))
		funcs = wasmJoin(funcs, wasmSize(n))
		body := wasmJoin([]byte{0}, f.body, []byte{0x0b})
		code = wasmJoin(code, wasmSize(len(body)), body)
		if f.name != p.without {
			exports = wasmJoin(exports, wasmString(f.name), []byte{0}, wasmSize(n))
			exported++
		}
		n++
	}
	memory := p.memory
	if memory == nil {
		memory = []byte{0, 0xa0, 1} // 160 pages: room for the largest event
	}
	if len(memory) > 0 {
		exports = wasmJoin(exports, wasmString(abi.ExportMemory), []byte{2, 0})
		exported++
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, n int, content []byte) {
		if n > 0 {
			out = wasmJoin(out, []byte{id}, wasmSize(len(wasmSize(n))+len(content)), wasmSize(n), content)
		}
	}
	section(1, n, types)
	section(2, len(p.imports), imports)
	section(3, len(functions), funcs)
	section(5, min(len(memory), 1), memory)
	section(7, exported, exports)
	section(10, len(functions), code)
	if len(memory) > 0 {
		section(11, 1, wasmJoin([]byte{0}, i32(puppetResponse), []byte{0x0b}, wasmString(string(data))))
	}
	return out
}

func wasmJoin(parts ...[]byte) []byte { return slices.Concat(parts...) }

func wasmString(s string) []byte { return append(wasmSize(len(s)), s...) }

func wasmSize(n int) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func wasmSigned(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
