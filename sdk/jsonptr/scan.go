package jsonptr

import "math/bits"

// The functions of this file take an offset and return the offset behind what
// they read, or -1 when it does not follow the grammar. They accept an offset
// at or beyond the end of the text, and a negative one where it says so.

// space skips white space.
func space(doc []byte, i int) int {
	for i < len(doc) {
		switch doc[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// colon skips white space, a colon, and white space.
func colon(doc []byte, i int) int {
	if i >= len(doc) || doc[i] != ':' {
		if i = space(doc, i); i >= len(doc) || doc[i] != ':' {
			return -1
		}
	}
	return space(doc, i+1)
}

// comma skips white space, a comma, and white space. It returns -1 when i is
// negative and when the container ends instead, at its closing byte.
func comma(doc []byte, i int, closing byte) int {
	if i < 0 {
		return -1
	}
	i = space(doc, i)
	if i >= len(doc) || doc[i] != ',' {
		return -1
	}
	i = space(doc, i+1)
	if i >= len(doc) || doc[i] == closing {
		return -1
	}
	return i
}

// skip reads one value.
func skip(doc []byte, i int) int {
	if i >= len(doc) {
		return -1
	}
	switch doc[i] {
	case '"':
		i, _ = text(doc, i)
		return i
	case '{', '[':
		return container(doc, i)
	}
	return scalar(doc, i)
}

// container reads the object or array at i. Each level of nesting takes one bit
// of the stack: 1 for an object.
func container(doc []byte, i int) int {
	var stack [MaxDepth / 64]uint64
	depth := 0
	object := false // what the innermost open container is
value:
	if i >= len(doc) {
		return -1
	}
	switch c := doc[i]; c {
	case '"':
		if i, _ = text(doc, i); i < 0 {
			return -1
		}
	case '{', '[':
		if depth == MaxDepth {
			return -1
		}
		object = c == '{'
		word, bit := &stack[depth/64], uint64(1)<<(depth%64)
		*word &^= bit
		if object {
			*word |= bit
		}
		depth++
		if i++; i < len(doc) && doc[i] <= ' ' {
			i = space(doc, i)
		}
		if i < len(doc) && doc[i] != c+2 { // c+2 closes what c opens
			if object {
				if i = name(doc, i); i < 0 {
					return -1
				}
			}
			goto value
		}
	default:
		if i = scalar(doc, i); i < 0 {
			return -1
		}
	}
	// A value ended before i: close containers until a comma follows.
	for {
		if i < len(doc) && doc[i] <= ' ' {
			i = space(doc, i)
		}
		if i >= len(doc) {
			return -1
		}
		switch c := doc[i]; {
		case c == ',':
			if i++; i < len(doc) && doc[i] <= ' ' {
				i = space(doc, i)
			}
			if object {
				if i = name(doc, i); i < 0 {
					return -1
				}
			}
			goto value
		case object && c == '}' || !object && c == ']':
			i++
			if depth--; depth == 0 {
				return i
			}
			object = stack[(depth-1)/64]>>((depth-1)%64)&1 == 1
		default:
			return -1
		}
	}
}

// name reads the name of a member and its colon.
func name(doc []byte, i int) int {
	if i >= len(doc) || doc[i] != '"' {
		return -1
	}
	if i, _ = text(doc, i); i < 0 {
		return -1
	}
	if i+1 < len(doc) && doc[i] == ':' && doc[i+1] > ' ' {
		return i + 1
	}
	return colon(doc, i)
}

// scalar reads a number, true, false or null.
func scalar(doc []byte, i int) int {
	switch c := doc[i]; {
	case c == '-' || c-'0' <= 9:
		return number(doc, i)
	case c == 't':
		return literal(doc, i, "true")
	case c == 'f':
		return literal(doc, i, "false")
	case c == 'n':
		return literal(doc, i, "null")
	}
	return -1
}

func literal(doc []byte, i int, word string) int {
	if len(doc)-i < len(word) || string(doc[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func number(doc []byte, i int) int {
	if doc[i] == '-' {
		i++
	}
	switch {
	case i >= len(doc):
		return -1
	case doc[i] == '0':
		i++
	default:
		if i = digits(doc, i); i < 0 {
			return -1
		}
	}
	if i < len(doc) && doc[i] == '.' {
		if i = digits(doc, i+1); i < 0 {
			return -1
		}
	}
	if i < len(doc) && doc[i]|0x20 == 'e' {
		i++
		if i < len(doc) && (doc[i] == '+' || doc[i] == '-') {
			i++
		}
		return digits(doc, i)
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// digits reads at least one digit, eight bytes at a time.
func digits(doc []byte, i int) int {
	start := i
	for i+8 <= len(doc) {
		w := load64(doc, i) ^ '0'*ones // digits become 0 to 9
		other := ((w &^ highs) + (0x80-10)*ones | w) & highs
		if other == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(other) >> 3
		if i == start {
			return -1
		}
		return i
	}
	for i < len(doc) && doc[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// text reads the string at i; plain says that it has no escapes. Eight bytes at
// a time are tested for the three kinds that end a run: quote, backslash and
// control characters.
func text(doc []byte, i int) (end int, plain bool) {
	plain = true
	i++
	for i+8 <= len(doc) {
		w := load64(doc, i)
		quote, slash := w^('"'*ones), w^('\\'*ones)
		hit := ((quote-ones)&^quote | (slash-ones)&^slash | (w-' '*ones)&^w) & highs
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if doc[i] == '"' {
			return i + 1, plain
		}
		if i = escape(doc, i); i < 0 {
			return -1, false
		}
		plain = false
	}
	for i < len(doc) {
		switch c := doc[i]; {
		case c == '"':
			return i + 1, plain
		case c == '\\' || c < ' ':
			if i = escape(doc, i); i < 0 {
				return -1, false
			}
			plain = false
		default:
			i++
		}
	}
	return -1, false
}

// escape reads the escape sequence at i; a control character is none.
func escape(doc []byte, i int) int {
	if i+1 >= len(doc) || doc[i] != '\\' {
		return -1
	}
	switch doc[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if hex4(doc[i+2:]) >= 0 {
			return i + 6
		}
	}
	return -1
}

// hex4 returns the value of the four hexadecimal digits that b begins with, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
