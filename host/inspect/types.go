package inspect

import (
	"fmt"
	"strings"
)

// ValueType is the type of a value, as the binary format writes it.
type ValueType byte

// The value types of the core specification 2.0.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	Funcref   ValueType = 0x70
	Externref ValueType = 0x6f
)

func validType(t byte) bool {
	return t >= byte(V128) && t <= byte(I32) || t == byte(Funcref) || t == byte(Externref)
}

// String is the type's name in the text format.
func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case Funcref:
		return "funcref"
	case Externref:
		return "externref"
	}
	return fmt.Sprintf("type 0x%02x", byte(t))
}

// FuncType is the signature of a function or block: one ValueType a byte.
type FuncType struct{ Params, Results []byte }

// String reads like "(i32, i64) -> i32".
func (t FuncType) String() string {
	s := "(" + typeNames(t.Params) + ") -> "
	switch len(t.Results) {
	case 0:
		return s + "()"
	case 1:
		return s + typeNames(t.Results)
	}
	return s + "(" + typeNames(t.Results) + ")"
}

func typeNames(types []byte) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = ValueType(t).String()
	}
	return strings.Join(names, ", ")
}

// Extern is the kind of an import or export.
type Extern byte

// The kinds of import and export.
const (
	ExternFunc   Extern = 0
	ExternTable  Extern = 1
	ExternMemory Extern = 2
	ExternGlobal Extern = 3
)

// String is the kind in words.
func (k Extern) String() string {
	switch k {
	case ExternFunc:
		return "function"
	case ExternTable:
		return "table"
	case ExternMemory:
		return "memory"
	case ExternGlobal:
		return "global"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Limits are the sizes of a memory, in pages of 64 KiB, or of a table, in entries.
type Limits struct {
	Min, Max uint32
	HasMax   bool
}

// Import is what a module wants from outside. Index is that of the function's
// type, or its place among the imports of the same kind.
type Import struct {
	Module, Name []byte
	Kind         Extern
	Index        uint32
}

// Export is what a module gives a name. Index counts imports first.
type Export struct {
	Name  []byte
	Kind  Extern
	Index uint32
}

// Table is a table of references.
type Table struct {
	Type ValueType
	Limits
}

// Global is a global variable. Init is zero for an imported one.
type Global struct {
	Type    ValueType
	Mutable bool
	Init    Const
}

// Const is a constant expression: one instruction and an end.
type Const struct {
	Op         Op
	X          uint32 // the global of global.get, the function of ref.func, the type of ref.null, the bits of i32.const
	Start, End int    // with the end
}

// Mode says what becomes of a segment.
type Mode uint8

const (
	// Active segments are copied when the module is instantiated.
	Active Mode = iota
	// Passive segments are copied by an instruction.
	Passive
	// Declared element segments only say which functions ref.func may name.
	Declared
)

// Element is a segment of a table's contents.
type Element struct {
	Mode       Mode
	Type       ValueType
	Table      uint32 // of an active one
	Offset     Const  // of an active one
	Count      int    // entries
	Exprs      bool   // the entries are constant expressions, not function indices
	Items      int    // offset of the first entry
	Start, End int    // the whole segment
}

// Data is a segment of the memory's contents: the bytes [Start, End).
type Data struct {
	Mode       Mode
	Offset     Const // of an active one
	Start, End int
}

// Body is the code of one function. Its size field ends at Start; [Start, Code)
// are the locals, [Code, End) the instructions.
type Body struct {
	Start, Code, End int
	Locals           int // without the parameters
}

// Section is one section; ID and size field end at Start.
type Section struct {
	ID         byte
	Name       []byte // of a custom one
	Head       int    // offset of the ID
	Start, End int    // the payload; of a custom section it begins with the name
}

// Section IDs, in the order in which sections must come.
const (
	SectionCustom    byte = 0
	SectionType      byte = 1
	SectionImport    byte = 2
	SectionFunction  byte = 3
	SectionTable     byte = 4
	SectionMemory    byte = 5
	SectionGlobal    byte = 6
	SectionExport    byte = 7
	SectionStart     byte = 8
	SectionElement   byte = 9
	SectionDataCount byte = 12
	SectionCode      byte = 10
	SectionData      byte = 11
)

func sectionName(id byte) string {
	switch id {
	case SectionCustom:
		return "custom"
	case SectionType:
		return "type"
	case SectionImport:
		return "import"
	case SectionFunction:
		return "function"
	case SectionTable:
		return "table"
	case SectionMemory:
		return "memory"
	case SectionGlobal:
		return "global"
	case SectionExport:
		return "export"
	case SectionStart:
		return "start"
	case SectionElement:
		return "element"
	case SectionDataCount:
		return "data count"
	case SectionCode:
		return "code"
	case SectionData:
		return "data"
	}
	return fmt.Sprintf("%d", id)
}

// sectionPlace is where a section must be among the others; 0 = unknown.
func sectionPlace(id byte) int {
	switch {
	case id >= SectionType && id <= SectionElement:
		return int(id)
	case id == SectionDataCount:
		return 10
	case id == SectionCode:
		return 11
	case id == SectionData:
		return 12
	}
	return 0
}
