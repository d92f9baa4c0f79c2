package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// emitter writes the new code of one function.
type emitter struct {
	*rewriter
	walk    *walk
	counter uint32 // the local that call-free loops count in
	out     []byte
}

// leadWeight is how much straight-line code in front of a function's first loop
// may be charged with every iteration of the loop, which spares the check at the
// function's entry. Compilers of languages with coroutines, Go's among them, put
// a whole function into one loop.
const leadWeight = 64

// body appends the rewritten body i to the code.
func (r *rewriter) body(i int) {
	w, b := &r.walk, r.m.Bodies[i]
	w.look(r, i)
	params := len(r.m.TypeOf(uint32(r.m.ImportedFuncs() + i)).Params)
	e := emitter{rewriter: r, walk: w, counter: uint32(params + b.Locals), out: r.function[:0]}
	e.locals(b)
	e.entry()
	at := b.Code
	for i := range w.changes {
		c := &w.changes[i]
		e.out = append(e.out, r.m.Bytes[at:c.at]...)
		e.change(c)
		at = c.end
		if c.kind == loopHead {
			e.unrolled(i)
		}
	}
	e.out = append(e.out, r.m.Bytes[at:b.End]...)
	r.code = sized(r.code, e.out)
	r.function = e.out
}

// locals copies the declarations of locals, and adds the counter if a loop uses it.
func (e *emitter) locals(b inspect.Body) {
	groups := e.m.Bytes[b.Start:b.Code]
	counts := false
	for i := range e.walk.loops {
		counts = counts || !e.walk.loops[i].calls
	}
	if !counts {
		e.out = append(e.out, groups...)
		return
	}
	n, rest := count(groups)
	e.out = append(uleb(e.out, n+1), rest...)
	e.out = append(e.out, 1, typeI32)
}

// entry writes the check at the function's entry.
func (e *emitter) entry() {
	w := e.walk
	if !w.calls && w.weight <= weightCall {
		return // paid for by its callers
	}
	if w.lead && w.loops[0].calls && w.weight <= leadWeight {
		w.loops[0].weight += w.weight
		return
	}
	e.out = e.helpers.pay(e.out, func(o []byte) []byte { return i64Const(o, int64(w.weight)) })
}

func (e *emitter) change(c *change) {
	switch c.kind {
	case loopHead:
		e.loopHead(&e.walk.loops[c.loop], e.m.Bytes[c.at+1:c.end])
	case loopEnd:
		const exit, again = 2, 0
		e.out = append(index(append(e.out, opEnd), opBr, exit), opEnd)
		e.refill(&e.walk.loops[c.loop])
		e.out = append(index(e.out, opBr, again), opEnd, opEnd)
	case branch:
		e.out = index(e.out, c.op, c.x)
	case branchTable:
		e.out = index(e.out, opBrTable, c.n-1)
		for _, l := range e.walk.moved[c.x : c.x+c.n] {
			e.out = uleb(e.out, l)
		}
	case instead, through:
		e.out = index(e.out, opCall, c.x)
	}
}

// unrolled writes the copies of a loop's body that stand in front of the last
// one, each in a block of its own: what goes on with the loop goes on behind the
// block, and what reaches the end of the body leaves.
//
//	block
//	  …
//	  br $exit
//	end
func (e *emitter) unrolled(head int) {
	const exit = 4
	changes := e.walk.changes
	l := &e.walk.loops[changes[head].loop]
	for range l.copies - 1 {
		e.out = append(e.out, opBlock, typeVoid)
		at := changes[head].end
		for _, c := range changes[head+1 : l.tail] { // branches out of the loop
			e.out = append(e.out, e.m.Bytes[at:c.at]...)
			e.out = index(e.out, c.op, c.x+1)
			at = c.end
		}
		e.out = append(e.out, e.m.Bytes[at:changes[l.tail].at]...)
		e.out = append(index(e.out, opBr, exit), opEnd)
	}
}

// loopHead writes the head of a loop of that block type, with its check.
func (e *emitter) loopHead(l *loop, typ []byte) {
	if l.params {
		e.out = append(append(e.out, opLoop), typ...)
		e.spendIteration(l)
		e.out = append(e.out, opIf, typeVoid)
		e.refill(l)
		e.out = append(e.out, opEnd)
		return
	}
	e.out = append(append(e.out, opBlock), typ...)
	e.out = append(append(e.out, opLoop), typ...)
	e.out = append(e.out, opBlock, typeVoid)
	e.out = append(append(e.out, opLoop), typ...)
	e.spendIteration(l)
	e.out = index(e.out, opBrIf, 1)
}

// spendIteration charges an iteration and pushes whether there was too little.
func (e *emitter) spendIteration(l *loop) {
	if l.calls {
		e.out = e.spend(e.out, func(o []byte) []byte { return i64Const(o, int64(l.weight)) })
		return
	}
	o := i32Const(index(e.out, opLocalGet, e.counter), l.weight)
	o = index(append(o, opI32Sub), opLocalTee, e.counter)
	e.out = append(i32Const(o, 0), opI32LtS)
}

// refill gives a loop that ran out the weight of an iteration and more: the
// iteration is charged again.
func (e *emitter) refill(l *loop) {
	e.out = i32Const(e.out, l.weight)
	if l.calls {
		e.out = index(e.out, opCall, e.helpers.tick)
		return
	}
	e.out = index(index(e.out, opCall, e.helpers.refill), opLocalSet, e.counter)
}
