// Package jsonptr looks values up in JSON text by JSON Pointer (RFC 6901)
// without decoding the text and without allocating.
//
// It is the fast path for handlers and pipelines that need a few fields of an
// event: a lookup reads the text from its start to the end of the value it
// finds, and nothing behind it. What it reads is checked against the JSON
// grammar; what lies behind the value is not, so a lookup can succeed in a text
// that is malformed further on. Use Valid, or the pointer "", to check a whole
// text. Where an object repeats a name, the first member counts.
//
// The scanner is iterative and holds one bit for each level of nesting, so that
// no input can exhaust the stack; text nested deeper than MaxDepth counts as
// malformed. Strings that are not valid UTF-8 are passed on as they are.
//
// The package uses neither reflection nor fmt nor encoding/json and works in
// WebAssembly guests.
package jsonptr

// MaxDepth is how deeply arrays and objects may nest.
const MaxDepth = 1024

// Find returns the value at pointer, with views of doc. "" is the whole text,
// "/a/0/b" the member b of the first element of the member a; in a token "~1"
// stands for "/" and "~0" for "~". It returns false when the value is absent,
// and when the pointer, or doc up to the end of the value, is malformed.
func Find(doc []byte, pointer string) (Value, bool) {
	i := space(doc, 0)
	if pointer == "" {
		end := skip(doc, i)
		if end < 0 || space(doc, end) != len(doc) {
			return Value{}, false
		}
		return Value{doc[i:end:end]}, true
	}
	for pointer != "" {
		if pointer[0] != '/' || i >= len(doc) {
			return Value{}, false
		}
		n, escaped := 1, false
		for n < len(pointer) && pointer[n] != '/' {
			escaped = escaped || pointer[n] == '~'
			n++
		}
		token := pointer[1:n]
		if escaped && Check(pointer[:n]) != nil {
			return Value{}, false
		}
		pointer = pointer[n:]
		switch doc[i] {
		case '{':
			i = member(doc, i, token, escaped)
		case '[':
			i = element(doc, i, token)
		default:
			return Value{}, false
		}
		if i < 0 {
			return Value{}, false
		}
	}
	end := skip(doc, i)
	if end < 0 {
		return Value{}, false
	}
	return Value{doc[i:end:end]}, true
}

// Valid reports whether doc is one JSON value, with nothing but white space
// around it.
func Valid(doc []byte) bool {
	end := skip(doc, space(doc, 0))
	return end >= 0 && space(doc, end) == len(doc)
}

// Check returns an error when pointer is not a JSON Pointer: use it once, on
// configuration, because Find cannot tell a bad pointer from an absent value.
func Check(pointer string) error {
	if pointer != "" && pointer[0] != '/' {
		return &PointerError{Pointer: pointer, Problem: "must be empty or begin with /"}
	}
	for i := range len(pointer) {
		if pointer[i] == '~' && (i+1 == len(pointer) || pointer[i+1] != '0' && pointer[i+1] != '1') {
			return &PointerError{Pointer: pointer, Problem: "has a ~ that is not followed by 0 or 1; write ~0 for ~ and ~1 for /"}
		}
	}
	return nil
}

// PointerError is what Check returns.
type PointerError struct{ Pointer, Problem string }

// Error reads `JSON pointer "x" …`.
func (e *PointerError) Error() string { return `JSON pointer "` + e.Pointer + `" ` + e.Problem }

// member returns the offset of the value that token names in the object at i,
// or -1; escaped says that token has a tilde.
func member(doc []byte, i int, token string, escaped bool) int {
	for i++; i < len(doc); i++ {
		if doc[i] != '"' {
			if i = space(doc, i); i >= len(doc) || doc[i] != '"' {
				return -1
			}
		}
		end, plain := text(doc, i)
		if end < 0 {
			return -1
		}
		name := doc[i+1 : end-1]
		if end+1 < len(doc) && doc[end] == ':' && doc[end+1] > ' ' {
			i = end + 1
		} else if i = colon(doc, end); i < 0 {
			return -1
		}
		if plain && !escaped {
			if len(name) == len(token) && string(name) == token {
				return i
			}
		} else if equal(name, token) {
			return i
		}
		if i = skip(doc, i); i < 0 {
			return -1
		}
		if i < len(doc) && doc[i] != ',' {
			if i = space(doc, i); i >= len(doc) || doc[i] != ',' {
				return -1
			}
		}
	}
	return -1
}

// element returns the offset of the element that token counts in the array at
// i, or -1.
func element(doc []byte, i int, token string) int {
	n := index(token)
	if n < 0 {
		return -1
	}
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == ']' {
		return -1
	}
	for ; n > 0; n-- {
		if i = comma(doc, skip(doc, i), ']'); i < 0 {
			return -1
		}
	}
	return i
}

// index reads the token of an array element: 0, or digits without a leading 0.
func index(token string) int {
	if token == "" || len(token) > 9 || len(token) > 1 && token[0] == '0' {
		return -1
	}
	n := 0
	for i := range len(token) {
		if token[i] < '0' || token[i] > '9' {
			return -1
		}
		n = n*10 + int(token[i]-'0')
	}
	return n
}

// equal compares the text between the quotes of a JSON string with the token of
// a pointer, undoing the escapes of both, without allocating.
func equal(name []byte, token string) bool {
	for len(name) > 0 {
		var buf [4]byte
		var part []byte
		if name[0] == '\\' {
			part, name = unescape(buf[:0], name)
		} else {
			part, name = append(buf[:0], name[0]), name[1:]
		}
		for _, c := range part {
			if token == "" {
				return false
			}
			want := token[0]
			token = token[1:]
			if want == '~' {
				want = "~/"[token[0]-'0']
				token = token[1:]
			}
			if c != want {
				return false
			}
		}
	}
	return token == ""
}
