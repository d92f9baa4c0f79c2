package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/runtime/config"
)

// maxFile bounds what is read of a case file, and maxFindings what is said of
// one that is none at all.
const (
	maxFile     = 64 << 20
	maxFindings = 20
)

// span is a range of bytes in the file.
type span struct{ start, end int }

// member is one key of an object, with its value.
type member struct {
	key       string
	at, value int // offsets of the key and of the value
	raw       json.RawMessage
}

// object is one value of the file.
type object struct {
	span
	other   bool // it is not an object, which has been reported
	members []member
}

func (o *object) member(key string) *member {
	for i := range o.members {
		if o.members[i].key == key {
			return &o.members[i]
		}
	}
	return nil
}

// Read reads a case file. The error is of the file system, or config.Findings
// with everything that is wrong in the file.
func Read(file string) (*Case, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read case %s: it has %d bytes, more than %d", file, info.Size(), maxFile)
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, src)
}

// Parse reads the content of a case file. The error is config.Findings.
func Parse(file string, src []byte) (*Case, error) {
	p := &parser{c: &Case{File: file, src: src, Steps: []Step{{Kind: StepOpen, line: 1}}}}
	for p.next() && len(p.findings) < maxFindings {
		o, ok := p.object()
		if !ok {
			break // what follows a syntax error cannot be told apart
		}
		if !o.other {
			p.take(&o)
		}
	}
	if len(p.findings) > 0 {
		return nil, p.findings
	}
	return p.c, nil
}

// parser reads a file value by value and goes on behind what is wrong.
type parser struct {
	c        *Case
	pos      int
	any      bool // a value was read
	findings config.Findings
}

func (p *parser) fail(at int, code, format string, args ...any) *config.Finding {
	line, col := p.position(at)
	p.findings = append(p.findings, config.Finding{
		File: p.c.File, Line: line, Col: col, Severity: config.SeverityError, Code: code, Message: fmt.Sprintf(format, args...),
	})
	return &p.findings[len(p.findings)-1]
}

func (p *parser) position(at int) (line, col int) {
	before := p.c.src[:min(at, len(p.c.src))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// next goes to the beginning of the next value, over blank lines and comments.
func (p *parser) next() bool {
	for p.pos < len(p.c.src) {
		switch c := p.c.src[p.pos]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			p.pos++
		case c == '#' && p.lineStart():
			if n := bytes.IndexByte(p.c.src[p.pos:], '\n'); n >= 0 {
				p.pos += n
			} else {
				p.pos = len(p.c.src)
			}
		default:
			return true
		}
	}
	return false
}

// lineStart says whether there is only blank space before pos in its line.
func (p *parser) lineStart() bool {
	before := p.c.src[:p.pos]
	return len(bytes.TrimSpace(before[bytes.LastIndexByte(before, '\n')+1:])) == 0
}

// object reads one value. false = it is not JSON.
func (p *parser) object() (object, bool) {
	start := p.pos
	if !p.lineStart() {
		p.fail(start, config.CodeSyntax, "a second value in one line; begin a new line")
		return object{}, false
	}
	dec := json.NewDecoder(bytes.NewReader(p.c.src[start:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		at := start
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at += max(int(syntax.Offset)-1, 0)
			p.fail(at, config.CodeSyntax, "%s", strings.TrimPrefix(err.Error(), "json: "))
		} else {
			p.fail(at, config.CodeSyntax, "the JSON value that begins here does not end")
		}
		return object{}, false
	}
	o := object{span: span{start, start + int(dec.InputOffset())}}
	p.pos = o.end
	if raw[0] != '{' {
		p.fail(start, config.CodeWrongType, `want an object, such as {"subject": "a.b", "payload": {}}`)
		o.other = true
		return o, true
	}
	o.members = members(raw, start)
	seen := map[string]bool{}
	for _, m := range o.members {
		if seen[m.key] {
			p.fail(m.at, config.CodeConflict, "the key %q is there twice", m.key)
		}
		seen[m.key] = true
	}
	return o, true
}

// members lists the keys of an object that is known to be valid; base is its
// offset in the file.
func members(raw []byte, base int) []member {
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // {
	var out []member
	for dec.More() {
		at := int(dec.InputOffset())
		for at < len(raw) && bytes.IndexByte([]byte(" \t\r\n,"), raw[at]) >= 0 {
			at++
		}
		key, err := dec.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return out // cannot be: it was read as a whole before
		}
		out = append(out, member{key: name, at: base + at, value: base + int(dec.InputOffset()) - len(value), raw: value})
	}
	return out
}

// take makes of a value what its keys say.
func (p *parser) take(o *object) {
	line, _ := p.position(o.start)
	first := !p.any
	p.any = true
	is := func(key string) bool { return o.member(key) != nil }
	step := &p.c.Steps[len(p.c.Steps)-1]
	expect := func(l Line) {
		l.line = line
		step.Expect = append(step.Expect, l)
		step.want = append(step.want, o.span)
	}
	switch {
	case is("case"):
		if !first {
			p.fail(o.start, config.CodeConflict, `the head, with the key "case", is the first value of a file`)
			return
		}
		p.c.Head = p.head(o)
		p.c.places = map[string]int{"": o.start}
		for _, m := range o.members {
			p.c.places[m.key] = m.value
		}
		step.line, step.at = line, o.span
	case is("close"):
		p.keys(o, "close")
		if v := o.member("close"); string(v.raw) != "true" {
			p.fail(v.value, config.CodeBadValue, `close is %s; want true`, clip(v.raw))
		}
		p.c.Steps = append(p.c.Steps, Step{Kind: StepClose, line: line, at: o.span})
	case is("output"):
		if step.Kind == StepOpen {
			p.fail(o.start, config.CodeConflict, "an output is expected before the first event; put the event above it")
			return
		}
		expect(p.output(o))
	case is("outcome"):
		expect(p.outcome(o, step.Kind))
	case is("fault"):
		expect(p.fault(o))
	case is("log"):
		expect(p.log(o))
	default:
		if step.Kind == StepClose {
			p.fail(o.start, config.CodeConflict, "an event behind the close of the instance")
			return
		}
		e := p.event(o)
		p.c.Steps = append(p.c.Steps, Step{Kind: StepEvent, Event: e, line: line, at: o.span})
	}
}

// kinds are the keys that make a value something else than an event.
var kinds = []string{"case", "output", "outcome", "fault", "log", "close"}

// keys reports the keys of o that are none of names.
func (p *parser) keys(o *object, names ...string) {
	for i := range o.members {
		p.known(&o.members[i], names, names)
	}
}

func (p *parser) known(m *member, names, suggest []string) {
	if slices.Contains(names, m.key) {
		return
	}
	f := p.fail(m.at, config.CodeUnknownKey, "there is no key %q here; there are %s", m.key, strings.Join(names, ", "))
	f.Suggestion = config.Nearest(m.key, suggest)
}

func clip(raw []byte) string {
	if len(raw) > 40 {
		return string(bytes.ToValidUTF8(raw[:40], nil)) + "…"
	}
	return string(raw)
}
