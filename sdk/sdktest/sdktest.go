// Package sdktest runs a plugin in a plain Go test: natively, but on the same
// frames and through the same code as in WebAssembly.
//
//	func TestStrong(t *testing.T) {
//		p := sdktest.Open(t, sdktest.Options{Config: map[string]any{"min": 4.5}})
//		r := p.Process(sdktest.Lines(t, "testdata/quakes.ndjson", "quakes.raw")...)
//		sdktest.Golden(t, "testdata/strong.golden.ndjson", r)
//	}
//
// The test is in the plugin's own package, so that the plugin is registered.
package sdktest

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Options describe the instance to test. The zero value is an instance of the
// registered plugin without a configuration, with the default output only and
// without grants.
type Options struct {
	Plugin    sdk.Opener // nil = the registered plugin
	Config    any        // what [plugins.NAME.config] would hold, as encoding/json writes it
	Outputs   []string   // the named outputs, beside "default"
	Name      string     // of the plugin
	Pipeline  string
	Partition int

	// Grants: what is nil is not granted, and a handler that uses it panics.
	Now     func() time.Time  // "clock"
	Random  func(b []byte)    // "random"
	Secrets map[string]string // "secret"
}

// Plugin is an instance under test. Not for concurrent use; several may be open
// at once, also in parallel tests.
type Plugin struct {
	t       testing.TB
	guest   *sdk.Guest
	outputs []string
	batches uint64
	seq     uint64
	mu      struct {
		sync.Mutex
		logs    []Log
		metrics map[string]Metric
	}
}

// Event is an event for a handler.
type Event struct {
	Subject string // "" = "test"
	Key     string
	Headers []sdk.Header
	Payload string
	Seq     uint64    // 0 = one more than the event before
	Time    time.Time // the zero time = the Unix epoch
	Attempt int       // 0 = 1
}

// Log is a line that the plugin logged.
type Log struct {
	Level sdk.Level
	Line  string
}

// Metric is what a plugin counted under one name. Value is the sum of a counter
// or a histogram and the last value of a gauge; Count is how often it changed.
type Metric struct {
	Kind  int // one of abi's Metric constants
	Count int
	Value float64
}

// Open opens an instance. It fails the test when the plugin refuses.
func Open(t testing.TB, o Options) *Plugin {
	t.Helper()
	p, err := open(t, o)
	if err != nil {
		t.Fatalf("open the plugin: %v", err)
	}
	return p
}

// Refused returns the error with which the plugin refuses to open. It fails the
// test when the plugin opens.
func Refused(t testing.TB, o Options) error {
	t.Helper()
	_, err := open(t, o)
	if err == nil {
		t.Fatal("the plugin opened; it was expected to refuse")
	}
	return err
}

func open(t testing.TB, o Options) (*Plugin, error) {
	t.Helper()
	p := &Plugin{t: t, outputs: append([]string{"default"}, o.Outputs...)}
	p.mu.metrics = map[string]Metric{}
	host := &sdk.Host{Log: p.log, Metric: p.metric, Now: o.Now, Random: o.Random}
	grants := []string{}
	if o.Now != nil {
		grants = append(grants, abi.GrantClock)
	}
	if o.Random != nil {
		grants = append(grants, abi.GrantRandom)
	}
	if o.Secrets != nil {
		grants = append(grants, abi.GrantSecret)
		host.Secret = func(name string) (string, bool) {
			value, ok := o.Secrets[name]
			return value, ok
		}
	}
	document := map[string]any{
		"grants": grants, "plugin": o.Name, "pipeline": o.Pipeline, "partition": o.Partition, "outputs": p.outputs,
	}
	if o.Config != nil {
		document["config"] = o.Config
	}
	doc, err := json.Marshal(document)
	if err != nil {
		t.Fatalf("write the configuration as JSON: %v", err)
	}
	p.guest = sdk.NewGuest(o.Plugin, host)
	return p, p.guest.Open(doc)
}

// Process hands events to the handler as one batch and returns what became of
// them. A batch that fails as a whole, which no handler can cause, fails the test.
func (p *Plugin) Process(events ...Event) Result {
	p.t.Helper()
	views := make([]abi.Event, len(events))
	size := abi.BatchHeaderSize
	for i := range events {
		views[i] = p.view(&events[i])
		size += abi.EventSize(&views[i])
	}
	frame := make([]byte, size)
	p.batches++
	abi.PutBatchHeader(frame, abi.BatchHeader{Kind: abi.KindData, Count: uint32(len(events)), ID: p.batches}, size)
	for i, at := 0, abi.BatchHeaderSize; i < len(views); i++ {
		at += abi.PutEvent(frame[at:], &views[i])
	}
	response, err := p.guest.Process(frame)
	if err != nil {
		p.t.Fatalf("process a batch: %v", err)
	}
	return p.result(response, views)
}

// Close ends the instance and returns what its OnClose hooks emitted. It fails
// the test when one of them fails.
func (p *Plugin) Close() Result {
	p.t.Helper()
	response, err := p.guest.Close()
	if err != nil {
		p.t.Fatalf("close the plugin: %v", err)
	}
	return p.result(response, nil)
}

// Logs returns the lines logged so far.
func (p *Plugin) Logs() []Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Log(nil), p.mu.logs...)
}

// Metric returns what was counted so far under name; the zero Metric when
// nothing was.
func (p *Plugin) Metric(name string) Metric {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.metrics[name]
}

func (p *Plugin) log(level sdk.Level, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.logs = append(p.mu.logs, Log{level, line})
}

func (p *Plugin) metric(name string, kind int, value float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.mu.metrics[name]
	m.Kind = kind
	m.Count++
	if kind == abi.MetricGauge {
		m.Value = value
	} else {
		m.Value += value
	}
	p.mu.metrics[name] = m
}

// view fills in what e leaves open.
func (p *Plugin) view(e *Event) abi.Event {
	p.seq++
	if e.Seq != 0 {
		p.seq = e.Seq
	}
	v := abi.Event{
		Seq: p.seq, Attempt: uint32(max(e.Attempt, 1)), HeaderCount: uint32(len(e.Headers)),
		Subject: []byte(e.Subject), Key: []byte(e.Key), Payload: []byte(e.Payload),
	}
	if !e.Time.IsZero() {
		v.Time = e.Time.UnixNano()
	}
	if e.Subject == "" {
		v.Subject = []byte("test")
	}
	for _, h := range e.Headers {
		v.Headers = abi.AppendHeader(v.Headers, h.Name, h.Value)
	}
	return v
}
