package jsonptr_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// tooDeep says that doc may nest deeper than jsonptr.MaxDepth.
func tooDeep(doc []byte) bool {
	return bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > jsonptr.MaxDepth
}

// lookup is Find by means of encoding/json: the first member of a name counts.
func lookup(doc json.RawMessage, tokens []string) (json.RawMessage, bool) {
	if len(tokens) == 0 {
		return bytes.TrimSpace(doc), true
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	open, err := dec.Token()
	if err != nil {
		return nil, false
	}
	for n := 0; dec.More(); n++ {
		name := strconv.Itoa(n)
		switch open {
		case json.Delim('['):
		case json.Delim('{'):
			t, _ := dec.Token()
			name = t.(string)
		default:
			return nil, false
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, false
		}
		if name == tokens[0] {
			return lookup(v, tokens[1:])
		}
	}
	return nil, false
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(quake), "/properties/mag")
	f.Add([]byte(quake), "/geometry/coordinates/1")
	f.Add([]byte(`{"a~\u002f\ud83d":{"\n":[[],{}, -0.1e+5, "\\u0000"]}}`), "/a~0~1�/\n/3")
	f.Add([]byte(` [ 1 , 2 ] `), "/01")
	f.Add([]byte(`{"a":1,"a":{"b":2}}`), "/a/b")
	f.Add([]byte("\"\xff\x1f\""), "")
	f.Fuzz(func(t *testing.T, doc []byte, pointer string) {
		if tooDeep(doc) {
			return
		}
		valid := json.Valid(doc)
		if got := jsonptr.Valid(doc); got != valid {
			t.Fatalf("Valid(%q) = %t", doc, got)
		}
		v, ok := jsonptr.Find(doc, pointer)
		if ok && !json.Valid(v.Raw()) {
			t.Fatalf("Find(%q, %q) = %q, which is no JSON", doc, pointer, v.Raw())
		}
		if ok {
			same(t, v)
		}
		if !valid || !utf8.Valid(doc) {
			return
		}
		if jsonptr.Check(pointer) != nil {
			if ok {
				t.Fatalf("Find(%q, %q) found something with a bad pointer", doc, pointer)
			}
			return
		}
		var tokens []string
		if pointer != "" {
			for token := range strings.SplitSeq(pointer[1:], "/") {
				tokens = append(tokens, strings.NewReplacer("~1", "/", "~0", "~").Replace(token))
			}
		}
		want, found := lookup(doc, tokens)
		if found != ok || !bytes.Equal(want, v.Raw()) {
			t.Fatalf("Find(%q, %q) = %q, %t; encoding/json has %q, %t", doc, pointer, v.Raw(), ok, want, found)
		}
	})
}

// same compares what v says of itself with encoding/json.
func same(t *testing.T, v jsonptr.Value) {
	t.Helper()
	var want any
	dec := json.NewDecoder(bytes.NewReader(v.Raw()))
	dec.UseNumber()
	if err := dec.Decode(&want); err != nil {
		t.Fatal(err)
	}
	switch want := want.(type) {
	case nil:
		if v.Kind() != jsonptr.Null {
			t.Fatalf("%q is %v", v.Raw(), v.Kind())
		}
	case bool:
		if got, ok := v.Bool(); !ok || got != want {
			t.Fatalf("%q is %v", v.Raw(), got)
		}
	case string:
		if got := v.String(); utf8.Valid(v.Raw()) && got != want {
			t.Fatalf("%q is %q, want %q", v.Raw(), got, want)
		}
	case json.Number:
		f, err := want.Float64()
		if got, ok := v.Float(); ok != (err == nil) || ok && got != f {
			t.Fatalf("%q is %v, %t", v.Raw(), got, ok)
		}
		i, err := want.Int64()
		if got, ok := v.Int(); ok != (err == nil) || ok && got != i {
			t.Fatalf("%q is %v, %t", v.Raw(), got, ok)
		}
	case []any:
		n := 0
		for e := range v.Elements() {
			if !jsonptr.Valid(e.Raw()) {
				t.Fatalf("%q has the element %q", v.Raw(), e.Raw())
			}
			n++
		}
		if n != len(want) || v.Kind() != jsonptr.Array {
			t.Fatalf("%q has %d elements", v.Raw(), n)
		}
	case map[string]any:
		n := 0
		for k, e := range v.Members() {
			if k.Kind() != jsonptr.String || !jsonptr.Valid(e.Raw()) {
				t.Fatalf("%q has the member %q: %q", v.Raw(), k.Raw(), e.Raw())
			}
			n++
		}
		if n < len(want) || v.Kind() != jsonptr.Object {
			t.Fatalf("%q has %d members", v.Raw(), n)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	doc := []byte(quake)
	for _, pointer := range []string{"/properties/mag", "/properties/title", "/id", ""} {
		b.Run(pointer, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := jsonptr.Find(doc, pointer); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
	b.Run("magnitude as a float", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, _ := jsonptr.Find(doc, "/properties/mag")
			if _, ok := v.Float(); !ok {
				b.Fatal("no number")
			}
		}
	})
}
