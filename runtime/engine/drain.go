package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// ErrResumed says that a pipeline was resumed while somebody waited for it to drain.
var ErrResumed = errors.New("it was resumed meanwhile")

// drainLook is how often a drain looks whether it is over.
const drainLook = 10 * time.Millisecond

// DrainError says that a drain took longer than somebody wanted to wait. The
// pipeline is paused and goes on finishing what it holds.
type DrainError struct {
	Pipeline string
	InFlight int // events
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("pipeline %q is paused and still holds %d events, which it goes on finishing: wait longer, or see what keeps them with `wasmill pipelines show %s`",
		e.Pipeline, e.InFlight, e.Pipeline)
}

// Drain pauses a pipeline and returns when everything that it had taken is
// finished: outputs and dead letters are stored, and so is its position. A
// pipeline that does not run holds nothing. When ctx ends first it stays paused:
// a *DrainError. ErrNotFound; ErrStandby: another process runs it; ErrResumed.
func (e *Engine) Drain(ctx context.Context, name string) error {
	s, err := e.supervisor(name)
	if err != nil {
		return err
	}
	if s.isState(status.StateStandby) {
		return fmt.Errorf("drain pipeline %q: %w", name, ErrStandby)
	}
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout) // however short the wait may be
	paused := e.Pause(saving, name)                                                  // it is in effect, also when it cannot be stored
	cancel()
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for {
		if s, err = e.supervisor(name); err != nil { // a reload has removed it, or put another in its place
			return err
		}
		s.mu.Lock()
		still, a := s.mu.paused, s.mu.attempt
		s.mu.Unlock()
		inFlight := 0
		if a != nil {
			st := a.Stats()
			if st.Idle {
				a = nil
			}
			inFlight = st.InFlight
		}
		switch {
		case !still:
			return fmt.Errorf("drain pipeline %q: %w", name, ErrResumed)
		case a == nil:
			return paused
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(paused, &DrainError{Pipeline: name, InFlight: inFlight})
		}
	}
}
