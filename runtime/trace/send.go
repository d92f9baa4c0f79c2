package trace

import (
	"context"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// run is the goroutine that makes spans and sends them, until stop is closed
// and what was queued by then is sent. ctx ends to give a request up.
func (t *Tracer) run(ctx context.Context, stop <-chan struct{}) {
	defer t.http.CloseIdleConnections()
	s := sending{Tracer: t}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case r := <-t.queue:
			if s.take(r); len(s.records) == 1 {
				timer.Reset(linger)
			}
			if len(s.records) == sendRecords {
				s.send(ctx)
			}
		case <-timer.C:
			s.send(ctx)
		case <-stop:
			s.rest(ctx)
			return
		}
	}
}

// sending is what the goroutine of a Tracer has in its hands.
type sending struct {
	*Tracer
	records []*event.Trace
	refused int       // since the log was told
	told    time.Time // when it was
}

func (s *sending) take(r *event.Trace) {
	s.bytes.Add(-int64(r.Size()))
	s.records = append(s.records, r)
}

// rest sends all that is queued.
func (s *sending) rest(ctx context.Context) {
	for {
		select {
		case r := <-s.queue:
			if s.take(r); len(s.records) == sendRecords {
				s.send(ctx)
			}
		default:
			s.send(ctx)
			return
		}
	}
}

// send makes spans of the records and sends them in one request.
func (s *sending) send(ctx context.Context) {
	n := len(s.records)
	if n > 0 {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		err := s.exporter.ExportSpans(ctx, s.spans.of(s.records))
		cancel()
		clear(s.records)
		s.records = s.records[:0]
		result := Sent
		if err != nil {
			result = Refused
			s.refused += n
		}
		s.opts.Listener.Traced(result, n)
		s.complain(err)
		return
	}
	s.complain(nil)
}

// complain tells the log what is lost, at most once a minute.
func (s *sending) complain(err error) {
	dropped := s.lost.Load()
	if s.refused == 0 && dropped == 0 || !s.told.IsZero() && time.Since(s.told) < logEvery {
		return
	}
	s.lost.Add(-dropped)
	s.opts.Log.Warn("traces are lost; events are not: the receiver of [tracing] endpoint does not take them",
		"endpoint", s.url, "refused", s.refused, "dropped", dropped, "error", err)
	s.told, s.refused = time.Now(), 0
}
