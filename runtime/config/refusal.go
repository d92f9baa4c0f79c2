package config

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Refusal is an error of a plugin that does not take its configuration: which
// plugin, and what it said. Text that begins with the key, as the SDKs write it,
// leads to its place in the file:
//
//	config.rules[1].when: want a string, got 5
//	config.rules[1].when:1:7: unknown name "mgnitude"
//
// The second has the line and the column in the text that the key has, in
// characters counted from 1.
type Refusal interface {
	error
	RefusedConfig() (plugin, text string)
}

// Place gives what plugins say about their configuration its place in the TOML
// file at path. When err holds no Refusal, or the file cannot be read, it is
// returned as it is; otherwise all of it becomes Findings.
func Place(path string, err error) error {
	if !refused(err) {
		return err
	}
	src, readErr := os.ReadFile(path)
	if readErr != nil {
		return err
	}
	return PlaceIn(path, src, err)
}

func refused(err error) bool {
	var r Refusal
	return err != nil && errors.As(err, &r)
}

// PlaceIn is Place for a file whose content is src.
func PlaceIn(path string, src []byte, err error) error {
	if !refused(err) {
		return err
	}
	x := locate(string(src))
	var findings Findings
	seen := map[Finding]bool{}
	for _, leaf := range leaves(err) {
		f := Finding{File: path, Severity: SeverityError, Code: CodePlugin, Message: leaf.Error()}
		if r := Refusal(nil); errors.As(leaf, &r) {
			x.place(&f, r)
		}
		if !seen[f] { // a plugin is opened for each pipeline that uses it
			seen[f] = true
			findings = append(findings, f)
		}
	}
	findings.sort()
	return findings
}

// leaves takes apart what errors.Join has joined.
func leaves(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		joined, ok := e.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		var all []error
		for _, part := range joined.Unwrap() {
			if part != nil {
				all = append(all, leaves(part)...)
			}
		}
		return all
	}
	return []error{err}
}

// place completes the finding for a refusal.
func (x *index) place(f *Finding, r Refusal) {
	plugin, text := r.RefusedConfig()
	path := []string{"plugins", plugin, "config"}
	if !x.has(path...) {
		path = path[:2]
	}
	message, line, col := text, 0, 0
	if rest, ok := strings.CutPrefix(text, "config"); ok {
		path, rest = x.follow(path, rest)
		line, col, rest = inner(rest)
		if m, ok := strings.CutPrefix(rest, ": "); ok && len(path) > 2 {
			message = m
			if what := path[3:]; len(what) > 0 {
				message = pathText(what) + ": " + m
			}
		}
	}
	f.Line, f.Col = x.at(path)
	if s, ok := x.values[joinPath(path)]; ok && line > 0 {
		f.Line, f.Col = lineCol(x.src, s.start+inside(x.src[s.start:s.end], line, col))
	}
	f.Message = "the plugin " + strconv.Quote(plugin) + " refuses its configuration: " + message
}

func pathText(p []string) string { return path(p).String() }

// follow goes along the keys that text begins with, as far as the file has them,
// and returns the path and what is left of the text.
func (x *index) follow(path []string, text string) ([]string, string) {
	for {
		child := ""
		if rest, ok := strings.CutPrefix(text, "["); ok {
			if n, _, ok := strings.Cut(rest, "]"); ok {
				child = "[" + n + "]"
			}
		} else if strings.HasPrefix(text, ".") {
			child = x.longest(path, text[1:])
		}
		below := append(path[:len(path):len(path)], child)
		if _, value := x.values[joinPath(below)]; child == "" || !value && !x.has(below...) {
			return path, text
		}
		text = strings.TrimPrefix(text, ".")[len(child):]
		path = below
	}
}

// longest returns the member of the table at path that text begins with: a name
// may have dots.
func (x *index) longest(path []string, text string) string {
	best := ""
	prefix := joinPath(path) + "\x00"
	for key := range x.keys {
		name, ok := strings.CutPrefix(key, prefix)
		if ok && len(name) > len(best) && strings.HasPrefix(text, name) && (len(text) == len(name) || strings.ContainsRune(".[:", rune(text[len(name)]))) {
			best = name
		}
	}
	return best
}

// inner reads ":LINE:COL" at the beginning of text.
func inner(text string) (line, col int, rest string) {
	parts := strings.SplitN(text, ":", 4)
	if len(parts) < 4 || parts[0] != "" {
		return 0, 0, text
	}
	line, err := strconv.Atoi(parts[1])
	if err != nil || line < 1 {
		return 0, 0, text
	}
	if col, err = strconv.Atoi(parts[2]); err != nil || col < 1 {
		return 0, 0, text
	}
	return line, col, ":" + parts[3]
}

// inside returns the offset, in the source of a TOML string, of the character
// at a line and a column of the text that it stands for; the end of the text
// when it has no such place.
func inside(src string, line, col int) int {
	quote := 1
	if strings.HasPrefix(src, `"""`) || strings.HasPrefix(src, `'''`) {
		quote = 3
	}
	if src == "" || src[0] != '"' && src[0] != '\'' || len(src) < 2*quote {
		return 0
	}
	at, end := quote, len(src)-quote
	if quote == 3 { // a line break behind the opening quotes does not count
		at += len(src[at:]) - len(strings.TrimPrefix(strings.TrimPrefix(src[at:], "\r"), "\n"))
	}
	basic := src[0] == '"'
	for l, c := 1, 1; at < end && (l < line || l == line && c < col); {
		n, breaks, empty := character(src[at:end], basic)
		at += n
		switch {
		case empty:
		case breaks:
			l, c = l+1, 1
		default:
			c++
		}
	}
	return min(at, end)
}

// character returns how many bytes of a TOML string the next character takes,
// whether it is a line break, and whether it stands for nothing.
func character(src string, basic bool) (n int, breaks, empty bool) {
	if src[0] != '\\' || !basic || len(src) < 2 {
		_, n = utf8.DecodeRuneInString(src)
		return n, src[0] == '\n', src[0] == '\r'
	}
	switch src[1] {
	case 'x':
		n = 4
	case 'u':
		n = 6
	case 'U':
		n = 10
	case '\n', '\r', ' ', '\t': // a backslash at the end of a line takes the white space behind it
		return len(src) - len(strings.TrimLeft(src[1:], " \t\r\n")), false, true
	default:
		n = 2
	}
	return min(n, len(src)), src[1] == 'n', false
}
