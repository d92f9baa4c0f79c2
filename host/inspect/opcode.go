package inspect

import "fmt"

// Op is an instruction: the opcode of one byte, or the prefix 0xfc or 0xfd in
// the high byte and what follows it in the low one.
type Op uint16

// The instructions that somebody asks for by name. All others decode as well.
const (
	OpUnreachable  Op = 0x00
	OpNop          Op = 0x01
	OpBlock        Op = 0x02
	OpLoop         Op = 0x03
	OpIf           Op = 0x04
	OpElse         Op = 0x05
	OpEnd          Op = 0x0b
	OpBr           Op = 0x0c
	OpBrIf         Op = 0x0d
	OpBrTable      Op = 0x0e
	OpReturn       Op = 0x0f
	OpCall         Op = 0x10
	OpCallIndirect Op = 0x11
	OpDrop         Op = 0x1a
	OpSelect       Op = 0x1b
	OpSelectTyped  Op = 0x1c
	OpLocalGet     Op = 0x20
	OpLocalSet     Op = 0x21
	OpLocalTee     Op = 0x22
	OpGlobalGet    Op = 0x23
	OpGlobalSet    Op = 0x24
	OpTableGet     Op = 0x25
	OpTableSet     Op = 0x26
	OpI32Load      Op = 0x28
	OpI64Store32   Op = 0x3e // the last of the loads and stores
	OpMemorySize   Op = 0x3f
	OpMemoryGrow   Op = 0x40
	OpI32Const     Op = 0x41
	OpI64Const     Op = 0x42
	OpF32Const     Op = 0x43
	OpF64Const     Op = 0x44
	OpRefNull      Op = 0xd0
	OpRefIsNull    Op = 0xd1
	OpRefFunc      Op = 0xd2

	OpMemoryInit Op = prefixMisc | 0x08
	OpDataDrop   Op = prefixMisc | 0x09
	OpMemoryCopy Op = prefixMisc | 0x0a
	OpMemoryFill Op = prefixMisc | 0x0b
	OpTableInit  Op = prefixMisc | 0x0c
	OpElemDrop   Op = prefixMisc | 0x0d
	OpTableCopy  Op = prefixMisc | 0x0e
	OpTableGrow  Op = prefixMisc | 0x0f
	OpTableSize  Op = prefixMisc | 0x10
	OpTableFill  Op = prefixMisc | 0x11

	OpV128Const Op = prefixVector | 0x0c
)

const (
	prefixMisc   = 0xfc00
	prefixVector = 0xfd00
)

// String is the opcode in hexadecimal, as the specification's index has it.
func (op Op) String() string {
	if op > 0xff {
		return fmt.Sprintf("0x%02x 0x%02x", uint16(op)>>8, uint16(op)&0xff)
	}
	return fmt.Sprintf("0x%02x", uint16(op))
}

// BlockType is the type of a block, loop or if: the index of a function type
// when it is not negative, else one of the constants.
type BlockType int32

// The block types that need no function type: no result, or one.
const (
	BlockEmpty     BlockType = -0x40
	BlockI32       BlockType = -0x01
	BlockI64       BlockType = -0x02
	BlockF32       BlockType = -0x03
	BlockF64       BlockType = -0x04
	BlockV128      BlockType = -0x05
	BlockFuncref   BlockType = -0x10
	BlockExternref BlockType = -0x11
)

// form says what follows an opcode.
type form uint8

const (
	formRefused    form = iota // no instruction of the core specification 2.0
	formNone                   // nothing
	formBlock                  // a block type
	formIndex                  // one index
	formTwo                    // two indices
	formTable                  // a vector of labels and a default label
	formTypes                  // a vector of one value type
	formMemory                 // alignment and offset
	formLane                   // a lane
	formMemoryLane             // alignment, offset and a lane
	formZero                   // a zero byte, once for a memory index
	formZeros                  // two of them
	formIndexZero              // an index and a zero byte
	formI32                    // a signed number of 32 bits
	formI64                    // a signed number of 64 bits
	formF32                    // 4 bytes
	formF64                    // 8 bytes
	formV128                   // 16 bytes
	formRef                    // a reference type
	formElse                   // nothing, but it divides an if
	formEnd                    // nothing, but it ends a block
	formMisc                   // the rest of an opcode with the prefix 0xfc
	formVector                 // the rest of an opcode with the prefix 0xfd
)

// forms by opcode of one byte.
var forms = func() (f [256]form) {
	set := func(from, to int, x form) {
		for i := from; i <= to; i++ {
			f[i] = x
		}
	}
	set(0x00, 0x01, formNone) // unreachable, nop
	set(0x02, 0x04, formBlock)
	f[0x05] = formElse
	f[0x0b] = formEnd
	set(0x0c, 0x0d, formIndex) // br, br_if
	f[0x0e] = formTable
	f[0x0f] = formNone
	f[0x10] = formIndex
	f[0x11] = formTwo
	set(0x1a, 0x1b, formNone) // drop, select
	f[0x1c] = formTypes
	set(0x20, 0x26, formIndex) // locals, globals, tables
	set(0x28, 0x3e, formMemory)
	set(0x3f, 0x40, formZero)
	f[0x41], f[0x42], f[0x43], f[0x44] = formI32, formI64, formF32, formF64
	set(0x45, 0xc4, formNone) // numeric, with sign extension
	f[0xd0], f[0xd1], f[0xd2] = formRef, formNone, formIndex
	f[0xfc], f[0xfd] = formMisc, formVector
	return f
}()

// miscForms by what follows the prefix 0xfc.
var miscForms = [...]form{
	0x00: formNone, 0x01: formNone, 0x02: formNone, 0x03: formNone, // saturating conversion
	0x04: formNone, 0x05: formNone, 0x06: formNone, 0x07: formNone,
	0x08: formIndexZero, 0x09: formIndex, 0x0a: formZeros, 0x0b: formZero, // memory and data
	0x0c: formTwo, 0x0d: formIndex, 0x0e: formTwo, // tables and elements
	0x0f: formIndex, 0x10: formIndex, 0x11: formIndex,
}

// vectorForms by what follows the prefix 0xfd.
var vectorForms = func() (f [256]form) {
	for i := range f {
		f[i] = formNone
	}
	for i := 0x00; i <= 0x0b; i++ {
		f[i] = formMemory // loads, splats and the store
	}
	f[0x0c], f[0x0d] = formV128, formV128 // v128.const, i8x16.shuffle
	for i := 0x15; i <= 0x22; i++ {
		f[i] = formLane
	}
	for i := 0x54; i <= 0x5b; i++ {
		f[i] = formMemoryLane
	}
	f[0x5c], f[0x5d] = formMemory, formMemory
	for _, hole := range []int{
		0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4,
		0xe2, 0xee,
	} {
		f[hole] = formRefused
	}
	return f
}()
