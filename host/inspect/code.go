package inspect

import "fmt"

func (p *parser) code(r *reader) {
	at := r.p
	n := r.count(3)
	if r.err == nil && n != p.funcs {
		r.malformed(at, "%d functions are declared, %d have a body", p.funcs, n)
		return
	}
	p.total.code = uint64(r.left())
	if r.over(capCode, at, p.total.code, p.caps.CodeBytes) {
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
		if r.over(capBody, at, uint64(size), p.caps.BodyBytes) {
			return
		}
		b.End = r.p
		p.body(r, &b, p.Types[p.Funcs[r.index]])
		p.Bodies = append(p.Bodies, b)
	}
}

// body reads one function: its locals, then its instructions.
func (p *parser) body(outer *reader, b *Body, t FuncType) {
	r := reader{b: outer.b[:b.End:b.End], p: b.Start, section: outer.section, index: outer.index}
	defer func() { outer.err = r.err }()
	total := uint64(0)
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		at := r.p
		total += uint64(r.u32())
		r.valueType()
		if r.over(capLocals, at, total+uint64(len(t.Params)), p.caps.Locals) ||
			r.over(capLocalsTotal, at, p.total.locals+total, p.caps.LocalsTotal) {
			return
		}
	}
	if r.err != nil {
		return
	}
	b.Locals, b.Code = int(total), r.p
	p.total.locals += total
	p.instructions(&r, b, t)
}

// frame is an open block: how many values a branch to it takes, and its end gives.
type frame struct{ branch, results uint32 }

// function counts what the caps on one function are about.
type function struct {
	blocks, labels, values uint64
}

// instructions decodes a body and checks indices, nesting and what compiling it
// may cost.
func (p *parser) instructions(r *reader, b *Body, t FuncType) {
	s := spaces{
		types: uint32(len(p.Types)), funcs: uint32(len(p.Funcs)), tables: uint32(len(p.Tables)), globals: uint32(len(p.Globals)),
		locals: uint32(len(t.Params) + b.Locals), elements: uint32(len(p.Elements)), memory: len(p.Memories) > 0,
	}
	if p.DataCount >= 0 {
		s.data = uint32(p.DataCount)
	}
	var f function
	results := uint32(len(t.Results))
	p.blocks = append(p.blocks[:0], frame{results, results})
	d := DecodeBytes(r.b, b.Code, b.End)
	for d.Next() {
		if d.Op >= OpLocalGet && d.Op <= OpLocalTee { // the most frequent ones
			if d.X >= s.locals {
				r.malformed(d.At, "%s", noSuch("local", d.X, s.locals))
				return
			}
			continue
		}
		if d.Op <= 0xff && forms[d.Op] == formNone && d.Op != OpReturn {
			continue
		}
		if what, i, n := s.check(&d); what != "" {
			r.malformed(d.At, "%s", noSuch(what, i, n))
			return
		}
		if d.Op <= OpCallIndirect && p.control(r, &d, &f) {
			return
		}
	}
	if d.err != nil {
		r.set(d.err)
		return
	}
	if r.over(capLive, b.Start, f.blocks*uint64(s.locals), p.caps.LiveLocals) {
		return
	}
	p.total.labels += f.labels
	p.total.values += f.values
	_ = r.over(capLabelsTotal, b.Start, p.total.labels, p.caps.LabelsTotal) ||
		r.over(capValuesTotal, b.Start, p.total.values, p.caps.ValuesTotal)
}

// control counts blocks, branches and calls. It returns whether one is over its cap.
func (p *parser) control(r *reader, d *Decoder, f *function) bool {
	var values uint64
	switch d.Op {
	case OpBlock, OpLoop, OpIf:
		in, out := p.arity(d.Block())
		open := frame{branch: out, results: out}
		if d.Op == OpLoop {
			open.branch = in
		}
		p.blocks = append(p.blocks, open)
		f.blocks++
		values = uint64(in) + uint64(out)
		if r.over(capDepth, d.At, uint64(len(p.blocks)-1), p.caps.Depth) {
			return true
		}
	case OpEnd:
		values = uint64(p.blocks[len(p.blocks)-1].results)
		p.blocks = p.blocks[:len(p.blocks)-1]
	case OpBr:
		values = p.branch(d.X)
	case OpBrIf:
		f.blocks++
		values = p.branch(d.X)
	case OpBrTable:
		if r.over(capLabels, d.At, uint64(d.X), p.caps.Labels) {
			return true
		}
		f.labels += uint64(d.X)
		values = (uint64(d.X) + 1) * p.branch(d.Y)
	case OpReturn:
		values = uint64(p.blocks[0].results)
	case OpCall:
		t := p.TypeOf(d.X)
		values = uint64(len(t.Params) + len(t.Results))
	case OpCallIndirect:
		t := p.Types[d.X]
		values = uint64(len(t.Params) + len(t.Results))
	default:
		return false
	}
	f.values += values
	if f.blocks <= uint64(p.caps.Blocks) && f.values <= uint64(p.caps.Values) {
		return false
	}
	return r.over(capBlocks, d.At, f.blocks, p.caps.Blocks) || r.over(capValues, d.At, f.values, p.caps.Values)
}

// branch returns how many values a branch to a label takes.
func (p *parser) branch(label uint32) uint64 {
	return uint64(p.blocks[len(p.blocks)-1-int(label)].branch)
}

func (p *parser) arity(t BlockType) (params, results uint32) {
	switch {
	case t >= 0:
		return uint32(len(p.Types[t].Params)), uint32(len(p.Types[t].Results))
	case t == BlockEmpty:
		return 0, 0
	}
	return 0, 1
}

func noSuch(what string, i, n uint32) string {
	if n == 0 && what == "memory" {
		return "it uses a memory, and there is none"
	}
	return fmt.Sprintf("%s %d does not exist, there are %d", what, i, n)
}
