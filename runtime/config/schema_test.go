package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, SchemaFile, string(text))
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}

	t.Run("the example of the design is valid", func(t *testing.T) {
		t.Parallel()
		if err := holds(root, tree(t, "testdata/design.toml")); err != nil {
			t.Error(err)
		}
	})
	t.Run("the file of mistakes is not", func(t *testing.T) {
		t.Parallel()
		if err := holds(root, tree(t, "testdata/mistakes.toml")); err == nil {
			t.Error("it is valid")
		}
	})
	t.Run("it has every key, with a description, and no other", func(t *testing.T) {
		t.Parallel()
		sameKeys(t, root, reflect.TypeFor[Config](), "")
	})
	t.Run("every default is valid", func(t *testing.T) {
		t.Parallel()
		var walk func(at string, node any)
		walk = func(at string, node any) {
			m, ok := node.(map[string]any)
			if !ok {
				return
			}
			if d, ok := m["default"]; ok {
				if err := holds(m, d); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
			for k, v := range m {
				walk(at+"/"+k, v)
			}
		}
		walk("", root)
	})
	t.Run("it agrees with Parse on what a key may be", func(t *testing.T) {
		t.Parallel()
		for _, tt := range []struct {
			text string
			want bool
		}{
			{sound, true},
			{sound + "[plugins.g.limits]\nmemory = 2000000\ndeadline = '1.5s'\nrate = '0.5/s'", true},
			{sound + "[plugins.g.limits]\nmemory = '1MB'", false},
			{sound + "[plugins.g.limits]\ndeadline = '1w'", false},
			{sound + "[plugins.g.limits]\nrate = '5'", false},
			{sound + "[plugins.g.limits]\nmax_outputs = 0", false},
			{sound + "[topics.dead-letters]\nmax_age = '1d12h'", true},
			{sound + "[topics.dead-letters]\nsubjects = ['x']", false},
			{sound + "[topics.c]\n", false},
			{sound + "[topics.C]\nsubjects = ['c']", false},
			{sound + "[admin]\ntoken = 'hunter2'", false},
			{sound + "[admin]\ntoken = 'env:T'", true},
			{sound + "[admin.tokens.grafana]\ntoken = 'env:T'\nrole = 'view'", true},
			{sound + "[admin.tokens.grafana]\ntoken = 'env:T'", false},
			{sound + "[admin.tokens.grafana]\ntoken = 'env:T'\nrole = 'root'", false},
			{edit(`builtin = "pass"`, ""), false},
			{edit(`to = "b"`, ""), false},
			{edit(`to = "b"`, `outputs = { x = "b", y = { topic = "b" } }`, `subject = "b.{subject.2}"`, ""), true},
			{edit(`to = "b"`, `outputs = { default = "b" }`, `subject = "b.{subject.2}"`, ""), false},
			{edit(`to = "b"`, `outputs = { x = { subject = "b" } }`, `subject = "b.{subject.2}"`, ""), false},
			{edit(`from = "a"`, "from = 'a'\nstart = '2026-01-31T12:00:00Z'"), true},
			{edit(`from = "a"`, "from = 'a'\nstart = 'soon'"), false},
			{edit(`from = "a"`, "from = 'a'\ndelivery = 'exactly-once'"), true},
		} {
			_, findings := Parse("x.toml", []byte(tt.text))
			if valid := findings.Err() == nil; valid != tt.want {
				t.Errorf("Parse says %v: %v in\n%s", valid, findings, tt.text)
			}
			var v map[string]any
			if err := toml.Unmarshal([]byte(tt.text), &v); err != nil {
				t.Fatal(err)
			}
			if err := holds(root, plain(v)); (err == nil) != tt.want {
				t.Errorf("the schema says %v in\n%s", err, tt.text)
			}
		}
	})
}

func tree(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := toml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return plain(v)
}

// plain turns TOML values into those of encoding/json.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case int64:
		return float64(v)
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return v
}

func sameKeys(t *testing.T, node map[string]any, typ reflect.Type, at string) {
	t.Helper()
	if node["additionalProperties"] != false {
		t.Errorf("%s allows other keys", at)
	}
	properties, _ := node["properties"].(map[string]any)
	fields := fieldsOf(typ)
	for key := range properties {
		if !slices.Contains(keysOf(fields), key) {
			t.Errorf("%s.%s is no key", at, key)
		}
	}
	for _, f := range fields {
		p, ok := properties[f.key].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, f.key)
			continue
		}
		if p["description"] == nil || p["description"] == "" {
			t.Errorf("%s.%s has no description", at, f.key)
		}
		switch below, _ := p["additionalProperties"].(map[string]any); {
		case f.typ.Kind() == reflect.Struct:
			sameKeys(t, p, f.typ, at+"."+f.key)
		case f.typ == reflect.TypeFor[map[string]Output]():
			forms, _ := below["anyOf"].([]any)
			if len(forms) != 2 {
				t.Fatalf("%s.%s = %v", at, f.key, below)
			}
			long, _ := forms[1].(map[string]any)
			sameKeys(t, long, f.typ.Elem(), at+"."+f.key+".*")
		case f.typ.Kind() == reflect.Map && f.typ.Elem().Kind() == reflect.Struct:
			sameKeys(t, below, f.typ.Elem(), at+"."+f.key+".*")
		}
	}
}

// holds is a validator of the JSON Schema keywords that Schema uses; it fails
// on any other keyword, so that none goes unchecked.
func holds(schema map[string]any, v any) error {
	for keyword, arg := range schema {
		if err := keywordHolds(schema, keyword, arg, v); err != nil {
			return err
		}
	}
	return nil
}

func keywordHolds(schema map[string]any, keyword string, arg, v any) error {
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	text, isText := v.(string)
	number, isNumber := v.(float64)
	fail := fmt.Errorf("%v does not hold %s: %v", v, keyword, arg)
	var err error
	ok := true
	switch keyword {
	case "$schema", "title", "description", "default", "examples":
	case "type":
		_, isBool := v.(bool)
		ok = map[any]bool{
			"object": isObject, "array": isList, "string": isText, "boolean": isBool,
			"integer": isNumber && number == float64(int64(number)), "number": isNumber,
		}[arg]
	case "properties", "additionalProperties":
		if keyword == "properties" && schema["additionalProperties"] != nil || !isObject {
			break
		}
		known, _ := schema["properties"].(map[string]any)
		for k, e := range object {
			if p, found := known[k].(map[string]any); found {
				err = errorsFirst(err, holds(p, e))
			} else if rest, open := schema["additionalProperties"].(map[string]any); open {
				err = errorsFirst(err, holds(rest, e))
			} else if schema["additionalProperties"] == false {
				err = errorsFirst(err, fmt.Errorf("unknown key %q", k))
			}
		}
	case "propertyNames":
		for k := range object {
			err = errorsFirst(err, holds(arg.(map[string]any), k))
		}
	case "required":
		for _, k := range arg.([]any) {
			if _, found := object[k.(string)]; isObject && !found {
				err = fail
			}
		}
	case "items":
		for _, e := range list {
			err = errorsFirst(err, holds(arg.(map[string]any), e))
		}
	case "enum":
		ok = slices.Contains(arg.([]any), v)
	case "const":
		ok = v == arg
	case "not":
		ok = holds(arg.(map[string]any), v) != nil
	case "anyOf", "oneOf":
		n := 0
		for _, s := range arg.([]any) {
			if holds(s.(map[string]any), v) == nil {
				n++
			}
		}
		ok = n == 1 || keyword == "anyOf" && n > 1
	case "pattern":
		ok = !isText || regexp.MustCompile(arg.(string)).MatchString(text)
	case "minLength":
		ok = !isText || float64(len(text)) >= arg.(float64)
	case "maxLength":
		ok = !isText || float64(len(text)) <= arg.(float64)
	case "minItems":
		ok = !isList || float64(len(list)) >= arg.(float64)
	case "minimum":
		ok = !isNumber || number >= arg.(float64)
	case "maximum":
		ok = !isNumber || number <= arg.(float64)
	default:
		return fmt.Errorf("this test does not know the keyword %q", keyword)
	}
	if err == nil && !ok {
		err = fail
	}
	return err
}

func errorsFirst(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
