package inspect

import (
	"fmt"
	"iter"
)

// Decoder reads the instructions of one function body, one after the other,
// without allocating. See the package comment for how to use it.
type Decoder struct {
	b     []byte // the module up to the end of the body
	p     int
	depth int // of open blocks
	end   bool
	err   *Error

	// Op is the instruction, At the offset of its first byte, End the one
	// behind its last.
	Op      Op
	At, End int
	// Depth is how many blocks are open around the instruction. A block, its
	// else and its end have the same; the end of the function has 0.
	Depth int
	// Last says that this is the end of the function.
	Last bool
	// X and Y are its immediates, in this order, when they are an index, a
	// label, a block type (see Block), alignment and offset, or a value or
	// reference type. Of br_table X is the number of labels without the default
	// one, which is Y. Constants are left as bytes, see I32 and I64.
	X, Y uint32
}

// DecodeBytes returns a Decoder of the instructions in b[start:end]. Offsets
// are those of b. It is for bodies of unknown origin: Err must be asked. See
// Module.Decode for those of a module.
func DecodeBytes(b []byte, start, end int) Decoder { return Decoder{b: b[:end:end], p: start} }

// Block returns X as the type of a block, loop or if.
func (d *Decoder) Block() BlockType { return BlockType(int32(d.X)) }

// Err returns what is wrong with the instruction that Next could not read.
func (d *Decoder) Err() error {
	if d.err == nil {
		return nil // not a typed nil
	}
	return d.err
}

// I32 returns the operand of an i32.const.
func (d *Decoder) I32() int32 {
	v, _ := sleb(d.b[d.At+1:d.End], 32)
	return int32(v)
}

// I64 returns the operand of an i64.const.
func (d *Decoder) I64() int64 {
	v, _ := sleb(d.b[d.At+1:d.End], 64)
	return v
}

// Labels ranges over the labels of a br_table, the default one last.
func (d *Decoder) Labels() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		p := d.At + 1
		_, n := uleb32(d.b[p:])
		for p += n; p < d.End; p += n {
			var label uint32
			if label, n = uleb32(d.b[p:]); n == 0 || !yield(label) {
				return
			}
		}
	}
}

// Next reads the next instruction. It returns false behind the last one, which
// is the end of the function, and at an error.
func (d *Decoder) Next() bool {
	if d.p >= len(d.b) || d.end {
		return d.finish()
	}
	op := d.b[d.p]
	d.At, d.Op, d.Depth = d.p, Op(op), d.depth
	d.p++
	f := forms[op]
	switch f {
	case formNone: // the most frequent ones first
	case formIndex:
		d.X = d.u32()
	case formMemory:
		if p := d.p; p+1 < len(d.b) && d.b[p] < 32 && d.b[p+1] < 0x80 {
			d.X, d.Y = uint32(d.b[p]), uint32(d.b[p+1])
			d.p += 2
		} else {
			d.memory()
		}
	case formI32:
		d.skipNumber(32)
	default:
		d.immediates(f)
	}
	d.End = d.p
	return d.err == nil
}

// finish says why there is no next instruction.
func (d *Decoder) finish() bool {
	switch {
	case d.err != nil:
	case !d.end:
		d.fail(d.p, "the code ends without its end")
	case d.p < len(d.b):
		d.fail(d.p, "there is code behind the end of the function")
	}
	return false
}

func (d *Decoder) immediates(f form) {
	switch f {
	case formMisc:
		f = d.misc()
	case formVector:
		f = d.vector()
	}
	switch f {
	case formNone:
	case formIndex:
		d.X = d.u32()
	case formMemory: // of vectors
		d.memory()
	case formI64:
		d.skipNumber(64)
	case formBlock:
		d.block()
		d.depth++
	case formElse:
		if d.depth == 0 {
			d.fail(d.At, "an else outside of an if")
			return
		}
		d.Depth--
	case formEnd:
		d.Depth--
		d.depth--
		if d.depth < 0 {
			d.depth, d.Depth, d.end, d.Last = 0, 0, true, true
		}
	case formTwo:
		d.X = d.u32()
		d.Y = d.u32()
	case formTable:
		d.table()
	case formTypes:
		if n := d.u32(); n != 1 {
			d.fail(d.At, fmt.Sprintf("a select of %d types", n))
			return
		}
		d.X = uint32(d.valueType())
	case formLane:
		d.skip(1)
	case formMemoryLane:
		d.memory()
		d.skip(1)
	case formZero:
		d.zero()
	case formZeros:
		d.zero()
		d.zero()
	case formIndexZero:
		d.X = d.u32()
		d.zero()
	case formF32:
		d.skip(4)
	case formF64:
		d.skip(8)
	case formV128:
		d.skip(16)
	case formRef:
		if t := d.valueType(); t == Funcref || t == Externref || d.err != nil {
			d.X = uint32(t)
			return
		}
		d.fail(d.At, "a null of a type that is no reference")
	case formRefused:
		d.refuse()
	}
}

func (d *Decoder) fail(at int, message string) {
	d.set(&Error{Kind: Malformed, Index: -1, Offset: at, Message: message})
}

func (d *Decoder) set(e *Error) {
	if d.err == nil {
		d.err = e
		d.p = len(d.b)
	}
}

// refuse names what an instruction that is none of the specification's belongs to.
func (d *Decoder) refuse() {
	if d.err != nil {
		return
	}
	op := d.b[d.At]
	if p := opcodeProposal(op); p != noProposal {
		d.set(unsupported(d.At, fmt.Sprintf("the instruction %s", Op(op)), p))
		return
	}
	d.fail(d.At, fmt.Sprintf("there is no instruction %s", d.Op))
}

func (d *Decoder) u32() uint32 {
	if d.p < len(d.b) && d.b[d.p] < 0x80 {
		d.p++
		return uint32(d.b[d.p-1])
	}
	v, n := uleb32(d.b[d.p:])
	if n == 0 {
		d.fail(d.At, "the instruction ends early, or a number in it is too large")
		return 0
	}
	d.p += n
	return v
}

func (d *Decoder) skip(n int) {
	if len(d.b)-d.p < n {
		d.fail(d.At, "the instruction ends early")
		return
	}
	d.p += n
}

func (d *Decoder) skipNumber(bits uint) {
	if d.p < len(d.b) && d.b[d.p] < 0x80 {
		d.p++
		return
	}
	_, n := sleb(d.b[d.p:], bits)
	if n == 0 {
		d.fail(d.At, "the constant ends early, or is too large")
		return
	}
	d.p += n
}

// zero reads a memory index, which a module of one memory writes as one zero
// byte: wazero reads no other.
func (d *Decoder) zero() {
	if d.p < len(d.b) && d.b[d.p] == 0 {
		d.p++
		return
	}
	if d.p >= len(d.b) {
		d.fail(d.At, "the instruction ends early")
		return
	}
	d.set(unsupported(d.At, fmt.Sprintf("the instruction %s on a memory other than 0", d.Op), multiMemory))
}

// memory reads alignment and offset of a load or store.
func (d *Decoder) memory() {
	d.X = d.u32()
	if d.X >= 32 && d.err == nil {
		if d.X&^0x3f == 0 {
			d.fail(d.At, fmt.Sprintf("an alignment of 2^%d", d.X))
		} else {
			d.set(unsupported(d.At, "a load or store that names its memory", multiMemory))
		}
		return
	}
	if d.p < len(d.b) && d.b[d.p] >= 0x80 {
		if _, n := uleb32(d.b[d.p:]); n == 0 && len(d.b)-d.p >= maxLeb64 {
			if _, n := uleb64(d.b[d.p:]); n > 0 {
				d.set(unsupported(d.At, "an offset of more than 32 bits", memory64))
				return
			}
		}
	}
	d.Y = d.u32()
}

// block reads a block type: a type index as a signed number of 33 bits, or one
// byte for what needs no type.
func (d *Decoder) block() {
	if d.p >= len(d.b) {
		d.fail(d.At, "the instruction ends early")
		return
	}
	switch c := d.b[d.p]; {
	case c < 0x40: // a small type index
		d.X = uint32(c)
		d.p++
	case c == 0x40, c < 0x80 && validType(c):
		d.X = uint32(int32(c) - 0x80)
		d.p++
	case c < 0x80:
		d.refuseType(c)
	default:
		v, n := uleb32(d.b[d.p:])
		// A positive number of 33 bits: the sign is bit 6 of the last byte.
		if n == 0 || n < maxLeb32 && d.b[d.p+n-1]&0x40 != 0 || v > 1<<31-1 {
			d.fail(d.At, "a block type that is neither a type index nor a value type")
			return
		}
		d.X = v
		d.p += n
	}
}

func (d *Decoder) valueType() ValueType {
	if d.p >= len(d.b) {
		d.fail(d.At, "the instruction ends early")
		return 0
	}
	c := d.b[d.p]
	if !validType(c) {
		d.refuseType(c)
		return 0
	}
	d.p++
	return ValueType(c)
}

func (d *Decoder) refuseType(c byte) {
	if d.err != nil {
		return
	}
	if p := valueTypeProposal(c); p != noProposal {
		d.set(unsupported(d.At, fmt.Sprintf("the type 0x%02x", c), p))
		return
	}
	// A type index where the core specification has a type of one byte.
	if d.Op == OpRefNull && c < 0x40 {
		d.set(unsupported(d.At, "a null of a function type", functionReferences))
		return
	}
	d.fail(d.At, fmt.Sprintf("there is no value type 0x%02x", c))
}

func (d *Decoder) table() {
	n := d.u32()
	if uint64(n) >= uint64(len(d.b)-d.p) && d.err == nil {
		d.fail(d.At, fmt.Sprintf("%d labels in %d bytes", n, len(d.b)-d.p))
		return
	}
	d.X = n
	for range n {
		d.u32()
	}
	d.Y = d.u32()
}

func (d *Decoder) misc() form {
	sub := d.u32()
	if d.err != nil {
		return formNone
	}
	if uint64(sub) < uint64(len(miscForms)) {
		d.Op = prefixMisc | Op(sub)
		return miscForms[sub]
	}
	if p := miscProposal(sub); p != noProposal {
		d.set(unsupported(d.At, fmt.Sprintf("the instruction 0xfc 0x%02x", sub), p))
	} else {
		d.fail(d.At, fmt.Sprintf("there is no instruction 0xfc %#x", sub))
	}
	return formNone
}

// vector reads the rest of an opcode with the prefix 0xfd. wazero takes its
// first byte for all of it and the second, 0x01, for a nop: so nothing but the
// shortest encoding means the same to both.
func (d *Decoder) vector() form {
	at := d.p
	sub := d.u32()
	switch {
	case d.err != nil:
		return formNone
	case sub >= 0x100:
		p := noProposal
		if sub <= 0x1ff {
			p = relaxedSIMD
		}
		d.vectorRefused(sub, p)
		return formNone
	case d.p-at > 2 || d.p-at == 2 && sub < 0x80:
		d.fail(d.At, "the opcode of a vector instruction is longer than it must be")
		return formNone
	}
	d.Op = prefixVector | Op(sub)
	if vectorForms[sub] == formRefused {
		d.vectorRefused(sub, noProposal)
		return formNone
	}
	return vectorForms[sub]
}

func (d *Decoder) vectorRefused(sub uint32, p proposal) {
	if p != noProposal {
		d.set(unsupported(d.At, fmt.Sprintf("the instruction 0xfd %#x", sub), p))
		return
	}
	d.fail(d.At, fmt.Sprintf("there is no instruction 0xfd %#x", sub))
}
