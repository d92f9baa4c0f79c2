package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// SchemaFile is what editors look for beside a TOML file whose first line is
// "#:schema wasmill.schema.json".
const SchemaFile = "wasmill.schema.json"

const namePattern = "^[a-z0-9][a-z0-9-]*$"

// Schema returns the JSON Schema (2020-12) of a configuration as indented JSON.
// It is made from the types and tags that the decoder uses. References between
// tables, and what only a whole file shows, are for Parse to check. builtins are
// the names that the key builtin may have; without any, it may have all.
func Schema(builtins ...string) ([]byte, error) {
	r := &jsonschema.Reflector{
		FieldNameTag:               "toml",
		RequiredFromJSONSchemaTags: true, // none: requires are set below
		DoNotReference:             true, // every editor follows a plain tree
		Anonymous:                  true,
		Mapper:                     schemaOf,
		LookupComment:              docOf,
	}
	root := r.Reflect(&Config{})
	root.Title = "Wasmill configuration"
	applyTags(root, reflect.TypeFor[Config]())
	completeSchema(root, builtins)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return out.Bytes(), nil
}

// schemaOf gives the types that read a TOML value themselves their schema.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Size]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)? ?(B|KiB|MiB|GiB|TiB)?$`},
			{Type: "integer", Minimum: "0"},
		}}
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?d)?((([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|0)?$`, MinLength: ptr(uint64(1))}
	case reflect.TypeFor[Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?/s$`}
	case reflect.TypeFor[Ratio]():
		return &jsonschema.Schema{Type: "number", Minimum: "0", Maximum: "1"}
	case reflect.TypeFor[Start]():
		return &jsonschema.Schema{Type: "string", Pattern: `^(all|new|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}.*)$`}
	case reflect.TypeFor[Secret]():
		return &jsonschema.Schema{Type: "string", Pattern: `^(env:[^= \t]+|file:.+)$`}
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

// docOf returns the tag doc of a field; types have no description of their own.
func docOf(t reflect.Type, name string) string {
	if name == "" || t.Kind() != reflect.Struct {
		return ""
	}
	f, _ := t.FieldByName(name)
	doc := f.Tag.Get("doc")
	if isSpan(f.Type) {
		// JSON Schema cannot compare "64MiB".
		if low := f.Tag.Get("min"); low != "" {
			doc += " At least " + low + "."
		}
		if high := f.Tag.Get("max"); high != "" {
			doc += " At most " + high + "."
		}
	}
	return doc
}

// isSpan reports whether values of t are written with a unit.
func isSpan(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t == reflect.TypeFor[Size]() || t == reflect.TypeFor[Duration]()
}

// applyTags adds to the schema of a struct what its other tags say.
func applyTags(s *jsonschema.Schema, t reflect.Type) {
	for _, f := range fieldsOf(t) {
		p, ok := s.Properties.Get(f.key)
		if !ok {
			continue
		}
		switch {
		case f.typ.Kind() == reflect.Struct:
			applyTags(p, f.typ)
		case f.typ.Kind() == reflect.Map && f.typ.Elem().Kind() == reflect.Struct:
			p.PropertyNames = &jsonschema.Schema{Pattern: namePattern, MaxLength: ptr(uint64(maxName))}
			applyTags(p.AdditionalProperties, f.typ.Elem())
		}
		if f.pattern != "" {
			if p.Items != nil {
				p.Items.Pattern = f.pattern
			} else {
				p.Pattern = f.pattern
			}
		}
		for _, e := range f.enum {
			if p.Items != nil {
				p.Items.Enum = append(p.Items.Enum, e)
			} else {
				p.Enum = append(p.Enum, e)
			}
		}
		if !isSpan(f.typ) {
			p.Minimum, p.Maximum = json.Number(f.min), json.Number(f.max)
		}
		if f.fallback != "" {
			p.Default = f.fallback
			if p.Type == "integer" || p.Type == "number" {
				p.Default = json.Number(f.fallback)
			}
		}
	}
}

// completeSchema adds what no tag of one field can say: which keys are
// required, which exclude each other, and the short form of an output.
func completeSchema(root *jsonschema.Schema, builtins []string) {
	topics, topic := named(root, "topics")
	topic.Required = []string{"subjects"}
	if subjects, ok := topic.Properties.Get("subjects"); ok {
		subjects.MinItems = ptr(uint64(1))
	}
	topics.Properties = jsonschema.NewProperties()
	for _, of := range []struct{ name, about string }{
		{DeadLetters, "The topic that the runtime keeps failed events in. Only its limits can be set."},
		{Audit, "The topic in which the runtime keeps what operators have done. Only its limits can be set; 90d and 100000 messages unless set."},
	} {
		own := *topic
		own.Required = nil
		own.Description = of.about
		own.Properties = jsonschema.NewProperties()
		for p := topic.Properties.Oldest(); p != nil; p = p.Next() {
			if p.Key != "subjects" {
				own.Properties.Set(p.Key, p.Value)
			}
		}
		topics.Properties.Set(of.name, &own)
	}

	if admin, ok := root.Properties.Get("admin"); ok {
		_, token := named(admin, "tokens")
		token.Required = []string{"token", "role"}
	}
	if server, ok := root.Properties.Get("server"); ok {
		_, user := named(server, "users")
		user.OneOf = []*jsonschema.Schema{{Required: []string{"password"}}, {Required: []string{"nkey"}}}
	}

	_, plugin := named(root, "plugins")
	plugin.OneOf = []*jsonschema.Schema{{Required: []string{"path"}}, {Required: []string{"builtin"}}}
	if builtin, ok := plugin.Properties.Get("builtin"); ok {
		for _, name := range builtins {
			builtin.Enum = append(builtin.Enum, name)
		}
	}

	_, pipeline := named(root, "pipelines")
	pipeline.Required = []string{"from", "stages"}
	pipeline.AnyOf = []*jsonschema.Schema{{Required: []string{"to"}}, {Required: []string{"outputs"}}}
	if stages, ok := pipeline.Properties.Get("stages"); ok {
		stages.MinItems = ptr(uint64(1))
	}
	if outputs, ok := pipeline.Properties.Get("outputs"); ok {
		table := outputs.AdditionalProperties
		table.Required = []string{"topic"}
		outputs.AdditionalProperties = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Description: "Topic of this output."}, table,
		}}
		outputs.PropertyNames.Not = &jsonschema.Schema{Const: "default"}
	}
	for _, key := range []string{"subject", "key"} {
		if p, ok := pipeline.Properties.Get(key); ok {
			p.Examples = []any{map[string]string{"subject": "alerts.{subject.3}", "key": "json:/id"}[key]}
		}
	}
}

// named returns the schema of a table of named tables, and that of one of them.
func named(root *jsonschema.Schema, key string) (all, one *jsonschema.Schema) {
	all, ok := root.Properties.Get(key)
	if !ok || all.AdditionalProperties == nil {
		panic("config: the schema has no " + strings.TrimSpace(key)) // a defect of this package
	}
	return all, all.AdditionalProperties
}
