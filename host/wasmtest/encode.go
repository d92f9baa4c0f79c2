package wasmtest

import "slices"

// Value types, to be joined: I32+F64.
const (
	I32       = "\x7f"
	I64       = "\x7e"
	F32       = "\x7d"
	F64       = "\x7c"
	V128      = "\x7b"
	FuncRef   = "\x70"
	ExternRef = "\x6f"
)

// Kinds of imports and exports.
const (
	KindFunc   = 0
	KindTable  = 1
	KindMemory = 2
	KindGlobal = 3
	KindTag    = 4
)

// Section ids, in the order in which a module has them; DataCount comes before Code.
const (
	SectionCustom    = 0
	SectionType      = 1
	SectionImport    = 2
	SectionFunction  = 3
	SectionTable     = 4
	SectionMemory    = 5
	SectionGlobal    = 6
	SectionExport    = 7
	SectionStart     = 8
	SectionElement   = 9
	SectionCode      = 10
	SectionData      = 11
	SectionDataCount = 12
)

// Header is the magic and version with which a module begins.
func Header() []byte { return []byte("\x00asm\x01\x00\x00\x00") }

// Section encodes one section: its id, its length, its body.
func Section(id byte, body ...[]byte) []byte {
	b := Cat(body...)
	return Cat([]byte{id}, ULEB(uint64(len(b))), b)
}

// Custom encodes a custom section.
func Custom(name string, body []byte) []byte { return Section(SectionCustom, Name(name), body) }

// Vec encodes a vector: the number of items, then the items.
func Vec(items ...[]byte) []byte { return Cat(ULEB(uint64(len(items))), Cat(items...)) }

// Name encodes a length and the bytes of s: a name, or a vector of value types.
func Name(s string) []byte { return append(ULEB(uint64(len(s))), s...) }

// FuncType encodes a function type.
func FuncType(params, results string) []byte { return Cat([]byte{0x60}, Name(params), Name(results)) }

// Limits encodes the limits of a memory or table: a minimum and perhaps a maximum.
func Limits(least uint64, most ...uint64) []byte {
	if len(most) > 0 {
		return Cat([]byte{1}, ULEB(least), ULEB(most[0]))
	}
	return Cat([]byte{0}, ULEB(least))
}

// Cat joins code, or any bytes, into a slice of its own.
func Cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// ULEB encodes an unsigned number in as few bytes as it takes.
func ULEB(v uint64) []byte {
	var b []byte
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// PaddedULEB encodes an unsigned number in n bytes, more than it needs.
func PaddedULEB(v uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v)&0x7f | 0x80
		v >>= 7
	}
	b[n-1] &= 0x7f
	return b
}

// SLEB encodes a signed number in as few bytes as it takes.
func SLEB(v int64) []byte {
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
