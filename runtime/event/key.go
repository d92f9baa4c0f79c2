package event

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Key says where the key of an event comes from. Events with the same key stay
// in one partition, in order. The zero Key is none. A Key is immutable and may
// be used by many goroutines.
type Key struct {
	from  keySource
	n     int    // of keySubject, from 1
	name  string // of keyHeader, or the pointer of keyJSON
	plain string // as written
}

type keySource uint8

const (
	keyNone keySource = iota
	keyJSON
	keySubject
	keyHeader
)

// ParseKey reads a key as a configuration writes it: "json:/pointer" (RFC
// 6901, into a JSON payload), "subject:N" (the N-th token of the subject,
// counted from 1), "header:NAME"; "" is no key.
func ParseKey(s string) (Key, error) {
	if s == "" {
		return Key{}, nil
	}
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "json":
		if err := checkPointer(rest); err != nil {
			return Key{}, fmt.Errorf("key %q: %w", s, err)
		}
		return Key{from: keyJSON, name: rest, plain: s}, nil
	case "subject":
		n, err := tokenNumber(rest)
		if err != nil {
			return Key{}, fmt.Errorf("key %q: %w", s, err)
		}
		return Key{from: keySubject, n: n, plain: s}, nil
	case "header":
		if err := checkHeaderName(rest); err != nil {
			return Key{}, fmt.Errorf("key %q: %w", s, err)
		}
		return Key{from: keyHeader, name: rest, plain: s}, nil
	}
	return Key{}, fmt.Errorf(`key %q: write "json:/pointer", "subject:N" or "header:NAME"`, s)
}

// Of returns the key of e: a view of its subject, headers or payload, nil when
// e has none. A JSON string gives its content, any other JSON value its text,
// and null counts as absent. Of allocates only for a JSON string with escapes.
func (k Key) Of(e *abi.Event) []byte {
	switch k.from {
	case keyJSON:
		v, ok := jsonptr.Find(e.Payload, k.name)
		if !ok {
			return nil
		}
		switch v.Kind() {
		case jsonptr.String:
			return v.Bytes()
		case jsonptr.Null:
			return nil
		}
		return v.Raw()
	case keySubject:
		return token(e.Subject, k.n)
	case keyHeader:
		v, _ := abi.FindHeader(e.Headers, k.name)
		return v
	}
	return nil
}

// None reports whether k is no key at all.
func (k Key) None() bool { return k.from == keyNone }

// String returns the key as ParseKey reads it.
func (k Key) String() string { return k.plain }

func checkPointer(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf(`a JSON pointer begins with "/", as in "json:/id"`)
	}
	for i := range len(p) {
		if p[i] == '~' && (i+1 == len(p) || p[i+1] != '0' && p[i+1] != '1') {
			return fmt.Errorf(`in a JSON pointer "~" is written "~0", and "/" inside a name "~1"`)
		}
	}
	return nil
}

func tokenNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > MaxSubject/2 || s[0] == '+' {
		return 0, fmt.Errorf("%q is not the number of a subject token; the first is 1", s)
	}
	return n, nil
}

func checkHeaderName(s string) error {
	if s == "" {
		return fmt.Errorf("the name of the header is missing")
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' || c == '{' || c == '}' {
			return fmt.Errorf("%q cannot be the name of a header", s)
		}
	}
	return nil
}
