package wasmtest

import (
	"bytes"
	"fmt"
)

// Module is a module in the making. The zero value is an empty one. Methods
// append and return the index of what they added; function indices count the
// imported ones first, so imports come before anything that is defined.
type Module struct {
	Types    [][]byte // encoded, see FuncType; Type adds and finds
	Imports  []Import
	Funcs    []Func
	Tables   [][]byte // encoded: a reference type and Limits
	Memories [][]byte // encoded Limits
	Globals  [][]byte // encoded: type, mutability, initializer, end
	Exports  []Export
	Start    []byte   // encoded function index; nil = none
	Elements [][]byte // encoded
	Datas    [][]byte // encoded
	// DataCount says that the module has a data count section, as one with
	// memory.init or data.drop must.
	DataCount bool
	Names     map[int]string // function names, for the name section
	// Replace has section bodies by id that stand instead of what the fields
	// above say.
	Replace map[byte][]byte
	// Before has encoded sections, any number, that stand right before the
	// section of that id, and Tail what stands at the end.
	Before map[byte][]byte
	Tail   []byte
}

// Import is one import.
type Import struct {
	Module, Name string
	Kind         byte
	Desc         []byte // encoded: of a function its type index, of others their type
}

// Func is one function that the module defines.
type Func struct {
	Type   int
	Locals []byte // encoded vector, see Locals; nil = none
	Body   []byte // without its end
	Raw    []byte // instead: the whole code entry behind its length
}

// Export is one export.
type Export struct {
	Name  string
	Kind  byte
	Index int
}

// Type returns the index of the function type, which it adds if there is none.
func (m *Module) Type(params, results string) int {
	typ := FuncType(params, results)
	for i, t := range m.Types {
		if bytes.Equal(t, typ) {
			return i
		}
	}
	m.Types = append(m.Types, typ)
	return len(m.Types) - 1
}

// ImportFunc adds an imported function and returns its index.
func (m *Module) ImportFunc(module, name, params, results string) int {
	if len(m.Funcs) > 0 {
		panic(fmt.Sprintf("wasmtest: import %s.%s before defining functions: it would shift their indices", module, name))
	}
	m.Imports = append(m.Imports, Import{module, name, KindFunc, ULEB(uint64(m.Type(params, results)))})
	return m.NextFunc() - 1
}

// NextFunc is the index that the next function will have: for code that calls itself.
func (m *Module) NextFunc() int { return m.firstFunc() + len(m.Funcs) }

func (m *Module) firstFunc() int {
	n := 0
	for _, i := range m.Imports {
		if i.Kind == KindFunc {
			n++
		}
	}
	return n
}

// Func adds a function without locals and returns its index.
func (m *Module) Func(params, results string, body ...[]byte) int {
	return m.FuncLocals(params, results, nil, body...)
}

// FuncLocals adds a function with locals, see Locals, and returns its index.
func (m *Module) FuncLocals(params, results string, locals []byte, body ...[]byte) int {
	m.Funcs = append(m.Funcs, Func{Type: m.Type(params, results), Locals: locals, Body: Cat(body...)})
	return m.NextFunc() - 1
}

// Define gives function i, which the module defines, another body.
func (m *Module) Define(i int, body ...[]byte) { m.Funcs[i-m.firstFunc()].Body = Cat(body...) }

// Export adds an export.
func (m *Module) Export(name string, kind byte, index int) {
	m.Exports = append(m.Exports, Export{name, kind, index})
}

// ExportFunc adds a function, exports it and returns its index.
func (m *Module) ExportFunc(name, params, results string, body ...[]byte) int {
	i := m.Func(params, results, body...)
	m.Export(name, KindFunc, i)
	return i
}

// Exported returns the index of the export of that name.
func (m *Module) Exported(name string) int {
	for _, e := range m.Exports {
		if e.Name == name {
			return e.Index
		}
	}
	panic("wasmtest: no export " + name)
}

// Without takes the exports of that name away.
func (m *Module) Without(name string) *Module {
	var kept []Export
	for _, e := range m.Exports {
		if e.Name != name {
			kept = append(kept, e)
		}
	}
	m.Exports = kept
	return m
}

// Table adds a table of that reference type and returns its index.
func (m *Module) Table(ref string, limits []byte) int {
	m.Tables = append(m.Tables, Cat([]byte(ref), limits))
	return len(m.Tables) - 1
}

// Memory adds a memory.
func (m *Module) Memory(limits []byte) { m.Memories = append(m.Memories, limits) }

// Global adds a global with a constant initializer and returns its index.
func (m *Module) Global(typ string, mutable bool, init []byte) int {
	mut := byte(0)
	if mutable {
		mut = 1
	}
	m.Globals = append(m.Globals, Cat([]byte(typ), []byte{mut}, init, End()))
	return len(m.Globals) - 1
}

// StartAt makes function i the start function.
func (m *Module) StartAt(i int) { m.Start = ULEB(uint64(i)) }

// Elem adds an active segment of table 0.
func (m *Module) Elem(at int64, funcs ...int) {
	m.Elements = append(m.Elements, Cat([]byte{0}, I32Const(at), End(), indices(funcs)))
}

// PassiveElem adds a passive segment of functions and returns its index.
func (m *Module) PassiveElem(funcs ...int) int {
	m.Elements = append(m.Elements, Cat([]byte{1, 0}, indices(funcs)))
	return len(m.Elements) - 1
}

func indices(funcs []int) []byte {
	list := make([][]byte, len(funcs))
	for i, f := range funcs {
		list[i] = ULEB(uint64(f))
	}
	return Vec(list...)
}

// Data adds an active segment of memory 0.
func (m *Module) Data(at int64, b []byte) {
	m.Datas = append(m.Datas, Cat([]byte{0}, I32Const(at), End(), Name(string(b))))
}

// PassiveData adds a passive segment, and the data count section that it takes,
// and returns its index.
func (m *Module) PassiveData(b []byte) int {
	m.Datas = append(m.Datas, Cat([]byte{1}, Name(string(b))))
	m.DataCount = true
	return len(m.Datas) - 1
}

// Locals encodes groups of locals: a count and a type each. The counts may lie.
func Locals(groups ...LocalGroup) []byte {
	list := make([][]byte, len(groups))
	for i, g := range groups {
		list[i] = Cat(ULEB(g.N), []byte(g.Type))
	}
	return Vec(list...)
}

// LocalGroup is N locals of one type.
type LocalGroup struct {
	N    uint64
	Type string
}

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	imports := make([][]byte, len(m.Imports))
	for i, e := range m.Imports {
		imports[i] = Cat(Name(e.Module), Name(e.Name), []byte{e.Kind}, e.Desc)
	}
	funcs, code := make([][]byte, len(m.Funcs)), make([][]byte, len(m.Funcs))
	for i, f := range m.Funcs {
		funcs[i] = ULEB(uint64(f.Type))
		code[i] = f.encode()
	}
	exports := make([][]byte, len(m.Exports))
	for i, e := range m.Exports {
		exports[i] = Cat(Name(e.Name), []byte{e.Kind}, ULEB(uint64(e.Index)))
	}
	var count []byte
	if m.DataCount {
		count = ULEB(uint64(len(m.Datas)))
	}
	out := Header()
	for _, s := range []struct {
		id   byte
		body []byte // nil = the module has no such section
	}{
		{SectionType, vec(m.Types)},
		{SectionImport, vec(imports)},
		{SectionFunction, vec(funcs)},
		{SectionTable, vec(m.Tables)},
		{SectionMemory, vec(m.Memories)},
		{SectionGlobal, vec(m.Globals)},
		{SectionExport, vec(exports)},
		{SectionStart, m.Start},
		{SectionElement, vec(m.Elements)},
		{SectionDataCount, count},
		{SectionCode, vec(code)},
		{SectionData, vec(m.Datas)},
	} {
		out = append(out, m.Before[s.id]...)
		if body, ok := m.Replace[s.id]; ok {
			s.body = body
		}
		if s.body != nil {
			out = append(out, Section(s.id, s.body)...)
		}
	}
	return Cat(out, m.nameSection(), m.Tail)
}

func (f *Func) encode() []byte {
	body := f.Raw
	if body == nil {
		locals := f.Locals
		if locals == nil {
			locals = []byte{0}
		}
		body = Cat(locals, f.Body, End())
	}
	return Cat(ULEB(uint64(len(body))), body)
}

// vec encodes a section of items; without any there is none.
func vec(items [][]byte) []byte {
	if len(items) == 0 {
		return nil
	}
	return Vec(items...)
}

func (m *Module) nameSection() []byte {
	if len(m.Names) == 0 {
		return nil
	}
	var list [][]byte
	for i := range m.NextFunc() {
		if name, ok := m.Names[i]; ok {
			list = append(list, Cat(ULEB(uint64(i)), Name(name)))
		}
	}
	return Custom("name", Section(1, Vec(list...))) // a subsection is encoded as a section is
}
