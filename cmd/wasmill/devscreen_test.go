package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/cases"
)

// shown is what the screen writes for a row where there is no terminal, without
// the times.
func shown(t *testing.T, output string, r row) string {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
	a.flags.output, a.flags.color = output, "auto"
	s := newScreen(a)
	s.show(r)
	s.close()
	return regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
}

func TestRows(t *testing.T) {
	const payload = `{"mag":5.3,"net":"us"}`
	event := row{Where: "alerts", Seq: 7, Subject: "quakes.us", Payload: payload, Outcome: outcomeEmitted, complete: true, headers: []cases.Header{{Name: "A", Value: "1"}}}
	with := func(f func(*row)) row {
		r := event
		f(&r)
		return r
	}
	output := func(o rowOutput) row {
		o.complete = true
		if o.headers == nil {
			o.headers = event.headers
		}
		return with(func(r *row) { r.Outputs = []rowOutput{o} })
	}
	for _, test := range []struct {
		name string
		row  row
		want []string // the right half, and the lines below
	}{
		{"passed on", output(rowOutput{Subject: "alerts.us", Payload: payload}), []string{"alerts.us (the same payload)"}},
		{"changed", output(rowOutput{Subject: "alerts.us", Payload: `{"mag":6,"strength":"moderate"}`, headers: []cases.Header{{Name: "B", Value: "2"}}}), []string{
			`alerts.us {"mag":6,"strength":"moderate"}`, "~ mag: 5.3 → 6", `+ strength: "moderate"`, `- net: "us"`, "- header A: 1", "+ header B: 2",
		}},
		{"dropped", with(func(r *row) { r.Outcome, r.Reason = outcomeDropped, "too weak" }), []string{"dropped: too weak"}},
		{"refused", output(rowOutput{Refused: "topic alerts refuses the output"}), []string{"refused: topic alerts refuses the output"}},
		{"another than before", with(func(r *row) {
			r.Outcome = outcomeDropped
			r.Before = &row{Outcome: outcomeEmitted, Outputs: []rowOutput{{Subject: "alerts.us", Payload: "{}"}}}
		}), []string{"dropped", "before: alerts.us {}"}},
		{"with control characters", with(func(r *row) { r.Outcome, r.Reason = outcomeDeadLettered, "\x1b[2Jbad\nline" }), []string{"dead-lettered:  [2Jbad line"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines := strings.Split(strings.TrimRight(shown(t, "text", test.row), "\n"), "\n")
			left, right, _ := strings.Cut(lines[0], " → ")
			if !strings.HasPrefix(left, "alerts #7 quakes.us "+payload) {
				t.Errorf("the event is %q", left)
			}
			got := []string{right}
			for _, l := range lines[1:] {
				got = append(got, strings.TrimSpace(l))
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
	t.Run("a long one is cut to the width", func(t *testing.T) {
		long := with(func(r *row) { r.Payload = strings.Repeat("x", 500) })
		long.Outputs = []rowOutput{{Subject: "alerts.us", Payload: strings.Repeat("y", 500), complete: true}}
		for _, l := range strings.Split(shown(t, "text", long), "\n") {
			if n := len([]rune(l)); n > plainWidth {
				t.Errorf("%d characters: %s", n, l)
			}
		}
	})
	t.Run("as JSON", func(t *testing.T) {
		var got row
		if err := json.Unmarshal([]byte(shown(t, "json", output(rowOutput{Subject: "alerts.us", Payload: "{}"}))), &got); err != nil {
			t.Fatal(err)
		}
		if got.Where != "alerts" || got.Seq != 7 || len(got.Outputs) != 1 || len(got.Outputs[0].Changes) != 2 {
			t.Errorf("got %+v", got)
		}
	})
}
