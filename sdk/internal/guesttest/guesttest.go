// Package guesttest is what the test plugin of every SDK must do on the real
// host, so that the SDKs stay one family: the same outcomes, the same words in
// the errors, the same values. Only tests import it.
//
// The test plugin does what the payload of an event says, as testdata/guest.c
// of the SDK for C shows.
package guesttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Guest is a test plugin under test.
type Guest struct {
	Module []byte
	Panic  []string // what the fault of a panic says
	Trap   []string // what the fault of a trap says

	host       *host.Host
	generation *host.Generation
	instance   *host.Instance
	spec       host.InstanceSpec
	result     abi.Result

	mu      sync.Mutex
	lines   []string
	metrics map[string]float64
}

// Config is what the test plugin is opened with.
const Config = `{"greeting":"hellö \"you\"","wait":"1m30s","factor":0.1,"size_limit":-7,"areas":[{"name":"a"}]}`

const memory = 64 << 20

// Run opens the guest and runs all checks.
func (g *Guest) Run(t *testing.T) {
	t.Helper()
	g.host = host.New(host.Options{CacheDir: filepath.Join(t.TempDir(), "cache")})
	if err := g.host.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.host.Close(t.Context()) })
	g.metrics = map[string]float64{}
	g.spec = host.InstanceSpec{Pipeline: "line", Partition: 2, Outputs: []string{"default", "other"}}

	t.Run("refuses its configuration in words", g.refuses)
	g.generation = g.load(t, Config)
	g.open(t)
	t.Run("reads the event, its configuration and its grants", g.reads)
	t.Run("finds in JSON what the others find", func(t *testing.T) { Finds(t, g.one) })
	t.Run("emits", g.emits)
	t.Run("decides", g.decides)
	t.Run("logs and counts", g.logs)
	t.Run("a fault fails its call in words", g.faults)
	t.Run("grows its buffers and is done with them", g.grows)
	t.Run("keeps no garbage", g.leaks)
	t.Run("emits when it closes", g.closes)
}

func (g *Guest) load(t *testing.T, config string) *host.Generation {
	t.Helper()
	generation, err := g.host.Load(t.Context(), host.Spec{
		Name: "guest", Module: g.Module, Grants: []string{"clock", "random", "secret"}, Config: json.RawMessage(config),
		Limits:  host.Limits{Memory: memory, MaxOutputBytes: 32 << 20, MaxOutputs: 20000},
		Secrets: map[string]string{"long": strings.Repeat("s", 1000)},
		Log: func(_ string, _, level int, line string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.lines = append(g.lines, fmt.Sprint(level, " ", line))
		},
		Metric: func(_, name string, _ int, value float64) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.metrics[name] += value
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = generation.Close(t.Context()) })
	return generation
}

func (g *Guest) open(t *testing.T) {
	t.Helper()
	instance, err := g.generation.NewInstance(t.Context(), g.spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(instance.Discard)
	g.instance = instance
}

// process hands one batch to the guest.
func (g *Guest) process(t *testing.T, payloads ...string) *abi.Result {
	t.Helper()
	if err := g.call(t, payloads...); err != nil {
		t.Fatal(err)
	}
	return &g.result
}

func (g *Guest) call(t *testing.T, payloads ...string) error {
	t.Helper()
	headers := abi.AppendHeader(abi.AppendHeader(abi.AppendHeader(nil, "A", "1"), "B", ""), "A", "2")
	events := make([]abi.Event, len(payloads))
	for i, p := range payloads {
		events[i] = abi.Event{
			Seq: uint64(i + 1), Time: 1517365017350000000, Attempt: 3, Subject: []byte("a.b"), Key: []byte("k"),
			HeaderCount: 3, Headers: headers, Payload: []byte(p),
		}
	}
	return g.instance.Process(t.Context(), abi.BatchHeader{ID: 1}, events, &g.result)
}

// one hands one event to the guest and returns the payload of its one output.
func (g *Guest) one(t *testing.T, payload string) string {
	t.Helper()
	r := g.process(t, payload)
	if len(r.Outputs) != 1 || len(r.Outcomes) != 0 {
		t.Fatalf("%.80q: got %d outputs and the outcomes %+v, want one output", payload, len(r.Outputs), r.Outcomes)
	}
	return string(r.Outputs[0].Payload)
}

func (g *Guest) refuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"greting":1}`:           `config: unknown key "greting"; there is `,
		`{"wait":5}`:              `config.wait: want a duration such as "1.5s", got 5`,
		`{"wait":"5 parsecs"}`:    `config.wait: want a duration such as "1.5s", got "5 parsecs"`,
		`{"factor":"x"}`:          `config.factor: want a number, got "x"`,
		`{"size_limit":1.5}`:      `config.size_limit: want an integer, got 1.5`,
		`{"greeting":["a"]}`:      `config.greeting: want a string, got ["a"]`,
		`{"refuse":"yes"}`:        `config.refuse: want a boolean, got "yes"`,
		`{"refuse":true}`:         `greeting is rude; wait is long`,
		`{"gre\u0065ting":false}`: `config.greeting: want a string, got false`,
	} {
		_, err := g.load(t, config).NewInstance(t.Context(), g.spec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func (g *Guest) reads(t *testing.T) {
	for payload, want := range map[string]string{
		"greet":                              `hellö "you" 90000000000 0.1 -7 guest line 2`,
		"fields":                             `a.b token=b none="" key=k seq=1 time=1517365017350000000 attempt=3 A=1 A:1 B: A:2`,
		"random":                             "true",
		"secret long":                        "1000",
		"secret x":                           "none",
		"quote a\"\\/\x01\n\u00e9\U0001F600": `"a\"\\/\u0001\n` + "\u00e9\U0001F600" + `"`,
	} {
		if got := g.one(t, payload); got != want {
			t.Errorf("%s: got %s, want %s", payload, got, want)
		}
	}
	if got := g.one(t, "now"); len(got) != 19 || got < "17" {
		t.Errorf("the time is %s", got)
	}
}

func (g *Guest) emits(t *testing.T) {
	r := g.process(t, "pass", "nothing", "twice", "pass-to other", "pass-as", "copy")
	byRef := abi.FlagPayloadRef | abi.FlagKeepHeaders
	want := []abi.Output{
		{Source: 0, Flags: byRef},
		{Source: 2, Flags: byRef},
		{Source: 2, Flags: byRef, ID: 1},
		{Source: 3, Flags: byRef, ID: 1},
		{Source: 4, Flags: byRef, ID: 1, HeaderCount: 2, Subject: []byte("as.x"), Key: []byte("K"), Headers: abi.AppendHeader(abi.AppendHeader(nil, "X", "1"), "Y", "")},
		{Source: 5, Flags: abi.FlagKeepHeaders, ID: 1, Subject: []byte("copied"), Key: []byte("k"), Payload: []byte("copy")},
	}
	if len(r.Outputs) != len(want) || len(r.Outcomes) != 0 {
		t.Fatalf("got %+v", r)
	}
	for i := range want {
		if got, want := fmt.Sprintf("%+q", show(r.Outputs[i])), fmt.Sprintf("%+q", show(want[i])); got != want {
			t.Errorf("output %d is %s, want %s", i, got, want)
		}
	}
}

func show(o abi.Output) []string {
	return []string{fmt.Sprint(o.Source, o.Flags, o.ID, o.HeaderCount), string(o.Subject), string(o.Key), string(o.Headers), string(o.Payload)}
}

func (g *Guest) decides(t *testing.T) {
	payloads := []string{"pass", "drop", "drop no use", "drop no use", "retry", "later", "dead", "dead gone", "fail oh\nno", "bad output", "bad header", "pass"}
	r := g.process(t, payloads...)
	if len(r.Outputs) != 2 || r.Outputs[1].Source != 11 {
		t.Fatalf("got the outputs %+v, want those of the first and the last event", r.Outputs)
	}
	want := []abi.Outcome{
		{Index: 1, Code: abi.CodeDrop},
		{Index: 2, Code: abi.CodeDrop, Reason: []byte("no use")},
		{Index: 3, Code: abi.CodeDrop, Reason: []byte("no use")},
		{Index: 4, Code: abi.CodeRetry},
		{Index: 5, Code: abi.CodeRetry, Delay: 1000, Reason: []byte("busy")},
		{Index: 6, Code: abi.CodeDeadLetter},
		{Index: 7, Code: abi.CodeDeadLetter, Reason: []byte("gone")},
		{Index: 8, Code: abi.CodeRetry, Reason: []byte("oh\nno")},
		{Index: 9, Code: abi.CodeRetry, Reason: []byte(`the pipeline has no output "nowhere" here; it has default, other`)},
		{Index: 10, Code: abi.CodeRetry, Reason: []byte("a message has a header that cannot travel: its name has a byte that is not allowed")},
	}
	if len(r.Outcomes) != len(want) {
		t.Fatalf("got the outcomes %+v", r.Outcomes)
	}
	for i, o := range want {
		got := r.Outcomes[i]
		if got.Index != o.Index || got.Code != o.Code || got.Delay != o.Delay || !bytes.Equal(got.Reason, o.Reason) {
			t.Errorf("%q: got %+v (%q), want %+v (%q)", payloads[o.Index], got, got.Reason, o, o.Reason)
		}
	}
	long := g.process(t, "dead "+strings.Repeat("x", 1<<17)).Outcomes
	if len(long) != 1 || !strings.HasPrefix(string(long[0].Reason), strings.Repeat("x", 1000)) {
		t.Errorf("a reason of 128 KiB: got %d outcomes", len(long))
	}
}

func (g *Guest) logs(t *testing.T) {
	g.process(t, "log", "log")
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.lines, "\n"); !strings.Contains(got, "4 careful seq=2") {
		t.Errorf("the log is %s", got)
	}
	if g.metrics["seen_total"] != 2 || g.metrics["size_bytes"] != 6 || g.metrics["level"] != 0.5 || len(g.metrics) != 3 {
		t.Errorf("the metrics are %v", g.metrics)
	}
}

func (g *Guest) faults(t *testing.T) {
	for payload, says := range map[string][]string{
		"panic":              append([]string{"trap: panic: boom; at "}, g.Panic...),
		"trap":               append([]string{"trap: "}, g.Trap...),
		"garbage 1000000000": {"out_of_memory: memory limit of 64 MiB reached"},
	} {
		err := g.call(t, "pass", payload)
		if err == nil {
			t.Errorf("%s: no fault", payload)
			continue
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: the fault is %q, want %q in it", payload, err, s)
			}
		}
		if got := g.one(t, "greet"); !strings.HasPrefix(got, "hell") {
			t.Errorf("after %s: the fresh guest says %s", payload, got)
		}
	}
}

func (g *Guest) grows(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 1 << 10, 1<<16 - 1, 1 << 16, 1 << 20, 3 << 20, 100} {
		body := strings.Repeat("x", n)
		r := g.process(t, body, body)
		if len(r.Outputs) != 2 || string(r.Outputs[0].Payload) != body || string(r.Outputs[1].Payload) != body {
			t.Fatalf("%d bytes: %d outputs", n, len(r.Outputs))
		}
	}
	r := g.process(t, "fan 10000", "drop", "fan 1")
	if len(r.Outputs) != 10001 || len(r.Outcomes) != 1 {
		t.Fatalf("%d outputs, %d outcomes", len(r.Outputs), len(r.Outcomes))
	}
	for i, o := range r.Outputs {
		if len(o.Payload) != 1000 || strings.Trim(string(o.Payload), "x") != "" {
			t.Fatalf("output %d is %q", i, o.Payload)
		}
	}
}

// leaks hands 200,000 events to the guest. Its memory may grow only at first.
func (g *Guest) leaks(t *testing.T) {
	batch := make([]string, 0, 1000)
	for len(batch) < cap(batch) {
		batch = append(batch, "pass", "copy", "drop no use", "dead gone", "fields", "find /a/b\n"+`{"a":{"b":"x\ty"}}`, "garbage 1000", "quote x", "log", "fan 1")
	}
	rounds := 200
	if testing.Short() || raceEnabled {
		rounds = 40
	}
	var early int64
	for i := range rounds {
		g.process(t, batch...)
		if i == rounds/4 {
			early = g.instance.Memory()
		}
	}
	if now := g.instance.Memory(); now > early {
		t.Errorf("the memory grew from %d to %d bytes", early, now)
	}
}

func (g *Guest) closes(t *testing.T) {
	if err := g.instance.Close(t.Context(), &g.result); err != nil {
		t.Fatal(err)
	}
	r := &g.result
	if len(r.Outputs) != 1 || string(r.Outputs[0].Subject) != "bye" || string(r.Outputs[0].Payload) != `hellö "you"` || r.Outputs[0].Source != abi.NoSource {
		t.Errorf("got %+v", r)
	}
}
