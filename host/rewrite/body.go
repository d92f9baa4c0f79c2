package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// walk is what is known of one function after its instructions were read once:
// what has to be changed, in the order of the code, and the weights.
type walk struct {
	changes []change
	loops   []loop
	labels  []label
	moved   []uint32 // labels of br_tables, the default one last
	weight  int32    // outside of loops
	calls   bool
	// lead says that nothing but straight-line code is in front of the first loop.
	lead     bool
	straight bool // so far
}

// change is one place where the new code differs.
type change struct {
	kind    changeKind
	at, end int    // what it replaces
	loop    int32  // of loopHead and loopEnd
	x       uint32 // the label, the first of the labels in moved, or the helper
	n       uint32 // of a br_table: labels, with the default one
	op      byte   // of a branch
}

type changeKind uint8

const (
	loopHead changeKind = iota
	loopEnd
	branch
	branchTable
	instead // a call instead of an instruction
	through // a call in front of an instruction
)

type loop struct {
	parent int32 // -1 = none
	weight int32 // of its body, without inner loops
	calls  bool  // also in inner loops
	params bool  // it takes values from the stack
	simple bool  // it has no loops, bulk operations or br_tables inside
	copies int   // of its body that make an iteration; 1 = it is not unrolled
	tail   int   // its loopEnd in changes
}

// label is an open block.
type label struct {
	loop    int32  // the loop that it is, or -1
	wrapped uint32 // how many loops around it, with itself, have their three blocks
}

// wraps is how many blocks a loop gets around it. One that takes parameters
// gets an if at its header instead: its values would have to go through them.
const wraps = 3

// look reads body i.
func (w *walk) look(r *rewriter, i int) {
	*w = walk{changes: w.changes[:0], loops: w.loops[:0], labels: w.labels[:0], moved: w.moved[:0], straight: true}
	in := int32(-1) // the innermost loop
	wrapped := uint32(0)
	w.labels = append(w.labels, label{loop: -1})
	d := r.m.Decode(i)
	for d.Next() {
		t := traitOf(d.Op)
		if in < 0 {
			w.weight = min(w.weight+int32(t.weight), maxWeight)
		} else {
			w.loops[in].weight = min(w.loops[in].weight+int32(t.weight), maxWeight)
		}
		if t.class == classPlain {
			continue
		}
		switch t.class {
		case classCall:
			w.calls = true
			for l := in; l >= 0 && !w.loops[l].calls; l = w.loops[l].parent {
				w.loops[l].calls = true
			}
		case classBlock:
			w.labels = append(w.labels, label{loop: -1, wrapped: wrapped})
		case classLoop:
			l := loop{parent: in, params: r.params(d.Block()), simple: true, copies: 1}
			if in >= 0 {
				w.loops[in].simple = false
			}
			if !l.params {
				wrapped++
			}
			if len(w.loops) == 0 {
				w.lead = w.straight
			}
			l.tail = len(w.changes)
			in = int32(len(w.loops))
			w.loops = append(w.loops, l)
			w.labels = append(w.labels, label{in, wrapped})
			w.changes = append(w.changes, change{kind: loopHead, at: d.At, end: d.End, loop: in})
		case classEnd:
			last := len(w.labels) - 1
			if l := w.labels[last].loop; l >= 0 {
				if !w.loops[l].params {
					w.unroll(&w.loops[l], d.At)
					w.changes = append(w.changes, change{kind: loopEnd, at: d.At, end: d.End, loop: l})
					wrapped--
				}
				in = w.loops[l].parent
			}
			w.labels = w.labels[:last]
		case classBranch:
			if in >= 0 && d.Op == inspect.OpBrTable {
				w.loops[in].simple = false
			}
			if wrapped > 0 {
				w.branch(&d, wrapped)
			}
		case classBulk:
			if in >= 0 {
				w.loops[in].simple = false
			}
			c := change{kind: through, at: d.At, end: d.At}
			var f uint32
			if f, c.x = r.helpers.bulk(&d); f != 0 {
				c = change{kind: instead, at: d.At, end: d.End, x: f}
			}
			w.changes = append(w.changes, c)
		case classControl:
		}
		w.straight = w.straight && t.class == classBulk
	}
}

// unroll decides whether the loop that ends at an offset is so short that a check
// in each iteration would cost more than the loop itself: then an iteration
// becomes several, with one check. l.tail still is the change at its head.
func (w *walk) unroll(l *loop, end int) {
	const (
		short  = 32 // bytes of code
		copies = 4
	)
	head := &w.changes[l.tail]
	if l.simple && !l.calls && end-head.end <= short && l.weight <= maxWeight/copies {
		l.copies = copies
		l.weight *= copies
	}
	l.tail = len(w.changes)
}

// branch notes where the labels of a branch have moved to: each loop that is
// left adds its blocks.
func (w *walk) branch(d *inspect.Decoder, wrapped uint32) {
	to := func(depth uint32) uint32 {
		return depth + wraps*(wrapped-w.labels[len(w.labels)-1-int(depth)].wrapped)
	}
	if d.Op != inspect.OpBrTable {
		if x := to(d.X); x != d.X {
			w.changes = append(w.changes, change{kind: branch, at: d.At, end: d.End, x: x, op: byte(d.Op)})
		}
		return
	}
	c := change{kind: branchTable, at: d.At, end: d.End, x: uint32(len(w.moved)), n: d.X + 1}
	for l := range d.Labels() {
		w.moved = append(w.moved, to(l))
	}
	w.changes = append(w.changes, c)
}

// params says whether a block of that type takes values from the stack.
func (r *rewriter) params(t inspect.BlockType) bool { return t >= 0 && len(r.m.Types[t].Params) > 0 }
