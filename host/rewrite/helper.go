package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// types are the function types that are appended.
type types struct {
	first uint32
	list  []string // encoded
}

// of returns the index of a type.
func (t *types) of(params, results string) uint32 {
	typ := string(name(name([]byte{typeFunc}, params), results))
	for i, have := range t.list {
		if have == typ {
			return t.first + uint32(i)
		}
	}
	t.list = append(t.list, typ)
	return t.first + uint32(len(t.list)) - 1
}

func (t *types) section() section {
	s := section{count: uint32(len(t.list))}
	for _, typ := range t.list {
		s.entries = append(s.entries, typ...)
	}
	return s
}

// Value types, for types.of.
const (
	i32 = "\x7f"
	i64 = "\x7e"
)

// helpers are the functions that are appended. Those that not every module
// needs are made when they are asked for.
type helpers struct {
	r     *rewriter
	first uint32
	funcs []helper

	// tick(w): calls the host's tick and adds w to the fuel that it gives.
	tick uint32
	// refill(w) -> what a local is filled with: w and a chunk, taken from the fuel.
	refill uint32
	// charge(n) -> n: pays for n entries of a table or bytes of a short segment.
	charge uint32

	fill, copy uint32            // memory.fill and memory.copy in pieces; 0 = not needed
	initMemory map[uint32]uint32 // memory.init in pieces, by data segment
	growTable  map[uint32]uint32 // (n) -> n, or -1 if the table must not grow so far; by table
}

type helper struct {
	typ  uint32
	code []byte // without locals
}

func (h *helpers) init(r *rewriter) {
	h.r, h.first = r, uint32(len(r.m.Funcs))
	h.initMemory, h.growTable = map[uint32]uint32{}, map[uint32]uint32{}
	h.tick = h.add(r.types.of(i32, ""), h.tickCode())
	h.refill = h.add(r.types.of(i32, i32), h.refillCode())
	h.charge = h.add(r.types.of(i32, i32), h.chargeCode())
}

func (h *helpers) add(typ uint32, code []byte) uint32 {
	h.funcs = append(h.funcs, helper{typ, append(code, opEnd)})
	return h.first + uint32(len(h.funcs)) - 1
}

// sections returns what the helpers append to the function and code sections.
func (h *helpers) sections() (funcs, code section) {
	funcs.count, code.count = uint32(len(h.funcs)), uint32(len(h.funcs))
	for _, f := range h.funcs {
		funcs.entries = uleb(funcs.entries, f.typ)
		code.entries = sized(code.entries, append([]byte{0}, f.code...))
	}
	return funcs, code
}

func (h *helpers) tickCode() []byte {
	o := i32Const(nil, 0)
	o = uleb(index(o, opCallIndirect, h.r.types.of("", i64)), h.r.table)
	o = append(index(o, opLocalGet, 0), opI64ExtendU, opI64Add)
	return index(o, opGlobalSet, h.r.fuel)
}

func (h *helpers) refillCode() []byte {
	amount := func(o []byte) []byte {
		return append(i32Const(index(o, opLocalGet, 0), h.r.scale.chunk), opI32Add)
	}
	return amount(h.pay(nil, func(o []byte) []byte { return append(amount(o), opI64ExtendU) }))
}

func (h *helpers) chargeCode() []byte {
	const shift = 2 // 4 units for an entry of 8 bytes
	o := h.pay(nil, func(o []byte) []byte {
		return append(i64Const(append(index(o, opLocalGet, 0), opI64ExtendU), shift), opI64Shl)
	})
	return index(o, opLocalGet, 0)
}

// pay appends code that takes amount, an i64, from the fuel, and ticks if that
// was more than there is.
func (h *helpers) pay(o []byte, amount func(o []byte) []byte) []byte {
	o = h.r.spend(o, amount)
	o = append(o, opIf, typeVoid)
	return append(index(i32Const(o, 0), opCall, h.tick), opEnd)
}

// spend appends code that takes amount, an i64, from the fuel, and pushes
// whether that was more than there is.
func (r *rewriter) spend(o []byte, amount func(o []byte) []byte) []byte {
	o = append(amount(index(o, opGlobalGet, r.fuel)), opI64Sub)
	o = index(index(o, opGlobalSet, r.fuel), opGlobalGet, r.fuel)
	return append(i64Const(o, 0), opI64LtS)
}

// start returns a function that calls the start function. Exporting that one
// itself would declare it for ref.func, and leave its type unchecked.
func (h *helpers) start() uint32 {
	return h.add(h.r.types.of("", ""), index(nil, opCall, uint32(h.r.m.Start)))
}

// bulk returns the helper that a bulk operation of memory is replaced by, or
// else the one that its number of entries passes through.
func (h *helpers) bulk(d *inspect.Decoder) (instead, through uint32) {
	iii := func() uint32 { return h.r.types.of(i32+i32+i32, "") }
	switch d.Op {
	case inspect.OpMemoryFill:
		if h.fill == 0 {
			h.fill = h.add(iii(), h.pieces([]byte{opMisc, miscMemoryFill, 0}, false, false))
		}
		return h.fill, 0
	case inspect.OpMemoryCopy:
		if h.copy == 0 {
			h.copy = h.add(iii(), h.pieces([]byte{opMisc, miscMemoryCopy, 0, 0}, true, true))
		}
		return h.copy, 0
	case inspect.OpMemoryInit:
		if s := h.r.m.Data[d.X]; s.End-s.Start <= int(h.r.scale.piece) {
			return 0, h.charge
		}
		f, ok := h.initMemory[d.X]
		if !ok {
			f = h.add(iii(), h.pieces(append(uleb([]byte{opMisc, miscMemoryInit}, d.X), 0), true, false))
			h.initMemory[d.X] = f
		}
		return f, 0
	case inspect.OpTableGrow:
		f, ok := h.growTable[d.X]
		if !ok {
			f = h.add(h.r.types.of(i32, i32), h.growCode(d.X))
			h.growTable[d.X] = f
		}
		return 0, f
	}
	return 0, h.charge
}

// growCode lets n through if the table, after growing by n, has no more entries
// than allowed; -1 makes table.grow fail.
func (h *helpers) growCode(table uint32) []byte {
	n := func(o []byte) []byte { return index(o, opLocalGet, 0) }
	o := append(index(n(nil), opCall, h.charge), opI64ExtendU)
	o = append(uleb(append(o, opMisc, miscTableSize), table), opI64ExtendU, opI64Add) // table.size
	o = append(i64Const(o, int64(h.r.grown)), opI64GtU)
	o = append(n(o), opI32Eqz, opI32Eqz, opI32And) // and n is not zero
	o = append(i32Const(append(o, opIf, typeI32), -1), opElse)
	return append(n(o), opEnd)
}

// pieces is the code of a bulk operation (d, s, n) that runs at once when n is
// small and else in pieces, each paid for. source says that s is an address;
// else it is a value. overlap says that the pieces may have to go backwards.
func (h *helpers) pieces(op []byte, source, overlap bool) []byte {
	const d, s, n = 0, 1, 2
	get := func(o []byte, l uint32) []byte { return index(o, opLocalGet, l) }
	sum := func(o []byte, a, b uint32) []byte { return append(get(get(o, a), b), opI32Add) }
	whole := func(o []byte) []byte { return append(get(get(get(o, d), s), n), op...) }
	piece := h.r.scale.piece

	// Small, or beyond the end of the address space, where it traps by itself.
	o := append(i32Const(get(nil, n), h.r.scale.bulkFree), opI32LeU)
	o = append(get(sum(o, d, n), d), opI32LtU, opI32Or)
	if source {
		o = append(get(sum(o, s, n), s), opI32LtU, opI32Or)
	}
	o = append(whole(append(o, opIf, typeVoid)), opReturn, opEnd)

	// The operation checks its bounds before it writes: so must the pieces. One
	// of no bytes at the end traps if the end is out of bounds.
	o = sum(o, d, n)
	if source {
		o = sum(o, s, n)
	} else {
		o = get(o, s)
	}
	o = append(i32Const(o, 0), op...)

	step := func(o []byte, forward bool) []byte {
		o = append(o, opLoop, typeVoid)
		o = append(i32Const(get(o, n), piece), opI32GtU, opIf, typeVoid)
		o = h.pay(o, func(o []byte) []byte { return i64Const(o, int64(max(1, piece/2))) })
		less := func(o []byte, l uint32, op byte) []byte {
			return index(append(i32Const(get(o, l), piece), op), opLocalSet, l)
		}
		if forward {
			o = append(i32Const(get(get(o, d), s), piece), op...)
			o = less(o, d, opI32Add)
			if source {
				o = less(o, s, opI32Add)
			}
			o = less(o, n, opI32Sub)
		} else {
			o = less(o, n, opI32Sub)
			o = append(i32Const(sum(sum(o, d, n), s, n), piece), op...)
		}
		return append(index(o, opBr, 1), opEnd, opEnd)
	}
	if overlap { // backwards when the source comes first, or pieces would be overwritten before they are copied
		o = append(get(get(o, s), d), opI32LtU, opIf, typeVoid)
		o = append(step(o, false), opElse)
		o = append(step(o, true), opEnd)
	} else {
		o = step(o, true)
	}
	o = h.pay(o, func(o []byte) []byte { return append(get(o, n), opI64ExtendU) })
	return whole(o)
}
