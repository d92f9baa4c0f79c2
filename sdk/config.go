package sdk

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// HandleConfig registers a plugin that is configured: [plugins.NAME.config] is
// decoded into a new C, as Instance.Decode does it, and handed to open.
func HandleConfig[C any](open func(in *Instance, config C) (Handler, error)) {
	HandleOpen(WithConfig(open))
}

// WithConfig returns the Opener that HandleConfig registers; tests open it with
// other configurations.
func WithConfig[C any](open func(in *Instance, config C) (Handler, error)) Opener {
	return func(in *Instance) (Handler, error) {
		var config C
		if err := in.Decode(&config); err != nil {
			return nil, err
		}
		return open(in, config)
	}
}

// Decode decodes the plugin's configuration into the value that into points to,
// usually a struct. What the configuration does not mention keeps its value, so
// defaults are set before.
//
// A field is found under the name in its json tag, or else under its own name in
// any case and with or without underscores: MinMagnitude takes min_magnitude. A
// tag "-" hides it. Fields are booleans, numbers, strings, time.Duration
// (written "1.5s"), structs, slices, maps by string, pointers to these, any, and
// types that implement encoding.TextUnmarshaler or json.Unmarshaler. A key that
// has no field is an error, and so is a value that does not fit; errors name
// both by their path, as in `config.areas[2].name`.
//
// It is not encoding/json, which would make a module larger by half and reports
// neither.
func (in *Instance) Decode(into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return errors.New("sdk: Decode needs a pointer to the configuration")
	}
	if !in.Config.Exists() {
		return nil
	}
	return decode("config", in.Config, target.Elem())
}

// decode puts v, which stands at path, into target, which can be set.
func decode(path string, v Value, target reflect.Value) error {
	kind := v.Kind()
	switch u := target.Addr().Interface().(type) {
	case *time.Duration:
		return decodeDuration(path, v, u)
	case interface{ UnmarshalJSON(b []byte) error }:
		return at(path, u.UnmarshalJSON(v.Raw()))
	case interface{ UnmarshalText(b []byte) error }:
		if kind == jsonptr.String {
			return at(path, u.UnmarshalText([]byte(v.String())))
		}
	}
	if kind == jsonptr.Null {
		target.SetZero()
		return nil
	}
	want := ""
	switch t := target.Kind(); t {
	case reflect.Pointer:
		if target.IsNil() {
			target.Set(reflect.New(target.Type().Elem()))
		}
		return decode(path, v, target.Elem())
	case reflect.Interface:
		if target.NumMethod() != 0 {
			return at(path, errors.New("the plugin's type "+target.Type().String()+" cannot be configured"))
		}
		target.Set(reflect.ValueOf(decodeAny(v)))
	case reflect.Struct:
		if kind == jsonptr.Object {
			return decodeStruct(path, v, target)
		}
		want = "a table"
	case reflect.Map:
		if kind == jsonptr.Object && target.Type().Key().Kind() == reflect.String {
			return decodeMap(path, v, target)
		}
		want = "a table"
	case reflect.Slice:
		if kind == jsonptr.Array {
			return decodeSlice(path, v, target)
		}
		want = "an array"
	case reflect.String:
		if kind == jsonptr.String {
			target.SetString(v.String())
			return nil
		}
		want = "a string"
	case reflect.Bool:
		if b, ok := v.Bool(); ok {
			target.SetBool(b)
			return nil
		}
		want = "a boolean"
	case reflect.Float32, reflect.Float64:
		if f, ok := v.Float(); ok && !target.OverflowFloat(f) {
			target.SetFloat(f)
			return nil
		}
		want = "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := v.Int(); ok && !target.OverflowInt(n) {
			target.SetInt(n)
			return nil
		}
		want = "an integer that fits " + t.String()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := v.Int(); ok && n >= 0 && !target.OverflowUint(uint64(n)) {
			target.SetUint(uint64(n))
			return nil
		}
		want = "an integer that fits " + t.String()
	default:
		return at(path, errors.New("the plugin's type "+target.Type().String()+" cannot be configured"))
	}
	if want != "" {
		return mismatch(path, want, v)
	}
	return nil
}

func decodeDuration(path string, v Value, d *time.Duration) error {
	if v.Kind() != jsonptr.String {
		return mismatch(path, `a duration such as "1.5s"`, v)
	}
	parsed, err := time.ParseDuration(v.String())
	if err != nil {
		return mismatch(path, `a duration such as "1.5s"`, v)
	}
	*d = parsed
	return nil
}

func decodeStruct(path string, v Value, target reflect.Value) error {
	for key, member := range v.Members() {
		name := key.String()
		field, ok := findField(target, name)
		if !ok {
			known := strings.Join(fieldNames(target.Type(), nil), ", ")
			if known == "" {
				known = "nothing"
			}
			return at(path, errors.New(`unknown key "`+name+`"; there is `+known))
		}
		if err := decode(path+"."+name, member, field); err != nil {
			return err
		}
	}
	return nil
}

// findField returns the field of target that takes name; an embedded struct's
// fields are those of the struct around it, unless a tag names it.
func findField(target reflect.Value, name string) (reflect.Value, bool) {
	t := target.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		tag, flat := fieldTag(f)
		switch {
		case tag == "-":
		case flat:
			if found, ok := findField(target.Field(i), name); ok {
				return found, true
			}
		case tag != "" && tag == name, tag == "" && strings.EqualFold(f.Name, strings.ReplaceAll(name, "_", "")):
			return target.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// fieldTag returns the name in the json tag of f, "-" for a field that takes
// nothing, and whether f is an embedded struct whose fields count as its
// parent's.
func fieldTag(f reflect.StructField) (tag string, flat bool) {
	tag, _, _ = strings.Cut(f.Tag.Get("json"), ",")
	flat = f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct
	if !f.IsExported() && !flat {
		return "-", false
	}
	return tag, flat
}

// fieldNames appends the names that a struct takes, as a user writes them.
func fieldNames(t reflect.Type, names []string) []string {
	for i := range t.NumField() {
		f := t.Field(i)
		switch tag, flat := fieldTag(f); {
		case tag == "-":
		case flat:
			names = fieldNames(f.Type, names)
		case tag != "":
			names = append(names, tag)
		default:
			names = append(names, snake(f.Name))
		}
	}
	return names
}

// snake writes MinMagnitude as min_magnitude and BaseURL as base_url.
func snake(name string) string {
	var b []byte
	for i := range len(name) {
		c := name[i]
		if upper(c) {
			if i > 0 && (!upper(name[i-1]) || i+1 < len(name) && !upper(name[i+1])) {
				b = append(b, '_')
			}
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return string(b)
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

func decodeMap(path string, v Value, target reflect.Value) error {
	t := target.Type()
	if target.IsNil() {
		target.Set(reflect.MakeMap(t))
	}
	for key, member := range v.Members() {
		name := key.String()
		element := reflect.New(t.Elem()).Elem()
		if err := decode(path+"."+name, member, element); err != nil {
			return err
		}
		target.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), element)
	}
	return nil
}

func decodeSlice(path string, v Value, target reflect.Value) error {
	slice := reflect.MakeSlice(target.Type(), 0, 0)
	for element := range v.Elements() {
		e := reflect.New(target.Type().Elem()).Elem()
		if err := decode(path+"["+strconv.Itoa(slice.Len())+"]", element, e); err != nil {
			return err
		}
		slice = reflect.Append(slice, e)
	}
	target.Set(slice)
	return nil
}

// decodeAny returns v as encoding/json would: numbers are float64. It recurses
// at most as deep as a jsonptr.Value nests.
func decodeAny(v Value) any {
	switch v.Kind() {
	case jsonptr.Bool:
		b, _ := v.Bool()
		return b
	case jsonptr.Number:
		f, _ := v.Float()
		return f
	case jsonptr.String:
		return v.String()
	case jsonptr.Array:
		elements := []any{}
		for e := range v.Elements() {
			elements = append(elements, decodeAny(e))
		}
		return elements
	case jsonptr.Object:
		members := map[string]any{}
		for k, m := range v.Members() {
			members[k.String()] = decodeAny(m)
		}
		return members
	}
	return nil
}

func mismatch(path, want string, v Value) error {
	raw := v.Raw()
	if len(raw) > 40 {
		raw = append(append([]byte(nil), raw[:40]...), "…"...)
	}
	return at(path, errors.New("want "+want+", got "+string(raw)))
}

// at puts the path in front of err, which may be nil.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return &configError{path, err}
}

type configError struct {
	path string
	err  error
}

func (e *configError) Error() string { return e.path + ": " + e.err.Error() }
func (e *configError) Unwrap() error { return e.err }
