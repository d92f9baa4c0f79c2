// Package broken makes plugins that are wrong in one way each, and one that is
// right: what a conformance suite has to tell apart. Each is made by code, so
// that what is wrong with it can be read where it is made.
//
// Only tests import it.
package broken

import (
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Locals of wasmill_process.
const (
	ptr = iota // parameters
	size
	at    // the record that is read
	out   // where the next record goes
	index // of the event
	count // of the events
	resp  // where the response begins
)

// guest is a plugin that passes every event on. Its fields are parts of its code
// that a case puts in another's place; nil leaves the right one.
type guest struct {
	prepare func(m *wt.Module) // adds imports and globals; before anything is defined
	plugin  wt.Plugin

	begin   []byte // of wasmill_process, before the frame is read
	header  []byte // sets at to the first event
	flags   []byte // decides about an event with flags
	event   []byte // before the record of an event is written
	record  []byte // writes the record of an event at out
	source  []byte // pushes the source index of the record
	finish  []byte // after the last event, before the response's header is written
	records []byte // pushes the number of records
	answer  []byte // pushes what wasmill_process returns
}

// bufferAt is where the batch lies. Memory behind it is for the response.
const bufferAt = wt.FreeAt

// room is wasmill_buffer as it should be: as much room as is asked for, and as
// much again for the response, which is never longer than the batch.
func room() []byte {
	pages := wt.Cat( // that are missing
		wt.LocalGet(0), wt.I32Const(2), wt.Op(wt.OpI32Mul), wt.I32Const(bufferAt+2*65535), wt.Op(wt.OpI32Add), wt.I32Const(16), wt.Op(wt.OpI32ShrU),
		wt.MemorySize(), wt.Op(wt.OpI32Sub))
	return wt.Cat(
		pages, wt.I32Const(0), wt.Op(wt.OpI32GtS),
		wt.If(wt.NoResult,
			pages, wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Eq),
			wt.If(wt.NoResult, wt.I32Const(0), wt.Return())),
		wt.I32Const(bufferAt))
}

func load(local int, offset uint32) []byte {
	return wt.Cat(wt.LocalGet(local), wt.Mem(wt.OpI32Load, offset))
}

// store writes the i32 that value pushes at out or resp.
func store(local int, offset uint32, value ...[]byte) []byte {
	return wt.Cat(wt.LocalGet(local), wt.Cat(value...), wt.Mem(wt.OpI32Store, offset))
}

func add(local int, value ...[]byte) []byte {
	return wt.Cat(wt.LocalGet(local), wt.Cat(value...), wt.Op(wt.OpI32Add), wt.LocalSet(local))
}

func or(b, otherwise []byte) []byte {
	if b == nil {
		return otherwise
	}
	return b
}

func i32(v int64) []byte { return wt.I32Const(v) }

// passOn writes the record that passes an event on, by reference.
func (g *guest) passOn() []byte {
	return wt.Cat(
		store(out, 0, i32(abi.OutputHeaderSize)),
		store(out, 4, or(g.source, wt.LocalGet(index))),
		store(out, 8, i32(int64(abi.FlagPayloadRef|abi.FlagKeepHeaders))),
		store(out, 12, i32(0)), store(out, 16, i32(0)), store(out, 20, i32(0)), store(out, 24, i32(0)), store(out, 28, i32(0)),
		add(out, i32(abi.OutputHeaderSize)))
}

// module assembles the plugin.
func (g *guest) module() *wt.Module {
	m := new(wt.Module)
	if g.prepare != nil {
		g.prepare(m)
	}
	length := wt.Cat(wt.LocalGet(out), wt.LocalGet(resp), wt.Op(wt.OpI32Sub))
	p := g.plugin
	p.Buffer = or(p.Buffer, room())
	p.Locals = wt.Locals(wt.LocalGroup{N: resp - size, Type: wt.I32})
	p.Process = wt.Cat(
		g.begin,
		load(ptr, 8), wt.LocalSet(count),
		or(g.header, wt.Cat(wt.LocalGet(ptr), wt.LocalGet(ptr), wt.Mem(wt.OpI32Load16U, 4), wt.Op(wt.OpI32Add), wt.LocalSet(at))),
		// The response begins at the next multiple of 8 behind the batch.
		wt.LocalGet(ptr), wt.LocalGet(size), wt.Op(wt.OpI32Add), i32(7), wt.Op(wt.OpI32Add), i32(-8), wt.Op(wt.OpI32And), wt.LocalTee(resp),
		i32(abi.ResponseHeaderSize), wt.Op(wt.OpI32Add), wt.LocalSet(out),
		wt.Block(wt.NoResult, wt.Loop(wt.NoResult,
			wt.LocalGet(index), wt.LocalGet(count), wt.Op(wt.OpI32GeU), wt.BrIf(1),
			load(at, 4), wt.If(wt.NoResult, or(g.flags, wt.Cat(wt.I64Const(-28), wt.Return()))),
			g.event,
			or(g.record, g.passOn()),
			add(at, load(at, 0)), add(index, i32(1)), wt.Br(0))),
		store(resp, 0, i32(0x31524d57)), // WMR1
		store(resp, 4, i32(abi.ResponseHeaderSize)),
		store(resp, 8, i32(0)),
		store(resp, 12, or(g.records, wt.LocalGet(count))),
		store(resp, 20, i32(0)),
		g.finish,
		store(resp, 16, length),
		or(g.answer, wt.Cat(
			wt.LocalGet(resp), wt.Op(wt.OpI64ExtendI32U), wt.I64Const(32), wt.Op(wt.OpI64Shl),
			length, wt.Op(wt.OpI64ExtendI32U), wt.Op(wt.OpI64Or))))
	return m.Plugin(p)
}

func (g guest) bytes() []byte { return g.module().Bytes() }

// withState makes the guest one that counts its events and puts the count into
// its outputs, in place of their payload.
func (g guest) withState() guest {
	const total = 0 // the first global
	prepare := g.prepare
	g.prepare = func(m *wt.Module) {
		if prepare != nil {
			prepare(m)
		}
		m.Global(wt.I32, true, i32(0))
	}
	g.record = wt.Cat(
		wt.GlobalGet(total), i32(1), wt.Op(wt.OpI32Add), wt.GlobalSet(total),
		store(out, 0, i32(40)), store(out, 4, wt.LocalGet(index)), store(out, 8, i32(0)), store(out, 12, i32(0)),
		store(out, 16, i32(0)), store(out, 20, i32(0)), store(out, 24, i32(0)), store(out, 28, i32(4)),
		store(out, 32, wt.GlobalGet(total)), store(out, 36, i32(0)),
		add(out, i32(40)))
	// The state is written where no batch lies.
	g.plugin.Snapshot = or(g.plugin.Snapshot, wt.Cat(i32(stateAt), wt.GlobalGet(total), wt.Mem(wt.OpI32Store, 0), wt.I64Const(wt.Packed(stateAt, 4))))
	g.plugin.Restore = or(g.plugin.Restore, wt.Cat(
		wt.LocalGet(1), i32(4), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, i32(-28), wt.Return()),
		wt.LocalGet(0), wt.Mem(wt.OpI32Load, 0), wt.GlobalSet(total), i32(0)))
	return g
}

const stateAt = 512

// Model is a plugin that is right: it answers each event with how many it has
// seen, and has all exports.
func Model() []byte {
	g := guest{plugin: wt.Plugin{
		Initialize: wt.Op(wt.OpNop),
		Open:       i32(0),
		Close:      wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize),
	}}
	return g.withState().bytes()
}
