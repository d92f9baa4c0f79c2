package jsonptr_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

const quake = `{"type":"Feature","properties":{"mag":0.31,"place":"37km NNE of Amboy, Washington","time":1517363399650,"felt":null,"tsunami":0,"net":"uw","title":"M 0.3 - 37km"},"geometry":{"type":"Point","coordinates":[-122.197,46.2035,3.28]},"id":"uw61345682"}`

func TestFind(t *testing.T) {
	// The document and the pointers of RFC 6901, section 5.
	const rfc = `{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}`
	for _, c := range []struct{ name, doc, pointer, want string }{
		{"the whole document", ` [1] `, "", `[1]`},
		{"a member", rfc, "/foo", `["bar", "baz"]`},
		{"an element", rfc, "/foo/0", `"bar"`},
		{"the last element", rfc, "/foo/1", `"baz"`},
		{"the empty name", rfc, "/", `0`},
		{"~1 is a slash", rfc, "/a~1b", `1`},
		{"percent is itself", rfc, "/c%d", `2`},
		{"an escaped backslash", rfc, `/i\j`, `5`},
		{"an escaped quote", rfc, `/k"l`, `6`},
		{"a space", rfc, "/ ", `7`},
		{"~0 is a tilde", rfc, "/m~0n", `8`},
		{"~01 is ~1", `{"~1": 1, "/": 2}`, "/~01", `1`},
		{"a name written with escapes", `{"\u0066\u00f6\ud83d\ude00": true}`, "/fö😀", `true`},
		{"the first of two members of one name", `{"a":1,"a":2}`, "/a", `1`},
		{"deep inside", quake, "/geometry/coordinates/2", `3.28`},
		{"a number in front of a comma", quake, "/properties/mag", `0.31`},
		{"text behind the value is not read", `{"a":1,!`, "/a", `1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, ok := jsonptr.Find([]byte(c.doc), c.pointer)
			if !ok || string(v.Raw()) != c.want {
				t.Errorf("Find(%s, %q) = %s, %t; want %s", c.doc, c.pointer, v.Raw(), ok, c.want)
			}
		})
	}
	for _, c := range []struct{ name, doc, pointer string }{
		{"no such member", rfc, "/bar"},
		{"a prefix of a name", rfc, "/fo"},
		{"a longer name", rfc, "/fooo"},
		{"an element behind the last", rfc, "/foo/2"},
		{"the element that does not exist yet", rfc, "/foo/-"},
		{"an index with a leading zero", rfc, "/foo/01"},
		{"an index that is no number", rfc, "/foo/x"},
		{"an index beyond any array", rfc, "/foo/18446744073709551616"},
		{"a member of a number", rfc, "//x"},
		{"an element of an empty array", `[]`, "/0"},
		{"a member of an empty object", `{}`, "/a"},
		{"a pointer without its slash", rfc, "foo"},
		{"a pointer with a bare tilde", `{"a~":1}`, "/a~"},
		{"a pointer with an unknown escape", `{"a~2":1}`, "/a~2"},
		{"an empty document", ``, ""},
		{"a document that ends in a value", `{"a":[1,2`, "/a"},
		{"a document that ends in a name", `{"a`, "/a"},
		{"text behind the whole document", `{} x`, ""},
		{"a malformed value in front", `{"a":01,"b":1}`, "/b"},
		{"a control character in a string in front", "{\"a\":\"0123456\n\",\"b\":1}", "/b"},
		{"a trailing comma", `{"a":1,}`, "/b"},
		{"single quotes", `{'a':1}`, "/a"},
	} {
		t.Run("absent: "+c.name, func(t *testing.T) {
			if v, ok := jsonptr.Find([]byte(c.doc), c.pointer); ok || v.Exists() {
				t.Errorf("Find(%s, %q) = %s; want nothing", c.doc, c.pointer, v.Raw())
			}
		})
	}
}

func TestNesting(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(strings.Repeat(`[{"a":`, n/2) + "1" + strings.Repeat("}]", n/2))
	}
	if !jsonptr.Valid(nested(jsonptr.MaxDepth)) {
		t.Error("a document as deep as MaxDepth is refused")
	}
	if jsonptr.Valid(nested(jsonptr.MaxDepth + 2)) {
		t.Error("a document deeper than MaxDepth is accepted")
	}
	if jsonptr.Valid(bytes.Repeat([]byte("["), 10<<20)) {
		t.Error("ten million brackets are accepted")
	}
}

func TestValue(t *testing.T) {
	value := func(doc string) jsonptr.Value {
		v, ok := jsonptr.Find([]byte(doc), "")
		if !ok {
			t.Fatalf("%s is refused", doc)
		}
		return v
	}
	t.Run("kinds", func(t *testing.T) {
		for doc, want := range map[string]jsonptr.Kind{
			"null": jsonptr.Null, "true": jsonptr.Bool, "false": jsonptr.Bool, "-1": jsonptr.Number, "0": jsonptr.Number,
			`""`: jsonptr.String, "{}": jsonptr.Object, "[]": jsonptr.Array,
		} {
			if got := value(doc).Kind(); got != want {
				t.Errorf("%s is %v, want %v", doc, got, want)
			}
		}
		if k := (jsonptr.Value{}).Kind(); k != jsonptr.Absent {
			t.Errorf("the zero Value is %v", k)
		}
	})
	t.Run("floats", func(t *testing.T) {
		for doc, want := range map[string]float64{"0": 0, "-0.5": -0.5, "1e3": 1000, "1E-2": 0.01, "12345678901234567890": 12345678901234567890} {
			if got, ok := value(doc).Float(); !ok || got != want {
				t.Errorf("%s = %v, %t; want %v", doc, got, ok, want)
			}
		}
		for _, doc := range []string{`"1"`, "null", "true", "1e999"} {
			if got, ok := value(doc).Float(); ok || got != 0 {
				t.Errorf("%s = %v, %t; want no number", doc, got, ok)
			}
		}
	})
	t.Run("integers", func(t *testing.T) {
		for doc, want := range map[string]int64{"0": 0, "-0": 0, "42": 42, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64} {
			if got, ok := value(doc).Int(); !ok || got != want {
				t.Errorf("%s = %v, %t; want %v", doc, got, ok, want)
			}
		}
		for _, doc := range []string{"1.0", "1e3", "9223372036854775808", "-9223372036854775809", "99999999999999999999", `"1"`} {
			if got, ok := value(doc).Int(); ok {
				t.Errorf("%s = %v; want no integer", doc, got)
			}
		}
	})
	t.Run("booleans", func(t *testing.T) {
		if v, ok := value("true").Bool(); !v || !ok {
			t.Error("true is not true")
		}
		if v, ok := value("false").Bool(); v || !ok {
			t.Error("false is not false")
		}
		if _, ok := value("null").Bool(); ok {
			t.Error("null is a boolean")
		}
	})
	t.Run("strings lose their escapes", func(t *testing.T) {
		doc := `"\"\\\/\b\f\n\r\tA\u00e9\u20ac\ud83d\ude00\ud83dx\ude00"`
		var want string
		if err := json.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatal(err)
		}
		if got := value(doc).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("other kinds are their own text", func(t *testing.T) {
		if got := value(` 1.50 `).String(); got != "1.50" {
			t.Errorf("got %q", got)
		}
		if b := (jsonptr.Value{}).Bytes(); b != nil {
			t.Errorf("an absent value has the text %q", b)
		}
	})
	t.Run("a view cannot be appended to", func(t *testing.T) {
		doc := []byte(`{"a":"x","b":1}`)
		v, _ := jsonptr.Find(doc, "/a")
		_ = append(v.Bytes(), "overwritten"...)
		_ = append(v.Raw(), "overwritten"...)
		if string(doc) != `{"a":"x","b":1}` {
			t.Errorf("the document became %s", doc)
		}
	})
	t.Run("elements and members", func(t *testing.T) {
		var got []string
		for v := range value(`[1, "a" ,[2],{}]`).Elements() {
			got = append(got, string(v.Raw()))
		}
		for k, v := range value(`{"x":1, "\u0079" : [2 ] }`).Members() {
			got = append(got, k.String()+"="+string(v.Raw()))
		}
		for range value(`[]`).Elements() {
			t.Error("an empty array has an element")
		}
		for range value(`{}`).Members() {
			t.Error("an empty object has a member")
		}
		if want := "[1 \"a\" [2] {} x=1 y=[2 ]]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
	t.Run("a lookup inside a value", func(t *testing.T) {
		p := value(quake).Find("/properties")
		if got := p.Find("/net").String(); got != "uw" {
			t.Errorf("got %q", got)
		}
		if p.Find("/absent").Find("/x").Exists() {
			t.Error("something was found in nothing")
		}
	})
}

func TestCheck(t *testing.T) {
	for _, p := range []string{"", "/", "/a/b", "/~0/~1", "/a b"} {
		if err := jsonptr.Check(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"a", "a/b", "/~", "/~2", "/x~/y"} {
		if err := jsonptr.Check(p); err == nil {
			t.Errorf("%q is accepted", p)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	doc := []byte(quake)
	n := testing.AllocsPerRun(100, func() {
		m, _ := jsonptr.Find(doc, "/properties/mag")
		s, _ := jsonptr.Find(doc, "/properties/net")
		c, _ := jsonptr.Find(doc, "/geometry/coordinates/0")
		_, _ = m.Float()
		_, _ = c.Int()
		_ = s.Bytes()
		for range c.Elements() {
			t.Fail()
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
