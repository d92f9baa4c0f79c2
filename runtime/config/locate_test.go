package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// located returns, for each key that the text names, "line:col key".
func located(t *testing.T, text string) []string {
	t.Helper()
	x := locate(text)
	var out []string
	for _, p := range x.order {
		names := strings.Split(p, "\x00")
		line, col := x.atKey(names)
		out = append(out, path(names).String()+" "+position(line, col))
	}
	return out
}

func position(line, col int) string { return path{itoa(line), itoa(col)}.String() }

func itoa(n int) string { return strings.Trim(element(n), "[]") }

func TestLocate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"plain keys and tables", "a = 1\n[t]\n  b = 2 # c = 3\n[t.u]\nc=4", []string{"a 1.1", "t 2.2", "t.b 3.3", "t.u 4.4", "t.u.c 5.1"}},
		{"dotted keys", "a . b.c = 1\na.d = 2", []string{"a.b.c 1.7", "a.d 2.3"}},
		{"quoted keys", "\"x y\".'z#' = 1\n[\"a\\u0062c\"]\nk = 1", []string{"x y.z# 1.7", "abc 2.2", "abc.k 3.1"}},
		{"inline tables", "a = { b = 1, c = { d = 2 } }", []string{"a 1.1", "a.b 1.7", "a.c 1.14", "a.c.d 1.20"}},
		{"arrays of tables", "[[a]]\nx=1\n[[a]]\nx=2\n[a.b]\ny=3", []string{"a 3.3", "a[0].x 2.1", "a 3.3", "a[1].x 4.1", "a[1].b 5.4", "a[1].b.y 6.1"}},
		{"tables in an array", "a = [{x = 1}, {x = 2}]", []string{"a 1.1", "a[0].x 1.7", "a[1].x 1.16"}},
		{"strings that look like keys", "a = \"\"\"\nb = 1\n\\\"\"\"\" c = 2\"\"\"\"\"\nd = '''\ne = 1'''\nf = \"#\\\" g = 1\" # h = 1", []string{"a 1.1", "d 4.1", "f 6.1"}},
		{"arrays over lines with comments", "a = [ # b = 1\n  \"]\", # ]\n  [1, 2],\n]\nc = 1", []string{"a 1.1", "c 5.1"}},
		{"columns count characters", "\"é\" = \"ü\"\n\"日本\".b = 1", []string{"é 1.1", "日本.b 2.6"}},
		{"a byte order mark and CR LF", "\ufeffa = 1\r\nb = 2\r\n", []string{"a 1.1", "b 2.1"}},
		{"dates and numbers", "a = 1979-05-27 07:32:00\nb = 1e-3,\nc = -inf # x", []string{"a 1.1", "b 2.1", "c 3.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := located(t, tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestLocateValues(t *testing.T) {
	t.Parallel()
	x := locate("[t]\na =  5\nb = [ \"x\",\n  \"y\" ]\nc = { d = true }\n")
	tests := []struct {
		path path
		want string
	}{
		{path{"t", "a"}, "2.6"},
		{path{"t", "b"}, "3.5"},
		{path{"t", "b", "[0]"}, "3.7"},
		{path{"t", "b", "[1]"}, "4.3"},
		{path{"t", "c", "d"}, "5.11"},
		{path{"t", "c", "absent"}, "5.1"}, // the nearest key above
		{path{"t", "absent", "deeper"}, "1.2"},
		{path{"absent"}, "1.1"},
	}
	for _, tt := range tests {
		if got := position(x.at(tt.path)); got != tt.want {
			t.Errorf("%v is at %s, want %s", tt.path, got, tt.want)
		}
	}
	if !x.has("t", "c", "d") || x.has("t", "x") {
		t.Error("has is wrong")
	}
	if line, col := (*index)(nil).at(path{"a"}); line != 0 || col != 0 || (*index)(nil).has("a") {
		t.Error("no index has no positions")
	}
}

// FuzzLocate holds the index against the parser: each key that the parser lists
// is found, at a place whose text is that key.
func FuzzLocate(f *testing.F) {
	for _, s := range []string{
		"a = 1\n[b.c]\nd.e = {f=[1,{g=2}]}\n[[h]]\ni='''\n'''\n[[h]]\n[h.j]\nk=1979-05-27 07:32:00",
		"\"a\\\"b\" = \"\"\"x\"\"\"\"\"\n'' = ''\n\"\" . x = 1", "\ufeffa=1\r\n#c\r\n[ a . b ]\r\n",
		"a={\n b = 1, # c\n }\n", "x = [\n# ]\n1,\n]\n[[a.b]]\nc=1\n[[a.b.d]]\n[a.b.d.e]",
		"[a]\nb.c=1\nb.d=2\n[a.x]\n", "[[a]]\n[[a.b]]\nc=1\n[[a.b]]\n[[a]]\n[[a.b]]\nc=2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := locate(text)
		for p, s := range x.keys {
			if s.start < 0 || s.start > s.end || s.end > len(text) {
				t.Fatalf("key %q is at %v of %d bytes", p, s, len(text))
			}
		}
		for p, s := range x.values {
			if s.start < 0 || s.start > s.end || s.end > len(text) {
				t.Fatalf("value %q is at %v of %d bytes", p, s, len(text))
			}
		}
		var tree map[string]any
		meta, err := toml.Decode(text, &tree)
		if err != nil || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return
		}
		found := map[string]bool{}
		for p, s := range x.keys {
			names := strings.Split(p, "\x00")
			last := names[len(names)-1]
			if strings.HasPrefix(last, "[") && s.start < len(text) && text[s.start] != '"' && text[s.start] != '\'' {
				continue // an element of an array of tables
			}
			if got := decodeKey(t, text[s.start:s.end]); got != last {
				continue
			}
			found[p] = true
		}
		for _, key := range meta.Keys() {
			if slices.ContainsFunc(key, func(s string) bool { return strings.ContainsAny(s, "\x00[") }) {
				return // our way of writing paths could be taken for something else
			}
			if !foundBeside(found, key) {
				t.Fatalf("key %q is not found in %q; there are %q", key, text, x.order)
			}
		}
	})
}

// foundBeside reports whether key is among the paths, elements of arrays left out.
func foundBeside(found map[string]bool, key []string) bool {
	for p := range found {
		names := slices.DeleteFunc(strings.Split(p, "\x00"), func(s string) bool { return strings.HasPrefix(s, "[") })
		if slices.Equal(names, key) {
			return true
		}
	}
	return false
}

// decodeKey has the parser itself read one key.
func decodeKey(t *testing.T, text string) string {
	t.Helper()
	var one map[string]any
	if _, err := toml.Decode(text+" = 1", &one); err != nil || len(one) != 1 {
		t.Fatalf("%q is not a key: %v", text, err)
	}
	for k := range one {
		return k
	}
	return ""
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"[topics.a]\nsubjects=['a.>']", "[server]\nlisten=1\nx=[", "[pipelines.p]\nfrom='a'\noutputs={x='b'}",
		"a=1\na=2\nb=\n[c", "[plugins.p]\nconfig={a=[1979-05-27,{b=nan}]}", "[[topics]]\n[plugins]\np=1",
		"[topics.a]\nsubjects=[\n'a.>'\n'b'", "[server]\nurl='nats://u:p@h'\ntls={ca='x'}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, findings := Parse("testdata/fuzz.toml", []byte(text), "pass")
		if (c == nil) != (findings.Err() != nil) {
			t.Fatalf("a configuration is %v with %v", c != nil, findings)
		}
		lines := strings.Count(text, "\n") + 1
		for i, one := range findings {
			if one.Line < 1 || one.Line > lines || one.Col < 1 || one.Message == "" || one.Code == "" {
				t.Fatalf("finding %+v", one)
			}
			if i > 0 && one.Line < findings[i-1].Line {
				t.Fatalf("findings are not sorted:\n%v", findings)
			}
		}
	})
}
