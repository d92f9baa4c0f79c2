// Package inspect reads WebAssembly modules that nobody trusts. It is the
// first to see a module: what it refuses neither the rewriter nor wazero ever
// reads (invariant A4).
//
// [Parse] reads a whole module once. It is linear in the module's length, keeps
// views of the module's bytes instead of copies, checks every declared count
// against [Caps] and against the bytes that are left before it allocates, and
// decodes every instruction. What it returns is well formed:
//
//   - sections, vectors, names and numbers are encoded as the specification
//     wants, in only one way where wazero reads another way differently;
//   - every index (type, function, table, memory, global, local, label,
//     element, data) is one that the module itself defines, so that whatever a
//     rewriter appends to an index space is out of the module's reach;
//   - blocks are nested and closed; every function ends with its end;
//   - only instructions and types of the core specification 2.0 occur; others
//     are refused with the name of their proposal.
//
// Operand types are not checked: wazero does that on what it compiles.
//
// # How to use it
//
//	m, err := inspect.Parse(binary, inspect.Caps{}) // zero = the defaults
//	for _, s := range m.Sections {                  // in the module's order, custom ones too
//		payload := m.Bytes[s.Start:s.End]
//	}
//	for i := range m.Bodies {                       // function len(m.Funcs)-len(m.Bodies)+i
//		d := m.Decode(i)
//		for d.Next() {
//			switch d.Op {                           // d.At…d.End are offsets in m.Bytes
//			case inspect.OpLoop:                    // d.X is the block type, d.Depth the nesting
//			case inspect.OpCall:                    // d.X is the function index
//			}
//		}
//		// d.Err is nil here: Parse has decoded all of it before.
//	}
//
// All offsets are absolute offsets in Module.Bytes, so that whatever lies
// between two of them can be copied as it is. A Module is read only and safe
// for concurrent use; a Decoder is not. The bytes must not change while the
// Module is in use.
package inspect
