package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Template makes the subject of an output from the event that caused it. The
// zero Template keeps the event's own subject. A Template is immutable and may
// be used by many goroutines.
type Template struct {
	plain   string // as written
	pattern string
	parts   []part
	headers []string
}

// part is a literal, or one placeholder.
type part struct {
	from    partSource
	literal string // of partLiteral, or the name of partHeader
	n       int    // of partSubject, from 1
	absent  error  // made once: a stream of unfit events must not allocate
	text    string // as written, for errors
}

type partSource uint8

const (
	partLiteral partSource = iota
	partSubject
	partHeader
	partKey
)

// ErrField is what every error of Template.Append wraps: the event lacks a
// field that the template names, or its value cannot be in a subject. The
// event follows on_failure; a retry does not help.
var ErrField = errors.New("no output subject")

// ParseTemplate reads a subject with placeholders, "alerts.{subject.3}":
// {subject.N} is the N-th token of the event's subject, counted from 1,
// {header.NAME} the value of a header, {key} the event's key. A token may mix
// text and placeholders. "" is the zero Template.
func ParseTemplate(s string) (Template, error) {
	if s == "" {
		return Template{}, nil
	}
	t := Template{plain: s}
	for rest := s; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			open = len(rest)
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: rest[:open]})
			rest = rest[open:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end <= 0 {
			return Template{}, fmt.Errorf(`subject %q: "{" and "}" must pair`, s)
		}
		p, err := parsePlaceholder(rest[:end+1])
		if err != nil {
			return Template{}, fmt.Errorf("subject %q: %w", s, err)
		}
		t.parts = append(t.parts, p)
		if p.from == partHeader && !slices.Contains(t.headers, p.literal) {
			t.headers = append(t.headers, p.literal)
		}
		rest = rest[end+1:]
	}
	t.pattern = patternOf(t.parts)
	// The literal text must make a subject when each placeholder gives a good
	// token; "x" is one.
	if err := CheckSubject(t.fill("x")); err != nil {
		var fault *SubjectError
		if errors.As(err, &fault) {
			return Template{}, fmt.Errorf("subject %q: %s", s, fault.Reason)
		}
		return Template{}, err
	}
	return t, nil
}

func parsePlaceholder(s string) (part, error) {
	p := part{text: s}
	name, arg, dotted := strings.Cut(s[1:len(s)-1], ".")
	var err error
	switch {
	case name == "subject" && dotted:
		p.from = partSubject
		p.n, err = tokenNumber(arg)
	case name == "header" && dotted:
		p.from, p.literal = partHeader, arg
		err = checkHeaderName(arg)
	case name == "key" && !dotted:
		p.from = partKey
	default:
		err = fmt.Errorf("%s is none of {subject.N}, {header.NAME}, {key}", s)
	}
	if err != nil {
		return part{}, err
	}
	p.absent = fmt.Errorf("%w: the event has no %s", ErrField, s)
	return p, nil
}

// Append appends the subject for e to dst. It fails, with an error that wraps
// ErrField and dst as it was, when a field is absent or empty, or its value
// cannot be in a subject token. It allocates only to grow dst, or to say that
// a value is not fit.
func (t Template) Append(dst []byte, e *abi.Event) ([]byte, error) {
	if t.plain == "" {
		if reason := subjectFault(view(e.Subject), false); reason != "" {
			return dst, fmt.Errorf("%w: the event's own subject cannot be kept: %s", ErrField, reason)
		}
		return append(dst, e.Subject...), nil
	}
	start := len(dst)
	out := dst
	for i := range t.parts {
		p := &t.parts[i]
		var value []byte
		switch p.from {
		case partLiteral:
			out = append(out, p.literal...)
			continue
		case partSubject:
			value = token(e.Subject, p.n)
		case partHeader:
			value, _ = abi.FindHeader(e.Headers, p.literal)
		case partKey:
			value = e.Key
		}
		if len(value) == 0 {
			return dst, p.absent
		}
		if fault := tokenFault(value); fault != "" {
			return dst, fmt.Errorf("%w: %s %s", ErrField, p.text, fault)
		}
		out = append(out, value...)
	}
	// Each part is sound, so only what the whole can break is left to check.
	if len(out)-start > MaxSubject {
		return dst, fmt.Errorf("%w: %s", ErrField, faultLong)
	}
	if out[start] == '$' {
		return dst, fmt.Errorf("%w: %s", ErrField, faultReserved)
	}
	return out, nil
}

// Pattern returns the template as a filter that every subject it makes
// matches: each token with a placeholder is "*". The zero Template has none.
func (t Template) Pattern() string { return t.pattern }

// Headers returns the names of the headers that t reads, each once.
func (t Template) Headers() []string { return t.headers }

// None reports whether t is the zero Template, which keeps the event's subject.
func (t Template) None() bool { return t.plain == "" }

// String returns the template as ParseTemplate reads it.
func (t Template) String() string { return t.plain }

// fill is the template with value in place of each placeholder.
func (t Template) fill(value string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.from == partLiteral {
			b.WriteString(p.literal)
		} else {
			b.WriteString(value)
		}
	}
	return b.String()
}

// patternOf marks placeholders with a byte that no subject holds, then turns
// each token with a mark into "*".
func patternOf(parts []part) string {
	const mark = "\x00"
	marked := Template{parts: parts}.fill(mark)
	tokens := strings.Split(marked, ".")
	for i, tok := range tokens {
		if strings.Contains(tok, mark) {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}
