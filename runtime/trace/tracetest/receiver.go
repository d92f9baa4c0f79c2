// Package tracetest has a receiver of OpenTelemetry traces for tests: OTLP over
// HTTP, in protobuf, as a collector takes it.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span as it came, with IDs in hex.
type Span struct {
	Trace, ID, Parent, State string
	Name                     string
	Kind                     otlp.Span_SpanKind
	Start, End               uint64         // ns
	Attributes               map[string]any // string, int64, float64 or bool
	Resource                 map[string]any // of the process it comes from
	Events                   []Event
	Links                    []string // traces
	Failed                   bool
	Message                  string // why
}

// Event is a moment within a Span.
type Event struct {
	Name       string
	Attributes map[string]any
}

// Receiver takes traces. Safe for concurrent use.
type Receiver struct {
	server *httptest.Server

	mu       sync.Mutex
	spans    []Span
	headers  []http.Header
	requests int
	refuse   int           // status of the answer; 0 = 200
	hold     chan struct{} // not nil: requests wait until it is closed
}

// New returns a Receiver that listens until Close.
func New() *Receiver {
	r := &Receiver{}
	r.server = httptest.NewServer(http.HandlerFunc(r.take))
	return r
}

// URL is where it listens; OTLP adds /v1/traces.
func (r *Receiver) URL() string { return r.server.URL }

// Close ends it.
func (r *Receiver) Close() {
	r.Hold(false)
	r.server.Close()
}

// Refuse makes it answer with a status; 0 is to take what comes.
func (r *Receiver) Refuse(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = status
}

// Hold makes requests wait until Hold(false).
func (r *Receiver) Hold(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case on && r.hold == nil:
		r.hold = make(chan struct{})
	case !on && r.hold != nil:
		close(r.hold)
		r.hold = nil
	}
}

// Spans are those that have come.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Headers are those of each request that was taken.
func (r *Receiver) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]http.Header(nil), r.headers...)
}

// Requests is how many have come, also those that were refused or wait.
func (r *Receiver) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests++
	status, hold := r.refuse, r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-req.Context().Done():
			return
		}
	}
	if status != 0 {
		http.Error(w, "refused by the test", status)
		return
	}
	spans, err := decode(req)
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.spans = append(r.spans, spans...)
	r.headers = append(r.headers, req.Header.Clone())
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func decode(req *http.Request) ([]Span, error) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var m collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	var out []Span
	for _, rs := range m.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				out = append(out, spanOf(s, attributes(rs.GetResource().GetAttributes())))
			}
		}
	}
	return out, nil
}

func spanOf(s *otlp.Span, resource map[string]any) Span {
	out := Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		State: s.GetTraceState(), Name: s.GetName(), Kind: s.GetKind(), Start: s.GetStartTimeUnixNano(), End: s.GetEndTimeUnixNano(),
		Attributes: attributes(s.GetAttributes()), Resource: resource,
		Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Message: s.GetStatus().GetMessage(),
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, Event{e.GetName(), attributes(e.GetAttributes())})
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId()))
	}
	return out
}

func attributes(list []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range list {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			out[kv.GetKey()] = v.DoubleValue
		case *common.AnyValue_BoolValue:
			out[kv.GetKey()] = v.BoolValue
		}
	}
	return out
}
