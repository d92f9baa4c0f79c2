package inspect

import "fmt"

func (p *parser) code(r *reader) {
	n := r.count(3)
	if r.err == nil && n != p.funcs {
		r.malformed(r.p, "%d functions are declared, %d have a body", p.funcs, n)
		return
	}
	p.Bodies = make([]Body, 0, n)
	imported := len(p.Funcs) - p.funcs
	for i := 0; i < n && r.err == nil; i++ {
		r.index = imported + i
		at := r.p
		size := r.u32()
		b := Body{Start: r.p}
		if r.bytes(size); r.err != nil {
			r.err.Offset = at
			return
		}
		b.End = r.p
		body := reader{b: r.b[:b.End:b.End], p: b.Start, section: r.section, index: r.index}
		b.Locals = p.locals(&body)
		b.Code = body.p
		if body.err == nil {
			p.instructions(&body, b, p.Types[p.Funcs[r.index]])
		}
		r.err = body.err
		p.Bodies = append(p.Bodies, b)
	}
}

// locals reads the declarations of locals and returns how many there are.
func (p *parser) locals(r *reader) int {
	total := uint64(0)
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		at := r.p
		total += uint64(r.u32())
		r.valueType()
		if total > 1<<31-1 {
			r.malformed(at, "it has more than 2^31 locals")
		}
	}
	return int(total)
}

// spaces are the sizes of the index spaces that instructions of one function use.
type spaces struct {
	types, funcs, tables, globals, locals, elements, data uint32
	memory                                                bool
}

// instructions decodes a body and checks its indices and its nesting.
func (p *parser) instructions(r *reader, b Body, t FuncType) {
	s := spaces{
		types: uint32(len(p.Types)), funcs: uint32(len(p.Funcs)), tables: uint32(len(p.Tables)), globals: uint32(len(p.Globals)),
		locals: uint32(len(t.Params) + b.Locals), elements: uint32(len(p.Elements)), memory: len(p.Memories) > 0,
	}
	if p.DataCount >= 0 {
		s.data = uint32(p.DataCount)
	}
	d := DecodeBytes(r.b, b.Code, b.End)
	for d.Next() {
		if what, i, n := s.check(&d); what != "" {
			r.malformed(d.At, "%s", noSuch(what, i, n))
			return
		}
	}
	if d.err != nil {
		r.set(d.err)
	}
}

// check returns what an instruction names that is not there, by its kind and
// index, and how many there are.
func (s *spaces) check(d *Decoder) (what string, i, n uint32) {
	op := d.Op
	switch {
	case op >= OpLocalGet && op <= OpLocalTee:
		if d.X >= s.locals {
			return "local", d.X, s.locals
		}
	case op > OpCallIndirect && op < OpLocalGet, op >= OpI32Const && op < OpRefNull:
	case op >= OpI32Load && op <= OpMemoryGrow:
		if !s.memory {
			return "memory", 0, 0
		}
	case op == OpCall, op == OpRefFunc:
		if d.X >= s.funcs {
			return "function", d.X, s.funcs
		}
	case op == OpGlobalGet, op == OpGlobalSet:
		if d.X >= s.globals {
			return "global", d.X, s.globals
		}
	case op == OpBr, op == OpBrIf:
		if d.X > uint32(d.Depth) {
			return "label", d.X, uint32(d.Depth) + 1
		}
	case op == OpBrTable:
		for label := range d.Labels() {
			if label > uint32(d.Depth) {
				return "label", label, uint32(d.Depth) + 1
			}
		}
	case op >= OpBlock && op <= OpIf:
		if t := d.Block(); t >= 0 && uint32(t) >= s.types {
			return "type", d.X, s.types
		}
	default:
		return s.checkRare(d)
	}
	return "", 0, 0
}

func (s *spaces) checkRare(d *Decoder) (what string, i, n uint32) {
	table := func(i uint32) (string, uint32, uint32) {
		if i >= s.tables {
			return "table", i, s.tables
		}
		return "", 0, 0
	}
	switch d.Op {
	case OpCallIndirect:
		if d.X >= s.types {
			return "type", d.X, s.types
		}
		return table(d.Y)
	case OpTableGet, OpTableSet, OpTableGrow, OpTableSize, OpTableFill:
		return table(d.X)
	case OpTableCopy:
		if what, i, n = table(d.X); what == "" {
			what, i, n = table(d.Y)
		}
		return what, i, n
	case OpTableInit:
		if d.X >= s.elements {
			return "element segment", d.X, s.elements
		}
		return table(d.Y)
	case OpElemDrop:
		if d.X >= s.elements {
			return "element segment", d.X, s.elements
		}
	case OpMemoryInit, OpDataDrop:
		if d.X >= s.data {
			return "data segment", d.X, s.data
		}
	}
	if !s.memory && usesMemory(d.Op) {
		return "memory", 0, 0
	}
	return "", 0, 0
}

func usesMemory(op Op) bool {
	switch {
	case op == OpMemoryInit, op == OpMemoryCopy, op == OpMemoryFill:
		return true
	case op&0xff00 == prefixVector:
		f := vectorForms[op&0xff]
		return f == formMemory || f == formMemoryLane
	}
	return false
}

func noSuch(what string, i, n uint32) string {
	if n == 0 && what == "memory" {
		return "it uses a memory, and there is none"
	}
	return fmt.Sprintf("%s %d does not exist, there are %d", what, i, n)
}
