package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Section is one table of a configuration as it is in effect.
type Section struct {
	Name string // as in TOML, such as "pipelines.alerts"
	Keys []Setting
}

// Setting is one key with its value in TOML. Secrets are shown as the
// references they are; what looks like one elsewhere is not shown at all.
type Setting struct {
	Key, Value string
	Default    bool   // the value is the default
	Doc        string // what the key means

	raw string // the value with all that Value does not show; never leaves this package
}

// Same says whether o has the same value, also where neither shows it.
func (s Setting) Same(o Setting) bool { return s.raw == o.raw }

// Effective lists c, which has its defaults, table by table. Keys without a
// value and without a default are left out.
func (c *Config) Effective() []Section {
	out := []Section{
		{"server", settings("", reflect.ValueOf(c.Server))},
		{"admin", settings("", reflect.ValueOf(c.Admin))},
	}
	if c.Tracing.Endpoint != "" {
		out = append(out, Section{"tracing", settings("", reflect.ValueOf(c.Tracing))})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Topics)) {
		out = append(out, Section{"topics." + name, settings("", reflect.ValueOf(c.Topics[name]))})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		out = append(out, Section{"plugins." + name, settings("", reflect.ValueOf(c.Plugins[name]))})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Pipelines)) {
		out = append(out, Section{"pipelines." + name, settings("", reflect.ValueOf(c.Pipelines[name]))})
	}
	return out
}

func settings(prefix string, v reflect.Value) []Setting {
	var out []Setting
	for _, f := range fieldsOf(v.Type()) {
		fv, key := v.Field(f.index), prefix+f.key
		if fv.Kind() == reflect.Pointer && !fv.IsNil() {
			fv = fv.Elem()
		} else if fv.IsZero() {
			continue
		}
		if fv.Kind() == reflect.Struct {
			out = append(out, settings(key+".", fv)...)
			continue
		}
		if fv.Kind() == reflect.Map {
			out = append(out, entries(key+".", fv)...)
			continue
		}
		text := tomlText(fv.Interface())
		raw := text
		if key == "url" || key == "endpoint" {
			text = tomlText(withoutCredentials(fv.String()))
		}
		out = append(out, Setting{Key: key, Value: text, Default: f.fallback != "" && unquote(text) == canonical(fv.Type(), f.fallback), Doc: f.doc, raw: raw})
	}
	return out
}

// entries lists a map: outputs, tokens, users, secrets, or a plugin's own configuration,
// which may hold what its author should have made a secret.
func entries(prefix string, v reflect.Value) []Setting {
	var out []Setting
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		key, one := prefix+k.String(), v.MapIndex(k)
		switch value := one.Interface().(type) {
		case Secret:
			out = append(out, Setting{Key: key, Value: tomlText(value), raw: string(value)})
		case Output, AdminToken, ServerUser:
			out = append(out, settings(key+".", one)...)
		default:
			out = append(out, Setting{Key: key, Value: tomlText(masked(k.String(), value)), raw: tomlText(value)})
		}
	}
	return out
}

var secretName = regexp.MustCompile(`(?i)passw|secret|token|credential|api_?key|private`)

// masked returns value without what a key says to be a secret.
func masked(key string, value any) any {
	if secretName.MatchString(key) {
		return redacted
	}
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for k, v := range value {
			out[k] = masked(k, v)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, v := range value {
			out[i] = masked("", v)
		}
		return out
	}
	return value
}

func withoutCredentials(urls string) string {
	parts := strings.Split(urls, ",")
	for i, one := range parts {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil:
			parts[i] = redacted
		case u.User != nil:
			u.User = nil
			parts[i] = u.String()
		}
	}
	return strings.Join(parts, ",")
}

// tomlText writes a value as TOML does; a table within a value is on one line.
func tomlText(v any) string {
	if t, ok := v.(encoding.TextMarshaler); ok {
		b, err := t.MarshalText()
		if err != nil {
			return `""`
		}
		return quote(string(b))
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.String:
		return quote(rv.String())
	case reflect.Slice:
		parts := make([]string, rv.Len())
		for i := range parts {
			parts[i] = tomlText(rv.Index(i).Interface())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		keys := rv.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			parts = append(parts, fmt.Sprintf("%s = %s", k.String(), tomlText(rv.MapIndex(k).Interface())))
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	default:
		return fmt.Sprint(v)
	}
}

// quote writes a TOML string: the escapes of JSON are TOML's as well.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // a string always can be
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func unquote(s string) string { return strings.Trim(s, `"`) }

// canonical is a default as the value of its type is written.
func canonical(t reflect.Type, fallback string) string {
	v := reflect.New(t).Elem()
	if parseText(v, fallback) != nil {
		return fallback
	}
	return unquote(tomlText(v.Interface()))
}
