package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/wasmill/wasmill/host"
)

// Section is the name of the custom section.
const Section = "wasmill"

const preamble = "\x00asm\x01\x00\x00\x00"

// span is where a section of that name lies: from its id to its end, and its text.
type span struct{ start, end, text int }

// find returns the sections of that name. It looks at the heads of sections
// only, so it takes no time worth mentioning; a module that does not add up
// gives an error, whatever else is wrong with it is package host's to find.
func find(module []byte) ([]span, error) {
	if len(module) < len(preamble) || string(module[:len(preamble)]) != preamble {
		return nil, errors.New("is no WebAssembly module")
	}
	var found []span
	for p := len(preamble); p < len(module); {
		start, id := p, module[p]
		size, n := number(module[p+1:])
		p += 1 + n
		if n == 0 || size > uint64(len(module)-p) {
			return nil, fmt.Errorf("is no WebAssembly module: the section at byte %#x is longer than the module", start)
		}
		end := p + int(size)
		if id == 0 {
			length, n := number(module[p:end])
			if n == 0 || length > uint64(end-p-n) {
				return nil, fmt.Errorf("is no WebAssembly module: the name of the section at byte %#x is longer than the section", start)
			}
			name := module[p+n : p+n+int(length)]
			if string(name) == Section {
				found = append(found, span{start, end, p + n + int(length)})
			}
		}
		p = end
	}
	return found, nil
}

// number reads an unsigned LEB128 of 32 bits and returns how many bytes it has;
// 0 = it is none.
func number(b []byte) (uint64, int) {
	v, n := binary.Uvarint(b[:min(5, len(b))])
	if n <= 0 || v > 1<<32-1 {
		return 0, 0
	}
	return v, n
}

// Read returns the manifest of a module as it stands there; see Check for
// whether it is true. Errors are ErrNone, an *Error, or say that it is no module.
func Read(module []byte) (*Manifest, error) {
	found, err := find(module)
	if err != nil {
		return nil, err
	}
	return read(module, found)
}

func read(module []byte, found []span) (*Manifest, error) {
	switch len(found) {
	case 0:
		return nil, ErrNone
	case 1:
		return parse(module[found[0].text:found[0].end])
	}
	return nil, unreadable("there are %d of them", len(found))
}

// digest is the sha256 of a module without the sections in found.
func digest(module []byte, found []span) string {
	h := sha256.New()
	without(h, module, found)
	return hex.EncodeToString(h.Sum(nil))
}

func without(h hash.Hash, module []byte, found []span) {
	at := 0
	for _, s := range found {
		h.Write(module[at:s.start])
		at = s.end
	}
	h.Write(module[at:])
}

// Write returns the module with m as its manifest, in place of any that it has,
// with ABI, Grants and Digest as the module shows them. module is not changed.
func Write(module []byte, m Manifest) ([]byte, error) {
	d, err := host.Inspect(module)
	if err != nil {
		return nil, fmt.Errorf("write the manifest of a module that %w", err)
	}
	found, err := find(module)
	if err != nil {
		return nil, fmt.Errorf("write the manifest of a module that %w", err)
	}
	m.ABI, m.Grants, m.Digest = abiOf(d), d.Grants, digest(module, found)
	text, err := m.encode()
	if err != nil {
		return nil, fmt.Errorf("write a manifest: %w", err)
	}
	out := make([]byte, 0, len(module)+len(text)+32)
	at := 0
	for _, s := range found {
		out = append(out, module[at:s.start]...)
		at = s.end
	}
	out = append(out, module[at:]...)
	body := binary.AppendUvarint(nil, uint64(len(Section)))
	body = append(body, Section...)
	body = append(body, text...)
	out = append(out, 0)
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...), nil
}
