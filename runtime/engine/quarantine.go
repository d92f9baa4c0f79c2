package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/status"
)

// Rests of a quarantined pipeline. The first one follows a run in which most
// events succeeded, each other is twice as long as the one before.
const (
	firstRest = time.Minute
	lastRest  = 30 * time.Minute
)

// quarantine leaves the pipeline to itself for rest, or for firstRest when it had
// recovered from the last time, and returns the next rest. A changed plugin and
// an operator end it: then the record is clean and the rests begin anew.
func (s *supervisor) quarantine(ctx context.Context, because *pipeline.QuarantineError, rest time.Duration) time.Duration {
	if because.Recovered {
		rest = firstRest
	}
	s.mu.Lock()
	s.mu.quarantines++
	s.mu.Unlock()
	s.set(status.StateQuarantined, fmt.Errorf("%w; it tries again at %s", because, time.Now().Add(rest).Format(time.TimeOnly)))
	if s.rest(ctx, rest) {
		s.conduct.Clear()
		return firstRest
	}
	s.conduct.Probe()
	return min(2*rest, lastRest)
}
