package host

import (
	"errors"
	"fmt"
	"strings"
)

// module is what the host knows of a WebAssembly module before wazero sees it:
// enough to refuse, in words an author understands, what cannot be a plugin.
type module struct {
	types    []signature
	imports  []importEntry
	funcs    []uint32 // type index of every function, imported ones first
	memories []memoryType
	exports  []exportEntry
}

type signature struct{ params, results string } // one value type a byte, as in the binary

type importEntry struct {
	module, name string
	kind         byte
	typ          uint32 // of a function
}

type exportEntry struct {
	name  string
	kind  byte
	index uint32
}

type memoryType struct {
	flags    uint32
	min, max uint64 // pages; max is set when flags has memoryHasMax
}

// Kinds of import and export.
const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
	kindTag    = 4
)

const (
	memoryHasMax = 1
	memoryShared = 2
	memory64     = 4
)

// Value types.
const (
	typeI32 = 0x7f
	typeI64 = 0x7e
	typeF32 = 0x7d
	typeF64 = 0x7c
)

// String reads like "(i32, i64) -> i32".
func (s signature) String() string {
	str := "(" + typeNames(s.params) + ") -> "
	switch len(s.results) {
	case 0:
		return str + "()"
	case 1:
		return str + typeNames(s.results)
	}
	return str + "(" + typeNames(s.results) + ")"
}

func typeNames(types string) string {
	names := make([]string, len(types))
	for i := range len(types) {
		switch types[i] {
		case typeI32:
			names[i] = "i32"
		case typeI64:
			names[i] = "i64"
		case typeF32:
			names[i] = "f32"
		case typeF64:
			names[i] = "f64"
		case 0x7b:
			names[i] = "v128"
		case 0x70:
			names[i] = "funcref"
		case 0x6f:
			names[i] = "externref"
		default:
			names[i] = fmt.Sprintf("type 0x%02x", types[i])
		}
	}
	return strings.Join(names, ", ")
}

func kindName(k byte) string {
	switch k {
	case kindFunc:
		return "function"
	case kindTable:
		return "table"
	case kindMemory:
		return "memory"
	case kindGlobal:
		return "global"
	case kindTag:
		return "tag"
	}
	return fmt.Sprintf("kind %d", k)
}

// signatureOf returns the signature of function i. ok is false when i or its
// type does not exist.
func (m *module) signatureOf(i uint32) (signature, bool) {
	if uint64(i) >= uint64(len(m.funcs)) || uint64(m.funcs[i]) >= uint64(len(m.types)) {
		return signature{}, false
	}
	return m.types[m.funcs[i]], true
}

func (m *module) export(name string) (exportEntry, bool) {
	for _, e := range m.exports {
		if e.name == name {
			return e, true
		}
	}
	return exportEntry{}, false
}

// inspect reads the sections of a module that say what it needs and offers. It
// is linear in b, allocates no more than a small multiple of it, and never
// reads outside it; what it does not read, wazero validates.
func inspect(b []byte) (*module, error) {
	if err := checkMagic(b); err != nil {
		return nil, err
	}
	m := &module{}
	r := reader{b: b, p: 8}
	for r.err == nil && r.p < len(b) {
		id, at := r.byte(), r.p-1
		body := r.sub(r.u32())
		if r.err != nil {
			break
		}
		switch id {
		case 1:
			m.readTypes(&body)
		case 2:
			m.readImports(&body)
		case 3:
			for n := body.count(); n > 0 && body.err == nil; n-- {
				m.funcs = append(m.funcs, body.u32())
			}
		case 5:
			for n := body.count(); n > 0 && body.err == nil; n-- {
				m.memories = append(m.memories, body.memory())
			}
		case 7:
			for n := body.count(); n > 0 && body.err == nil; n-- {
				e := exportEntry{name: body.name(), kind: body.byte()}
				e.index = body.u32()
				m.exports = append(m.exports, e)
			}
		}
		if body.err != nil {
			return nil, fmt.Errorf("is not a valid WebAssembly module: section %d at byte %d: %w", id, at, body.err)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("is not a valid WebAssembly module: %w", r.err)
	}
	return m, nil
}

func checkMagic(b []byte) error {
	has := func(prefix string) bool { return strings.HasPrefix(string(b[:min(len(b), 16)]), prefix) }
	switch {
	case len(b) == 0:
		return errors.New("the file is empty; build the plugin again")
	case has("\x00asm\x01\x00\x00\x00"):
		return nil
	case has("\x00asm") && len(b) >= 8 && b[6] == 1:
		return errors.New("is a WebAssembly component; Wasmill runs core modules: build for WASI preview 1 (wasip1), without wrapping it as a component")
	case has("\x00asm"):
		return errors.New("is WebAssembly of a version other than 1, or is cut off; build for WASI preview 1 (wasip1)")
	case has("\x7fELF"), has("MZ"), has("\xcf\xfa\xed\xfe"), has("!<arch>"):
		return errors.New("is native code, not WebAssembly; set GOOS=wasip1 GOARCH=wasm for go build, or --target for other compilers")
	case has("(module"), has("(;"), has(";;"):
		return errors.New("is WebAssembly text; assemble it first: wat2wasm plugin.wat")
	}
	return errors.New(`is not WebAssembly (the file does not begin with "\0asm")`)
}

func (m *module) readTypes(r *reader) {
	for n := r.count(); n > 0 && r.err == nil; n-- {
		if form := r.byte(); form != 0x60 && r.err == nil {
			r.fail("type form 0x%02x is not supported, only functions are", form)
			return
		}
		m.types = append(m.types, signature{params: r.bytes(), results: r.bytes()})
	}
}

func (m *module) readImports(r *reader) {
	for n := r.count(); n > 0 && r.err == nil; n-- {
		e := importEntry{module: r.name(), name: r.name(), kind: r.byte()}
		switch e.kind {
		case kindFunc:
			e.typ = r.u32()
			m.funcs = append(m.funcs, e.typ)
		case kindTable:
			r.byte()
			r.memory()
		case kindMemory:
			r.memory()
		case kindGlobal:
			r.byte()
			r.byte()
		case kindTag:
			r.byte()
			r.u32()
		default:
			r.fail("import of unknown kind %d", e.kind)
			return
		}
		m.imports = append(m.imports, e)
	}
}

// reader reads the binary format. After the first error it returns zeros.
type reader struct {
	b   []byte
	p   int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
		r.p = len(r.b)
	}
}

func (r *reader) byte() byte {
	if r.p >= len(r.b) {
		r.fail("it ends early")
		return 0
	}
	r.p++
	return r.b[r.p-1]
}

// leb reads an unsigned LEB128 number of at most bits bits.
func (r *reader) leb(bits uint) uint64 {
	var v uint64
	for shift := uint(0); shift < bits; shift += 7 {
		c := r.byte()
		if left := bits - shift; left < 7 && c&0x7f>>left != 0 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			return v
		}
	}
	r.fail("a number is too large")
	return 0
}

func (r *reader) u32() uint32 { return uint32(r.leb(32)) }

// count reads how many entries follow. Each takes a byte at least, which bounds
// what a caller may allocate for them.
func (r *reader) count() uint32 {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.p) {
		r.fail("%d entries in %d bytes", n, len(r.b)-r.p)
		return 0
	}
	return n
}

func (r *reader) sub(n uint32) reader {
	if uint64(n) > uint64(len(r.b)-r.p) {
		r.fail("a section of %d bytes where %d are left", n, len(r.b)-r.p)
		return reader{}
	}
	s := reader{b: r.b[r.p : r.p+int(n)]}
	r.p += int(n)
	return s
}

func (r *reader) bytes() string {
	n := r.count()
	if r.err != nil {
		return ""
	}
	s := string(r.b[r.p : r.p+int(n)])
	r.p += int(n)
	return s
}

func (r *reader) name() string { return r.bytes() }

// memory reads limits, of a memory or a table.
func (r *reader) memory() memoryType {
	m := memoryType{flags: r.u32()}
	m.min = r.leb(64)
	if m.flags&memoryHasMax != 0 {
		m.max = r.leb(64)
	}
	return m
}
