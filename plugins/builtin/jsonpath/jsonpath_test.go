package jsonpath

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

func TestRewrite(t *testing.T) {
	hide := func(dst []byte, _ jsonptr.Value) ([]byte, bool) { return append(dst, `"*"`...), true }
	drop := func(dst []byte, _ jsonptr.Value) ([]byte, bool) { return dst, false }
	for _, c := range []struct {
		doc, want  string
		drop, hide []string
	}{
		{`{ "a" : 1 , "b":[ 1 , 2 ] }`, `{"b":[ 1 , 2 ]}`, []string{"/a"}, nil},
		{`{"a":1}`, `{}`, []string{"/a"}, nil},
		{`{"a":1,"a":2,"b":3}`, `{"b":3}`, []string{"/a"}, nil}, // also where a name repeats
		{`{"\u0061":1,"b":2}`, `{"b":2}`, []string{"/a"}, nil},
		{`{"a/b":1,"a~b":2}`, `{"a/b":"*","a~b":"*"}`, nil, []string{"/a~1b", "/a~0b"}},
		{`[1,2,3]`, `[1,3]`, []string{"/1"}, nil},
		{`{"list":[{"x":1,"y":2},{"x":3}]}`, `{"list":[{"x":"*","y":2},{"x":"*"}]}`, nil, []string{"/list/*/x"}},
		{`{"p":1,"a":{"p":{"p":2}},"l":[{"p":3}]}`, `{"p":"*","a":{"p":"*"},"l":[{"p":"*"}]}`, nil, []string{"/**/p"}},
		{`{"a":{"b":{"c":1},"c":2},"c":3}`, `{"a":{"b":{},"c":2},"c":3}`, []string{"/a/**/b/c"}, nil},
		{`{"a":{"x":{"y":{"b":1}},"b":2}}`, `{"a":{"x":{"y":{"b":"*"}},"b":"*"}}`, nil, []string{"/a/**/b"}},
		{`{"a":{"p":1}}`, `{}`, []string{"/a"}, []string{"/**/p"}}, // the first counts
		{`5`, `5`, []string{"/a"}, []string{"/**/p"}},
		{`{"a":null}`, `{"a":"*"}`, nil, []string{"/*"}},
		{`{"a":{"b":1}}`, `{"a":{"b":1}}`, []string{"/b", "/a/c", "/a/b/c", "/0"}, nil},
	} {
		var r Rewriter
		for _, p := range c.drop {
			if err := r.Add(p, drop); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range c.hide {
			if err := r.Add(p, hide); err != nil {
				t.Fatal(err)
			}
		}
		doc, ok := jsonptr.Find([]byte(c.doc), "")
		if !ok {
			t.Fatal(c.doc)
		}
		for range 2 {
			if got := string(r.Append(nil, doc)); got != c.want {
				t.Errorf("%s without %v, hiding %v\ngot  %s\nwant %s", c.doc, c.drop, c.hide, got, c.want)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]string{
		"a": "must be empty or begin with /", "": "names a member", "/a~2": "has a ~", "/a/**": "does not end in",
	} {
		var r Rewriter
		if err := r.Add(pattern, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// Whatever the text and the pattern, what comes out is JSON without what the
// pattern names.
func FuzzRewrite(f *testing.F) {
	f.Add(`{"a":[{"p":1},{"q":[{"p":2}]}],"p":{"p":3}}`, "/**/p")
	f.Add(`{"a":{"a":{"a":1}}}`, "/**/a/**/a")
	f.Add(`[[1,[2]],{"":0}]`, "/*/0")
	f.Fuzz(func(t *testing.T, text, pattern string) {
		var r Rewriter
		if r.Add(pattern, func(dst []byte, _ jsonptr.Value) ([]byte, bool) { return dst, false }) != nil {
			return
		}
		doc, ok := jsonptr.Find([]byte(text), "")
		if !ok {
			return
		}
		out := r.Append(nil, doc)
		rest, ok := jsonptr.Find(out, "")
		if !ok {
			t.Fatalf("%s without %s is no JSON: %s", text, pattern, out)
		}
		if !strings.Contains(pattern, "*") && !strings.ContainsAny(pattern, "0123456789") && rest.Find(pattern).Exists() {
			t.Fatalf("%s without %s: %s", text, pattern, out)
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\n\t\r\x00\x1f é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && !strings.Contains(back, "\ufffd") {
			t.Errorf("%q becomes %q: %v", s, back, err)
		}
	})
}
