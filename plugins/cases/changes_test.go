package cases_test

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestChanges(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{`{"a":1}`, `{"a":1}`, ""},
		{`{"a":1,"b":2}`, `{ "b": 2.0, "a": 1 }`, ""},
		{`{"a":{"b":1,"c":[1,2]},"d":0}`, `{"a":{"b":2,"c":[1,3]},"e":{"f":1}}`, `~ a.b: 1 → 2|~ a.c[1]: 2 → 3|+ e: {"f":1}|- d: 0`},
		{`{"a":[1]}`, `{"a":[1,2]}`, `~ a: [1] → [1,2]`},
		{`{"a":1}`, `[1]`, `~ the payload: {"a":1} → [1]`},
		{`{"a":1}`, "text\n", `~ the payload: "{\"a\":1}" → "text\n"`},
		{"", "\xff", `~ the payload: "" → (1 bytes that are not text)`},
	} {
		var got []string
		for _, c := range cases.Changes([]byte(test.a), []byte(test.b)) {
			got = append(got, c.String())
		}
		if s := strings.Join(got, "|"); s != test.want {
			t.Errorf("%q to %q: got %s, want %s", test.a, test.b, s, test.want)
		}
	}
}

func TestPlay(t *testing.T) {
	t.Setenv("NOT_SET_ANYWHERE", "12345678")
	at := dir(t, nil)
	cfg, err := config.Load(at+"/wasmill.toml", "threshold")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.From(cfg, at+"/wasmill.toml")
	if err != nil {
		t.Fatal(err)
	}
	with(t, cases.Options{}, func(r *cases.Runner) {
		played, err := r.Play(t.Context(), p, "one", []cases.Event{
			{Subject: "in.a", Payload: []byte("secret")}, {Subject: "in.a", Payload: []byte("dead")}, {Subject: "in.a", Payload: []byte("log")},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, one := range played {
			for _, l := range append(one.Lines, one.Logs...) {
				got = append(got, string(l.JSON()))
			}
		}
		want := `{"output":"default","subject":"out.a","text":"8 letters"}|{"outcome":"dead-letter","reason":"no use"}|` +
			`{"output":"default","subject":"out.a","text":"log"}|{"log":"it is late seq=3","level":"warn"}`
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("got %s\nwant %s", s, want)
		}
		if _, err := r.Play(t.Context(), p, "none", nil); err == nil {
			t.Error("a pipeline that there is not")
		}
	})
}
