package inspect

import "bytes"

func (p *parser) types(r *reader) {
	n := r.capped(3, capTypes, 0, p.caps.Types)
	p.Types = make([]FuncType, 0, n)
	for r.index = 0; r.index < n && r.err == nil; r.index++ {
		at := r.p
		if form := r.byte(); form != 0x60 && r.err == nil {
			if pr := typeFormProposal(form); pr != noProposal {
				r.unsupported(at, "a type that is no function", pr)
			} else {
				r.malformed(at, "there is no type form 0x%02x", form)
			}
			return
		}
		t := FuncType{Params: p.valueTypes(r)}
		t.Results = p.valueTypes(r)
		values := uint64(len(t.Params) + len(t.Results))
		p.total.typeValues += values
		if r.over(capTypeValues, at, values, p.caps.TypeValues) || r.over(capTypesTotal, at, p.total.typeValues, p.caps.TypesTotal) {
			return
		}
		p.Types = append(p.Types, t)
	}
}

func (p *parser) valueTypes(r *reader) []byte {
	at := r.p
	v := r.bytes(r.u32())
	for i, t := range v {
		if !validType(t) {
			r.badType(at+i, t)
			return nil
		}
	}
	return v
}

func (r *reader) badType(at int, t byte) {
	if pr := valueTypeProposal(t); pr != noProposal {
		r.unsupported(at, "a value type", pr)
		return
	}
	r.malformed(at, "there is no value type 0x%02x", t)
}

func (r *reader) valueType() ValueType {
	at := r.p
	t := r.byte()
	if r.err == nil && !validType(t) {
		r.badType(at, t)
	}
	return ValueType(t)
}

func (r *reader) refType() ValueType {
	at := r.p
	t := r.valueType()
	if r.err == nil && t != Funcref && t != Externref {
		r.malformed(at, "%s is not a reference type", t)
	}
	return t
}

func (p *parser) imports(r *reader) {
	n := r.capped(4, capImports, 0, p.caps.Imports)
	p.Imports = make([]Import, 0, n)
	for r.index = 0; r.index < n && r.err == nil; r.index++ {
		i := Import{Module: r.name(p.caps), Name: r.name(p.caps)}
		at := r.p
		i.Kind = Extern(r.byte())
		if r.err != nil {
			return
		}
		switch i.Kind {
		case ExternFunc:
			i.Index = r.indexOf("type", len(p.Types))
			p.Funcs = append(p.Funcs, i.Index)
		case ExternTable:
			i.Index = uint32(len(p.Tables))
			p.table(r)
		case ExternMemory:
			i.Index = uint32(len(p.Memories))
			p.memory(r)
		case ExternGlobal:
			i.Index = uint32(len(p.Globals))
			p.Globals = append(p.Globals, r.globalType())
			p.importedGlobals++
		case 4:
			r.unsupported(at, "the import of a tag", exceptions)
		default:
			r.malformed(at, "the import %s.%s is of an unknown kind %d", quote(i.Module), quote(i.Name), byte(i.Kind))
		}
		p.Imports = append(p.Imports, i)
	}
}

// indexOf reads an index into a space of n entries.
func (r *reader) indexOf(what string, n int) uint32 {
	at := r.p
	v := r.u32()
	if r.err == nil && uint64(v) >= uint64(n) {
		r.malformed(at, "%s %d does not exist, there are %d", what, v, n)
	}
	return v
}

func (p *parser) functions(r *reader) {
	n := r.capped(1, capFunctions, len(p.Funcs), p.caps.Functions)
	p.Funcs = append(make([]uint32, 0, len(p.Funcs)+n), p.Funcs...)
	for r.index = len(p.Funcs); p.funcs < n && r.err == nil; r.index++ {
		p.Funcs = append(p.Funcs, r.indexOf("type", len(p.Types)))
		p.funcs++
	}
}

func (r *reader) limits(what string) (l Limits) {
	at := r.p
	flags := r.byte()
	switch {
	case r.err != nil:
	case flags&^0x0f != 0:
		r.malformed(at, "the limits have the flags 0x%02x", flags)
	case flags&8 != 0:
		r.unsupported(at, "a "+what+" with pages of another size", customPageSizes)
	case flags&4 != 0:
		r.unsupported(at, "a 64-bit "+what, memory64)
	case flags&2 != 0:
		r.unsupported(at, "a shared "+what, threads)
	default:
		l.Min = r.u32()
		if flags&1 != 0 {
			l.Max, l.HasMax = r.u32(), true
			if l.Max < l.Min && r.err == nil {
				r.malformed(at, "the maximum %d of a %s is below its minimum %d", l.Max, what, l.Min)
			}
		}
	}
	return l
}

func (p *parser) table(r *reader) {
	at := r.p
	if r.p+1 < len(r.b) && r.b[r.p] == 0x40 {
		r.unsupported(at, "a table with an initial value", functionReferences)
		return
	}
	t := Table{Type: r.refType()}
	t.Limits = r.limits("table")
	p.total.entries += uint64(t.Min)
	if !r.over(capTables, at, uint64(len(p.Tables)+1), p.caps.Tables) && !r.over(capEntries, at, p.total.entries, p.caps.TableEntries) {
		p.Tables = append(p.Tables, t)
	}
}

func (p *parser) memory(r *reader) {
	const most = 1 << 16 // pages of 64 KiB in 4 GiB
	at := r.p
	l := r.limits("memory")
	switch {
	case r.err != nil:
	case len(p.Memories) > 0:
		r.unsupported(at, "a second memory", multiMemory)
	case l.Min > most || l.Max > most:
		r.malformed(at, "a memory of more than 4 GiB")
	case !r.over(capMemory, at, uint64(l.Min), p.caps.MemoryPages):
		p.Memories = append(p.Memories, l)
	}
}

func (p *parser) tables(r *reader) {
	n := r.count(3)
	for r.index = len(p.Tables); n > 0 && r.err == nil; n-- {
		p.table(r)
		r.index++
	}
}

func (p *parser) memories(r *reader) {
	n := r.count(2)
	for r.index = len(p.Memories); n > 0 && r.err == nil; n-- {
		p.memory(r)
		r.index++
	}
}

func (r *reader) globalType() Global {
	g := Global{Type: r.valueType()}
	at := r.p
	switch mutable := r.byte(); {
	case mutable == 1:
		g.Mutable = true
	case mutable&2 != 0 && mutable < 4:
		r.unsupported(at, "a shared global", threads)
	case mutable > 1:
		r.malformed(at, "a global has the mutability 0x%02x", mutable)
	}
	return g
}

func (p *parser) globals(r *reader) {
	n := r.capped(4, capGlobals, len(p.Globals), p.caps.Globals)
	p.Globals = append(make([]Global, 0, len(p.Globals)+n), p.Globals...)
	for r.index = len(p.Globals); n > 0 && r.err == nil; n-- {
		g := r.globalType()
		g.Init = p.constant(r)
		p.Globals = append(p.Globals, g)
		r.index++
	}
}

func (p *parser) exports(r *reader) {
	n := r.capped(3, capExports, 0, p.caps.Exports)
	p.Exports = make([]Export, 0, n)
	for r.index = 0; r.index < n && r.err == nil; r.index++ {
		e := Export{Name: r.name(p.caps)}
		at := r.p
		e.Kind = Extern(r.byte())
		if r.err != nil {
			return
		}
		var space int
		switch e.Kind {
		case ExternFunc:
			space = len(p.Funcs)
		case ExternTable:
			space = len(p.Tables)
		case ExternMemory:
			space = len(p.Memories)
		case ExternGlobal:
			space = len(p.Globals)
		case 4:
			r.unsupported(at, "the export of a tag", exceptions)
			return
		default:
			r.malformed(at, "the export %s is of an unknown kind %d", quote(e.Name), byte(e.Kind))
			return
		}
		at = r.p
		if e.Index = r.u32(); r.err == nil && uint64(e.Index) >= uint64(space) {
			r.malformed(at, "the export %s is %s %d, which does not exist", printable(e.Name), e.Kind, e.Index)
			return
		}
		p.Exports = append(p.Exports, e)
	}
}

func (p *parser) start(r *reader) { p.Start = int(r.indexOf("function", len(p.Funcs))) }

func (p *parser) dataCount(r *reader) {
	if n := r.u32(); r.err == nil {
		p.DataCount = int(n)
	}
}

// constant reads a constant expression: one instruction and an end.
func (p *parser) constant(r *reader) (c Const) {
	if r.err != nil {
		return c
	}
	d := DecodeBytes(r.b, r.p, len(r.b))
	c.Start = r.p
	if !d.Next() {
		r.set(d.err)
		return c
	}
	c.Op, c.X = d.Op, d.X
	switch d.Op {
	case OpI32Const:
		c.X = uint32(d.I32())
	case OpI64Const, OpF32Const, OpF64Const, OpV128Const, OpRefNull:
	case OpGlobalGet:
		if int(c.X) >= p.importedGlobals {
			if int(c.X) < len(p.Globals) {
				r.unsupported(d.At, "the value of a global that is not imported", extendedConst)
				return c
			}
			r.malformed(d.At, "global %d does not exist here", c.X)
			return c
		}
		if p.Globals[c.X].Mutable {
			r.malformed(d.At, "global %d can change, and a constant expression must not", c.X)
			return c
		}
	case OpRefFunc:
		if uint64(c.X) >= uint64(len(p.Funcs)) {
			r.malformed(d.At, "function %d does not exist, there are %d", c.X, len(p.Funcs))
			return c
		}
	default:
		r.malformed(d.At, "the instruction %s is not constant", d.Op)
		return c
	}
	if !d.Next() {
		r.set(d.err)
		return c
	}
	if !d.Last {
		switch d.Op {
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e, OpI32Const, OpI64Const, OpGlobalGet:
			r.unsupported(d.At, "arithmetic in a constant expression", extendedConst)
		default:
			r.malformed(d.At, "a constant expression of more than one instruction")
		}
		return c
	}
	r.p, c.End = d.End, d.End
	return c
}

func (p *parser) elements(r *reader) {
	n := r.capped(2, capElements, 0, p.caps.Segments)
	p.Elements = make([]Element, 0, n)
	for r.index = 0; r.index < n && r.err == nil; r.index++ {
		p.Elements = append(p.Elements, p.element(r))
	}
}

func (p *parser) element(r *reader) Element {
	e := Element{Start: r.p, Type: Funcref}
	flags := r.u32()
	if flags > 7 {
		r.malformed(e.Start, "an element segment has the flags %#x", flags)
		return e
	}
	switch {
	case flags&1 == 0:
		e.Mode = Active
	case flags&2 == 0:
		e.Mode = Passive
	default:
		e.Mode = Declared
	}
	e.Exprs = flags&4 != 0
	if e.Mode == Active {
		if flags&2 != 0 {
			e.Table = r.u32()
		}
		if at := r.p; uint64(e.Table) >= uint64(len(p.Tables)) {
			r.malformed(at, "table %d does not exist, there are %d", e.Table, len(p.Tables))
			return e
		}
		e.Offset = p.constant(r)
	}
	if flags&3 != 0 {
		at := r.p
		if e.Exprs {
			e.Type = r.refType()
		} else if kind := r.byte(); kind != 0 {
			r.malformed(at, "an element segment is of an unknown kind %d", kind)
		}
	}
	at := r.p
	e.Count = r.count(1)
	e.Items = r.p
	if p.total.items += uint64(e.Count); r.over(capItems, at, p.total.items, p.caps.ElementItems) {
		return e
	}
	for i := 0; i < e.Count && r.err == nil; i++ {
		if e.Exprs {
			p.constant(r)
		} else {
			r.indexOf("function", len(p.Funcs))
		}
	}
	e.End = r.p
	return e
}

func (p *parser) data(r *reader) {
	n := r.capped(2, capSegments, 0, p.caps.Segments)
	p.Data = make([]Data, 0, n)
	for r.index = 0; r.index < n && r.err == nil; r.index++ {
		var d Data
		at := r.p
		switch flags := r.u32(); flags {
		case 0:
		case 1:
			d.Mode = Passive
		case 2:
			if r.u32() != 0 {
				r.unsupported(at, "a data segment of a memory other than 0", multiMemory)
				return
			}
		default:
			r.malformed(at, "a data segment has the flags %#x", flags)
			return
		}
		if d.Mode == Active {
			if len(p.Memories) == 0 {
				r.malformed(at, "there is no memory for it")
				return
			}
			d.Offset = p.constant(r)
		}
		size := r.u32()
		d.Start = r.p
		r.bytes(size)
		d.End = r.p
		if p.total.data += uint64(size); r.over(capData, at, p.total.data, p.caps.DataBytes) {
			return
		}
		p.Data = append(p.Data, d)
	}
}

func (p *parser) custom(r *reader, s *Section) {
	p.total.customs++
	p.total.customBytes += uint64(s.End - s.Start)
	if r.over(capCustoms, s.Head, p.total.customs, p.caps.CustomCount) ||
		r.over(capCustomBytes, s.Head, p.total.customBytes, p.caps.CustomBytes) {
		return
	}
	if s.Name = r.name(p.caps); r.err != nil {
		return
	}
	if p.nameSection < 0 && bytes.Equal(s.Name, []byte("name")) {
		p.nameSection = len(p.Sections)
	}
	r.p = s.End
}
