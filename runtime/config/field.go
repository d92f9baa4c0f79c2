package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// field is what the tags of a struct field say.
type field struct {
	index    int
	key      string
	doc      string
	fallback string // the tag "default"
	min, max string
	enum     []string
	later    []string // values of a later version
	pattern  string
	form     string // the pattern in words
	hide     bool   // a wrong value is not quoted: it may be a secret
	typ      reflect.Type
}

// fieldsOf returns the TOML keys of a struct type.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("toml")
		if key == "" || key == "-" {
			continue
		}
		one := field{
			index: i, key: key, doc: f.Tag.Get("doc"), fallback: f.Tag.Get("default"),
			min: f.Tag.Get("min"), max: f.Tag.Get("max"), pattern: f.Tag.Get("pattern"),
			form: f.Tag.Get("form"), hide: f.Tag.Get("hide") != "", typ: f.Type,
		}
		if e := f.Tag.Get("enum"); e != "" {
			one.enum = strings.Split(e, "|")
			one.later = strings.Split(f.Tag.Get("later"), "|")
		}
		out = append(out, one)
	}
	return out
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// setDefaults fills the zero fields of the struct that p points to, and of the
// structs in it, from their tags.
func setDefaults(p any) { setDefaultsIn(reflect.ValueOf(p).Elem()) }

func setDefaultsIn(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.Field(f.index)
		if fv.Kind() == reflect.Struct {
			setDefaultsIn(fv)
			continue
		}
		if f.fallback == "" || !fv.IsZero() {
			continue
		}
		if fv.Kind() == reflect.Pointer {
			fv.Set(reflect.New(fv.Type().Elem()))
			fv = fv.Elem()
		}
		setText(fv, f.fallback)
	}
}

// setText sets v from a tag. A tag that does not fit its field is a defect of
// this package, which the tests of the schema would meet first.
func setText(v reflect.Value, s string) {
	if err := parseText(v, s); err != nil {
		panic(fmt.Sprintf("config: tag %q of a %s: %v", s, v.Type(), err))
	}
}

func parseText(v reflect.Value, s string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(n)
	default:
		return fmt.Errorf("no text for kind %s", v.Kind())
	}
	return nil
}

// check reports a value that its tags do not allow. v is what was written.
func (f field) check(r *report, p path, v reflect.Value) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		f.checkRange(r, p, v)
	case reflect.String:
		f.checkString(r, p, v.String())
	case reflect.Slice:
		for i := range v.Len() {
			f.checkString(r, p.of(element(i)), v.Index(i).String())
		}
	}
}

func (f field) checkRange(r *report, p path, v reflect.Value) {
	limit := reflect.New(v.Type()).Elem()
	if f.min != "" {
		if setText(limit, f.min); v.Int() < limit.Int() {
			r.add(p, CodeOutOfRange, "%s is %v; the least is %s", p, v.Interface(), f.min)
			return
		}
	}
	if f.max != "" {
		if setText(limit, f.max); v.Int() > limit.Int() {
			r.add(p, CodeOutOfRange, "%s is %v; the most is %s", p, v.Interface(), f.max)
		}
	}
}

func (f field) checkString(r *report, p path, s string) {
	if f.enum != nil && !slices.Contains(f.enum, s) {
		if s != "" && slices.Contains(f.later, s) {
			r.add(p, CodeNotAvailable, "%q is not available yet in this version; use %s", s, orList(f.enum))
			return
		}
		r.add(p, CodeBadValue, "%s is %q; it can be %s", p, s, orList(f.enum)).suggest(s, f.enum)
		return
	}
	if f.pattern != "" && !regexp.MustCompile(f.pattern).MatchString(s) {
		if f.hide {
			r.add(p, CodeBadValue, "%s is something else; want %s", p, f.form)
			return
		}
		r.add(p, CodeBadValue, "%s is %q; want %s", p, s, f.form)
	}
}

// orList reads `"a", "b" or "c"`.
func orList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}
