package expression

import (
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// A slot is something of the event that an expression reads. Its name is that
// of the variable; for a field of the payload, or a header, the path behind it
// as well: payload.a.b is the variable "payload/a/b", which no expression can
// write.
type slot struct {
	name    string
	kind    slotKind
	pointer string // of a field of the payload
	header  string // name of a header
}

type slotKind int

const (
	payloadSlot slotKind = iota
	headersSlot
	headerSlot
	subjectSlot
	keySlot
	textSlot
	seqSlot
	timeSlot
)

func (s *slot) typ() types.Type {
	if s.kind == headerSlot {
		return types.String
	}
	if t, ok := variables[s.name]; ok {
		return t
	}
	return types.Any
}

// value returns what the event has in the slot, and whether it is there.
func (s *slot) value(e *sdk.Event) (any, bool) {
	switch s.kind {
	case payloadSlot:
		v := e.Find(s.pointer)
		return decode(v), v.Exists()
	case headerSlot:
		return string(e.Header(s.header)), true
	case headersSlot:
		all := map[string]string{}
		for name, value := range e.Headers() {
			if _, ok := all[string(name)]; !ok {
				all[string(name)] = string(value)
			}
		}
		return all, true
	case subjectSlot:
		return string(e.Subject()), true
	case keySlot:
		return string(e.Key()), true
	case textSlot:
		return string(e.Payload()), true
	case seqSlot:
		return int(e.Seq()), true
	}
	return e.Time(), true
}

// slotOf returns the slot that a name stands for.
func slotOf(name string) (slot, bool) {
	base, path, deep := strings.Cut(name, "/")
	switch base {
	case "payload":
		s := slot{name: name, kind: payloadSlot}
		if deep {
			s.pointer = "/" + path
		}
		return s, true
	case "headers":
		if deep {
			return slot{name: name, kind: headerSlot, header: path}, true
		}
		return slot{name: name, kind: headersSlot}, true
	}
	kind, ok := map[string]slotKind{"subject": subjectSlot, "key": keySlot, "text": textSlot, "seq": seqSlot, "time": timeSlot}[base]
	return slot{name: name, kind: kind}, ok
}

// fielder makes variables of the fields that are written as a path:
// payload.a.b, payload["a"][0], payload?.a. What is computed, as in
// payload[key], is left to the library, and decodes what stands before it.
// Children are visited before their parents, so a path grows from its left.
type fielder struct{}

// Visit replaces a member of a variable by a variable of its own.
func (fielder) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.ChainNode:
		if id, ok := n.Node.(*ast.IdentifierNode); ok && strings.Contains(id.Value, "/") {
			ast.Patch(node, &ast.IdentifierNode{Value: id.Value})
		}
	case *ast.MemberNode:
		id, ok := n.Node.(*ast.IdentifierNode)
		if !ok || n.Method {
			return
		}
		base, _, deep := strings.Cut(id.Value, "/")
		switch property := n.Property.(type) {
		case *ast.StringNode:
			switch {
			case base == "payload":
				ast.Patch(node, &ast.IdentifierNode{Value: id.Value + "/" + escape(property.Value)})
			case id.Value == "headers":
				ast.Patch(node, &ast.IdentifierNode{Value: id.Value + "/" + property.Value})
			}
		case *ast.IntegerNode:
			if base == "payload" && deep && property.Value >= 0 {
				ast.Patch(node, &ast.IdentifierNode{Value: id.Value + "/" + strconv.Itoa(property.Value)})
			}
		}
	}
}

var escape = strings.NewReplacer("~", "~0", "/", "~1").Replace

// fields rewrites a tree and returns the slots that it reads.
func fields(tree *ast.Node) []slot {
	ast.Walk(tree, fielder{})
	var c collector
	ast.Walk(tree, &c)
	return c.slots
}

type collector struct{ slots []slot }

// Visit notes a variable of the event.
func (c *collector) Visit(node *ast.Node) {
	id, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	s, ok := slotOf(id.Value)
	if !ok {
		return
	}
	for i := range c.slots {
		if c.slots[i].name == s.name {
			return
		}
	}
	c.slots = append(c.slots, s)
}

// decode makes a value of JSON: whole numbers are int, others float64.
func decode(v sdk.Value) any {
	switch v.Kind() {
	case jsonptr.Bool:
		b, _ := v.Bool()
		return b
	case jsonptr.Number:
		if n, ok := v.Int(); ok {
			return int(n)
		}
		f, _ := v.Float()
		return f
	case jsonptr.String:
		return v.String()
	case jsonptr.Array:
		elements := []any{}
		for e := range v.Elements() {
			elements = append(elements, decode(e))
		}
		return elements
	case jsonptr.Object:
		members := map[string]any{}
		for k, m := range v.Members() {
			name := k.String()
			if _, ok := members[name]; !ok {
				members[name] = decode(m)
			}
		}
		return members
	}
	return nil
}

// AppendJSON evaluates an expression and appends its value as JSON. A field of
// the payload is copied as it is written.
func (p *Program) AppendJSON(dst []byte, e *sdk.Event) ([]byte, error) {
	if p.field != nil {
		if v := e.Find(p.field.pointer); v.Exists() {
			return append(dst, v.Raw()...), nil
		}
	}
	v, err := p.Value(e)
	if err != nil {
		return dst, err
	}
	return appendJSON(dst, v)
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}
