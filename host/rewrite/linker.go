package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// Modules and the function that Linker imports, besides TickTable.
const (
	LinkerGuest = Prefix + "guest" // the module that exports TickTable
	LinkerHost  = Prefix + "host"  // the module that exports the tick
	TickFunc    = "tick"
)

// Linker returns the module that puts the tick into the table of an instance: it
// imports both and has nothing but an element segment. It is instantiated once
// for each instance, before any code of the instance runs; nothing of it is
// needed afterwards.
func Linker() []byte {
	section := func(o []byte, id byte, n uint32, entries []byte) []byte {
		s := section{count: n}
		return s.after(o, id, 0, entries)
	}
	o := []byte("\x00asm\x01\x00\x00\x00")
	o = section(o, inspect.SectionType, 1, []byte{typeFunc, 0, 1, typeI64})
	imports := append(name(name(nil, LinkerGuest), TickTable), byte(inspect.ExternTable), byte(inspect.Funcref), 1, 1, 1)
	imports = append(name(name(imports, LinkerHost), TickFunc), byte(inspect.ExternFunc), 0)
	o = section(o, inspect.SectionImport, 2, imports)
	return section(o, inspect.SectionElement, 1, []byte{0, opI32Const, 0, opEnd, 1, 0})
}
