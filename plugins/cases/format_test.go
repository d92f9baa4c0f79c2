package cases_test

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestMistakes(t *testing.T) {
	for _, test := range []struct{ content, want string }{
		{`{"case": "x", "plugn": "a"}`, `x.ndjson:1:15: unknown-key: there is no key "plugn" here; there are case, plugin, pipeline, module, config, secrets, grants, outputs, plugins, now (did you mean "plugin"?)`},
		{"# comment\n\n  {\"subjct\": \"a\", \"payload\": 1}", `x.ndjson:3:4: unknown-key: there is no key "subjct" here; there are subject, key, headers, time, now, seq, attempt, payload, text, base64 (did you mean "subject"?)`},
		{`{"payload": 1}` + "\n" + `{"outptu": "default"}`, `(did you mean "output"?)`},
		{`{"payload": 1}` + "\n" + `{"output": "default", "paylod": 1}`, `x.ndjson:2:23: unknown-key`},
		{`{"payload": 1}` + "\n" + `{"outcome": "drops"}`, `x.ndjson:2:13: bad-value: outcome is "drops"; it can be drop, retry, dead-letter, halt, refused (did you mean "drop"?)`},
		{`{"payload": 1}` + "\n" + `{"outcome": "retry", "delay": "1 s"}`, `x.ndjson:2:31: bad-value: delay is "1 s"; want a duration such as "500ms"`},
		{`{"payload": 1}` + "\n" + `{"fault": "traps"}`, `(did you mean "trap"?)`},
		{`{"payload": 1}` + "\n" + `{"log": "x", "level": "warm"}`, `it can be debug, info, warn, error (did you mean "warn"?)`},
		{`{"payload": 1, "text": "x"}`, `x.ndjson:1:16: conflict: a message has one of payload, text and base64`},
		{`{"payload": 1, "payload": 2}`, `x.ndjson:1:16: conflict: the key "payload" is there twice`},
		{`{"base64": "*"}`, `x.ndjson:1:12: bad-value: base64: illegal base64 data`},
		{`{"payload": 1, "time": "today"}`, `x.ndjson:1:24: bad-value: time is "today"; want an RFC 3339 time`},
		{`{"payload": 1, "attempt": 0}`, `x.ndjson:1:27: out-of-range: attempt is 0; the least is 1`},
		{`{"payload": 1, "headers": {"A": 1}}`, `x.ndjson:1:33: wrong-type: A is a number; want a string`},
		{`{"payload": 1, "headers": "A: 1"}`, `want an object {"Name": "value"}, or a list of pairs`},
		{`{"subject": null}`, `x.ndjson:1:13: wrong-type: subject is null; want a string`},
		{`{}`, `x.ndjson:1:1: missing: an event has at least a payload`},
		{`[1]`, `x.ndjson:1:1: wrong-type: want an object`},
		{`{"payload": 1} {"payload": 2}`, `x.ndjson:1:16: syntax: a second value in one line; begin a new line`},
		{"{\"payload\": 1}\n{\"payload\": 1,}", `x.ndjson:2:15: syntax: invalid character '}'`},
		{"{\"payload\": {\n", `x.ndjson:1:1: syntax: the JSON value that begins here does not end`},
		{`{"output": "default"}`, `x.ndjson:1:1: conflict: an output is expected before the first event`},
		{`{"outcome": "drop"}`, `conflict: "refused" stands below the head`},
		{`{"payload": 1}` + "\n" + `{"case": "late"}`, `x.ndjson:2:1: conflict: the head, with the key "case", is the first value`},
		{`{"payload": 1}` + "\n" + `{"close": true}` + "\n" + `{"payload": 2}`, `x.ndjson:3:1: conflict: an event behind the close`},
		{`{"case": "x", "plugin": "a", "pipeline": "b"}`, `x.ndjson:1:30: conflict: a case runs one of plugin, pipeline and module`},
		{`{"case": "x", "pipeline": "b", "config": {}}`, `x.ndjson:1:32: conflict: config is a plugin's; in the case of a pipeline write`},
		{`{"case": "x", "plugin": "b", "plugins": {}}`, `conflict: plugins is for the case of a pipeline`},
		{`{"case": "x", "pipeline": "b", "plugins": {"c": {"cnfig": {}}}}`, `x.ndjson:1:50: unknown-key: there is no key "cnfig" here; there are config, secrets (did you mean "config"?)`},
		{`{"case": "x", "grants": ["clok"]}`, `there is no grant "clok"; there are clock, random, secret (did you mean "clock"?)`},
		{`{"case": "x", "config": "min = 1"}`, `x.ndjson:1:25: wrong-type: config is a string; want an object`},
	} {
		_, err := cases.Parse("x.ndjson", []byte(test.content))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.content, err, test.want)
		}
	}
	t.Run("all of a file in one run", func(t *testing.T) {
		_, err := cases.Parse("x.ndjson", []byte("{\"pyload\": 1}\n{\"pyload\": 2}\n"))
		if err == nil || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a file that is no case at all is not read to its end", func(t *testing.T) {
		_, err := cases.Parse("x.ndjson", []byte(strings.Repeat("{\"a\":1}\n", 1000)))
		if err == nil || strings.Count(err.Error(), "\n") > 30 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("names that are not in wasmill.toml", func(t *testing.T) {
		fails(t, `{"case": "x", "plugin": "gest"}`+"\n{\"payload\":1}", `case.ndjson:1:25: dangling: there is no plugin "gest" in`, `(did you mean "guest"?)`)
		fails(t, `{"case": "x", "pipeline": "ones"}`+"\n{\"payload\":1}", `case.ndjson:1:27: dangling: there is no pipeline "ones" in`, `(did you mean "one"?)`)
		fails(t, `{"case": "x", "pipeline": "one", "plugins": {"gest": {}}}`+"\n{\"payload\":1}", `pipeline "one" does not run a plugin of that name; it runs guest (did you mean "guest"?)`)
		fails(t, `{"case": "x", "pipeline": "one"}`+"\n{\"payload\":1,\"key\":\"k\"}", `case.ndjson:2:1: conflict: the events of a pipeline have no key of their own`)
	})
	t.Run("a module that lacks a grant", func(t *testing.T) {
		fails(t, `{"case": "x", "plugin": "guest", "grants": []}`+"\n{\"payload\":1}", `needs the grant "secret"`)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"case":"x","config":{},"secrets":{"a":"b"},"now":"2026-01-01T00:00:00Z"}` + "\n" + `{"payload":{"a":[1]},"headers":{"a":"b"}}` + "\n" + `{"output":"default","headers":[["a","b"]],"base64":"AA=="}` + "\n" + `{"close":true}`,
		"# x\n{\"text\":\"a\"}\n{\"outcome\":\"retry\",\"delay\":\"1s\"}\n{\"log\":\"x\"}\n{\"fault\":\"trap\"}", "{", "[]", "{}", "\"", "{\"a\":1}x", "\xef\xbb\xbf{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := cases.Parse("x", src)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		for _, s := range c.Steps { // what was read can be written and read again
			if s.Kind == cases.StepEvent {
				if again, err := cases.Parse("x", s.Event.JSON()); err == nil && len(again.Steps) != 2 {
					t.Errorf("%q became %q", src, s.Event.JSON())
				}
			}
			for _, l := range s.Expect {
				_ = l.JSON()
			}
		}
	})
}

func TestUpdate(t *testing.T) {
	const before = `# What it is for.
{"case": "update", "plugin": "guest", "config": {"greeting": "bye"}}

{"text": "pass"}
{"output": "default",
 "text": "pass"}

# This one is wrong.
{"text": "dead"}
{"outcome": "drop"}
# It has been for long.
{"output": "default", "text": "what?"}

{"text": "log"}
{"log": "nothing"}
{"text": "spin"}
{"text": "retry"}`
	const after = `# What it is for.
{"case": "update", "plugin": "guest", "config": {"greeting": "bye"}}

{"text": "pass"}
{"output": "default",
 "text": "pass"}

# This one is wrong.
{"text": "dead"}
{"outcome":"dead-letter","reason":"no use"}
# It has been for long.

{"text": "log"}
{"log":"it is late seq=3","level":"warn"}
{"output":"default","text":"log"}
{"text": "spin"}
{"fault":"deadline"}
{"text": "retry"}
{"outcome":"retry","delay":"1s","reason":"attempt 1"}
{"close":true}
{"output":"default","subject":"out.bye","payload":{"seen":1}}
`
	at := dir(t, map[string]string{"cases/x.ndjson": before})
	if r := run(t, at, cases.Options{Update: true})["cases/x"]; !r.Updated || !r.Passed() {
		t.Fatalf("it was not updated: %s", text(r))
	}
	got, err := os.ReadFile(filepath.Join(at, "cases", "x.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != after {
		t.Errorf("got\n%s\nwant\n%s", got, after)
	}
	if r := run(t, at, cases.Options{Update: true})["cases/x"]; r.Updated || !r.Passed() {
		t.Errorf("a second run changes it again: %s", text(r))
	}

	const refused = `{"case": "refused", "plugin": "guest", "config": {"greeting": "refuse"}}
{"text": "pass"}
{"output": "default", "text": "pass"}
`
	at = dir(t, map[string]string{"cases/y.ndjson": refused})
	if r := run(t, at, cases.Options{Update: true})["cases/y"]; r.Updated || r.Passed() {
		t.Errorf("a refusal, which no event has run into, was taken for what is wanted: %s", text(r))
	}
}

func TestDiff(t *testing.T) {
	r := fails(t, `{"case": "", "plugin": "guest"}
{"payload": {"a":1,"b":{"c":[1,2,3,4,5,6,7,8,9,10]},"z":"end"}}
{"output": "default", "payload": {"b":{"c":[1,2,3,4,5,6,7,8,9,11]},"z":"end","a":1}}
`)
	want := `--- FILE:3 expected
+++ got from the event of line 2
 …
         7,
         8,
         9,
-        11
+        10
       ]
     },
     "z": "end"
 …
`
	if len(r.Differences) != 1 {
		t.Fatal(text(r))
	}
	got := strings.ReplaceAll(r.Differences[0].Diff, r.File, "FILE")
	if got != strings.TrimSuffix(want, " …\n") && got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestJUnit(t *testing.T) {
	at := dir(t, map[string]string{
		"cases/good.ndjson": `{"text":"pass"}` + "\n" + `{"output":"default","text":"pass"}`,
		"cases/bad.ndjson":  `{"case":"","plugin":"guest"}` + "\n" + `{"text":"binary"}`,
		"cases/none.ndjson": `{`,
	})
	var reports []cases.Report
	for _, r := range run(t, at, cases.Options{}) {
		reports = append(reports, r)
	}
	var b bytes.Buffer
	if err := cases.JUnit(&b, reports, time.Second); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suite    struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure string `xml:"failure"`
				Error   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if read.Tests != 3 || read.Failures != 1 || read.Errors != 2 || len(read.Suite.Cases) != 3 {
		t.Errorf("got %+v", read)
	}
	for _, c := range read.Suite.Cases {
		if c.Name == "bad" && !strings.Contains(c.Failure, `"base64": "/wA="`) {
			t.Errorf("bad is %+v", c)
		}
	}
}

func TestDeadLetter(t *testing.T) {
	at := dir(t, nil)
	cfg, err := config.Load(filepath.Join(at, "wasmill.toml"), "threshold")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.From(cfg, filepath.Join(at, "wasmill.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		d     status.DeadLetter
		lines string // of the case, without comments
		got   string // what a run says
	}{
		{
			"of the first stage: a case of the plugin",
			status.DeadLetter{ID: 7, Pipeline: "one", Stage: "guest", Fault: "deadline", Cause: "deadline: ran out", SourceSubject: "in.a", Payload: "spin", Headers: map[string][]string{"A": {"1", "2"}}},
			`{"case":"dead letter 7: deadline: ran out","plugin":"guest","config":{"greeting":"hello"},"secrets":{"key":"test"}}

{"subject":"in.a","headers":[["A","1"],["A","2"]],"text":"spin"}
`, `+  "fault": "deadline"`,
		},
		{
			"of a later stage: a case of the pipeline, with the payload as it was",
			status.DeadLetter{ID: 8, Pipeline: "chain", Stage: "guest", Fault: "refused_subject", Cause: "no", SourceSubject: "in.a", Payload: `{ "mag" : 7.0}`},
			`{"case":"dead letter 8: no","pipeline":"chain","plugins":{"big":{"config":{"min":5,"pointer":"/mag"}},"guest":{"config":{"greeting":"hello"},"secrets":{"key":"test"}}}}

{"subject":"in.a","payload":{ "mag" : 7.0}}
`, `+  "fault": "refused_subject"`,
		},
		{
			"of several lines, or not text at all",
			status.DeadLetter{ID: 9, Pipeline: "strict", Stage: "big", Fault: "handler_error", Cause: "no", SourceSubject: "in.a", Payload: "{\n}"},
			`{"case":"dead letter 9: no","plugin":"big","config":{"min":5,"pointer":"/mag"}}

{"subject":"in.a","text":"{\n}"}
`, `+  "outcome": "drop"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := cases.FromDeadLetter(p, test.d)
			if err != nil {
				t.Fatal(err)
			}
			if _, lines, _ := strings.Cut(string(b), "\n{"); "{"+lines != test.lines {
				t.Errorf("got\n%s\nwant\n%s", "{"+lines, test.lines)
			}
			fails(t, string(b), test.got)
		})
	}
}
