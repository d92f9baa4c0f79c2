package rewrite

import "github.com/wasmill/wasmill/host/inspect"

// Quantum is the fuel a module begins with. A tick that returns it comes back
// after 20 µs of code that hits the caches and at worst, when each load misses
// all of them, after about 2 ms.
const Quantum = 1 << 18

// Weights of instructions, in units of fuel.
const (
	weightPlain  = 1
	weightSlow   = 16   // divisions and square roots
	weightMemory = 16   // loads and stores: most hit a cache, some wait 100 ns
	weightCall   = 40   // with the entry of a callee that is too short for a check of its own
	weightBulk   = 200  // of up to bulkFree bytes
	weightGrow   = 4000 // of a memory or table: a call of the operating system
)

// maxWeight keeps sums of weights and chunks far from the end of an i32.
const maxWeight = 1 << 29

// scale are the sizes that differ between normal and eager rewriting.
type scale struct {
	quantum  int64 // the fuel to begin with
	chunk    int32 // fuel that a local is filled with
	bulkFree int32 // a bulk operation up to this size, in bytes, runs as it is
	piece    int32 // a larger one is cut into pieces of this size
}

func normalScale() scale { return scale{Quantum, 8 << 10, 4 << 10, 64 << 10} }

// eagerScale makes every check tick, if the tick returns zero.
func eagerScale() scale { return scale{0, 0, 2, 3} }

// class says what the rewriter does with an instruction.
type class uint8

const (
	classPlain   class = iota // nothing
	classCall                 // a call: its function is charged at its entry
	classBlock                // a block or if opens
	classLoop                 // a loop opens
	classEnd                  // a block closes
	classBranch               // a label may have moved
	classControl              // ends straight-line code
	classBulk                 // is bounded
)

type trait struct {
	weight uint16
	class  class
}

// traits by opcode of one byte.
var traits = func() (t [256]trait) {
	for i := range t {
		t[i] = trait{weightPlain, classPlain}
	}
	for i := inspect.OpI32Load; i <= inspect.OpI64Store32; i++ {
		t[i].weight = weightMemory
	}
	for _, r := range [][2]inspect.Op{
		{0x6d, 0x70}, {0x7f, 0x82}, // i32 and i64: div, rem
		{0x91, 0x91}, {0x95, 0x95}, {0x9f, 0x9f}, {0xa3, 0xa3}, // f32 and f64: sqrt, div
	} {
		for i := r[0]; i <= r[1]; i++ {
			t[i].weight = weightSlow
		}
	}
	t[inspect.OpTableGet].weight, t[inspect.OpTableSet].weight = weightMemory, weightMemory
	t[inspect.OpRefFunc].weight = weightBulk // a call of the runtime
	t[inspect.OpCall] = trait{weightCall, classCall}
	t[inspect.OpCallIndirect] = trait{weightCall, classCall}
	t[inspect.OpMemoryGrow].weight = weightGrow
	t[inspect.OpBlock].class = classBlock
	t[inspect.OpIf].class = classBlock
	t[inspect.OpLoop].class = classLoop
	t[inspect.OpEnd].class = classEnd
	t[inspect.OpBr].class = classBranch
	t[inspect.OpBrIf].class = classBranch
	t[inspect.OpBrTable].class = classBranch
	t[inspect.OpReturn].class = classControl
	t[inspect.OpUnreachable].class = classControl
	return t
}()

func traitOf(op inspect.Op) trait {
	switch {
	case op <= 0xff:
		return traits[op]
	case op < inspect.OpMemoryInit: // saturating conversions
		return trait{weightSlow, classPlain}
	case op <= inspect.OpTableFill:
		switch op {
		case inspect.OpMemoryInit, inspect.OpMemoryCopy, inspect.OpMemoryFill,
			inspect.OpTableInit, inspect.OpTableCopy, inspect.OpTableFill:
			return trait{weightBulk, classBulk}
		case inspect.OpTableGrow:
			return trait{weightGrow, classBulk}
		}
		return trait{weightCall, classPlain} // data.drop, elem.drop, table.size
	}
	return trait{weightMemory, classPlain} // vectors: many take several machine instructions
}
