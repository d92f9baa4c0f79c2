package inspect

import (
	"fmt"
	"unicode/utf8"
)

// reader reads b[p:]. After the first error it returns zeros; err keeps the
// first. Positions are offsets in the module.
type reader struct {
	b       []byte // the module up to the end of what may be read
	p       int
	section string // for errors
	index   int    // for errors; -1 = none
	err     *Error
}

func (r *reader) left() int { return len(r.b) - r.p }

func (r *reader) set(e *Error) {
	if r.err == nil {
		e.Section, e.Index = r.section, r.index
		r.err = e
		r.p = len(r.b)
	}
}

// malformed records what is wrong with what is read at offset at.
func (r *reader) malformed(at int, format string, args ...any) {
	r.set(&Error{Kind: Malformed, Offset: at, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) unsupported(at int, what string, p proposal) {
	r.set(unsupported(at, what, p))
}

func (r *reader) byte() byte {
	if r.p >= len(r.b) {
		r.malformed(r.p, "it ends early")
		return 0
	}
	c := r.b[r.p]
	r.p++
	return c
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	if r.p < len(r.b) && r.b[r.p] < 0x80 {
		r.p++
		return uint32(r.b[r.p-1])
	}
	v, n := uleb32(r.b[r.p:])
	if n == 0 {
		r.badNumber(r.p)
		return 0
	}
	r.p += n
	return v
}

func (r *reader) badNumber(at int) {
	if r.left() < maxLeb64 && !endsNumber(r.b[r.p:]) {
		r.malformed(at, "it ends early")
		return
	}
	r.malformed(at, "a number is too large")
}

// count reads how many entries follow. Each takes at least size bytes, which
// bounds what a caller may allocate for them.
func (r *reader) count(size int) int {
	at := r.p
	n := r.u32()
	if r.err == nil && uint64(n)*uint64(size) > uint64(r.left()) {
		r.malformed(at, "%d entries in %d bytes", n, r.left())
		return 0
	}
	return int(n)
}

// capped is count under a cap, which holds for the entries before as well.
func (r *reader) capped(size int, c capRule, before, most int) int {
	at := r.p
	n := r.count(size)
	if r.over(c, at, uint64(before)+uint64(n), most) {
		return 0
	}
	return n
}

// bytes reads n bytes. The result is a view.
func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.malformed(r.p, "%d bytes where %d are left", n, r.left())
		return nil
	}
	v := r.b[r.p : r.p+int(n) : r.p+int(n)]
	r.p += int(n)
	return v
}

// name reads a name: length and UTF-8.
func (r *reader) name(caps *Caps) []byte {
	at := r.p
	v := r.bytes(r.u32())
	switch {
	case r.err != nil:
		return nil
	case r.over(capName, at, uint64(len(v)), caps.NameBytes):
		return nil
	case !utf8.Valid(v):
		r.malformed(at, "the name %s is not UTF-8", quote(v))
		return nil
	}
	return v
}

const (
	maxLeb32 = 5
	maxLeb64 = 10
)

// uleb32 reads an unsigned LEB128 number of at most 32 bits. n is its length,
// or 0 when it is cut off or too large.
func uleb32(b []byte) (v uint32, n int) {
	var shift uint
	for i := 0; i < maxLeb32 && i < len(b); i++ {
		c := b[i]
		if i == maxLeb32-1 && c > 0x0f {
			return 0, 0
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v, i + 1
		}
		shift += 7
	}
	return 0, 0
}

// sleb reads a signed LEB128 number of at most bits bits, 32 or 64.
func sleb(b []byte, bits uint) (v int64, n int) {
	var shift uint
	for i := 0; i < len(b) && shift < bits; i++ {
		c := b[i]
		if left := bits - shift; left < 7 {
			// The bits beyond the number must repeat its sign.
			if rest := int8(c<<1) >> left; rest != 0 && rest != -1 { //nolint:gosec // an arithmetic shift of seven bits is meant
				return 0, 0
			}
		}
		v |= int64(c&0x7f) << shift
		shift += 7
		if c < 0x80 {
			if c&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v, i + 1
		}
	}
	return 0, 0
}

func endsNumber(b []byte) bool {
	for _, c := range b {
		if c < 0x80 {
			return true
		}
	}
	return false
}

// uleb64 reads an unsigned LEB128 number of at most 64 bits.
func uleb64(b []byte) (v uint64, n int) {
	var shift uint
	for i := 0; i < maxLeb64 && i < len(b); i++ {
		c := b[i]
		if i == maxLeb64-1 && c > 1 {
			return 0, 0
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i + 1
		}
		shift += 7
	}
	return 0, 0
}
