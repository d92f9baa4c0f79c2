package inspect

import (
	"iter"
	"unicode/utf8"
)

const (
	functionNames = 1   // the subsection of the name section
	mostOfName    = 256 // bytes of a name that are shown
)

// FuncNames ranges over the functions that the module's name section names, in
// ascending order. A name is a view of Bytes, UTF-8, and cut off at 256 bytes.
// What is not well formed is left out, as the specification wants: a name
// section is a comment.
func (m *Module) FuncNames() iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		if m.nameSection < 0 {
			return
		}
		s := m.Sections[m.nameSection]
		r := reader{b: m.Bytes[:s.End:s.End], p: s.Start}
		for r.bytes(r.u32()); r.err == nil && r.left() > 0; {
			id := r.byte()
			if sub := r.bytes(r.u32()); r.err == nil && id == functionNames {
				ranging(sub, uint32(len(m.Funcs)), yield)
				return
			}
		}
	}
}

func ranging(b []byte, funcs uint32, yield func(uint32, []byte) bool) {
	r := reader{b: b}
	next := uint32(0)
	for n := r.count(2); n > 0; n-- {
		i := r.u32()
		name := r.bytes(r.u32())
		if r.err != nil || i < next || i >= funcs {
			return
		}
		next = i + 1
		if len(name) > mostOfName {
			name = name[:mostOfName]
			for !utf8.Valid(name) && len(name) > mostOfName-utf8.UTFMax {
				name = name[:len(name)-1]
			}
		}
		if utf8.Valid(name) && !yield(i, name) {
			return
		}
	}
}

// FuncName returns the name of function f: of the name section, else of an
// export. nil = it has none. It takes time linear in the module.
func (m *Module) FuncName(f uint32) []byte {
	for i, name := range m.FuncNames() {
		if i == f {
			return name
		}
	}
	for _, e := range m.Exports {
		if e.Kind == ExternFunc && e.Index == f {
			return e.Name
		}
	}
	return nil
}

// AppendNames appends a custom section to a module that has the names of m's
// functions, as FuncNames has them, and nothing else. A module without names
// gets none.
func (m *Module) AppendNames(b []byte) []byte {
	n := uint32(0)
	var list []byte
	for i, name := range m.FuncNames() {
		n++
		list = appendULEB(appendULEB(list, i), uint32(len(name)))
		list = append(list, name...)
	}
	if n == 0 {
		return b
	}
	const head = "\x04name"
	count := appendULEB(nil, n)
	size := uint32(len(count) + len(list))
	payload := append(appendULEB([]byte(head+string(rune(functionNames))), size), count...)
	b = appendULEB(append(b, SectionCustom), uint32(len(payload)+len(list)))
	return append(append(b, payload...), list...)
}

func appendULEB(b []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}
