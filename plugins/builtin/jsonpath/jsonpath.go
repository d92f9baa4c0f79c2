// Package jsonpath finds the places in a JSON text that patterns name and
// rewrites them, in one pass that copies everything else as it is written.
//
// A pattern is a JSON Pointer in which "*" stands for any one member or element
// and "**" for any number of levels: /user/email, /items/*/card, /**/password.
package jsonpath

import (
	"errors"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Action says what becomes of the value at a place: it appends what stands there
// from now on, or returns false to take the place out, a member with its name.
type Action func(dst []byte, v jsonptr.Value) ([]byte, bool)

// Rewriter applies actions to texts. It is not safe for concurrent use.
type Rewriter struct {
	paths  []path
	action Action // of every string that no path names; nil = none

	states []state // a stack: those of one level after those of the level above
	name   []byte
}

type path struct {
	tokens []string
	action Action
}

// state is how far a path has been followed: the tokens before next match the
// place at hand.
type state struct{ path, next int }

// Add applies action to the places that pattern names. Where several patterns
// name a place, the first that was added counts.
func (r *Rewriter) Add(pattern string, action Action) error {
	if err := jsonptr.Check(pattern); err != nil {
		return err
	}
	if pattern == "" {
		return errors.New(`a pattern names a member or an element: "/user/email", "/items/*/card", "/**/password"`)
	}
	tokens := strings.Split(pattern[1:], "/")
	for i, t := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	if tokens[len(tokens)-1] == "**" {
		return errors.New(`a pattern does not end in "**"; the member above stands for all that is in it`)
	}
	r.paths = append(r.paths, path{tokens, action})
	return nil
}

// Strings applies action to every string that no pattern names.
func (r *Rewriter) Strings(action Action) { r.action = action }

// Empty reports whether no pattern was added.
func (r *Rewriter) Empty() bool { return len(r.paths) == 0 }

// Append appends v, rewritten.
func (r *Rewriter) Append(dst []byte, v jsonptr.Value) []byte {
	r.states = r.states[:0]
	for i := range r.paths {
		r.push(0, i, 0)
	}
	return r.value(dst, v, 0)
}

// push adds a state to the level that begins at low, and with "**" also the one
// that is behind it, because it may stand for no level at all.
func (r *Rewriter) push(low, path, next int) {
	for _, s := range r.states[low:] {
		if s.path == path && s.next == next {
			return
		}
	}
	r.states = append(r.states, state{path, next})
	if tokens := r.paths[path].tokens; next < len(tokens) && tokens[next] == "**" {
		r.push(low, path, next+1)
	}
}

// value appends v; the states of its level begin at low.
func (r *Rewriter) value(dst []byte, v jsonptr.Value, low int) []byte {
	switch kind := v.Kind(); {
	case kind == jsonptr.String && r.action != nil:
		dst, _ = r.action(dst, v)
		return dst
	case len(r.states) == low && r.action == nil:
		return append(dst, v.Raw()...)
	case kind == jsonptr.Object:
		return r.object(dst, v, low)
	case kind == jsonptr.Array:
		return r.array(dst, v, low)
	}
	return append(dst, v.Raw()...)
}

func (r *Rewriter) object(dst []byte, v jsonptr.Value, low int) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for name, member := range v.Members() {
		before := len(dst)
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name.Raw()...), ':')
		r.name = name.Append(r.name[:0])
		var kept bool
		if dst, kept = r.below(dst, member, low); !kept {
			dst = dst[:before]
		}
	}
	return append(dst, '}')
}

func (r *Rewriter) array(dst []byte, v jsonptr.Value, low int) []byte {
	dst = append(dst, '[')
	start, n := len(dst), 0
	for element := range v.Elements() {
		before := len(dst)
		if len(dst) > start {
			dst = append(dst, ',')
		}
		r.name = strconv.AppendInt(r.name[:0], int64(n), 10)
		n++
		var kept bool
		if dst, kept = r.below(dst, element, low); !kept {
			dst = dst[:before]
		}
	}
	return append(dst, ']')
}

// below appends a member or an element whose name is in r.name, or applies the
// action of the first pattern that names it.
func (r *Rewriter) below(dst []byte, v jsonptr.Value, low int) ([]byte, bool) {
	high := len(r.states)
	first := -1
	for i := low; i < high; i++ {
		s := r.states[i]
		tokens := r.paths[s.path].tokens
		if s.next == len(tokens) {
			continue
		}
		switch token := tokens[s.next]; {
		case token == "**":
			r.push(high, s.path, s.next)
		case token == "*" || token == string(r.name):
			r.push(high, s.path, s.next+1)
			if s.next+1 == len(tokens) && (first < 0 || s.path < first) {
				first = s.path
			}
		}
	}
	kept := true
	if first >= 0 {
		dst, kept = r.paths[first].action(dst, v)
	} else {
		dst = r.value(dst, v, high)
	}
	r.states = r.states[:high]
	return dst, kept
}
