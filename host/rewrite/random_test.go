package rewrite

import (
	"math"
	"math/rand/v2"

	wt "github.com/wasmill/wasmill/host/wasmtest"
)

// random generates valid modules: the same one for the same seed. They end: each
// loop and each function takes from a global, the gas, and leaves when it is
// empty. Otherwise they do whatever comes: traps, code that cannot be reached,
// branches to any label, bulk operations across all bounds.
type random struct {
	*rand.Rand
	m      *wt.Module
	sigs   []sig    // of the functions so far; calls go to these only
	locals []string // with the parameters
	labels []labelTypes
	result string // of the function in the making
	budget int    // of instructions, about
	tables int
	datas  int
}

type sig struct{ params, result string }

type labelTypes string // what a branch takes along

const gas = 0 // the global

// randomModule returns a module and the functions that it exports, "f0" and on.
func randomModule(seed uint64) ([]byte, []sig) {
	r := &random{Rand: rand.New(rand.NewPCG(seed, 1)), m: new(wt.Module)}
	r.m.Global(wt.I32, true, wt.I32Const(200))
	for _, g := range []struct {
		typ  string
		init []byte
	}{{wt.I32, wt.I32Const(7)}, {wt.I64, wt.I64Const(-7)}, {wt.F64, wt.F64Const(0.5)}} {
		r.m.Global(g.typ, true, g.init)
	}
	for i := range r.m.Globals {
		r.m.Export("g"+string(rune('0'+i)), wt.KindGlobal, i)
	}
	r.m.Memory(wt.Cat([]byte{1}, wt.ULEB(1), wt.ULEB(4)))
	r.m.Export("memory", wt.KindMemory, 0)
	for range r.IntN(3) {
		r.m.Table(wt.FuncRef, wt.Limits(uint64(4+r.IntN(20))))
		r.tables++
	}
	r.m.PassiveData(make([]byte, 10))
	r.m.PassiveData([]byte("some bytes to copy from"))
	r.datas = 2
	n := 2 + r.IntN(5)
	for i := range n {
		r.function(i)
	}
	if r.tables > 0 {
		r.m.PassiveElem(0, n-1) // not used by code that came before
	}
	return r.m.Bytes(), r.sigs
}

var valueTypes = []string{wt.I32, wt.I64, wt.F32, wt.F64}

func (r *random) typ() string { return valueTypes[r.IntN(len(valueTypes))] }

func (r *random) function(i int) {
	s := sig{}
	for range r.IntN(4) {
		s.params += r.typ()
	}
	if r.IntN(3) > 0 {
		s.result = r.typ()
	}
	r.locals = nil
	for _, c := range []byte(s.params) {
		r.locals = append(r.locals, string([]byte{c}))
	}
	var groups []wt.LocalGroup
	for range r.IntN(4) {
		g := wt.LocalGroup{N: uint64(1 + r.IntN(2)), Type: r.typ()}
		groups = append(groups, g)
		for range g.N {
			r.locals = append(r.locals, g.Type)
		}
	}
	r.result, r.budget = s.result, 30+r.IntN(200)
	r.labels = []labelTypes{labelTypes(s.result)}
	body := wt.Cat(r.pay(0), r.statements(), r.values(s.result))
	f := r.m.FuncLocals(s.params, s.result, wt.Locals(groups...), body)
	r.m.Export("f"+string(rune('0'+i)), wt.KindFunc, f)
	r.sigs = append(r.sigs, s)
	if r.tables > 0 && r.IntN(2) == 0 {
		r.m.Elements = append(r.m.Elements, wt.Cat([]byte{0}, wt.I32Const(int64(r.IntN(3))), wt.End(), wt.Vec(wt.ULEB(uint64(f)))))
	}
}

// pay takes gas, and branches to label with what that takes when it is empty.
func (r *random) pay(label int) []byte {
	take := wt.Cat(wt.GlobalGet(gas), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.GlobalSet(gas), wt.GlobalGet(gas), wt.I32Const(0), wt.Op(wt.OpI32LtS))
	r.labels = append(r.labels, "")
	leave := wt.Cat(r.constants(string(r.labels[len(r.labels)-2-label])), wt.Br(label+1))
	r.labels = r.labels[:len(r.labels)-1]
	return wt.Cat(take, wt.If(wt.NoResult, leave))
}

func (r *random) constants(types string) []byte {
	var o []byte
	for _, c := range []byte(types) {
		o = append(o, r.constant(string([]byte{c}))...)
	}
	return o
}

func (r *random) constant(typ string) []byte {
	switch typ {
	case wt.I32:
		return wt.I32Const([]int64{0, 1, -1, 3, 100, 65530, 1 << 20, math.MinInt32}[r.IntN(8)])
	case wt.I64:
		return wt.I64Const([]int64{0, 1, -1, 1 << 40, math.MinInt64}[r.IntN(5)])
	case wt.F32:
		return wt.Cat(wt.Op(0x43), []byte{byte(r.IntN(256)), 0, byte(r.IntN(256)), 0x3f})
	}
	return wt.F64Const(r.Float64()*8 - 2)
}

func (r *random) statements() []byte {
	var o []byte
	for range 1 + r.IntN(4) {
		o = append(o, r.statement()...)
	}
	return o
}

func (r *random) statement() []byte {
	if r.budget--; r.budget < 0 || len(r.labels) > 9 {
		return wt.Op(wt.OpNop)
	}
	switch r.IntN(20) {
	case 0, 1, 2:
		if len(r.locals) > 0 {
			l := r.IntN(len(r.locals))
			return wt.Cat(r.value(r.locals[l]), wt.LocalSet(l))
		}
		return nil
	case 3:
		g := 1 + r.IntN(3)
		return wt.Cat(r.value([]string{"", wt.I32, wt.I64, wt.F64}[g]), wt.GlobalSet(g))
	case 4, 5:
		return wt.Cat(r.address(), r.value(wt.I32), wt.Mem(wt.OpI32Store8, uint32(r.IntN(33000))))
	case 6:
		return wt.Cat(r.address(), r.value(wt.I64), wt.Mem(wt.OpI64Store, uint32(r.IntN(100))))
	case 7, 8, 9, 10:
		return r.loop()
	case 11:
		return r.block("", func() []byte { return r.statements() })
	case 12:
		condition := r.value(wt.I32)
		r.labels = append(r.labels, "")
		o := wt.Cat(condition, []byte{0x04}, []byte(wt.NoResult), r.statements(), []byte{0x05}, r.statements(), wt.End())
		r.labels = r.labels[:len(r.labels)-1]
		return o
	case 13:
		return r.branch()
	case 14, 15:
		return r.bulk()
	case 16:
		return wt.Cat(r.value(wt.I32), wt.MemoryGrow(), wt.Drop())
	default:
		return wt.Cat(r.value(r.typ()), wt.Drop())
	}
}

func (r *random) block(types string, body func() []byte) []byte {
	r.labels = append(r.labels, labelTypes(types))
	o := wt.Cat(body(), r.values(types))
	r.labels = r.labels[:len(r.labels)-1]
	bt := types
	if bt == "" {
		bt = wt.NoResult
	}
	return wt.Block(bt, o)
}

// loop is a loop in all shapes: with and without parameters and results, with
// branches back to its head in the middle and at its end.
func (r *random) loop() []byte {
	param, result := "", ""
	if r.IntN(4) == 0 {
		param = r.typ()
	}
	if r.IntN(3) == 0 {
		result = r.typ()
	}
	bt := result
	switch {
	case param != "":
		bt = string(wt.SLEB(int64(r.m.Type(param, result))))
	case result == "":
		bt = wt.NoResult
	}
	r.labels = append(r.labels, labelTypes(result)) // a block around it, to leave to
	first := r.values(param)
	r.labels = append(r.labels, labelTypes(param))
	body := r.pay(1)
	if param != "" {
		body = wt.Cat(wt.Drop(), body)
	}
	body = wt.Cat(body, r.statements())
	if r.IntN(4) > 0 {
		if param != "" {
			body = wt.Cat(body, r.value(param), r.value(wt.I32), wt.BrIf(0), wt.Drop())
		} else {
			body = wt.Cat(body, r.value(wt.I32), wt.BrIf(0))
		}
	}
	body = wt.Cat(body, r.values(result))
	r.labels = r.labels[:len(r.labels)-2]
	outer := result
	if outer == "" {
		outer = wt.NoResult
	}
	o := wt.Block(outer, first, wt.Loop(bt, body))
	if result != "" {
		o = wt.Cat(o, wt.Drop())
	}
	return o
}

// branch leaves to any label, always, sometimes, or by a table. Code follows it,
// reached or not.
func (r *random) branch() []byte {
	to := r.IntN(len(r.labels))
	types := string(r.labels[len(r.labels)-1-to])
	values := r.values(types)
	switch r.IntN(4) {
	case 0:
		return wt.Cat(values, wt.Br(to))
	case 1: // all labels of a table take the same
		var same []int
		for i := range r.labels {
			if string(r.labels[len(r.labels)-1-i]) == types {
				same = append(same, i)
			}
		}
		var list []int
		for range 1 + r.IntN(4) {
			list = append(list, same[r.IntN(len(same))])
		}
		return wt.Cat(values, r.value(wt.I32), wt.BrTable(list...))
	case 2:
		if r.IntN(20) == 0 {
			return wt.Unreachable()
		}
		return wt.Cat(r.values(r.result), wt.Return())
	}
	o := wt.Cat(values, r.value(wt.I32), wt.BrIf(to))
	for range types {
		o = append(o, wt.OpDrop)
	}
	return o
}

func (r *random) bulk() []byte {
	three := func(op []byte) []byte {
		return wt.Cat(r.address(), r.address(), r.length(), op)
	}
	switch n := r.IntN(8); {
	case n == 0:
		return three(wt.MemoryCopy())
	case n == 1:
		return three(wt.MemoryFill())
	case n == 2:
		return wt.Cat(r.address(), r.small(), r.small(), wt.MemoryInit(r.IntN(r.datas)))
	case n == 3 && r.IntN(3) == 0:
		return wt.DataDrop(r.IntN(r.datas))
	case r.tables == 0:
		return nil
	}
	table := r.IntN(r.tables)
	switch r.IntN(4) {
	case 0:
		return wt.Cat(wt.RefNull(wt.FuncRef), r.small(), wt.TableGrow(table), wt.Drop())
	case 1:
		return wt.Cat(r.small(), wt.RefNull(wt.FuncRef), r.small(), wt.TableFill(table))
	case 2:
		return wt.Cat(r.small(), r.small(), r.small(), wt.TableCopy(table, r.IntN(r.tables)))
	}
	return wt.Cat(r.small(), wt.Op(0x25), wt.ULEB(uint64(table)), wt.Op(wt.OpRefIsNull), wt.GlobalSet(1))
}

func (r *random) address() []byte {
	if r.IntN(60) == 0 {
		return r.value(wt.I32)
	}
	return wt.Cat(r.value(wt.I32), wt.I32Const(0x7fff), wt.Op(wt.OpI32And))
}

func (r *random) length() []byte {
	if r.IntN(60) == 0 {
		return r.value(wt.I32)
	}
	return wt.Cat(r.value(wt.I32), wt.I32Const(0x3ff), wt.Op(wt.OpI32And))
}

func (r *random) small() []byte {
	if r.IntN(60) == 0 {
		return r.value(wt.I32)
	}
	return wt.I32Const(int64(r.IntN(5)))
}

func (r *random) values(types string) []byte {
	var o []byte
	for _, c := range []byte(types) {
		o = append(o, r.value(string([]byte{c}))...)
	}
	return o
}

// value pushes a value of a type.
func (r *random) value(typ string) []byte {
	if r.budget--; r.budget < 0 {
		return r.constant(typ)
	}
	switch r.IntN(8) {
	case 0:
		return r.constant(typ)
	case 1, 2:
		for range 3 {
			if len(r.locals) > 0 {
				if l := r.IntN(len(r.locals)); r.locals[l] == typ {
					return wt.LocalGet(l)
				}
			}
		}
		return r.constant(typ)
	case 3:
		if len(r.sigs) > 0 {
			if f := r.IntN(len(r.sigs)); r.sigs[f].result == typ {
				return wt.Cat(r.values(r.sigs[f].params), wt.Call(f))
			}
		}
		if r.tables > 0 && r.IntN(6) == 0 {
			return wt.Cat(r.small(), wt.CallIndirect(r.m.Type("", typ), r.IntN(r.tables)))
		}
	case 4:
		if len(r.labels) < 9 {
			return r.block(typ, r.statements)
		}
	}
	return r.operation(typ)
}

func (r *random) operation(typ string) []byte {
	pick := func(ops ...byte) []byte { return []byte{ops[r.IntN(len(ops))]} }
	switch typ {
	case wt.I32:
		switch r.IntN(4) {
		case 0:
			return wt.Cat(r.address(), wt.Mem(wt.OpI32Load8U, 0))
		case 1:
			return wt.Cat(r.value(wt.I64), r.value(wt.I64), pick(wt.OpI64LtS, wt.OpI64Eq, wt.OpI64GtU))
		}
		return wt.Cat(r.value(typ), r.value(typ), pick(wt.OpI32Add, wt.OpI32Sub, wt.OpI32Mul, wt.OpI32And, wt.OpI32Or, wt.OpI32GtS, wt.OpI32Xor, wt.OpI32Shl, wt.OpI32LtU))
	case wt.I64:
		switch r.IntN(12) {
		case 0:
			// Not by zero: wazero moves a division behind stores that come after it, so
			// that what a trap leaves in memory depends on the code around it.
			return wt.Cat(r.value(typ), r.value(typ), wt.I64Const(1), wt.Op(wt.OpI64Or), wt.Op(wt.OpI64DivU))
		case 1, 2, 3:
			return wt.Cat(r.value(wt.I32), wt.Op(wt.OpI64ExtendI32S))
		}
		return wt.Cat(r.value(typ), r.value(typ), pick(wt.OpI64Add, wt.OpI64Sub, wt.OpI64Mul, wt.OpI64And, wt.OpI64ShrU))
	case wt.F32:
		return wt.Cat(r.value(wt.F64), wt.Op(0xb6)) // f32.demote_f64
	}
	if r.IntN(3) == 0 {
		return wt.Cat(r.value(wt.I32), wt.Op(wt.OpF64ConvertI32S))
	}
	return wt.Cat(r.value(typ), r.value(typ), pick(wt.OpF64Add, wt.OpF64Mul, 0xa5)) // 0xa5: f64.max
}
