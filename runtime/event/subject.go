package event

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// MaxSubject is the longest subject, in bytes. The limit is ours: NATS closes
// the connection of everybody on it when one subject exceeds its control line.
const MaxSubject = 256

// SubjectError says why a subject or a filter is refused.
type SubjectError struct {
	Subject string // at most the first 64 bytes of it
	Reason  string // a phrase that says what is wrong, and what to do
}

// Error reads `subject "a..b": a token is empty`.
func (e *SubjectError) Error() string { return fmt.Sprintf("subject %q: %s", e.Subject, e.Reason) }

// CheckSubject reports whether s is a literal subject that a topic may store:
// one or more tokens between dots, none empty, valid UTF-8, without wildcards,
// space or control characters, at most MaxSubject bytes, not under "$". It
// allocates only when it refuses, with a *SubjectError.
func CheckSubject(s string) error {
	if reason := subjectFault(s, false); reason != "" {
		return subjectError(s, reason)
	}
	return nil
}

// CheckFilter is CheckSubject for a subject that may hold wildcards: "*" as a
// whole token, ">" as the last one.
func CheckFilter(s string) error {
	if reason := subjectFault(s, true); reason != "" {
		return subjectError(s, reason)
	}
	return nil
}

func subjectError(s, reason string) error {
	if len(s) > 64 {
		s = s[:64]
	}
	return &SubjectError{Subject: strings.Clone(s), Reason: reason}
}

// Reasons of a SubjectError.
const (
	faultEmpty     = "it is empty"
	faultLong      = "it is longer than 256 bytes"
	faultToken     = "a token is empty"
	faultByte      = "it has a space or control character"
	faultUTF8      = "it is not valid UTF-8"
	faultWildcard  = "it has a wildcard where only a literal subject is allowed"
	faultWildToken = `"*" and ">" must be tokens of their own`
	faultTail      = `">" must be the last token`
	faultReserved  = `subjects that begin with "$" are reserved`
)

// subjectFault returns why s is refused, or "".
func subjectFault(s string, wildcards bool) string {
	switch {
	case s == "":
		return faultEmpty
	case len(s) > MaxSubject:
		return faultLong
	case s[0] == '$':
		return faultReserved
	}
	ascii := true
	start := 0 // of the token at hand
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if i == start {
				return faultToken
			}
			start = i + 1
		case c <= ' ' || c == 0x7f:
			return faultByte
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '*' || c == '>':
			if !wildcards {
				return faultWildcard
			}
			if i != start || i+1 < len(s) && s[i+1] != '.' {
				return faultWildToken
			}
			if c == '>' && i+1 < len(s) {
				return faultTail
			}
		}
	}
	if start == len(s) {
		return faultToken
	}
	if !ascii {
		return runeFault(s)
	}
	return ""
}

// runeFault looks for what a byte at a time cannot show.
func runeFault(s string) string {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return faultUTF8
		}
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return faultByte
		}
		i += n
	}
	return ""
}

// tokenFault returns why data must not become (a part of) a subject token, or "".
func tokenFault(b []byte) string {
	if len(b) == 0 {
		return "is empty"
	}
	ascii := true
	for _, c := range b {
		switch {
		case c == '.' || c == '*' || c == '>' || c <= ' ' || c == 0x7f:
			return `has a character that a subject token cannot hold ('.', '*', '>', space or control)`
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii {
		switch runeFault(view(b)) {
		case faultUTF8:
			return "is not valid UTF-8"
		case faultByte:
			return `has a character that a subject token cannot hold ('.', '*', '>', space or control)`
		}
	}
	return ""
}

// Match reports whether the literal subject is one that pattern stands for: "*"
// is any one token, ">" at the end one or more. It does not check either of
// them, and allocates nothing.
func Match(pattern, subject string) bool {
	return subject != "" && covers(pattern, subject, false)
}

// Contains reports whether every subject that sub, which may hold wildcards,
// stands for is one that pattern stands for.
func Contains(pattern, sub string) bool {
	return sub != "" && covers(pattern, sub, true)
}

// covers walks both token by token. wild says whether the tokens "*" and ">" of
// sub are wildcards themselves.
func covers(pattern, sub string, wild bool) bool {
	if pattern == "" {
		return false
	}
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		if p == ">" && !pmore {
			return true
		}
		s, srest, smore := strings.Cut(sub, ".")
		if p != s && (p != "*" || wild && s == ">" && !smore) {
			return false
		}
		if !pmore || !smore {
			return pmore == smore
		}
		pattern, sub = prest, srest
	}
}

// Overlap reports whether some subject is one that both a and b stand for; each
// may hold wildcards.
func Overlap(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	for {
		x, xrest, xmore := strings.Cut(a, ".")
		y, yrest, ymore := strings.Cut(b, ".")
		if x == ">" && !xmore || y == ">" && !ymore {
			return true
		}
		if x != y && x != "*" && y != "*" {
			return false
		}
		if !xmore || !ymore {
			return xmore == ymore
		}
		a, b = xrest, yrest
	}
}

// token returns the n-th token of subject, counted from 1, or nil.
func token(subject []byte, n int) []byte {
	start := 0
	for i, c := range subject {
		if c != '.' {
			continue
		}
		if n--; n == 0 {
			return subject[start:i:i]
		}
		start = i + 1
	}
	if n == 1 && start < len(subject) {
		return subject[start:]
	}
	return nil
}

// view is b as a string without a copy; it must not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
