// Package validate is the ready-made plugin that checks events against a JSON
// Schema. README.md beside it is its documentation.
package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/wasmill/wasmill/plugins/builtin/outputs"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

type config struct {
	Schema  any
	Invalid string
	Header  string
	Formats bool
}

// maxReasons is how many mistakes of an event are named.
const maxReasons = 8

// self is the name of the schema among those that it refers to.
const self = "schema.json"

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	c := config{Header: "Invalid-Because", Formats: true}
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if c.Schema == nil {
		return nil, errors.New(`config: schema is missing; it is a JSON Schema, as a table or as JSON text in ''' … '''`)
	}
	if c.Invalid != "" {
		if err := outputs.Check(in, "invalid", c.Invalid); err != nil {
			return nil, err
		}
	}
	schema, err := compile(in.Config.Find("/schema"), c.Formats)
	if err != nil {
		return nil, err
	}
	printer := message.NewPrinter(language.English)
	return func(e *sdk.Event, out *sdk.Out) error {
		reason := "the payload is not JSON"
		if doc := e.Find(""); doc.Exists() {
			err := schema.Validate(decode(doc))
			if err == nil {
				out.Pass()
				return nil
			}
			reason = explain(err, printer)
		}
		if c.Invalid == "" {
			return sdk.DeadLetterBecause(reason)
		}
		m := sdk.Message{Output: c.Invalid}
		if c.Header != "" {
			m.Headers = []sdk.Header{{Name: c.Header, Value: reason}}
		}
		out.PassAs(m)
		return nil
	}, nil
}

// compile compiles the schema in a configuration: a table, or JSON as text.
func compile(v sdk.Value, formats bool) (*jsonschema.Schema, error) {
	source := v
	if v.Kind() == jsonptr.String {
		text := v.Bytes()
		doc, ok := jsonptr.Find(text, "")
		if !ok {
			return nil, notJSON(text)
		}
		source = doc
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nothingElse{})
	if formats {
		c.AssertFormat()
	}
	if err := c.AddResource(self, decode(source)); err != nil {
		return nil, fmt.Errorf("config.schema: %w", err)
	}
	schema, err := c.Compile(self)
	if err == nil {
		return schema, nil
	}
	var invalid *jsonschema.SchemaValidationError
	reason := err
	if errors.As(err, &invalid) {
		reason = invalid.Err
	}
	var mistakes *jsonschema.ValidationError
	if errors.As(reason, &mistakes) {
		at, text := first(mistakes, message.NewPrinter(language.English))
		if source.Kind() == v.Kind() { // a table: the host finds the place
			return nil, fmt.Errorf("config.schema%s: %s", dotted(at), text)
		}
		return nil, fmt.Errorf("config.schema: at %q: %s", pointer(at), text)
	}
	return nil, fmt.Errorf("config.schema: %w", reason)
}

// notJSON says where a schema that is given as text is no JSON.
func notJSON(text []byte) error {
	var v any
	err := json.Unmarshal(text, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := string(text[:min(int(syntax.Offset), len(text))])
		line := strings.Count(before, "\n") + 1
		column := len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
		return fmt.Errorf("config.schema:%d:%d: the text is not JSON: %w", line, max(column, 1), err)
	}
	return errors.New("config.schema: the text is not JSON")
}

// nothingElse refuses references to other documents: a plugin reaches none.
type nothingElse struct{}

// Load is called for a reference to another document.
func (nothingElse) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s; a plugin can read nothing but its configuration: put it under $defs", url)
}

// explain lists what is wrong with an event, by place.
func explain(err error, p *message.Printer) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return err.Error()
	}
	var all []string
	collect(v, func(at []string, text string) {
		if len(at) > 0 {
			text = pointer(at) + ": " + text
		}
		all = append(all, text)
	}, p)
	slices.Sort(all) // the library looks at members in a random order
	all = slices.Compact(all)
	more := ""
	if n := len(all) - maxReasons; n > 0 {
		all, more = all[:maxReasons], fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(all, "; ") + more
}

// first returns the mistake of a schema that is named.
func first(v *jsonschema.ValidationError, p *message.Printer) (at []string, text string) {
	collect(v, func(place []string, t string) {
		if text == "" || len(place) > len(at) || len(place) == len(at) && t < text {
			at, text = place, t
		}
	}, p)
	return at, text
}

// collect calls add for each mistake that has no cause of its own.
func collect(v *jsonschema.ValidationError, add func(at []string, text string), p *message.Printer) {
	if len(v.Causes) == 0 {
		add(v.InstanceLocation, v.ErrorKind.LocalizedString(p))
		return
	}
	switch v.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf: // only together they say what is wrong
		var all []string
		for _, cause := range v.Causes {
			collect(cause, func(at []string, text string) {
				if below := at[min(len(v.InstanceLocation), len(at)):]; len(below) > 0 {
					text = pointer(below) + ": " + text
				}
				all = append(all, text)
			}, p)
		}
		slices.Sort(all)
		add(v.InstanceLocation, "none of the alternatives fits: "+strings.Join(slices.Compact(all), ", or "))
		return
	}
	for _, cause := range v.Causes {
		collect(cause, add, p)
	}
}

func pointer(at []string) string {
	var b strings.Builder
	for _, token := range at {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// dotted is a place in the configuration as errors write it: .a.b[0].
func dotted(at []string) string {
	var b strings.Builder
	for _, token := range at {
		if _, err := strconv.Atoi(token); err == nil {
			b.WriteString("[" + token + "]")
		} else {
			b.WriteString("." + token)
		}
	}
	return b.String()
}

// decode makes of JSON what the library validates. Numbers stay as they are
// written, so that 0.1 is 0.1.
func decode(v sdk.Value) any {
	switch v.Kind() {
	case jsonptr.Bool:
		b, _ := v.Bool()
		return b
	case jsonptr.Number:
		return json.Number(v.Raw())
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
			members[k.String()] = decode(m)
		}
		return members
	}
	return nil
}
