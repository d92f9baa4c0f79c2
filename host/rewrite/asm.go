package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// Instructions that the rewriter writes.
const (
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opI32Const     = 0x41
	opI64Const     = 0x42
	opI32Eqz       = 0x45
	opI32LtS       = 0x48
	opI32LtU       = 0x49
	opI32GtU       = 0x4b
	opI32LeU       = 0x4d
	opI64LtS       = 0x53
	opI64GtU       = 0x56
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32And       = 0x71
	opI32Or        = 0x72
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Shl       = 0x86
	opI64ExtendU   = 0xad
	opMisc         = 0xfc

	miscMemoryInit = 0x08
	miscMemoryCopy = 0x0a
	miscMemoryFill = 0x0b
	miscTableSize  = 0x10

	typeVoid = 0x40
	typeI32  = byte(inspect.I32)
	typeI64  = byte(inspect.I64)
	typeFunc = 0x60
)

func uleb(o []byte, v uint32) []byte {
	for v >= 0x80 {
		o = append(o, byte(v)|0x80)
		v >>= 7
	}
	return append(o, byte(v))
}

func sleb(o []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(o, c)
		}
		o = append(o, c|0x80)
	}
}

// index appends an instruction with one index.
func index(o []byte, op byte, i uint32) []byte { return uleb(append(o, op), i) }

func i32Const(o []byte, v int32) []byte { return sleb(append(o, opI32Const), int64(v)) }
func i64Const(o []byte, v int64) []byte { return sleb(append(o, opI64Const), v) }

// sized appends b behind its length.
func sized(o, b []byte) []byte { return append(uleb(o, uint32(len(b))), b...) }

func name(o []byte, s string) []byte { return append(uleb(o, uint32(len(s))), s...) }
