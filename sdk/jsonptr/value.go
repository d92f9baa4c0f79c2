package jsonptr

import (
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Kind is what a Value is.
type Kind uint8

// Kinds of Value. Absent is that of the zero Value, which Find returns with false.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Object
	Array
)

// String names the kind in lower case, as JSON does.
func (k Kind) String() string {
	if k > Array {
		return "kind " + strconv.Itoa(int(k))
	}
	return [...]string{"absent", "null", "boolean", "number", "string", "object", "array"}[k]
}

// Value is one JSON value inside a text. It is a view: it is valid as long as
// the text is, and whoever keeps it longer copies what it needs. The zero Value
// is absent; all its methods say so.
type Value struct{ raw []byte }

// Kind returns what v is, by its first byte.
func (v Value) Kind() Kind {
	if len(v.raw) == 0 {
		return Absent
	}
	switch v.raw[0] {
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case '"':
		return String
	case '{':
		return Object
	case '[':
		return Array
	}
	return Number
}

// Exists reports whether the value is there; null is.
func (v Value) Exists() bool { return len(v.raw) != 0 }

// Raw returns the JSON text of v, without white space around it; nil when absent.
func (v Value) Raw() []byte { return v.raw }

// Float returns the number that v is; false when it is none, or too large for a
// float64.
func (v Value) Float() (float64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	if f, ok := short(v.raw); ok {
		return f, true
	}
	f, err := strconv.ParseFloat(unsafe.String(&v.raw[0], len(v.raw)), 64)
	if err != nil {
		return 0, false
	}
	return f, true
}

// short reads a number of at most fifteen digits without an exponent, as most
// are. Such digits and the power of ten below them are exact in a float64, so
// that their quotient is correctly rounded.
func short(raw []byte) (float64, bool) {
	if len(raw) > 17 {
		return 0, false
	}
	var n int64
	digits, point := 0, 0
	for i, c := range raw {
		switch {
		case c-'0' <= 9:
			n = n*10 + int64(c-'0')
			digits++
		case c == '.':
			point = i + 1
		case c != '-':
			return 0, false
		}
	}
	if digits > 15 {
		return 0, false
	}
	f := float64(n)
	if point > 0 {
		f /= tens[len(raw)-point]
	}
	if raw[0] == '-' {
		f = -f
	}
	return f, true
}

var tens = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// Int returns the number that v is; false when it is none, is written with a
// fraction or an exponent, or does not fit an int64.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	digits, negative := v.raw, false
	if digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	var n uint64
	if len(digits) > 19 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

// Bool returns the boolean that v is; false, false when it is none.
func (v Value) Bool() (value, ok bool) {
	if v.Kind() != Bool {
		return false, false
	}
	return v.raw[0] == 't', true
}

// Bytes returns v as text: the content of a string with its escapes undone, and
// the JSON text of any other kind; nil when absent. It is a view unless the
// string has escapes, which is the one case that allocates.
func (v Value) Bytes() []byte {
	if v.Kind() != String {
		return v.raw
	}
	content := v.raw[1 : len(v.raw)-1]
	if _, plain := text(v.raw, 0); plain {
		return content[:len(content):len(content)]
	}
	return v.Append(make([]byte, 0, len(content)))
}

// String returns a copy of what Bytes returns; "" when absent.
func (v Value) String() string { return string(v.Bytes()) }

// Append appends what Bytes returns to dst, and returns it. It allocates only
// to grow dst.
func (v Value) Append(dst []byte) []byte {
	if v.Kind() != String {
		return append(dst, v.raw...)
	}
	content := v.raw[1 : len(v.raw)-1]
	for len(content) > 0 {
		if content[0] == '\\' {
			dst, content = unescape(dst, content)
			continue
		}
		n := 1
		for n < len(content) && content[n] != '\\' {
			n++
		}
		dst, content = append(dst, content[:n]...), content[n:]
	}
	return dst
}

// Find looks pointer up inside v. Looking several members of one object up in
// the object's Value saves reading the text before it again.
func (v Value) Find(pointer string) Value {
	found, _ := Find(v.raw, pointer)
	return found
}

// Elements iterates over the elements of an array; over nothing for other kinds.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != Array {
			return
		}
		for i := space(v.raw, 1); i >= 0 && v.raw[i] != ']'; {
			end := skip(v.raw, i)
			if end < 0 || !yield(Value{v.raw[i:end:end]}) {
				return
			}
			i = comma(v.raw, end, ']')
		}
	}
}

// Members iterates over the members of an object, in the order of the text, with
// names as string Values; over nothing for other kinds.
func (v Value) Members() iter.Seq2[Value, Value] {
	return func(yield func(Value, Value) bool) {
		if v.Kind() != Object {
			return
		}
		for i := space(v.raw, 1); i >= 0 && v.raw[i] == '"'; {
			behind, _ := text(v.raw, i)
			start := colon(v.raw, behind)
			end := skip(v.raw, start)
			if end < 0 || !yield(Value{v.raw[i:behind:behind]}, Value{v.raw[start:end:end]}) {
				return
			}
			i = comma(v.raw, end, '}')
		}
	}
}

// unescape appends what the escape sequence that b begins with stands for, and
// returns what follows it. The sequence has been checked. A surrogate without
// its other half becomes U+FFFD.
func unescape(dst, b []byte) (out, rest []byte) {
	switch c := b[1]; c {
	case 'b':
		return append(dst, '\b'), b[2:]
	case 'f':
		return append(dst, '\f'), b[2:]
	case 'n':
		return append(dst, '\n'), b[2:]
	case 'r':
		return append(dst, '\r'), b[2:]
	case 't':
		return append(dst, '\t'), b[2:]
	case 'u':
		r := hex4(b[2:])
		b = b[6:]
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
				low = hex4(b[2:])
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				b = b[6:]
			}
		}
		return utf8.AppendRune(dst, r), b
	default: // quote, backslash, slash
		return append(dst, c), b[2:]
	}
}
