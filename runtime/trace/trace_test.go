package trace

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/trace/tracetest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceA = "0af7651916cd43dd8448eb211c80319c"
	spanX  = "b7ad6b7169203331"
)

// counts is a Listener that counts what became of records.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) listener() event.Listener {
	return event.Listener{Traced: func(result string, n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n == nil {
			c.n = map[string]int{}
		}
		c.n[result] += n
	}}
}

func (c *counts) of(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[result]
}

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func open(t *testing.T, o Options) *Tracer {
	t.Helper()
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func events(parents ...string) []abi.Event {
	out := make([]abi.Event, len(parents))
	for i, p := range parents {
		out[i] = abi.Event{Seq: uint64(i + 1), Time: time.Now().UnixNano(), Subject: []byte("in.a"), Payload: []byte("x")}
		if p != "" {
			out[i].Headers, out[i].HeaderCount = abi.AppendHeader(nil, "traceparent", p), 1
		}
	}
	return out
}

func TestWhichEventsAreTraced(t *testing.T) {
	sampled, not := "00-"+traceA+"-"+spanX+"-01", "00-"+traceA+"-"+spanX+"-00"
	for name, tc := range map[string]struct {
		ratio  float64
		parent string
		traced bool
	}{
		"a sampled one at 0":      {0, sampled, true},
		"one that is not at 1":    {1, not, false},
		"one without at 0":        {0, "", false},
		"one without at 1":        {1, "", true},
		"one with nonsense at 1":  {1, "nonsense", true},
		"one with nonsense at 0":  {0, "nonsense", false},
		"a sampled one at a half": {0.5, sampled, true},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := New(Options{Endpoint: "http://127.0.0.1:1", Ratio: tc.ratio})
			if err != nil {
				t.Fatal(err)
			}
			earlier := []*event.Trace{{Seq: 99}}
			got := tr.Begin("p", "in", events(not, tc.parent, not), earlier)
			if !tc.traced {
				if len(got) != 1 {
					t.Fatalf("traced: %v", got)
				}
				return
			}
			if len(got) != 4 || got[0].Seq != 99 || got[1] != nil || got[2] == nil || got[3] != nil {
				t.Fatalf("records: %v", got)
			}
			r := got[2]
			if r.Seq != 2 || r.Context.Flags&event.FlagSampled == 0 || r.Context.Span == (event.SpanID{}) || r.Context.Span == r.Parent.Span {
				t.Errorf("record: %+v", r)
			}
			if continued := r.Context.Trace.String() == traceA; continued != (tc.parent == sampled) {
				t.Errorf("trace %s for an event with %q", r.Context.Trace, tc.parent)
			}
		})
	}
	t.Run("a share of those without", func(t *testing.T) {
		tr, err := New(Options{Endpoint: "http://127.0.0.1:1", Ratio: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range 100 {
			for _, r := range tr.Begin("p", "in", events(make([]string, 500)...), nil) {
				if r != nil {
					n++
				}
			}
		}
		if n < 4000 || n > 6000 { // 5000 are expected, and 15 standard deviations allowed
			t.Errorf("%d of 50000 are traced, want about 5000", n)
		}
	})
	t.Run("no garbage for the others", func(t *testing.T) {
		tr, err := New(Options{Endpoint: "http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		list, buf := events(make([]string, 500)...), make([]*event.Trace, 0, 500)
		list[7] = events(not)[0]
		if n := testing.AllocsPerRun(20, func() { buf = tr.Begin("p", "in", list, buf[:0]) }); n != 0 {
			t.Errorf("%v allocations a batch", n)
		}
	})
}

func TestSpans(t *testing.T) {
	rcv := tracetest.New()
	defer rcv.Close()
	var c counts
	tr := open(t, Options{
		Endpoint: rcv.URL(), Ratio: 0, Service: "mill", Version: "1.2.3", Listener: c.listener(),
		Headers: map[string]string{"Authorization": "Bearer abc"},
	})
	list := events("00-" + traceA + "-" + spanX + "-01")
	list[0].Headers, list[0].HeaderCount = abi.AppendHeader(list[0].Headers, "tracestate", "vendor=1"), 2
	r := tr.Begin("alerts", "quakes", list, nil)[0]
	begin := r.Start
	r.Call(&event.TracedCall{
		Stage: "strong", Plugin: "strong", Digest: "d1", Start: begin, Duration: time.Millisecond,
		Batch: 512, Events: 1, Attempt: 1, Outcome: event.OutcomeFault, Fault: abi.FaultTrap, Cause: "unreachable",
	})
	r.Note(event.TracedNote{Name: "retry", Stage: "strong", Attempt: 1, Delay: time.Second, Fault: abi.FaultTrap, Cause: "unreachable"})
	r.Call(&event.TracedCall{
		Stage: "strong", Plugin: "strong", Start: begin.Add(time.Second), Duration: time.Millisecond,
		Batch: 1, Events: 1, Outputs: 2, Attempt: 2, Outcome: event.OutcomeEmitted,
	})
	out := r.Output("alerts", tr)
	out.Messages, out.Bytes = 2, 100
	r.Output("refused", tr) // nothing was published to it
	published := r.Outputs[0].Parent
	j := tr.Join("alerts", "quakes", []*event.Trace{nil, r})
	r.Finish = begin.Add(2 * time.Second)
	j.Finish = r.Finish
	tr.End(r)
	tr.End(j)
	eventually(t, "the spans arrive", func() bool { return len(rcv.Spans()) == 5 })

	var stages []tracetest.Span
	byName := map[string]tracetest.Span{}
	var joint tracetest.Span
	for _, s := range rcv.Spans() {
		switch {
		case s.Name == "stage strong":
			stages = append(stages, s)
		case len(s.Links) > 0:
			joint = s
		default:
			byName[s.Name] = s
		}
	}
	root := byName["process quakes"]
	if root.Trace != traceA || root.Parent != spanX || root.State != "vendor=1" || root.Kind != otlp.Span_SPAN_KIND_CONSUMER || root.Failed {
		t.Errorf("the span of the event: %+v", root)
	}
	for key, want := range map[string]any{
		"messaging.system": "nats", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "quakes", "messaging.consumer.group.name": "alerts", "messaging.message.id": "1",
		"messaging.message.body.size": int64(1), "wasmill.subject": "in.a", "wasmill.pipeline": "alerts",
	} {
		if root.Attributes[key] != want {
			t.Errorf("%s of the event is %v, want %v", key, root.Attributes[key], want)
		}
	}
	if root.Resource["service.name"] != "mill" || root.Resource["service.version"] != "1.2.3" {
		t.Errorf("resource: %v", root.Resource)
	}
	if root.End-root.Start != uint64(2*time.Second) || len(root.Events) != 1 || root.Events[0].Attributes["error.type"] != abi.FaultTrap {
		t.Errorf("the span of the event: %+v", root)
	}
	if len(stages) != 2 || stages[0].Parent != root.ID || stages[1].Trace != traceA {
		t.Fatalf("the calls: %+v", stages)
	}
	if s := stages[0]; !s.Failed || s.Message != "unreachable" || s.Attributes["error.type"] != abi.FaultTrap || s.Attributes["messaging.batch.message_count"] != int64(512) || s.Attributes["wasmill.plugin.digest"] != "d1" {
		t.Errorf("the call that failed: %+v", s)
	}
	if s := stages[1]; s.Failed || s.Attributes["wasmill.attempt"] != int64(2) || s.Attributes["wasmill.outputs"] != int64(2) || s.End-s.Start != uint64(time.Millisecond) {
		t.Errorf("the call that succeeded: %+v", s)
	}
	pub := byName["publish alerts"]
	if pub.Kind != otlp.Span_SPAN_KIND_PRODUCER || pub.Parent != root.ID || pub.Attributes["messaging.batch.message_count"] != int64(2) ||
		pub.Attributes["messaging.operation.type"] != "send" || pub.Attributes["messaging.destination.name"] != "alerts" {
		t.Errorf("the publication: %+v", pub)
	}
	if want := "00-" + traceA + "-" + pub.ID + "-01"; published != want {
		t.Errorf("outputs bear %q, want the span of their publication: %q", published, want)
	}
	if joint.Trace == traceA || joint.Parent != "" || len(joint.Links) != 1 || joint.Links[0] != traceA {
		t.Errorf("the joint span: %+v", joint)
	}
	if h := rcv.Headers()[0]; h.Get("Authorization") != "Bearer abc" {
		t.Errorf("headers of the request: %v", h)
	}
	eventually(t, "the records are counted", func() bool { return c.of(Sent) == 2 })
}

// record is one that is complete.
func record(tr *Tracer) *event.Trace {
	j := tr.Join("p", "in", nil)
	j.Finish = j.Start
	return j
}

// A receiver that is slow or gone costs records, never time.
func TestAReceiverThatFails(t *testing.T) {
	t.Run("that refuses", func(t *testing.T) {
		rcv := tracetest.New()
		defer rcv.Close()
		rcv.Refuse(http.StatusBadRequest)
		var c counts
		var log safeBuffer
		tr := open(t, Options{Endpoint: rcv.URL(), Listener: c.listener(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		for n := 1; n <= 3; n++ { // three requests
			for range sendRecords {
				tr.End(record(tr))
			}
			eventually(t, "the records are counted", func() bool { return c.of(Refused) == n*sendRecords })
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("the log has %d lines, want one a minute:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "refused by the test") {
			t.Errorf("the log does not say why:\n%s", log.String())
		}
		rcv.Refuse(0)
		tr.End(record(tr))
		eventually(t, "it is used again", func() bool { return c.of(Sent) == 1 })
	})
	t.Run("that is not there", func(t *testing.T) {
		rcv := tracetest.New()
		rcv.Close()
		var c counts
		tr := open(t, Options{Endpoint: rcv.URL(), Listener: c.listener()})
		tr.End(record(tr))
		eventually(t, "the record is counted", func() bool { return c.of(Refused) == 1 })
	})
	t.Run("that does not answer", func(t *testing.T) {
		rcv := tracetest.New()
		defer rcv.Close()
		rcv.Hold(true)
		var c counts
		tr := open(t, Options{Endpoint: rcv.URL(), Listener: c.listener(), Timeout: time.Minute})
		const n = queueRecords + 3*sendRecords
		for range n { // returns, though nothing is taken
			tr.End(record(tr))
		}
		if got := c.of(Dropped); got < sendRecords || got > 3*sendRecords {
			t.Errorf("%d records were dropped", got)
		}
		rcv.Hold(false)
		eventually(t, "those that waited arrive", func() bool { return c.of(Sent) == n-c.of(Dropped) })
	})
	t.Run("with records that take much memory", func(t *testing.T) {
		rcv := tracetest.New()
		defer rcv.Close()
		rcv.Hold(true)
		var c counts
		tr := open(t, Options{Endpoint: rcv.URL(), Listener: c.listener(), Timeout: time.Minute})
		big := strings.Repeat("x", 1<<20)
		for range sendRecords + queueBytes>>20 + 10 {
			r := record(tr)
			r.State = big
			tr.End(r)
		}
		if c.of(Dropped) == 0 {
			t.Errorf("more than %d bytes wait", queueBytes)
		}
	})
}

func TestCloseSendsWhatWaits(t *testing.T) {
	rcv := tracetest.New()
	defer rcv.Close()
	tr := open(t, Options{Endpoint: rcv.URL()})
	for range sendRecords + 1 {
		tr.End(record(tr))
	}
	tr.Close()
	tr.Close()
	if n := len(rcv.Spans()); n != sendRecords+1 {
		t.Errorf("%d spans have come, want %d", n, sendRecords+1)
	}
	tr.End(record(tr)) // too late, and harmless
}

func TestCloseGivesUpOnAReceiverThatDoesNotAnswer(t *testing.T) {
	rcv := tracetest.New()
	defer rcv.Close()
	rcv.Hold(true)
	tr := open(t, Options{Endpoint: rcv.URL(), Timeout: time.Hour})
	tr.End(record(tr))
	tr.Close()
	if n := len(rcv.Spans()); n != 0 {
		t.Errorf("%d spans have come", n)
	}
}

func TestNewRefusesWhatIsNoEndpoint(t *testing.T) {
	for _, endpoint := range []string{"", "collector:4318", "grpc://collector:4317", "http://", "::"} {
		if _, err := New(Options{Endpoint: endpoint}); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
}
