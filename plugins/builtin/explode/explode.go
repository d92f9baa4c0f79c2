// Package explode is the ready-made plugin that makes an event of each element
// of an array. README.md beside it is its documentation.
package explode

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/plugins/builtin/jsonpath"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

type config struct {
	Array  string
	Parent map[string]string
	Index  string
	Empty  string
}

type exploder struct {
	config
	parents []parent
	added   []byte // the members that every element of the event at hand gets
	buffer  []byte
}

// parent is a value beside the array that every element gets.
type parent struct{ name, pointer string }

var (
	errEmpty   = sdk.DropBecause("the array is empty")
	errAbsent  = sdk.DropBecause("there is no array")
	errNotJSON = sdk.DeadLetterBecause("the payload is not JSON")
)

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	x := &exploder{config: config{Empty: "drop"}}
	if err := in.Decode(&x.config); err != nil {
		return nil, err
	}
	if !in.Config.Find("/array").Exists() {
		return nil, errors.New(`config: array is missing; it says where the array is, such as "/items", or "" when the payload is one`)
	}
	if err := jsonptr.Check(x.Array); err != nil {
		return nil, errors.New("config.array: " + err.Error())
	}
	switch x.Empty {
	case "drop", "pass", "dead-letter":
	default:
		return nil, errors.New(`config.empty: want "drop", "pass" or "dead-letter", got ` + strconv.Quote(x.Empty))
	}
	for name, pointer := range x.Parent {
		if err := jsonptr.Check(pointer); err != nil {
			return nil, errors.New("config.parent." + name + ": " + err.Error())
		}
		x.parents = append(x.parents, parent{name, pointer})
	}
	slices.SortFunc(x.parents, func(a, b parent) int { return strings.Compare(a.name, b.name) })
	return x.handle, nil
}

func (x *exploder) handle(e *sdk.Event, out *sdk.Out) error {
	array := e.Find(x.Array)
	if array.Kind() != jsonptr.Array {
		switch {
		case !jsonptr.Valid(e.Payload()):
			return errNotJSON
		case !array.Exists() || array.Kind() == jsonptr.Null:
			return x.without(out, errAbsent)
		}
		return sdk.DeadLetterBecause("there is " + array.Kind().String() + " at " + strconv.Quote(x.Array) + ", not an array")
	}
	x.collect(e)
	n := 0
	for element := range array.Elements() {
		out.Emit(sdk.Message{Payload: x.element(element, n), KeepHeaders: true})
		n++
	}
	if n == 0 {
		return x.without(out, errEmpty)
	}
	return nil
}

// without is what becomes of an event that has no elements.
func (x *exploder) without(out *sdk.Out, drop error) error {
	switch x.Empty {
	case "pass":
		out.Pass()
		return nil
	case "dead-letter":
		_, reason, _ := strings.Cut(drop.Error(), ": ")
		return sdk.DeadLetterBecause(reason)
	}
	return drop
}

// collect writes the members that all elements of an event get.
func (x *exploder) collect(e *sdk.Event) {
	x.added = x.added[:0]
	for _, p := range x.parents {
		if v := e.Find(p.pointer); v.Exists() {
			x.added = jsonpath.AppendString(x.added, p.name)
			x.added = append(append(append(x.added, ':'), v.Raw()...), ',')
		}
	}
}

// element returns the payload for one element: as it is, or with what is added
// in front of its own members, of which it replaces those of the same name. An element that is no object becomes
// the member "value" of one.
func (x *exploder) element(v sdk.Value, n int) []byte {
	if len(x.parents) == 0 && x.Index == "" {
		return v.Raw()
	}
	dst := append(x.buffer[:0], '{')
	if v.Kind() != jsonptr.Object {
		dst = append(dst, x.added...)
		dst = x.number(dst, n)
		dst = append(append(dst, `"value":`...), v.Raw()...)
	} else {
		dst = x.own(dst, v, n)
	}
	x.buffer = append(dst, '}')
	return x.buffer
}

// own appends what is added and the members of an object, without those that
// the added ones would repeat.
func (x *exploder) own(dst []byte, v sdk.Value, n int) []byte {
	replaced := func(name string) bool {
		return name == x.Index || slices.ContainsFunc(x.parents, func(p parent) bool { return p.name == name })
	}
	dst = append(dst, x.added...)
	dst = x.number(dst, n)
	for name, member := range v.Members() {
		if replaced(name.String()) {
			continue
		}
		dst = append(append(dst, name.Raw()...), ':')
		dst = append(append(dst, member.Raw()...), ',')
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func (x *exploder) number(dst []byte, n int) []byte {
	if x.Index == "" {
		return dst
	}
	dst = jsonpath.AppendString(dst, x.Index)
	return append(strconv.AppendInt(append(dst, ':'), int64(n), 10), ',')
}
