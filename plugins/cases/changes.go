package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Change is one place at which two JSON values differ.
type Change struct {
	Op       byte   // '+' added, '-' removed, '~' another value
	Path     string // as in "properties.mag" or "items[2].name"; "" = the whole
	Old, New string // as JSON, of one line
}

// String is the change in one line.
func (c Change) String() string {
	path := c.Path
	if path == "" {
		path = "the payload"
	}
	switch c.Op {
	case '+':
		return fmt.Sprintf("+ %s: %s", path, c.New)
	case '-':
		return fmt.Sprintf("- %s: %s", path, clip([]byte(c.Old)))
	}
	return fmt.Sprintf("~ %s: %s → %s", path, c.Old, c.New)
}

// Changes lists how payload b differs from a. Of JSON these are the topmost
// fields that say it: those with another value, those that were added, those
// that were removed, each by name. Anything else differs as a whole.
func Changes(a, b []byte) []Change {
	if bytes.Equal(a, b) {
		return nil
	}
	x, okX := decode(a)
	y, okY := decode(b)
	if !okX || !okY {
		return []Change{{Op: '~', Old: brief(a), New: brief(b)}}
	}
	out := changes(nil, "", x, y)
	slices.SortStableFunc(out, func(a, b Change) int { return strings.IndexByte(ops, a.Op) - strings.IndexByte(ops, b.Op) })
	return out
}

// ops are the kinds of changes, in the order in which they are listed.
const ops = "~+-"

func decode(b []byte) (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	return byValue(v), true
}

func changes(out []Change, path string, x, y any) []Change {
	switch x := x.(type) {
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok {
			break
		}
		both := maps.Clone(x)
		maps.Copy(both, y)
		for _, key := range slices.Sorted(maps.Keys(both)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			old, was := x[key]
			now, is := y[key]
			switch {
			case was && is:
				out = changes(out, at, old, now)
			case was:
				out = append(out, Change{Op: '-', Path: at, Old: string(marshal(old))})
			default:
				out = append(out, Change{Op: '+', Path: at, New: string(marshal(now))})
			}
		}
		return out
	case []any:
		y, ok := y.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			out = changes(out, fmt.Sprintf("%s[%d]", path, i), x[i], y[i])
		}
		return out
	}
	if old, now := marshal(x), marshal(y); !bytes.Equal(old, now) {
		out = append(out, Change{Op: '~', Path: path, Old: string(old), New: string(now)})
	}
	return out
}

// brief is a payload that is no JSON.
func brief(b []byte) string {
	if utf8.Valid(b) {
		return string(marshal(string(b)))
	}
	return fmt.Sprintf("(%d bytes that are not text)", len(b))
}
