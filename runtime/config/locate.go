package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// index says where each key and value of a TOML text is. It is filled by one
// pass over a text that the TOML parser has accepted; on any other text it
// holds what could be made out, and never fails.
//
// A path is the keys from the top; an element of an array, and a table of an
// array of tables, is "[N]", N counted from 0.
type index struct {
	src    string
	keys   map[string]span // by joinPath: the (last part of the) key itself
	values map[string]span
	order  []string // the paths in keys that a statement names, in order
}

// span is a range of bytes in the source.
type span struct{ start, end int }

func joinPath(path []string) string { return strings.Join(path, "\x00") }

// has reports whether the text has that key.
func (x *index) has(path ...string) bool {
	if x == nil {
		return false
	}
	_, ok := x.keys[joinPath(path)]
	return ok
}

// at returns line and column, counted from 1 in characters, of the value at
// path; where there is none, of its key; else those of the nearest thing above.
// They are 0 when there is no text or nothing is found.
func (x *index) at(path []string) (line, col int) { return x.find(path, true) }

// atKey is at for the key itself.
func (x *index) atKey(path []string) (line, col int) { return x.find(path, false) }

func (x *index) find(path []string, value bool) (line, col int) {
	if x == nil {
		return 0, 0
	}
	for ; len(path) > 0; path = path[:len(path)-1] {
		p := joinPath(path)
		if s, ok := x.values[p]; ok && value {
			return lineCol(x.src, s.start)
		}
		if s, ok := x.keys[p]; ok {
			return lineCol(x.src, s.start)
		}
		if s, ok := x.values[p]; ok {
			return lineCol(x.src, s.start)
		}
		value = false // above the place itself, the key says more
	}
	return 1, 1
}

// lineCol turns a byte offset into a line and a column in characters.
func lineCol(src string, offset int) (line, col int) {
	before := src[:min(offset, len(src))]
	start := strings.LastIndexByte(before, '\n') + 1
	col = utf8.RuneCountInString(before[start:]) + 1
	if start == 0 && strings.HasPrefix(before, byteOrderMark) {
		col--
	}
	return strings.Count(before, "\n") + 1, col
}

const byteOrderMark = "\ufeff"

// locate makes the index of src.
func locate(src string) *index {
	s := &scanner{
		src:    src,
		x:      &index{src: src, keys: map[string]span{}, values: map[string]span{}},
		tables: map[string]int{},
	}
	if strings.HasPrefix(src, byteOrderMark) {
		s.pos = len(byteOrderMark)
	}
	for s.pos < len(src) {
		before := s.pos
		s.statement()
		if s.pos == before { // not TOML: go on behind it
			s.pos++
		}
	}
	return s.x
}

// scanner walks TOML statement by statement. Every method leaves pos at or
// behind where it was and within the text.
type scanner struct {
	src    string
	pos    int
	x      *index
	table  []string       // path of the table that statements are in
	tables map[string]int // how many tables an array of tables has, by path
	depth  int            // of arrays and inline tables
}

// maxDepth bounds the recursion into arrays and inline tables.
const maxDepth = 200

func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

// blank skips spaces, tabs and, when lines is set, line breaks and comments.
func (s *scanner) blank(lines bool) {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == ' ' || c == '\t':
			s.pos++
		case lines && (c == '\n' || c == '\r'):
			s.pos++
		case lines && c == '#':
			s.rest()
		default:
			return
		}
	}
}

// rest skips to the end of the line.
func (s *scanner) rest() {
	if n := strings.IndexByte(s.src[s.pos:], '\n'); n >= 0 {
		s.pos += n
	} else {
		s.pos = len(s.src)
	}
}

func (s *scanner) statement() {
	s.blank(true)
	if s.pos >= len(s.src) {
		return
	}
	if s.peek() == '[' {
		s.header()
		return
	}
	s.assignment(s.table)
	s.rest()
}

// header reads [a.b] or [[a.b]].
func (s *scanner) header() {
	s.pos++
	array := s.peek() == '['
	if array {
		s.pos++
	}
	names, spans := s.key()
	s.rest()
	if len(names) == 0 {
		return
	}
	var path []string
	for i, name := range names {
		path = append(path, name)
		s.note(path, spans[i], i == len(names)-1)
		p := joinPath(path)
		if array && i == len(names)-1 {
			path = append(path, element(s.tables[p]))
			s.tables[p]++
			s.x.keys[joinPath(path)] = spans[i]
		} else if n := s.tables[p]; n > 0 {
			path = append(path, element(n-1))
		}
	}
	s.table = path
}

// assignment reads key = value within the table at path.
func (s *scanner) assignment(table []string) {
	names, spans := s.key()
	if len(names) == 0 {
		return
	}
	path := table[:len(table):len(table)]
	for i, name := range names {
		path = append(path, name)
		s.note(path, spans[i], i == len(names)-1)
	}
	s.blank(false)
	if s.peek() != '=' {
		return
	}
	s.pos++
	s.blank(false)
	s.value(path)
}

// note records a key; the first place a table is named at is the one to show.
func (s *scanner) note(path []string, at span, named bool) {
	p := joinPath(path)
	if _, ok := s.x.keys[p]; !ok || named {
		s.x.keys[p] = at
	}
	if named {
		s.x.order = append(s.x.order, p)
	}
}

// key reads a key with dots and returns its parts and where they are.
func (s *scanner) key() (names []string, spans []span) {
	for {
		s.blank(false)
		start := s.pos
		var name string
		switch c := s.peek(); c {
		case '"', '\'':
			s.quoted(c)
			name = unquoteKey(s.src[start:s.pos])
		default:
			for s.pos < len(s.src) && bareKey(s.src[s.pos]) {
				s.pos++
			}
			name = s.src[start:s.pos]
			if name == "" {
				return names, spans
			}
		}
		names, spans = append(names, name), append(spans, span{start, s.pos})
		s.blank(false)
		if s.peek() != '.' {
			return names, spans
		}
		s.pos++
	}
}

func bareKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c >= utf8.RuneSelf
}

func (s *scanner) value(path []string) {
	start := s.pos
	switch c := s.peek(); c {
	case '"', '\'':
		if q := strings.Repeat(string(c), 3); strings.HasPrefix(s.src[s.pos:], q) {
			s.block(q)
		} else {
			s.quoted(c)
		}
	case '[':
		s.array(path)
	case '{':
		s.inline(path)
	default:
		for s.pos < len(s.src) && !strings.ContainsRune(",]}#\r\n", rune(s.src[s.pos])) {
			s.pos++
		}
		s.pos = start + len(strings.TrimRight(s.src[start:s.pos], " \t"))
	}
	s.x.values[joinPath(path)] = span{start, s.pos}
}

func (s *scanner) array(path []string) {
	if s.depth++; s.depth > maxDepth {
		s.pos = len(s.src)
	}
	defer func() { s.depth-- }()
	s.skip(1)
	for n := 0; ; n++ {
		s.blank(true)
		switch s.peek() {
		case ']':
			s.pos++
			return
		case 0:
			return
		}
		before := s.pos
		s.value(append(path[:len(path):len(path)], element(n)))
		if s.blank(true); s.peek() == ',' {
			s.pos++
		}
		if s.pos == before {
			s.pos++
		}
	}
}

func (s *scanner) inline(path []string) {
	if s.depth++; s.depth > maxDepth {
		s.pos = len(s.src)
	}
	defer func() { s.depth-- }()
	s.skip(1)
	for {
		s.blank(true)
		switch s.peek() {
		case '}':
			s.pos++
			return
		case 0:
			return
		}
		before := s.pos
		s.assignment(path)
		if s.blank(true); s.peek() == ',' {
			s.pos++
		}
		if s.pos == before {
			s.pos++
		}
	}
}

// quoted skips a string on one line.
func (s *scanner) quoted(q byte) {
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == q:
			s.pos++
			return
		case c == '\\' && q == '"':
			s.pos++
		case c == '\n':
			return
		}
	}
	s.pos = min(s.pos, len(s.src))
}

// block skips a multi-line string; up to two more quotes may stand before the
// closing three.
func (s *scanner) block(q string) {
	for s.pos += 3; s.pos < len(s.src); s.pos++ {
		if s.src[s.pos] == '\\' && q[0] == '"' {
			s.pos++
			continue
		}
		if strings.HasPrefix(s.src[s.pos:], q) {
			s.pos += 3
			for n := 0; n < 2 && s.peek() == q[0]; n++ {
				s.pos++
			}
			return
		}
	}
	s.pos = min(s.pos, len(s.src))
}

func (s *scanner) skip(n int) { s.pos = min(s.pos+n, len(s.src)) }

func element(n int) string { return "[" + strconv.Itoa(n) + "]" }

// unquoteKey returns what a quoted key says.
func unquoteKey(s string) string {
	if len(s) < 2 || s[len(s)-1] != s[0] {
		return s
	}
	body := s[1 : len(s)-1]
	if s[0] == '\'' || !strings.Contains(body, `\`) {
		return body
	}
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' || i+1 == len(body) {
			b.WriteByte(body[i])
			continue
		}
		i++
		var digits int
		switch c := body[i]; c {
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			if n := strings.IndexByte("btnfre", c); n >= 0 {
				b.WriteByte("\b\t\n\f\r\x1b"[n])
			} else {
				b.WriteByte(c)
			}
			continue
		}
		if end := i + 1 + digits; end <= len(body) {
			if r, err := strconv.ParseUint(body[i+1:end], 16, 32); err == nil {
				b.WriteRune(rune(r))
			}
			i = end - 1
		}
	}
	return b.String()
}
