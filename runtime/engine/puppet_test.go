package engine_test

import (
	"slices"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// puppet is a guest that does what the event tells it. It returns the payload of the first event of a
// batch as its response, byte for byte, so that a test can put any response
// before the host. Some payloads are orders instead:
//
//	"R" + 8 bytes  return that i64
//	"T"            trap
//	"M"            take memory until there is no more, then trap
//	"E"            give up with a negative code
type puppet struct {
	memory  []byte // limits in pages; nil = the default, an empty one = no memory
	version int64  // 0 = the host's
	start   bool   // a command
	imports [][2]string
	open    []byte // body of wasmill_open; nil = none
	always  []byte // the response to every event, whatever it says; nil = as above
	without string // an export to leave out
}

const (
	puppetResponse = 1024     // address of the empty response
	puppetBuffer   = 64 << 10 // address of the input
)

func (p puppet) module() []byte {
	version := int64(abi.Version)
	if p.version != 0 {
		version = p.version
	}
	memory := p.memory
	if memory == nil {
		memory = wt.Limits(160) // room for the largest event
	}
	empty := slices.Clone(wt.EmptyResponse())

	m := new(wt.Module)
	for _, i := range p.imports {
		m.ImportFunc(i[0], i[1], "", "")
	}
	if len(memory) > 0 {
		m.Memory(memory)
		m.Export(abi.ExportMemory, wt.KindMemory, 0)
		m.Data(puppetResponse, slices.Concat(empty, p.always))
	}
	m.ExportFunc(abi.ExportABI, "", wt.I32, wt.I32Const(version))
	m.ExportFunc(abi.ExportBuffer, wt.I32, wt.I32, wt.I32Const(puppetBuffer))
	m.ExportFunc(abi.ExportProcess, wt.I32+wt.I32, wt.I64, p.process(empty))
	if p.open != nil {
		m.ExportFunc(abi.ExportOpen, wt.I32+wt.I32, wt.I32, p.open)
	}
	if p.start {
		m.ExportFunc(abi.ExportStart, "", "")
	}
	return m.Without(p.without).Bytes()
}

func (p puppet) process(empty []byte) []byte {
	load := func(offset uint32) []byte { return wt.Cat(wt.LocalGet(0), wt.Mem(wt.OpI32Load, offset)) } // of the batch
	add := wt.Op(wt.OpI32Add)
	order := func(c byte, body ...[]byte) []byte {
		return wt.Cat(wt.LocalGet(1), wt.Mem(wt.OpI32Load8U, 0), wt.I32Const(int64(c)), wt.Op(wt.OpI32Eq), wt.If(wt.NoResult, body...))
	}
	obey := wt.Cat(
		// Local 1 becomes the address of the payload: behind the batch's header of
		// 32 bytes, the event's of 48, and its subject, key and headers.
		wt.LocalGet(0), wt.I32Const(32+48), add, load(32+28), add, load(32+32), add, load(32+36), add, wt.LocalSet(1),
		order('R', wt.LocalGet(1), wt.Mem(wt.OpI64Load, 1), wt.Return()),
		order('T', wt.Unreachable()),
		order('M', wt.Loop(wt.NoResult, wt.I32Const(1), wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.BrIf(0)), wt.Unreachable()),
		order('E', wt.I64Const(-7), wt.Return()),
		wt.LocalGet(1), wt.Op(wt.OpI64ExtendI32U), wt.I64Const(32), wt.Op(wt.OpI64Shl), load(32+40), wt.Op(wt.OpI64ExtendI32U), wt.Op(wt.OpI64Or),
	)
	if p.always != nil {
		obey = wt.Answer(puppetResponse+uint32(len(empty)), uint32(len(p.always)))
	}
	return wt.Cat(load(8), // events in the batch?
		wt.IfElse(wt.I64, obey, wt.Answer(puppetResponse, uint32(len(empty)))))
}
