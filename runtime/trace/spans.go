package trace

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/wasmill/wasmill/runtime/event"
)

// Attributes beside those of OpenTelemetry's conventions for messaging.
const (
	attrPipeline = attribute.Key("wasmill.pipeline")
	attrStage    = attribute.Key("wasmill.stage")
	attrPlugin   = attribute.Key("wasmill.plugin")
	attrDigest   = attribute.Key("wasmill.plugin.digest")
	attrSubject  = attribute.Key("wasmill.subject")
	attrWaited   = attribute.Key("wasmill.waited_seconds") // in the topic, until a partition took the event
	attrAttempt  = attribute.Key("wasmill.attempt")
	attrEvents   = attribute.Key("wasmill.events")  // of the trace in a call
	attrOutputs  = attribute.Key("wasmill.outputs") // that came of them
	attrOutcome  = attribute.Key("wasmill.outcome")
	attrDelay    = attribute.Key("wasmill.delay_seconds")
	attrCause    = attribute.Key("wasmill.cause")
	attrLeftOut  = attribute.Key("wasmill.left_out") // calls and moments that the trace has no room for
)

// spans makes spans of records. One goroutine uses it.
type spans struct {
	tracer trace.Tracer
	made   collector
}

func newSpans(service, version string) (*spans, error) {
	attrs := []attribute.KeyValue{semconv.ServiceName(service)}
	if version != "" {
		attrs = append(attrs, semconv.ServiceVersion(version))
	}
	// Default has what the variable OTEL_RESOURCE_ATTRIBUTES says.
	res, err := resource.Merge(resource.Default(), resource.NewSchemaless(attrs...))
	if err != nil {
		return nil, err
	}
	s := &spans{}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // it is decided when a pipeline takes the event
		sdktrace.WithIDGenerator(given{}),
		sdktrace.WithResource(res),
		sdktrace.WithRawSpanLimits(limits()),
		sdktrace.WithSpanProcessor(&s.made),
	)
	s.tracer = provider.Tracer("github.com/wasmill/wasmill", trace.WithInstrumentationVersion(version), trace.WithSchemaURL(semconv.SchemaURL))
	return s, nil
}

// limits are those of a record.
func limits() sdktrace.SpanLimits {
	return sdktrace.SpanLimits{
		AttributeValueLengthLimit: 1 << 10, AttributeCountLimit: 64,
		EventCountLimit: event.MaxTraced, LinkCountLimit: event.MaxTraced,
		AttributePerEventCountLimit: 16, AttributePerLinkCountLimit: 16,
	}
}

// of returns the spans of records, valid until the next call.
func (s *spans) of(records []*event.Trace) []sdktrace.ReadOnlySpan {
	clear(s.made.spans)
	s.made.spans = s.made.spans[:0]
	for _, r := range records {
		s.event(r)
	}
	return s.made.spans
}

// event makes the spans of one record: "process TOPIC", from when a partition
// took the event until all it caused was confirmed, and below it "stage NAME" for
// each call of a plugin and "publish TOPIC" for each topic that got something of it.
func (s *spans) event(r *event.Trace) {
	ctx := context.Background()
	if r.Parent.Trace != (event.TraceID{}) {
		state, err := trace.ParseTraceState(r.State)
		if err != nil {
			state = trace.TraceState{} // the standard: what cannot be read is left out
		}
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(r.Parent.Trace), SpanID: trace.SpanID(r.Parent.Span),
			TraceFlags: trace.TraceFlags(r.Parent.Flags), TraceState: state,
		}))
	}
	attrs := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"),
		semconv.MessagingOperationName("process"),
		semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(r.Topic),
		semconv.MessagingConsumerGroupName(r.Pipeline),
		attrPipeline.String(r.Pipeline),
	}
	if r.Seq > 0 {
		attrs = append(attrs,
			semconv.MessagingMessageID(strconv.FormatUint(r.Seq, 10)),
			semconv.MessagingMessageBodySize(r.Bytes),
			attrSubject.String(r.Subject),
			attrWaited.Float64(max(r.Start.Sub(time.Unix(0, r.Stored)), 0).Seconds()),
		)
	}
	if n := len(r.Links); n > 0 {
		attrs = append(attrs, semconv.MessagingBatchMessageCount(n))
	}
	if r.LeftOut > 0 {
		attrs = append(attrs, attrLeftOut.Int(r.LeftOut))
	}
	ctx, root := s.tracer.Start(with(ctx, r.Context.Trace, r.Context.Span), "process "+r.Topic,
		trace.WithTimestamp(r.Start), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...), trace.WithLinks(links(r.Links)...))
	for i := range r.Calls {
		s.call(ctx, &r.Calls[i])
	}
	for i := range r.Outputs {
		s.output(ctx, r, &r.Outputs[i])
	}
	for i := range r.Notes {
		root.AddEvent(r.Notes[i].Name, trace.WithTimestamp(r.Notes[i].Time), trace.WithAttributes(noteAttributes(&r.Notes[i])...))
	}
	fail(root, r.Fault, r.Cause)
	root.End(trace.WithTimestamp(r.Finish))
}

func links(contexts []event.SpanContext) []trace.Link {
	out := make([]trace.Link, len(contexts))
	for i, c := range contexts {
		out[i].SpanContext = trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(c.Trace), SpanID: trace.SpanID(c.Span), TraceFlags: trace.TraceFlags(c.Flags),
		})
	}
	return out
}

func (s *spans) call(ctx context.Context, c *event.TracedCall) {
	attrs := []attribute.KeyValue{
		attrStage.String(c.Stage),
		attrPlugin.String(c.Plugin),
		semconv.MessagingBatchMessageCount(c.Batch),
		attrEvents.Int(c.Events),
		attrOutputs.Int(c.Outputs),
		attrOutcome.String(c.Outcome),
		attrAttempt.Int(c.Attempt),
	}
	if c.Digest != "" {
		attrs = append(attrs, attrDigest.String(c.Digest))
	}
	_, span := s.tracer.Start(ctx, "stage "+c.Stage, trace.WithTimestamp(c.Start), trace.WithAttributes(attrs...))
	fail(span, c.Fault, c.Cause)
	span.End(trace.WithTimestamp(c.Start.Add(c.Duration)))
}

func (s *spans) output(ctx context.Context, r *event.Trace, o *event.TracedOutput) {
	if o.Messages == 0 { // refused before anything was published
		return
	}
	attrs := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"),
		semconv.MessagingOperationName("publish"),
		semconv.MessagingOperationTypeSend,
		semconv.MessagingDestinationName(o.Topic),
		attrPipeline.String(r.Pipeline),
	}
	if o.Messages > 1 {
		attrs = append(attrs, semconv.MessagingBatchMessageCount(o.Messages))
	} else {
		attrs = append(attrs, semconv.MessagingMessageEnvelopeSize(o.Bytes))
	}
	_, span := s.tracer.Start(with(ctx, r.Context.Trace, o.Span), "publish "+o.Topic,
		trace.WithTimestamp(o.Start), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attrs...))
	span.End(trace.WithTimestamp(r.Finish))
}

func noteAttributes(n *event.TracedNote) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if n.Stage != "" {
		attrs = append(attrs, attrStage.String(n.Stage))
	}
	if n.Attempt > 0 {
		attrs = append(attrs, attrAttempt.Int(n.Attempt))
	}
	if n.Delay > 0 {
		attrs = append(attrs, attrDelay.Float64(n.Delay.Seconds()))
	}
	if n.Fault != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(n.Fault))
	}
	if n.Cause != "" {
		attrs = append(attrs, attrCause.String(n.Cause))
	}
	return attrs
}

// fail marks a span that stands for a failure.
func fail(span trace.Span, fault, cause string) {
	if fault == "" {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(fault))
	span.SetStatus(codes.Error, cause)
}

// collector keeps the spans that end.
type collector struct{ spans []sdktrace.ReadOnlySpan }

func (c *collector) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (c *collector) OnEnd(s sdktrace.ReadOnlySpan)                   { c.spans = append(c.spans, s) }
func (c *collector) Shutdown(context.Context) error                  { return nil }
func (c *collector) ForceFlush(context.Context) error                { return nil }

// given gives the next span of a context the IDs that the pipeline has published
// already, and every other span random ones.
type given struct{}

type givenKey struct{}

type givenIDs struct {
	trace event.TraceID
	span  event.SpanID
}

func with(ctx context.Context, t event.TraceID, s event.SpanID) context.Context {
	return context.WithValue(ctx, givenKey{}, &givenIDs{t, s})
}

func (given) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	ids := take(ctx)
	return trace.TraceID(ids.trace), trace.SpanID(ids.span)
}

func (given) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return trace.SpanID(take(ctx).span)
}

// take returns the IDs that a context holds once, and then random ones.
func take(ctx context.Context) givenIDs {
	if ids, ok := ctx.Value(givenKey{}).(*givenIDs); ok && ids.span != (event.SpanID{}) {
		out := *ids
		ids.span = event.SpanID{}
		return out
	}
	return givenIDs{newTrace(0).Trace, newSpan()}
}
