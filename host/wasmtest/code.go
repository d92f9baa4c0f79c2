package wasmtest

import (
	"encoding/binary"
	"math"
)

// Block types of one or no result. A type index is a block type, too: SLEB(i).
const (
	NoResult = "\x40"
)

// Op encodes an instruction by its bytes, for those without a function here.
func Op(b ...byte) []byte { return b }

// Opcodes that stand alone; Op(OpI32Add).
const (
	OpUnreachable = 0x00
	OpNop         = 0x01
	OpReturn      = 0x0f
	OpDrop        = 0x1a
	OpSelect      = 0x1b

	OpI32Eqz  = 0x45
	OpI32Eq   = 0x46
	OpI32Ne   = 0x47
	OpI32LtS  = 0x48
	OpI32LtU  = 0x49
	OpI32GtS  = 0x4a
	OpI32GtU  = 0x4b
	OpI32LeS  = 0x4c
	OpI32LeU  = 0x4d
	OpI32GeS  = 0x4e
	OpI32GeU  = 0x4f
	OpI64Eqz  = 0x50
	OpI64Eq   = 0x51
	OpI64Ne   = 0x52
	OpI64LtS  = 0x53
	OpI64LtU  = 0x54
	OpI64GtS  = 0x55
	OpI64GtU  = 0x56
	OpI32Clz  = 0x67
	OpI32Add  = 0x6a
	OpI32Sub  = 0x6b
	OpI32Mul  = 0x6c
	OpI32DivS = 0x6d
	OpI32DivU = 0x6e
	OpI32RemS = 0x6f
	OpI32RemU = 0x70
	OpI32And  = 0x71
	OpI32Or   = 0x72
	OpI32Xor  = 0x73
	OpI32Shl  = 0x74
	OpI32ShrS = 0x75
	OpI32ShrU = 0x76
	OpI32Rotl = 0x77
	OpI64Add  = 0x7c
	OpI64Sub  = 0x7d
	OpI64Mul  = 0x7e
	OpI64DivS = 0x7f
	OpI64DivU = 0x80
	OpI64And  = 0x83
	OpI64Or   = 0x84
	OpI64Xor  = 0x85
	OpI64Shl  = 0x86
	OpI64ShrS = 0x87
	OpI64ShrU = 0x88
	OpF64Sqrt = 0x9f
	OpF64Add  = 0xa0
	OpF64Mul  = 0xa2
	OpF64Div  = 0xa3

	OpI32WrapI64           = 0xa7
	OpI32TruncF64S         = 0xaa
	OpI64ExtendI32S        = 0xac
	OpI64ExtendI32U        = 0xad
	OpF64ConvertI32S       = 0xb7
	OpF64ConvertI64S       = 0xb9
	OpI64ReinterpretF      = 0xbd
	OpF64ReinterpretI      = 0xbf
	OpI32Extend8S          = 0xc0
	OpRefIsNull            = 0xd1
	opMisc            byte = 0xfc
	opSIMD            byte = 0xfd
)

// Opcodes of loads and stores, for Mem.
const (
	OpI32Load    = 0x28
	OpI64Load    = 0x29
	OpI32Load8U  = 0x2d
	OpI32Load16U = 0x2f
	OpI32Store   = 0x36
	OpI64Store   = 0x37
	OpI32Store8  = 0x3a
)

// End ends a block, a body or an initializer.
func End() []byte { return Op(0x0b) }

// Unreachable traps.
func Unreachable() []byte { return Op(OpUnreachable) }

// Drop drops a value.
func Drop() []byte { return Op(OpDrop) }

// Return returns from the function.
func Return() []byte { return Op(OpReturn) }

// I32Const pushes the low 32 bits of v.
func I32Const(v int64) []byte { return Cat(Op(0x41), SLEB(int64(int32(v)))) }

// I64Const pushes v.
func I64Const(v int64) []byte { return Cat(Op(0x42), SLEB(v)) }

// F64Const pushes v.
func F64Const(v float64) []byte {
	return binary.LittleEndian.AppendUint64(Op(0x44), math.Float64bits(v))
}

// Block is body in a block of type bt: NoResult, a value type, or string(SLEB(type index)).
func Block(bt string, body ...[]byte) []byte { return Cat(Op(0x02), []byte(bt), Cat(body...), End()) }

// Loop is body in a loop, at whose head Br(0) goes on.
func Loop(bt string, body ...[]byte) []byte { return Cat(Op(0x03), []byte(bt), Cat(body...), End()) }

// If runs then when the i32 on the stack is not zero.
func If(bt string, then ...[]byte) []byte { return Cat(Op(0x04), []byte(bt), Cat(then...), End()) }

// IfElse runs one or the other.
func IfElse(bt string, then, otherwise []byte) []byte {
	return Cat(Op(0x04), []byte(bt), then, Op(0x05), otherwise, End())
}

// Forever is a loop that body does not leave by itself.
func Forever(body ...[]byte) []byte { return Loop(NoResult, Cat(body...), Br(0)) }

// Br branches to the block that many levels out.
func Br(depth int) []byte { return Cat(Op(0x0c), ULEB(uint64(depth))) }

// BrIf branches when the i32 on the stack is not zero.
func BrIf(depth int) []byte { return Cat(Op(0x0d), ULEB(uint64(depth))) }

// BrTable branches to the depth that the i32 on the stack selects, or to the last.
func BrTable(depths ...int) []byte {
	last := depths[len(depths)-1]
	return Cat(Op(0x0e), indices(depths[:len(depths)-1]), ULEB(uint64(last)))
}

// Call calls function f.
func Call(f int) []byte { return Cat(Op(0x10), ULEB(uint64(f))) }

// CallIndirect calls the function of that type at the table index on the stack.
func CallIndirect(typ, table int) []byte {
	return Cat(Op(0x11), ULEB(uint64(typ)), ULEB(uint64(table)))
}

// LocalGet pushes a local.
func LocalGet(i int) []byte { return Cat(Op(0x20), ULEB(uint64(i))) }

// LocalSet pops into a local.
func LocalSet(i int) []byte { return Cat(Op(0x21), ULEB(uint64(i))) }

// LocalTee copies the top of the stack into a local.
func LocalTee(i int) []byte { return Cat(Op(0x22), ULEB(uint64(i))) }

// GlobalGet pushes a global.
func GlobalGet(i int) []byte { return Cat(Op(0x23), ULEB(uint64(i))) }

// GlobalSet pops into a global.
func GlobalSet(i int) []byte { return Cat(Op(0x24), ULEB(uint64(i))) }

// Mem is a load or store at an offset from the address on the stack, without
// alignment.
func Mem(op byte, offset uint32) []byte { return Cat(Op(op, 0), ULEB(uint64(offset))) }

// MemorySize pushes the pages of the memory.
func MemorySize() []byte { return Op(0x3f, 0) }

// MemoryGrow grows the memory by pages and pushes the size before, or -1.
func MemoryGrow() []byte { return Op(0x40, 0) }

// MemoryInit copies from a data segment: destination, source, length.
func MemoryInit(segment int) []byte { return misc(8, ULEB(uint64(segment)), []byte{0}) }

// DataDrop drops a data segment.
func DataDrop(segment int) []byte { return misc(9, ULEB(uint64(segment))) }

// MemoryCopy copies: destination, source, length.
func MemoryCopy() []byte { return misc(10, []byte{0, 0}) }

// MemoryFill fills: destination, value, length.
func MemoryFill() []byte { return misc(11, []byte{0}) }

// TableInit copies from an element segment: destination, source, length.
func TableInit(segment, table int) []byte {
	return misc(12, ULEB(uint64(segment)), ULEB(uint64(table)))
}

// ElemDrop drops an element segment.
func ElemDrop(segment int) []byte { return misc(13, ULEB(uint64(segment))) }

// TableCopy copies: destination, source, length.
func TableCopy(to, from int) []byte { return misc(14, ULEB(uint64(to)), ULEB(uint64(from))) }

// TableGrow grows a table: the value, by how many; pushes the size before, or -1.
func TableGrow(table int) []byte { return misc(15, ULEB(uint64(table))) }

// TableSize pushes the entries of a table.
func TableSize(table int) []byte { return misc(16, ULEB(uint64(table))) }

// TableFill fills: from, value, how many.
func TableFill(table int) []byte { return misc(17, ULEB(uint64(table))) }

func misc(sub uint64, immediates ...[]byte) []byte {
	return Cat(Op(opMisc), ULEB(sub), Cat(immediates...))
}

// SIMD encodes a vector instruction.
func SIMD(sub uint32, immediates ...[]byte) []byte {
	return Cat(Op(opSIMD), ULEB(uint64(sub)), Cat(immediates...))
}

// V128Const pushes a vector of 16 bytes.
func V128Const(b [16]byte) []byte { return SIMD(12, b[:]) }

// RefNull pushes a null reference of that type.
func RefNull(ref string) []byte { return Cat(Op(0xd0), []byte(ref)) }

// RefFunc pushes a reference of function f.
func RefFunc(f int) []byte { return Cat(Op(0xd2), ULEB(uint64(f))) }
