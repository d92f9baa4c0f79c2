package expression

import (
	"bytes"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// A test is the shortcut of a condition: it says yes or no where it is certain
// that the library's machine would say the same, and otherwise leaves the event
// to it. So it needs to know only the common cases, and every error comes from
// one place. A condition that consists of comparisons of fields with constants
// takes a fifth of the time.
type test func(e *sdk.Event) verdict

type verdict int8

const (
	unsure verdict = iota
	no
	yes
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// shortcut returns the test for a tree whose fields are variables; nil when
// there is something in it that has none.
func shortcut(node ast.Node) test {
	switch n := node.(type) {
	case *ast.BoolNode:
		always := verdictOf(n.Value)
		return func(*sdk.Event) verdict { return always }
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			return negate(shortcut(n.Node))
		}
	case *ast.IdentifierNode:
		if s, ok := slotOf(n.Value); ok && s.kind == payloadSlot {
			return func(e *sdk.Event) verdict {
				b, ok := e.Find(s.pointer).Bool()
				if !ok {
					return unsure
				}
				return verdictOf(b)
			}
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&":
			return join(shortcut(n.Left), shortcut(n.Right), no)
		case "or", "||":
			return join(shortcut(n.Left), shortcut(n.Right), yes)
		}
		return comparison(n)
	}
	return nil
}

func negate(t test) test {
	if t == nil {
		return nil
	}
	return func(e *sdk.Event) verdict {
		switch t(e) {
		case yes:
			return no
		case no:
			return yes
		}
		return unsure
	}
}

// join evaluates left, and right unless left is decisive.
func join(left, right test, decisive verdict) test {
	if left == nil || right == nil {
		return nil
	}
	return func(e *sdk.Event) verdict {
		if v := left(e); v == decisive || v == unsure {
			return v
		}
		return right(e)
	}
}

// mirrored says which operator compares the other way round.
var mirrored = map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}

// comparison returns the test of a field with a constant.
func comparison(n *ast.BinaryNode) test {
	id, ok := n.Left.(*ast.IdentifierNode)
	constant, op := n.Right, n.Operator
	if !ok {
		if id, ok = n.Right.(*ast.IdentifierNode); !ok {
			return nil
		}
		if constant, op = n.Left, mirrored[op]; op == "" {
			return nil
		}
	}
	s, ok := slotOf(id.Value)
	if !ok {
		return nil
	}
	switch c := constant.(type) {
	case *ast.StringNode:
		return s.text(op, c.Value)
	case *ast.IntegerNode:
		return s.number(op, float64(c.Value), c.Value, true)
	case *ast.FloatNode:
		return s.number(op, c.Value, 0, false)
	case *ast.UnaryNode:
		if c.Operator != "-" {
			return nil
		}
		switch c := c.Node.(type) {
		case *ast.IntegerNode:
			return s.number(op, -float64(c.Value), -c.Value, true)
		case *ast.FloatNode:
			return s.number(op, -c.Value, 0, false)
		}
	case *ast.ArrayNode:
		if op == "in" {
			return s.among(c.Nodes)
		}
	}
	return nil
}

// text compares a text with a constant one.
func (s *slot) text(op, want string) test {
	var holds func(got []byte) bool
	switch op {
	case "==":
		holds = func(got []byte) bool { return string(got) == want }
	case "!=":
		holds = func(got []byte) bool { return string(got) != want }
	case "<":
		holds = func(got []byte) bool { return string(got) < want }
	case ">":
		holds = func(got []byte) bool { return string(got) > want }
	case "<=":
		holds = func(got []byte) bool { return string(got) <= want }
	case ">=":
		holds = func(got []byte) bool { return string(got) >= want }
	case "contains":
		holds = func(got []byte) bool { return bytes.Contains(got, []byte(want)) }
	case "startsWith":
		holds = func(got []byte) bool { return strings.HasPrefix(string(got), want) }
	case "endsWith":
		holds = func(got []byte) bool { return strings.HasSuffix(string(got), want) }
	default:
		return nil
	}
	return s.each(func(got []byte) verdict { return verdictOf(holds(got)) })
}

// among looks a text up in a list of constant ones.
func (s *slot) among(nodes []ast.Node) test {
	list := map[string]bool{}
	for _, n := range nodes {
		c, ok := n.(*ast.StringNode)
		if !ok {
			return nil
		}
		list[c.Value] = true
	}
	return s.each(func(got []byte) verdict { return verdictOf(list[string(got)]) })
}

// each tests the text in a slot; a field that is none is left to the machine.
func (s *slot) each(test func(got []byte) verdict) test {
	pointer, header := s.pointer, s.header
	switch s.kind {
	case payloadSlot:
		return func(e *sdk.Event) verdict {
			v := e.Find(pointer)
			if v.Kind() != jsonptr.String {
				return unsure
			}
			return test(v.Bytes())
		}
	case subjectSlot:
		return func(e *sdk.Event) verdict { return test(e.Subject()) }
	case keySlot:
		return func(e *sdk.Event) verdict { return test(e.Key()) }
	case textSlot:
		return func(e *sdk.Event) verdict { return test(e.Payload()) }
	case headerSlot:
		return func(e *sdk.Event) verdict { return test(e.Header(header)) }
	}
	return nil
}

// number compares a number in the payload with a constant one: as whole numbers
// when both are, as the library does.
func (s *slot) number(op string, want float64, whole int, isWhole bool) test {
	if s.kind != payloadSlot {
		return nil
	}
	holds, ok := order(op)
	if !ok {
		return nil
	}
	pointer := s.pointer
	return func(e *sdk.Event) verdict {
		v := e.Find(pointer)
		if v.Kind() != jsonptr.Number {
			return unsure
		}
		if isWhole {
			if n, ok := v.Int(); ok {
				return verdictOf(holds(compare(int(n), whole)))
			}
		}
		f, ok := v.Float()
		if !ok {
			return unsure
		}
		return verdictOf(holds(compare(f, want)))
	}
}

func compare[T int | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// order says what an operator makes of the result of compare.
func order(op string) (holds func(c int) bool, ok bool) {
	switch op {
	case "<":
		return func(c int) bool { return c < 0 }, true
	case "<=":
		return func(c int) bool { return c <= 0 }, true
	case ">":
		return func(c int) bool { return c > 0 }, true
	case ">=":
		return func(c int) bool { return c >= 0 }, true
	case "==":
		return func(c int) bool { return c == 0 }, true
	case "!=":
		return func(c int) bool { return c != 0 }, true
	}
	return nil, false
}
