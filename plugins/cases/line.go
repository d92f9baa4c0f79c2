package cases

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const defaultOutput = "default"

// Outcomes, as case files name them.
const (
	outcomeDrop       = "drop"
	outcomeRetry      = "retry"
	outcomeDeadLetter = "dead-letter"
	outcomeRefused    = "refused"
	outcomeHalt       = "halt" // of a pipeline with on_failure = "halt"
)

// written is a Line, or an event, as it stands in a file: what is empty is left
// out. The order of the keys is that of the golden files of sdk/sdktest.
type written struct {
	Output  *string         `json:"output,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Key     string          `json:"key,omitempty"`
	Headers json.RawMessage `json:"headers,omitempty"`
	Time    string          `json:"time,omitempty"`
	Seq     uint64          `json:"seq,omitempty"`
	Attempt int             `json:"attempt,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Text    string          `json:"text,omitempty"`
	Base64  []byte          `json:"base64,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
	Delay   string          `json:"delay,omitempty"`
	Stage   string          `json:"stage,omitempty"`
	Fault   string          `json:"fault,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Log     *string         `json:"log,omitempty"`
	Level   string          `json:"level,omitempty"`
}

// JSON is the line as it stands in a file, without a line break.
func (l Line) JSON() []byte {
	w := written{Outcome: l.Outcome, Stage: l.Stage, Fault: l.Fault, Reason: l.Reason}
	switch l.Kind {
	case LineOutput:
		w.Output = &l.Output
		w.message(l.Subject, l.Key, l.Headers, l.Payload)
	case LineLog:
		w.Log, w.Level = &l.Log, l.Level
	case LineOutcome, LineFault:
		if l.Delay > 0 {
			w.Delay = l.Delay.String()
		}
	}
	return w.json()
}

// JSON is the event as it stands in a file, without a line break.
func (e Event) JSON() []byte {
	w := written{Seq: e.Seq, Attempt: e.Attempt}
	if !e.Time.IsZero() {
		w.Time = e.Time.UTC().Format(time.RFC3339Nano)
	}
	w.message(e.Subject, e.Key, e.Headers, e.Payload)
	return w.json()
}

func (w *written) message(subject, key string, headers []Header, payload []byte) {
	w.Subject, w.Key = subject, key
	if len(headers) > 0 {
		w.Headers = headersJSON(headers)
	}
	switch {
	case len(payload) == 0:
	case json.Valid(payload):
		w.Payload = payload
	case utf8.Valid(payload):
		w.Text = string(payload)
	default:
		w.Base64 = payload
	}
}

func (w *written) json() []byte { return marshal(w) }

// marshal is for values that are made of strings and of JSON that was checked.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// headersJSON writes an object, or pairs when a name is there twice.
func headersJSON(headers []Header) json.RawMessage {
	seen := map[string]bool{}
	var b bytes.Buffer
	for i, h := range headers {
		if seen[h.Name] {
			return marshal(pairsOf(headers))
		}
		seen[h.Name] = true
		b.WriteByte("{,"[min(i, 1)])
		b.Write(marshal(h.Name))
		b.WriteByte(':')
		b.Write(marshal(h.Value))
	}
	b.WriteByte('}')
	return b.Bytes()
}

func pairsOf(headers []Header) [][2]string {
	pairs := make([][2]string, len(headers))
	for i, h := range headers {
		pairs[i] = [2]string{h.Name, h.Value}
	}
	return pairs
}

// shown is a line spread over several, in one form for all that mean the same:
// keys sorted, numbers by value.
func (l Line) shown() []string {
	l.Headers = slices.Clone(l.Headers)
	slices.SortStableFunc(l.Headers, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	if l.Kind == LineOutput && json.Valid(l.Payload) {
		l.Payload = canonical(l.Payload)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, l.JSON(), "", "  "); err != nil {
		return []string{string(l.JSON())} // cannot be
	}
	return strings.Split(b.String(), "\n")
}

func canonical(raw []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return raw
	}
	return marshal(byValue(v))
}

// byValue writes numbers that are equal in the same way.
func byValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = byValue(v[k])
		}
	case []any:
		for i := range v {
			v[i] = byValue(v[i])
		}
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return v
		}
		f, err := v.Float64()
		switch {
		case err != nil:
			return v
		case f == math.Trunc(f) && math.Abs(f) < 1<<53:
			return json.Number(strconv.FormatInt(int64(f), 10))
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return v
}
