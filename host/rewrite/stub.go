package rewrite

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"

	"github.com/wasmill/wasmill/host/inspect"
)

// stubSection is the custom section with which a stub says whose it is.
const stubSection = Prefix + "stub"

// stubBody is a body that is valid whatever its function's type is: no locals,
// unreachable, end. Its length stands before it.
var stubBody = []byte{3, 0, 0, opEnd}

// Stub returns a module of which wazero makes the same instances as of binary,
// which Module has returned, when it has the machine code already: the same in
// everything but the bodies of the functions, which do nothing. It is read and
// validated in a fraction of the time. No other module has the same stub.
func Stub(binary []byte) []byte {
	out := append(make([]byte, 0, len(binary)/2), binary[:8]...)
	for at := 8; at < len(binary); {
		head, id := at, binary[at]
		size, start := varint(binary, at+1)
		at = start + int(size)
		if id == inspect.SectionCode {
			n, _ := varint(binary, start)
			out = appendStubs(out, n)
		} else {
			out = append(out, binary[head:at]...)
		}
	}
	sum := sha256.Sum256(binary)
	mark := append(name(nil, stubSection), sum[:]...)
	out = uleb(append(out, inspect.SectionCustom), uint32(len(mark)))
	return append(out, mark...)
}

// Outline returns a module that has what a module shows to its host, and nothing
// else: types, imports, tables, memories, globals and exports.
func Outline(m *inspect.Module) []byte {
	out := append([]byte(nil), m.Bytes[:8]...)
	for _, s := range m.Sections {
		switch s.ID {
		case inspect.SectionType, inspect.SectionImport, inspect.SectionFunction, inspect.SectionTable,
			inspect.SectionMemory, inspect.SectionGlobal, inspect.SectionExport:
			out = append(out, m.Bytes[s.Head:s.End]...)
		case inspect.SectionCode:
			out = appendStubs(out, uint32(len(m.Bodies)))
		}
	}
	return out
}

// appendStubs appends a code section of n functions that do nothing.
func appendStubs(out []byte, n uint32) []byte {
	head := uleb(nil, n)
	out = uleb(append(out, inspect.SectionCode), uint32(len(head)+int(n)*len(stubBody)))
	out = append(out, head...)
	for range n {
		out = append(out, stubBody...)
	}
	return out
}

// varint reads an unsigned number at a place of a module that is known to be
// well formed, and returns the place behind it.
func varint(b []byte, at int) (n uint32, next int) {
	for shift := 0; ; shift += 7 {
		c := b[at]
		at++
		n |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return n, at
		}
	}
}

//go:embed *.go
var source embed.FS

// Version names what reads and rewrites modules: what one version has made of a
// module is what the same version makes of it again.
func Version() (string, error) {
	sum := sha256.New()
	for _, files := range []fs.FS{source, inspect.Source()} {
		names, err := fs.Glob(files, "*.go")
		if err != nil {
			return "", err
		}
		for _, n := range names {
			b, err := fs.ReadFile(files, n)
			if err != nil {
				return "", err
			}
			sum.Write(b)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
