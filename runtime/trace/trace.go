// Package trace sends the way of some events to an OpenTelemetry receiver, as
// spans over OTLP/HTTP.
//
//	pipeline (any goroutine)               the Tracer's goroutine
//	  Begin: which events of a batch?        take records until there are enough
//	  … writes records down …                or a second is over
//	  End: record → queue, or dropped        records → spans → POST /v1/traces
//
// A pipeline only writes down what happens, in records of its own; spans are made
// of them here. So an event that is not traced costs a look at its header and a
// random number, one that is traced some hundred bytes, and a receiver that is slow
// or gone nothing but the records: the queue is bounded, and who finds it full
// goes on without.
package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what waits for the receiver.
const (
	queueRecords = 8192
	queueBytes   = 16 << 20
	sendRecords  = 512         // in one request
	linger       = time.Second // how long a record waits for more of them
	maxState     = 8 << 10     // of a tracestate; the standard asks for 512 bytes
	closeTimeout = 5 * time.Second
	logEvery     = time.Minute
)

// Results of records, as Listener.Traced has them.
const (
	Sent    = "sent"
	Refused = "refused" // by the receiver, or it could not be reached
	Dropped = "dropped" // too many waited
)

// Options say where spans go and of which events there are any.
type Options struct {
	Endpoint string            // URL of the receiver; /v1/traces is added when it has no path
	Headers  map[string]string // of each request
	Ratio    float64           // share of the events that come without a trace context, 0 to 1
	Service  string            // service.name
	Version  string            // service.version
	Timeout  time.Duration     // of one request, retries included; 0 is 10 s
	Log      *slog.Logger      // nil discards
	Listener event.Listener    // told how many records were sent, refused and dropped
}

// Tracer is an event.Tracer that sends spans. Open starts its goroutine, Close
// sends what waits and ends it.
type Tracer struct {
	opts  Options
	url   string
	below uint64 // a new trace whose lower half, shifted by one, is below is sampled

	queue    chan *event.Trace
	bytes    atomic.Int64 // of what is queued
	lost     atomic.Int64 // dropped since it was logged
	spans    *spans
	exporter *otlptrace.Exporter
	http     *http.Client

	mu struct {
		sync.Mutex
		stop   chan struct{}      // closed by Close; nil before Open
		giveUp context.CancelFunc // ends a request
		done   chan struct{}      // closed when the goroutine has ended
	}
}

var _ event.Tracer = (*Tracer)(nil)

// New returns a Tracer that sends nothing yet. It does no I/O.
func New(o Options) (*Tracer, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New(`traces: the endpoint is not a URL such as "http://127.0.0.1:4318"`)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Listener = o.Listener.WithDefaults()
	t := &Tracer{opts: o, url: u.String(), below: threshold(o.Ratio), queue: make(chan *event.Trace, queueRecords)}
	if t.spans, err = newSpans(o.Service, o.Version); err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's
	transport.MaxIdleConnsPerHost = 1
	t.http = &http.Client{Transport: transport}
	// Everything is said here, so that variables of the environment change nothing.
	t.exporter = otlptrace.NewUnstarted(otlptracehttp.NewClient(
		otlptracehttp.WithHTTPClient(t.http),
		otlptracehttp.WithEndpointURL(t.url),
		otlptracehttp.WithHeaders(o.Headers),
		otlptracehttp.WithTimeout(o.Timeout),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: o.Timeout,
		}),
	))
	return t, nil
}

// threshold is what 63 bits of a sampled trace's ID are below, as in
// OpenTelemetry's TraceIDRatioBased.
func threshold(ratio float64) uint64 {
	switch {
	case !(ratio > 0):
		return 0
	case ratio >= 1:
		return math.MaxUint64
	}
	return uint64(ratio * (1 << 63))
}

// Open starts to send. It does not wait for the receiver.
func (t *Tracer) Open(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.stop != nil {
		return errors.New("traces: open already")
	}
	if err := t.exporter.Start(ctx); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t.run(work, stop)
	}()
	t.mu.stop, t.mu.giveUp, t.mu.done = stop, giveUp, done
	return nil
}

// Close sends what waits, for a few seconds at the most, and ends the goroutine.
// It may be called more than once; records that come later are dropped.
func (t *Tracer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.stop == nil {
		return
	}
	select {
	case <-t.mu.stop:
		return
	default:
	}
	close(t.mu.stop)
	patience := time.AfterFunc(closeTimeout, t.mu.giveUp)
	<-t.mu.done
	patience.Stop()
	t.mu.giveUp()
}

// Begin implements event.Tracer. An event with a trace context is traced when
// that is sampled; of the others, the configured share.
func (t *Tracer) Begin(pipeline, topic string, events []abi.Event, dst []*event.Trace) []*event.Trace {
	var now time.Time
	for i := range events {
		e := &events[i]
		var parent event.SpanContext
		var came []byte
		if e.HeaderCount > 0 {
			if _, v, ok := event.TraceHeader(e.Headers, event.HeaderTraceParent); ok {
				came = v
				parent, ok = event.ParseTraceParent(v)
				if ok && parent.Flags&event.FlagSampled == 0 {
					continue
				}
			}
		}
		own := event.SpanContext{Trace: parent.Trace, Flags: parent.Flags}
		if own.Trace == (event.TraceID{}) {
			id := rand.Uint64()
			if id>>1 >= t.below {
				continue
			}
			own = newTrace(id)
		}
		own.Span = newSpan()
		if now.IsZero() {
			now = time.Now()
			for range events {
				dst = append(dst, nil)
			}
		}
		r := &event.Trace{
			Context: own, Parent: parent, Came: came, Pipeline: pipeline, Topic: topic, Subject: string(e.Subject),
			Seq: e.Seq, Bytes: len(e.Payload), Stored: e.Time, Start: now,
		}
		if parent.Trace != (event.TraceID{}) {
			if _, state, _ := event.TraceHeader(e.Headers, event.HeaderTraceState); len(state) <= maxState {
				r.State = string(state)
			}
		}
		dst[len(dst)-len(events)+i] = r
	}
	return dst
}

// newTrace is the context of a new trace whose ID ends in low.
func newTrace(low uint64) (c event.SpanContext) {
	binary.BigEndian.PutUint64(c.Trace[:8], rand.Uint64()|1) // never all zeros
	binary.BigEndian.PutUint64(c.Trace[8:], low)
	c.Flags = event.FlagSampled
	return c
}

// NewSpan implements event.Tracer.
func (t *Tracer) NewSpan() event.SpanID { return newSpan() }

func newSpan() (s event.SpanID) {
	binary.BigEndian.PutUint64(s[:], max(rand.Uint64(), 1))
	return s
}

// Join implements event.Tracer: the new trace has links to those of the events.
func (t *Tracer) Join(pipeline, topic string, of []*event.Trace) *event.Trace {
	j := &event.Trace{Context: newTrace(rand.Uint64()), Pipeline: pipeline, Topic: topic, Start: time.Now()}
	j.Context.Span = newSpan()
	for _, r := range of {
		if r != nil && len(j.Links) < event.MaxTraced {
			j.Links = append(j.Links, r.Context)
		}
	}
	return j
}

// End implements event.Tracer.
func (t *Tracer) End(r *event.Trace) {
	r.Came = nil // a view of the event
	size := int64(r.Size())
	if t.bytes.Add(size) <= queueBytes {
		select {
		case t.queue <- r:
			return
		default:
		}
	}
	t.bytes.Add(-size)
	t.lost.Add(1)
	t.opts.Listener.Traced(Dropped, 1)
}
