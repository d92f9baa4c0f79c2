package inspect

// spaces are the sizes of the index spaces that instructions of one function use.
type spaces struct {
	types, funcs, tables, globals, locals, elements, data uint32
	memory                                                bool
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
