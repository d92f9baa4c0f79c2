package sdktest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Result is what became of a batch.
type Result struct {
	Outputs  []Output  // in the order in which they were emitted
	Outcomes []Outcome // of the events that a handler did not just finish, in their order
}

// Output is an event that the plugin emitted, with what it took from its source
// by reference filled in.
type Output struct {
	Event   int    // index of the event that caused it; -1 = none, when an instance closes
	Output  string // name of the output
	Subject string // "" = the subject the output prescribes
	Key     string
	Headers []sdk.Header
	Payload string
}

// Outcome is what the handler decided about an event by an error.
type Outcome struct {
	Event  int
	Code   abi.Code
	Delay  time.Duration // until a retry; 0 = the pipeline's backoff
	Reason string
}

// Of returns what the event at that index caused.
func (r Result) Of(event int) []Output {
	var outputs []Output
	for _, o := range r.Outputs {
		if o.Event == event {
			outputs = append(outputs, o)
		}
	}
	return outputs
}

// Outcome returns what was decided about the event at that index; false when
// the handler finished it without an error.
func (r Result) Outcome(event int) (Outcome, bool) {
	for _, o := range r.Outcomes {
		if o.Event == event {
			return o, true
		}
	}
	return Outcome{}, false
}

// result decodes a response as the host does.
func (p *Plugin) result(response []byte, events []abi.Event) Result {
	p.t.Helper()
	var decoded abi.Result
	if err := abi.DecodeResponse(response, abi.ResponseLimits{Events: len(events), Outputs: len(p.outputs)}, &decoded); err != nil {
		p.t.Fatalf("decode the response: %v", err)
	}
	var r Result
	for _, o := range decoded.Outputs {
		out := Output{Event: -1, Output: p.outputs[o.ID], Subject: string(o.Subject), Key: string(o.Key), Payload: string(o.Payload)}
		if o.Source != abi.NoSource {
			out.Event = int(o.Source)
		}
		if o.Flags&abi.FlagPayloadRef != 0 {
			out.Payload = string(events[o.Source].Payload)
		}
		if o.Flags&abi.FlagKeepHeaders != 0 {
			out.Headers = appendHeaders(out.Headers, events[o.Source].Headers)
		}
		out.Headers = appendHeaders(out.Headers, o.Headers)
		r.Outputs = append(r.Outputs, out)
	}
	for _, o := range decoded.Outcomes {
		r.Outcomes = append(r.Outcomes, Outcome{
			Event: int(o.Index), Code: o.Code, Delay: time.Duration(o.Delay) * time.Millisecond, Reason: string(o.Reason),
		})
	}
	return r
}

func appendHeaders(headers []sdk.Header, block []byte) []sdk.Header {
	for {
		name, value, rest, ok := abi.NextHeader(block)
		if !ok {
			return headers
		}
		headers = append(headers, sdk.Header{Name: string(name), Value: string(value)})
		block = rest
	}
}

// Lines reads an NDJSON or text file: one event for each line, which is its
// payload, under that subject. Empty lines are left out.
func Lines(t testing.TB, path, subject string) []Event {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read events: %v", err)
	}
	var events []Event
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			events = append(events, Event{Subject: subject, Payload: string(line)})
		}
	}
	return events
}

// line is one line of a golden file: an output or an outcome.
type line struct {
	Event   int             `json:"event"`
	Output  string          `json:"output,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Key     string          `json:"key,omitempty"`
	Headers [][2]string     `json:"headers,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"` // when it is JSON
	Text    string          `json:"text,omitempty"`    // when it is other text
	Base64  []byte          `json:"base64,omitempty"`  // when it is not text
	Outcome string          `json:"outcome,omitempty"`
	Delay   string          `json:"delay,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

// NDJSON writes r in the format of golden files: one line for each output and
// each outcome, in the order of their events, and outputs without one last.
// An event without either has none.
func (r Result) NDJSON() []byte {
	lines := make([]line, 0, len(r.Outputs)+len(r.Outcomes))
	var without []line
	outcomes := r.Outcomes
	for _, o := range r.Outputs {
		if o.Event < 0 {
			without = append(without, o.line())
			continue
		}
		for len(outcomes) > 0 && outcomes[0].Event < o.Event {
			lines, outcomes = append(lines, outcomes[0].line()), outcomes[1:]
		}
		lines = append(lines, o.line())
	}
	for _, o := range outcomes {
		lines = append(lines, o.line())
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, l := range append(lines, without...) {
		// A line is made of strings and of JSON that was checked.
		_ = encoder.Encode(l)
	}
	return b.Bytes()
}

func (o Output) line() line {
	l := line{Event: o.Event, Output: o.Output, Subject: o.Subject, Key: o.Key}
	for _, h := range o.Headers {
		l.Headers = append(l.Headers, [2]string{h.Name, h.Value})
	}
	switch payload := []byte(o.Payload); {
	case json.Valid(payload):
		l.Payload = payload
	case utf8.Valid(payload):
		l.Text = o.Payload
	default:
		l.Base64 = payload
	}
	return l
}

func (o Outcome) line() line {
	l := line{Event: o.Event, Reason: o.Reason}
	switch o.Code {
	case abi.CodeDrop:
		l.Outcome = "drop"
	case abi.CodeRetry:
		l.Outcome = "retry"
	case abi.CodeDeadLetter:
		l.Outcome = "dead-letter"
	}
	if o.Delay > 0 {
		l.Delay = o.Delay.String()
	}
	return l
}

// Golden compares r with a golden file line by line, and fails the test at the
// first difference. With WASMILL_UPDATE=1 in the environment, or under a flag
// -update that the test package defines itself, it writes the file instead.
func Golden(t testing.TB, path string, r Result) {
	t.Helper()
	got := r.NDJSON()
	if updating() {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatalf("write the golden file: %v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read the golden file (WASMILL_UPDATE=1 writes it): %v", err)
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")), []byte("\n"))
	for i := range max(len(g), len(w)) {
		var gl, wl []byte
		if i < len(g) {
			gl = g[i]
		}
		if i < len(w) {
			wl = w[i]
		}
		if !bytes.Equal(gl, wl) {
			t.Fatalf("%s:%d differs (WASMILL_UPDATE=1 accepts it)\n got: %s\nwant: %s", path, i+1, gl, wl)
		}
	}
}

func updating() bool {
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		return true
	}
	return os.Getenv("WASMILL_UPDATE") == "1"
}
