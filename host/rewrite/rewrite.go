package rewrite

import (
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/host/inspect"
)

// What a rewritten module exports besides what it did before. No module may
// export a name that begins with Prefix itself.
const (
	Prefix    = "wasmill:"
	TickTable = Prefix + "tick"  // the table whose entry 0 is the tick
	Start     = Prefix + "start" // the start function, if the module has one
)

// Options say how to rewrite. The zero value is for normal use.
type Options struct {
	// TableEntries is how far a table may grow; growing it further fails as
	// table.grow may always fail. 0 = 1 Mi.
	TableEntries int
	// Eager makes every check call the tick when that returns zero, and cuts
	// bulk operations into the smallest pieces: for tests of the checks.
	Eager bool
}

// Module returns m with checks. It is linear in m's length. m must come from
// inspect.Parse, whose checks of all indices and of the encoding it builds on.
// The error says what in the module cannot be rewritten.
func Module(m *inspect.Module, o Options) ([]byte, error) {
	for _, e := range m.Exports {
		if strings.HasPrefix(string(e.Name), Prefix) {
			return nil, fmt.Errorf("exports %q; names that begin with %q are the host's", e.Name, Prefix)
		}
	}
	r := newRewriter(m, o)
	r.code = make([]byte, 0, len(m.Bytes)+len(m.Bytes)/4)
	for i := range m.Bodies {
		r.body(i)
	}
	return r.assemble(), nil
}

// rewriter rewrites one module. Its indices are those of what is appended.
type rewriter struct {
	m     *inspect.Module
	scale scale
	table uint32 // the tick's
	fuel  uint32 // the global
	grown uint32 // entries that a table may grow to

	types    types
	helpers  helpers
	code     []byte // the module's entries of the code section
	walk     walk   // of one function; kept for its memory
	function []byte // its new code; kept for its memory
}

func newRewriter(m *inspect.Module, o Options) *rewriter {
	r := &rewriter{m: m, scale: normalScale(), table: uint32(len(m.Tables)), fuel: uint32(len(m.Globals)), grown: 1 << 20}
	if o.Eager {
		r.scale = eagerScale()
	}
	if o.TableEntries > 0 {
		r.grown = uint32(min(int64(o.TableEntries), 1<<32-2))
	}
	r.types.first = uint32(len(m.Types))
	r.helpers.init(r)
	return r
}

// order is that of the sections of a module.
var order = [...]byte{
	inspect.SectionType, inspect.SectionImport, inspect.SectionFunction, inspect.SectionTable, inspect.SectionMemory,
	inspect.SectionGlobal, inspect.SectionExport, inspect.SectionStart, inspect.SectionElement, inspect.SectionDataCount,
	inspect.SectionCode, inspect.SectionData,
}

// assemble writes the sections: the module's own, with what is appended to them,
// and those that it lacks, each in its place. Of the custom sections only the
// names of functions stay, written anew: wazero believes the counts of a name
// section, and 100 bytes of it could take gigabytes.
func (r *rewriter) assemble() []byte {
	m := r.m
	var added [256]section
	r.add(&added)
	size := len(m.Bytes) + len(r.code) + 64*len(order)
	for i := range added {
		size += len(added[i].entries)
	}
	out := append(make([]byte, 0, size), m.Bytes[:8]...)
	at := 0 // in m.Sections
	custom := func() {
		for at < len(m.Sections) && m.Sections[at].ID == inspect.SectionCustom {
			at++
		}
	}
	for _, id := range order {
		custom()
		var own inspect.Section
		has := at < len(m.Sections) && m.Sections[at].ID == id
		if has {
			own = m.Sections[at]
			at++
		}
		switch more := added[id]; {
		case id == inspect.SectionStart: // an export now
		case id == inspect.SectionCode:
			out = more.after(out, id, uint32(len(m.Bodies)), r.code)
		case more.count > 0:
			n, entries := count(m.Bytes[own.Start:own.End])
			out = more.after(out, id, n, entries)
		case has:
			out = append(out, m.Bytes[own.Head:own.End]...)
		}
	}
	return m.AppendNames(out)
}

// section is what is appended to a section.
type section struct {
	count   uint32
	entries []byte
}

// after appends the section id to out: own, which has n entries, and more.
func (more *section) after(out []byte, id byte, n uint32, own []byte) []byte {
	if n+more.count == 0 {
		return out
	}
	head := uleb(nil, n+more.count)
	out = uleb(append(out, id), uint32(len(head)+len(own)+len(more.entries)))
	out = append(out, head...)
	out = append(out, own...)
	return append(out, more.entries...)
}

// count splits the number of its entries off a section.
func count(payload []byte) (n uint32, entries []byte) {
	for i, c := range payload {
		n |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return n, payload[i+1:]
		}
	}
	return 0, nil // there is no such section
}

// add fills in what is appended to the sections.
func (r *rewriter) add(to *[256]section) {
	to[inspect.SectionTable] = section{1, []byte{byte(inspect.Funcref), 1, 1, 1}}
	fuel := i64Const([]byte{typeI64, 1}, r.scale.quantum)
	to[inspect.SectionGlobal] = section{1, append(fuel, opEnd)}

	exports := section{1, uleb(append(name(nil, TickTable), byte(inspect.ExternTable)), r.table)}
	if r.m.Start >= 0 {
		exports.count++
		exports.entries = uleb(append(name(exports.entries, Start), byte(inspect.ExternFunc)), r.helpers.start())
	}
	to[inspect.SectionExport] = exports

	to[inspect.SectionFunction], to[inspect.SectionCode] = r.helpers.sections()
	to[inspect.SectionType] = r.types.section()
}
