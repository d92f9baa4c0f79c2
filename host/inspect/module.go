package inspect

import (
	"bytes"
)

// Module is what Parse found. All byte slices are views of Bytes, every offset
// is one in it. In index spaces the imported entries come first.
type Module struct {
	Bytes     []byte
	Sections  []Section // in the module's order
	Types     []FuncType
	Imports   []Import
	Funcs     []uint32 // the type index of each function
	Tables    []Table
	Memories  []Limits // at most one
	Globals   []Global
	Exports   []Export
	Start     int // a function index; -1 = none
	Elements  []Element
	DataCount int    // of the section of that name; -1 = none
	Bodies    []Body // of the functions that are not imported
	Data      []Data

	importedGlobals int
	nameSection     int // index in Sections; -1 = none
}

// ImportedFuncs returns how many functions are imported: function
// ImportedFuncs()+i has the body Bodies[i].
func (m *Module) ImportedFuncs() int { return len(m.Funcs) - len(m.Bodies) }

// ImportedGlobals returns how many globals are imported.
func (m *Module) ImportedGlobals() int { return m.importedGlobals }

// TypeOf returns the signature of function f, which must exist.
func (m *Module) TypeOf(f uint32) FuncType { return m.Types[m.Funcs[f]] }

// Decode returns a decoder of the instructions of Bodies[i].
func (m *Module) Decode(i int) Decoder {
	return DecodeBytes(m.Bytes, m.Bodies[i].Code, m.Bodies[i].End)
}

// Export looks an export up by its name.
func (m *Module) Export(name string) (Export, bool) {
	for _, e := range m.Exports {
		if string(e.Name) == name {
			return e, true
		}
	}
	return Export{}, false
}

// Parse reads and checks a whole module. An error is an *Error.
func Parse(b []byte, caps Caps) (*Module, error) {
	caps = caps.withDefaults()
	if err := checkHead(b); err != nil {
		return nil, err
	}
	if len(b) > caps.ModuleBytes {
		return nil, capModule.error(0, uint64(len(b)), caps.ModuleBytes)
	}
	p := parser{Module: &Module{Bytes: b, Start: -1, DataCount: -1, nameSection: -1}, caps: &caps}
	p.r = reader{b: b, p: 8, index: -1}
	for p.r.err == nil && p.r.p < len(b) {
		p.section()
	}
	if p.r.err == nil {
		p.whole()
	}
	if p.r.err != nil {
		p.nameFunction(p.r.err)
		return nil, p.r.err
	}
	return p.Module, nil
}

// parser fills a Module.
type parser struct {
	*Module
	caps *Caps
	r    reader // of the module
	last int    // place of the last section that is not custom

	funcs  int // entries of the function section
	blocks []frame
	total  totals
}

// totals are sums over the whole module, for the caps on them.
type totals struct {
	typeValues, entries, items, data, customs, customBytes, code, locals, labels, values uint64
}

func checkHead(b []byte) error {
	has := func(prefix string) bool { return bytes.HasPrefix(b, []byte(prefix)) }
	none := func(message string) error { return &Error{Kind: NoModule, Index: -1, Message: message} }
	switch {
	case len(b) == 0:
		return none("the file is empty; build the plugin again")
	case has("\x00asm\x01\x00\x00\x00"):
		return nil
	case has("\x00asm") && len(b) >= 8 && b[6] == 1:
		return unsupported(4, "the file", components)
	case has("\x00asm"):
		return none("is WebAssembly of a version other than 1, or is cut off; build for WASI preview 1 (wasip1)")
	case has("\x7fELF"), has("MZ"), has("\xcf\xfa\xed\xfe"), has("!<arch>"):
		return none("is native code, not WebAssembly; set GOOS=wasip1 GOARCH=wasm for go build, or --target for other compilers")
	case has("(module"), has("(;"), has(";;"):
		return none("is WebAssembly text; assemble it first: wat2wasm plugin.wat")
	}
	return none(`is not WebAssembly (the file does not begin with "\0asm")`)
}

// section reads one section and checks that it ends where it says.
func (p *parser) section() {
	head := p.r.p
	id := p.r.byte()
	at := p.r.p
	size := p.r.u32()
	start := p.r.p
	if p.r.bytes(size); p.r.err != nil {
		p.r.err.Section, p.r.err.Offset = sectionName(id), at
		return
	}
	s := Section{ID: id, Head: head, Start: start, End: p.r.p}
	r := reader{b: p.Bytes[:s.End:s.End], p: start, section: sectionName(id), index: -1}
	if id == SectionCustom {
		p.custom(&r, &s)
	} else {
		p.known(&r, id, head)
	}
	if r.err == nil && r.p != s.End {
		r.index = -1
		r.malformed(r.p, "%d bytes are left at its end", s.End-r.p)
	}
	p.r.err = r.err
	p.Sections = append(p.Sections, s)
}

func (p *parser) known(r *reader, id byte, head int) {
	place := sectionPlace(id)
	switch {
	case id == 13:
		r.unsupported(head, "the tag section", exceptions)
		return
	case id == 14:
		r.unsupported(head, "the string section", stringReferences)
		return
	case place == 0:
		r.malformed(head, "there is no section of kind %d", id)
		return
	case place == p.last:
		r.malformed(head, "it is there twice")
		return
	case place < p.last:
		r.malformed(head, "it is behind a section that must come after it")
		return
	}
	p.last = place
	switch id {
	case SectionType:
		p.types(r)
	case SectionImport:
		p.imports(r)
	case SectionFunction:
		p.functions(r)
	case SectionTable:
		p.tables(r)
	case SectionMemory:
		p.memories(r)
	case SectionGlobal:
		p.globals(r)
	case SectionExport:
		p.exports(r)
	case SectionStart:
		p.start(r)
	case SectionElement:
		p.elements(r)
	case SectionDataCount:
		p.dataCount(r)
	case SectionCode:
		p.code(r)
	case SectionData:
		p.data(r)
	}
}

// whole checks what only the whole module shows.
func (p *parser) whole() {
	switch {
	case p.funcs != len(p.Bodies):
		p.r.section = "code"
		p.r.malformed(len(p.Bytes), "%d functions are declared, %d have a body", p.funcs, len(p.Bodies))
	case p.DataCount >= 0 && p.DataCount != len(p.Data):
		p.r.section = "data"
		p.r.malformed(len(p.Bytes), "%d segments are announced, there are %d", p.DataCount, len(p.Data))
	}
}

// nameFunction adds the name of the function that an error is in. The names
// come last in a module: the sections between are passed over.
func (p *parser) nameFunction(e *Error) {
	if e.Section != sectionName(SectionCode) || e.Index < 0 {
		return
	}
	r := reader{b: p.Bytes, p: p.Sections[len(p.Sections)-1].End}
	for p.nameSection < 0 && r.left() > 0 {
		s := Section{Head: r.p, ID: r.byte()}
		size := r.u32()
		s.Start = r.p
		r.bytes(size)
		s.End = r.p
		if r.err != nil {
			return
		}
		if s.ID == SectionCustom {
			c := reader{b: p.Bytes[:s.End:s.End], p: s.Start, index: -1}
			p.custom(&c, &s)
		}
		p.Sections = append(p.Sections, s)
	}
	if name := p.FuncName(uint32(e.Index)); name != nil {
		e.Func = printable(name)
	}
}

// printable quotes a name if it needs that.
func printable(name []byte) string {
	if q := quote(name); q != `"`+string(name)+`"` {
		return q
	}
	return string(name)
}
