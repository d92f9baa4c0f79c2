package expression

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

// on calls f with an event, as a handler gets it.
func on(t *testing.T, event sdktest.Event, f func(e *sdk.Event)) {
	t.Helper()
	called := false
	p := sdktest.Open(t, sdktest.Options{Plugin: func(*sdk.Instance) (sdk.Handler, error) {
		return func(e *sdk.Event, _ *sdk.Out) error { called = true; f(e); return nil }, nil
	}})
	if r := p.Process(event); len(r.Outcomes) > 0 || !called {
		t.Fatalf("%+v", r)
	}
}

var quake = sdktest.Event{
	Subject: "quakes.raw.us", Key: "us", Seq: 7, Time: time.Date(2018, 2, 6, 18, 36, 20, 0, time.UTC),
	Headers: []sdk.Header{{Name: "Trace", Value: "1"}, {Name: "X-A", Value: "b"}, {Name: "Trace", Value: "2"}},
	Payload: `{"mag":4.5,"n":3,"big":9007199254740993,"neg":-2,"s":"a\"b","plain":"abc","yes":true,"nothing":null,"list":[1,2.5,"x"],"o":{"a":{"b":1}},"a b":1,"a/b":2}`,
}

func TestValue(t *testing.T) {
	for source, want := range map[string]string{
		`payload.mag`:                               `4.5`,
		`payload.n + 1`:                             `4`,
		`payload.n / 2`:                             `1.5`,
		`payload.big`:                               `9007199254740993`,
		`payload.big + 0`:                           `9007199254740993`, // whole numbers are exact
		`payload.s`:                                 `"a\"b"`,
		`payload["a b"] + payload["a/b"]`:           `3`,
		`payload.o.a.b`:                             `1`,
		`payload.o.x.y.z`:                           `null`,
		`payload.o?.x?.y`:                           `null`,
		`payload.x ?? "none"`:                       `"none"`,
		`payload.list[1]`:                           `2.5`,
		`payload.list[9]`:                           `null`,
		`payload.list[-1]`:                          `"x"`,
		`payload[key + "x"] ?? 1`:                   `1`,
		`payload.o["a"]["b"]`:                       `1`,
		`len(payload.list)`:                         `3`,
		`subject + "/" + key`:                       `"quakes.raw.us/us"`,
		`token(2) + token(9)`:                       `"raw"`,
		`headers.Trace + headers["X-A"]`:            `"1b"`,
		`headers.None`:                              `""`,
		`"Trace" in headers`:                        `true`,
		`"None" in headers`:                         `false`,
		`seq`:                                       `7`,
		`time.Year()`:                               `2018`,
		`time`:                                      `"2018-02-06T18:36:20Z"`,
		`time - duration("1h")`:                     `"2018-02-06T17:36:20Z"`,
		`fromUnix(1517942180)`:                      `"2018-02-06T18:36:20Z"`,
		`fromUnixMilli(1517942180500)`:              `"2018-02-06T18:36:20.5Z"`,
		`fromUnix(payload.n)`:                       `"1970-01-01T00:00:03Z"`,
		`date("2018-02-06").Unix()`:                 `1517875200`,
		`len(text) > 10`:                            `true`,
		`{"b": 1, "a": [nil, true, "x"]}`:           `{"a":[null,true,"x"],"b":1}`,
		`keys(payload.o)`:                           `["a"]`,
		`split("a,b", ",")`:                         `["a","b"]`,
		`filter(payload.list, type(#) != "string")`: `[1,2.5]`,
		`let m = payload.mag; m * 2`:                `9`,
		`payload.o`:                                 `{"a":{"b":1}}`,
		`1e300 * 10`:                                `1e+301`,
		`duration("90s")`:                           `"1m30s"`,
		`upper(payload.plain)[0:2]`:                 `"AB"`,
		`payload.plain matches "^a.c$"`:             `true`,
	} {
		p, err := Value(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		on(t, quake, func(e *sdk.Event) {
			got, err := p.AppendJSON(nil, e)
			if err != nil || string(got) != want {
				t.Errorf("%s = %s, %v; want %s", source, got, err, want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for source, want := range map[string]string{
		``:                                   "column 1: the expression is empty",
		`payload.mag >`:                      "column 13: the expression ends too early",
		`paylod.mag > 1`:                     "column 1: unknown name paylod; there are payload, subject, key, headers, text, seq and time",
		`subject > 5`:                        "column 9: > does not work on text and a number",
		"payload.a ==\n  bad(1)":             "line 2, column 3: unknown name bad",
		`key + 1 == "a"`:                     "column 5: + does not work on text and a number",
		`payload.mag + 1 > "a" and key`:      "and does not work on a boolean and text",
		`now() > time`:                       "unknown name now",
		`timezone("UTC")`:                    "unknown name timezone",
		`"a"`:                                "the expression gives text, not true or false",
		`payload.s matches "("`:              "error parsing regexp",
		`token("a") == ""`:                   "column 7: token takes a number, not text",
		strings.Repeat("1+", 9000) + "1 > 2": "at most 16384",
	} {
		_, err := Condition(source)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", source, err, want)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct{ source, payload, want string }{
		{`payload.mag > 4`, `{}`, `column 13: > does not work on nil and a number; a field that is not there is nil: "payload.x ?? 0" gives it a value`},
		{`payload.mag > 4`, `{"mag":"5"}`, "column 13: > does not work on text and a number"},
		{`payload.mag > 4`, `M 5`, "the payload is not JSON"},
		{`payload.mag == nil`, `{"mag":`, "the payload is not JSON"},
		{`payload.mag`, `{"mag":1}`, "column 1: the expression gives a number, not true or false"},
		{`any(payload.list, # > 1)`, `{"list":{"a":1}}`, "column 19: "},
		{`fromUnix(payload.t).Year() > 1`, `{"t":"x"}`, "a time is made of a number, not of text"},
		{`len(repeat(payload.s, 100000000)) > 0`, `{"s":"x"}`, "memory budget exceeded"},
	} {
		p, err := Condition(c.source)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		on(t, sdktest.Event{Payload: c.payload}, func(e *sdk.Event) {
			if got, err := p.Bool(e); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s on %s: got %t, %v; want %s", c.source, c.payload, got, err, c.want)
			}
		})
	}
}

// The shortcut of a condition says what the library's machine says, whatever
// the types of what it meets, or leaves it to it.
func TestShortcut(t *testing.T) {
	fields := []string{"payload.mag", "payload.n", "payload.neg", "payload.s", "payload.plain", "payload.yes", "payload.nothing", "payload.list", "payload.o.a", "payload.none", "payload.big", "subject", "key", "headers.Trace", "headers.None", "text"}
	constants := []string{"4.5", "3", "-2", "4", `"abc"`, `"us"`, `"1"`, `""`, `["us","abc"]`, "9007199254740993", "9007199254740992.0"}
	operators := []string{"==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith", "in"}
	decided, compiled := 0, 0
	check := func(source string) {
		p, err := Condition(source)
		if err != nil {
			return // the types never fit
		}
		compiled++
		if p.test == nil {
			return
		}
		on(t, quake, func(e *sdk.Event) {
			short := p.test(e)
			p.test = nil
			long, err := p.Bool(e)
			switch {
			case short == unsure:
				return
			case err != nil || (short == yes) != long:
				t.Errorf("%s: the shortcut says %t, the machine %t, %v", source, short == yes, long, err)
			}
			decided++
		})
	}
	var conditions []string
	for _, f := range fields {
		for _, c := range constants {
			for _, op := range operators {
				conditions = append(conditions, f+" "+op+" "+c, c+" "+op+" "+f)
			}
		}
	}
	conditions = append(conditions, fields...)
	for i, a := range conditions {
		check(a)
		b := conditions[(i*7+3)%len(conditions)]
		if i%5 == 0 {
			check("(" + a + ") and (" + b + ")")
			check("(" + a + ") or not (" + b + ")")
		}
	}
	if compiled < 1000 || decided < 400 {
		t.Errorf("only %d conditions, %d decided by the shortcut", compiled, decided)
	}
}

func TestText(t *testing.T) {
	for source, want := range map[string]string{`payload.plain`: "abc", `payload.n`: "3", `payload.mag`: "4.5", `payload.yes`: "true", `payload.big`: "9007199254740993"} {
		p, err := Text(source)
		if err != nil {
			t.Fatal(err)
		}
		on(t, quake, func(e *sdk.Event) {
			if got, err := p.Text(e); err != nil || got != want {
				t.Errorf("%s = %q, %v", source, got, err)
			}
		})
	}
	if _, err := Text("1 > 2"); err == nil {
		t.Error("a condition is no text")
	}
}
