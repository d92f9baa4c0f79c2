package mapping

import (
	"errors"
	"slices"
	"strconv"

	"github.com/wasmill/wasmill/plugins/builtin/expression"
	"github.com/wasmill/wasmill/plugins/builtin/jsonpath"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// template is a JSON value whose parts are expressions: an object of templates,
// an expression, or a constant.
type template struct {
	key     string // where it is in the configuration
	expr    *expression.Program
	text    []byte   // of a constant, as JSON
	members []member // by name
}

type member struct {
	name string
	template
}

// newTemplate reads what the configuration has under key: tables are objects,
// strings are expressions, numbers and booleans stand for themselves.
func newTemplate(key string, v any) (*template, error) {
	t := &template{key: key}
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			below, err := newTemplate(key+"."+name, of)
			if err != nil {
				return nil, err
			}
			t.members = append(t.members, member{name, *below})
		}
		slices.SortFunc(t.members, func(a, b member) int { return compare(a.name, b.name) })
		if t.members == nil {
			t.text = []byte("{}")
		}
	case string:
		p, err := expression.Value(v)
		if err != nil {
			return nil, expression.Configured(key, err)
		}
		t.expr = p
	case bool:
		t.text = strconv.AppendBool(nil, v)
	case float64:
		t.text = strconv.AppendFloat(nil, v, 'f', -1, 64)
	default:
		return nil, errors.New("config." + key + ": want an expression, a number, a boolean or a table; a list is written as an expression: \"[payload.a, payload.b]\"")
	}
	return t, nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// append appends the value for an event.
func (t *template) append(dst []byte, e *sdk.Event) ([]byte, error) {
	switch {
	case t.expr != nil:
		dst, err := t.expr.AppendJSON(dst, e)
		if err != nil {
			return dst, expression.Failed(t.key, err)
		}
		return dst, nil
	case t.text != nil:
		return append(dst, t.text...), nil
	}
	dst = append(dst, '{')
	for i := range t.members {
		m := &t.members[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonpath.AppendString(dst, m.name), ':')
		var err error
		if dst, err = m.append(dst, e); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// merge appends the object with the template's members in it: those that it has
// are replaced where they are, the others come at its end. What is not
// mentioned stays as it is written.
func (t *template) merge(dst []byte, e *sdk.Event, object sdk.Value) (_ []byte, err error) {
	if t.members == nil {
		return t.append(dst, e)
	}
	if object.Kind() != jsonptr.Object {
		if !object.Exists() && t.key == "set" {
			return dst, sdk.DeadLetterBecause("set: the payload is not JSON")
		}
		return dst, sdk.DeadLetterBecause(t.key + ": there is " + object.Kind().String() + " in the payload, not an object")
	}
	done := make([]bool, len(t.members))
	dst = append(dst, '{')
	start := len(dst)
	for name, value := range object.Members() {
		i, ok := slices.BinarySearchFunc(t.members, name.String(), func(m member, n string) int { return compare(m.name, n) })
		if ok && done[i] {
			continue // a name that the object repeats
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name.Raw()...), ':')
		if !ok {
			dst = append(dst, value.Raw()...)
			continue
		}
		done[i] = true
		if dst, err = t.members[i].merge(dst, e, value); err != nil {
			return dst, err
		}
	}
	for i := range t.members {
		if done[i] {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		m := &t.members[i]
		dst = append(jsonpath.AppendString(dst, m.name), ':')
		if dst, err = m.append(dst, e); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
