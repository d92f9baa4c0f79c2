// Package expression is the language in which the ready-made plugins are told
// what to look for and what to build: that of expr-lang/expr, on events.
//
// It adds two things to the library. A field of the payload is looked up in the
// JSON text (package jsonptr) instead of decoding all of it, and the comparisons
// that most filters consist of are evaluated without the library's machine,
// which would take several times as long; see fast.go.
package expression

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Program is a compiled expression. It belongs to one instance of a plugin.
type Program struct {
	slots   []slot
	program *vm.Program
	machine vm.VM
	env     map[string]any
	event   *sdk.Event // the one at hand, for token()
	payload bool       // the payload is looked at as JSON
	test    test       // the shortcut of a condition; nil = none
	field   *slot      // the expression is this field of the payload and nothing else
}

// Condition compiles an expression that is true or false.
func Condition(source string) (*Program, error) {
	p, tree, err := compile(source, expr.AsBool())
	if err != nil {
		return nil, err
	}
	p.test = shortcut(tree)
	return p, nil
}

// Value compiles an expression of any type.
func Value(source string) (*Program, error) {
	p, tree, err := compile(source, expr.AsAny())
	if err != nil {
		return nil, err
	}
	if id, ok := tree.(*ast.IdentifierNode); ok {
		if s, ok := slotOf(id.Value); ok && s.kind == payloadSlot {
			p.field = &s
		}
	}
	return p, nil
}

// Text compiles an expression whose value is text, as that of a subject is.
func Text(source string) (*Program, error) {
	p, _, err := compile(source, expr.AsKind(reflect.String))
	return p, err
}

// maxSource bounds an expression: what is longer should be a plugin.
const maxSource = 16 << 10

func compile(source string, want expr.Option) (*Program, ast.Node, error) {
	if strings.TrimSpace(source) == "" {
		return nil, nil, &Error{Line: 1, Column: 1, Message: "the expression is empty"}
	}
	if len(source) > maxSource {
		return nil, nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the expression has %d bytes; at most %d are taken", len(source), maxSource)}
	}
	// The names of the slots have to be known before types are checked, so the
	// text is parsed twice.
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, nil, located(err)
	}
	p := &Program{env: map[string]any{}}
	p.slots = fields(&tree.Node)
	known := types.Map{}
	for name, typ := range variables {
		known[name] = typ
	}
	for _, s := range p.slots {
		known[s.name] = s.typ()
		p.payload = p.payload || s.kind == payloadSlot
	}
	p.program, err = expr.Compile(source,
		expr.Env(known), want, expr.Patch(fielder{}),
		expr.DisableBuiltin("now"),      // a plugin has no clock unless it is granted one
		expr.DisableBuiltin("timezone"), // there are no time zone files in the sandbox
		expr.Function("token", p.token, new(func(int) string)),
		expr.Function("fromUnix", fromUnix, new(func(float64) time.Time), new(func(int) time.Time), new(func(any) time.Time)),
		expr.Function("fromUnixMilli", fromUnixMilli, new(func(float64) time.Time), new(func(int) time.Time), new(func(any) time.Time)),
	)
	if err != nil {
		return nil, nil, located(err)
	}
	return p, tree.Node, nil
}

// variables are the names that an expression can use, beside the functions.
var variables = types.Map{
	"payload": types.Any,
	"headers": types.TypeOf(map[string]string(nil)),
	"subject": types.String,
	"key":     types.String,
	"text":    types.String,
	"seq":     types.Int,
	"time":    types.TypeOf(time.Time{}),
}

// Bool evaluates a condition.
func (p *Program) Bool(e *sdk.Event) (bool, error) {
	if p.test != nil {
		switch p.test(e) {
		case yes:
			return true, nil
		case no:
			return false, nil
		}
	}
	v, err := p.Value(e)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, &Error{Line: 1, Column: 1, Message: "the expression gives " + kindOf(v) + ", not true or false"}
	}
	return b, nil
}

// Text evaluates an expression whose value is text.
func (p *Program) Text(e *sdk.Event) (string, error) {
	v, err := p.Value(e)
	if err != nil {
		return "", err
	}
	return TextOf(v)
}

// TextOf returns the text that a value is, as a subject or a header needs it.
func TextOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int, int64, bool:
		return fmt.Sprint(v), nil
	case float64:
		return string(appendFloat(nil, v)), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return "", &Error{Line: 1, Column: 1, Message: "the expression gives " + kindOf(v) + ", not text"}
}

// errNotJSON is why an expression about the payload fails on an event that has
// no such fields.
var errNotJSON = errors.New("the payload is not JSON")

// Value evaluates an expression. Its error is permanent: the same event fails
// again.
func (p *Program) Value(e *sdk.Event) (any, error) {
	absent := false
	for i := range p.slots {
		s := &p.slots[i]
		v, ok := s.value(e)
		absent = absent || !ok
		p.env[s.name] = v
	}
	p.event = e
	v, err := p.machine.Run(p.program, p.env)
	if (absent || err != nil) && p.payload && !jsonptr.Valid(e.Payload()) {
		return nil, errNotJSON
	}
	if err != nil {
		return nil, located(err)
	}
	return v, nil
}

func (p *Program) token(args ...any) (any, error) {
	n, _ := args[0].(int)
	return string(p.event.SubjectToken(n)), nil
}

func fromUnix(args ...any) (any, error)      { return unix(args[0], time.Second) }
func fromUnixMilli(args ...any) (any, error) { return unix(args[0], time.Millisecond) }

func unix(v any, unit time.Duration) (any, error) {
	switch n := v.(type) {
	case int:
		perSecond := int(time.Second / unit)
		return time.Unix(int64(n/perSecond), int64(n%perSecond)*int64(unit)).UTC(), nil
	case float64:
		whole := int64(n)
		perSecond := int64(time.Second / unit)
		return time.Unix(whole/perSecond, whole%perSecond*int64(unit)+int64((n-float64(whole))*float64(unit))).UTC(), nil
	}
	return nil, errors.New("a time is made of a number, not of " + kindOf(v))
}

// Error is a mistake in an expression, or of an expression on an event. Line
// and Column count from 1, in characters.
type Error struct {
	Line, Column int
	Message      string
}

// Error reads "column 5: message", with the line where there are several.
func (e *Error) Error() string {
	if e.Line > 1 {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("column %d: %s", e.Column, e.Message)
}

// located makes an Error of one of the library.
func located(err error) error {
	var f *file.Error
	if !errors.As(err, &f) {
		return &Error{Line: 1, Column: 1, Message: readable(err.Error())}
	}
	return &Error{Line: max(f.Line, 1), Column: f.Column + 1, Message: readable(f.Message)}
}

// Configured says where in a configuration an expression is wrong, in the form
// that the host finds the place by: "config.where:1:5: message".
func Configured(key string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Errorf("config.%s:%d:%d: %s", key, e.Line, e.Column, e.Message)
	}
	return fmt.Errorf("config.%s: %w", key, err)
}

// Failed is the outcome of an event on which the expression under key failed:
// another attempt would fail as well.
func Failed(key string, err error) error {
	return sdk.DeadLetterBecause(key + ": " + err.Error())
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "a boolean"
	case string:
		return "text"
	case int, int64, float64:
		return "a number"
	case []any:
		return "an array"
	case map[string]any, map[string]string:
		return "an object"
	case time.Time:
		return "a time"
	case time.Duration:
		return "a duration"
	}
	return fmt.Sprintf("%T", v)
}
