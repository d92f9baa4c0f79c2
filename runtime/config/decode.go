package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// tomlValue is a type that reads a TOML value itself. A typeError says that the
// value has another type; any other error is about the value.
type tomlValue interface{ setTOML(v any) error }

var (
	_ tomlValue = (*Size)(nil)
	_ tomlValue = (*Duration)(nil)
	_ tomlValue = (*Rate)(nil)
	_ tomlValue = (*Ratio)(nil)
	_ tomlValue = (*Start)(nil)
	_ tomlValue = (*Secret)(nil)
)

// decode fills v from what the TOML parser made of a value, and goes on behind
// each mistake: everything wrong is reported, and what is right is set.
func decode(r *report, p path, f field, from any, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if tv, ok := v.Addr().Interface().(tomlValue); ok {
		if err := tv.setTOML(from); err != nil {
			v.SetZero()
			var wrong typeError
			if errors.As(err, &wrong) {
				r.add(p, CodeWrongType, "%s is %s; %v", p, describe(from), err)
			} else {
				f := r.add(p, CodeBadValue, "%s: %v", p, err)
				if h := (*hint)(nil); errors.As(err, &h) {
					f.Suggestion = h.better
				}
			}
			return
		}
		f.check(r, p, v)
		return
	}
	if o, ok := v.Addr().Interface().(*Output); ok {
		if s, ok := from.(string); ok { // the short form
			o.Topic = s
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		decodeStruct(r, p, from, v)
	case reflect.Map:
		decodeMap(r, p, from, v)
	case reflect.Slice:
		decodeStrings(r, p, from, v)
	case reflect.String:
		if s, ok := from.(string); ok {
			v.SetString(s)
		} else {
			wrongType(r, p, from, "a string")
		}
	case reflect.Bool:
		if b, ok := from.(bool); ok {
			v.SetBool(b)
		} else {
			wrongType(r, p, from, "true or false")
		}
	default:
		if n, ok := from.(int64); ok {
			v.SetInt(n)
		} else {
			wrongType(r, p, from, "an integer")
		}
	}
	if !r.bad(p) && v.Kind() != reflect.Struct && v.Kind() != reflect.Map {
		f.check(r, p, v)
	}
}

func decodeStruct(r *report, p path, from any, v reflect.Value) {
	table, ok := from.(map[string]any)
	if !ok {
		wrongType(r, p, from, "a table")
		return
	}
	fields := fieldsOf(v.Type())
	for _, key := range slices.Sorted(maps.Keys(table)) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			unknownKey(r, p.of(key), fields)
			continue
		}
		decode(r, p.of(key), fields[i], table[key], v.Field(fields[i].index))
	}
}

// unknownKey also finds a key that stands one table too high.
func unknownKey(r *report, p path, fields []field) {
	key, where := p[len(p)-1], "at the top"
	if len(p) > 1 {
		where = "in " + p[:len(p)-1].String()
	}
	f := r.addKey(p, CodeUnknownKey, "there is no key %q %s", key, where)
	f.suggest(key, keysOf(fields))
	for _, inner := range fields {
		if inner.typ.Kind() != reflect.Struct || f.Suggestion != "" {
			continue
		}
		if below := keysOf(fieldsOf(inner.typ)); slices.Contains(below, key) {
			f.Suggestion = inner.key + "." + key
		}
	}
}

func decodeMap(r *report, p path, from any, v reflect.Value) {
	table, ok := from.(map[string]any)
	if !ok {
		wrongType(r, p, from, "a table")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(table)))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if v.Type().Elem().Kind() == reflect.Interface { // handed on as JSON
			if value := jsonValue(r, p.of(name), table[name]); value != nil {
				v.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(value))
			}
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		decode(r, p.of(name), field{}, table[name], elem)
		v.SetMapIndex(reflect.ValueOf(name), elem)
	}
}

func decodeStrings(r *report, p path, from any, v reflect.Value) {
	list, ok := from.([]any)
	if !ok {
		f := wrongType(r, p, from, "a list of strings")
		if s, ok := from.(string); ok {
			f.Message = fmt.Sprintf("%s is a string; want a list of strings: [%q]", p, s)
		}
		return
	}
	out := make([]string, 0, len(list))
	for i, one := range list {
		s, ok := one.(string)
		if !ok {
			wrongType(r, p.of(element(i)), one, "a string")
		}
		out = append(out, s) // also a bad one, so that indexes stay those of the text
	}
	v.Set(reflect.ValueOf(out))
}

// jsonValue turns a TOML value into one that encoding/json writes.
func jsonValue(r *report, p path, from any) any {
	switch v := from.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out[key] = jsonValue(r, p.of(key), v[key])
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(r, p.of(element(i)), v[i])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(r, p.of(element(i)), v[i])
		}
		return out
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			r.add(p, CodeBadValue, "%s is %v, which JSON cannot hold", p, v)
			return nil
		}
	case time.Time:
		if layout := localTime(v); layout != "" {
			return v.Format(layout)
		}
		return v.Format(time.RFC3339Nano)
	}
	return from
}

func wrongType(r *report, p path, from any, want string) *Finding {
	return r.add(p, CodeWrongType, "%s is %s; want %s", p, describe(from), want)
}

// describe names a TOML type, never the value: it may be a secret.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	case []any:
		return "a list"
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T", v), "*")
	}
}
