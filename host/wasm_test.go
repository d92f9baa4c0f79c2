package host

import (
	"github.com/wasmill/wasmill/sdk/abi"
)

// A small WebAssembly encoder, so that each hostile module of the tests can be
// read where it is used.

// wasm is a module in the making. Function indices count imports first.
type wasm struct {
	imports []wasmImport
	funcs   []wasmFunc
	memory  []byte // limits; nil = no memory
	exports [][]byte
	data    []wasmData
	start   int // function index + 1
	custom  int // bytes of a custom section
	names   map[int]string
}

type wasmImport struct {
	module, name string
	kind         byte
	desc         []byte // of a kind other than function
	sig          signature
}

type wasmFunc struct {
	sig  signature
	body []byte
}

type wasmData struct {
	at uint32
	b  []byte
}

func (w *wasm) importFunc(module, name, params, results string) int {
	w.imports = append(w.imports, wasmImport{module: module, name: name, sig: signature{params, results}})
	return len(w.imports) - 1
}

func (w *wasm) fn(params, results string, body ...[]byte) int {
	w.funcs = append(w.funcs, wasmFunc{signature{params, results}, cat(body...)})
	return len(w.imports) + len(w.funcs) - 1
}

func (w *wasm) export(name string, kind byte, index int) {
	w.exports = append(w.exports, cat(str(name), []byte{kind}, uleb(uint64(index))))
}

// exportFn defines a function and exports it.
func (w *wasm) exportFn(name, params, results string, body ...[]byte) int {
	i := w.fn(params, results, body...)
	w.export(name, kindFunc, i)
	return i
}

func (w *wasm) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, n int, content []byte) {
		if n > 0 {
			body := cat(uleb(uint64(n)), content)
			out = cat(out, []byte{id}, uleb(uint64(len(body))), body)
		}
	}
	var types, imports, funcs, exports, code, data []byte
	n := 0
	typ := func(s signature) []byte {
		types = cat(types, []byte{0x60}, str(s.params), str(s.results))
		n++
		return uleb(uint64(n - 1))
	}
	for _, i := range w.imports {
		desc := i.desc
		if i.kind == kindFunc {
			desc = typ(i.sig)
		}
		imports = cat(imports, str(i.module), str(i.name), []byte{i.kind}, desc)
	}
	for _, f := range w.funcs {
		funcs = cat(funcs, typ(f.sig))
		body := cat([]byte{0}, f.body, []byte{0x0b})
		code = cat(code, uleb(uint64(len(body))), body)
	}
	for _, e := range w.exports {
		exports = cat(exports, e)
	}
	for _, d := range w.data {
		data = cat(data, []byte{0, 0x41}, sleb(int64(int32(d.at))), []byte{0x0b}, str(string(d.b)))
	}
	section(1, n, types)
	section(2, len(w.imports), imports)
	section(3, len(w.funcs), funcs)
	if w.memory != nil {
		section(5, 1, w.memory)
	}
	section(7, len(w.exports), exports)
	if w.start > 0 {
		body := uleb(uint64(w.start - 1))
		out = cat(out, []byte{8}, uleb(uint64(len(body))), body)
	}
	section(10, len(w.funcs), code)
	section(11, len(w.data), data)
	if len(w.names) > 0 {
		var list []byte
		for i := range len(w.imports) + len(w.funcs) {
			if name, ok := w.names[i]; ok {
				list = cat(list, uleb(uint64(i)), str(name))
			}
		}
		list = cat(uleb(uint64(len(w.names))), list)
		body := cat(str("name"), []byte{1}, uleb(uint64(len(list))), list)
		out = cat(out, []byte{0}, uleb(uint64(len(body))), body)
	}
	if w.custom > 0 {
		body := cat(str("x"), make([]byte, w.custom))
		out = cat(out, []byte{0}, uleb(uint64(len(body))), body)
	}
	return out
}

// Where the modules of the tests keep things.
const (
	bufferAt   = 1024
	responseAt = 65536
)

const (
	i32 = "\x7f"
	i64 = "\x7e"
	f64 = "\x7c"
)

// parts are the bodies of a plugin's exports; a nil one is the default of a
// plugin that answers every batch with the same response.
type parts struct {
	limits              []byte // of memory; default two pages at least
	version             []byte // of wasmill_abi_v1
	buffer              []byte // of wasmill_buffer
	process, open, shut []byte
	initialize          []byte
	response            []byte // what lies at responseAt; default an empty response
}

// plugin adds to w the exports of a plugin.
func (w *wasm) plugin(p parts) *wasm {
	or := func(b, otherwise []byte) []byte {
		if b == nil {
			return otherwise
		}
		return b
	}
	response := or(p.response, emptyResponse())
	w.memory = or(p.limits, []byte{0, 2})
	w.export(abi.ExportMemory, kindMemory, 0)
	w.exportFn(abi.ExportABI, "", i32, or(p.version, i32const(abi.Version)))
	w.exportFn(abi.ExportBuffer, i32, i32, or(p.buffer, i32const(bufferAt)))
	process := w.exportFn(abi.ExportProcess, i32+i32, i64, or(p.process, i64const(packed(responseAt, uint32(len(response))))))
	w.names = map[int]string{process: "run_the_batch"}
	if p.open != nil {
		w.exportFn(abi.ExportOpen, i32+i32, i32, p.open)
	}
	if p.shut != nil {
		w.exportFn(abi.ExportClose, "", i64, p.shut)
	}
	if p.initialize != nil {
		w.exportFn(abi.ExportInitialize, "", "", p.initialize)
	}
	w.data = append(w.data, wasmData{responseAt, response})
	return w
}

func plugin(p parts) []byte { return new(wasm).plugin(p).bytes() }

func emptyResponse() []byte {
	var w abi.ResponseWriter
	w.Reset()
	return w.Bytes()
}

// packed is a response of n bytes at p, as wasmill_process returns it.
func packed(p, n uint32) int64 { return int64(uint64(p)<<32 | uint64(n)) }

// onData wraps the body of wasmill_process: it runs for batches with events;
// the canary gets the response at responseAt.
func onData(body ...[]byte) []byte {
	return cat(
		localGet(0), []byte{0x28, 2, 8}, // i32.load offset=8: the event count
		[]byte{0x04, 0x7e}, // if (result i64)
		cat(body...),
		[]byte{0x05}, // else
		i64const(packed(responseAt, abi.ResponseHeaderSize)),
		[]byte{0x0b},
	)
}

func i32const(v int64) []byte { return cat([]byte{0x41}, sleb(int64(int32(v)))) }
func i64const(v int64) []byte { return cat([]byte{0x42}, sleb(v)) }
func localGet(i byte) []byte  { return []byte{0x20, i} }
func call(f int) []byte       { return cat([]byte{0x10}, uleb(uint64(f))) }
func drop() []byte            { return []byte{0x1a} }
func unreachable() []byte     { return []byte{0x00} }
func memoryGrow() []byte      { return []byte{0x40, 0} }

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func str(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func uleb(v uint64) []byte {
	var b []byte
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func sleb(v int64) []byte {
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
