package engine

import (
	"context"
	"fmt"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/status"
)

// Pause lets a pipeline finish what is in flight and fetch nothing more until
// Resume, also when this process or another one starts it again. ErrNotFound:
// there is no such pipeline.
func (e *Engine) Pause(ctx context.Context, name string) error {
	s, err := e.supervisor(name)
	if err != nil {
		return err
	}
	s.pause()
	if err := e.savePause(ctx, name, true); err != nil {
		return fmt.Errorf("pipeline %q is paused, but a restart would let it go on: %w", name, err)
	}
	return nil
}

// Resume undoes Pause, and starts a pipeline that is halted, quarantined or
// waits for its next attempt at once. ErrNotFound: there is no such pipeline.
func (e *Engine) Resume(ctx context.Context, name string) error {
	s, err := e.supervisor(name)
	if err != nil {
		return err
	}
	s.resume()
	if err := e.savePause(ctx, name, false); err != nil {
		return fmt.Errorf("pipeline %q goes on, but a restart may pause it again: %w", name, err)
	}
	return nil
}

// Reset stops a pipeline, drained, moves it to another place of its topic, and
// starts it again. to is "all", "new", "seq:N" or an RFC 3339 time. It returns
// the sequence of the first event the pipeline will read. ErrNotFound: there
// is no such pipeline; ErrStandby: another process runs it, ask that one.
func (e *Engine) Reset(ctx context.Context, name, to string) (uint64, error) {
	if err := e.lock(ctx); err != nil {
		return 0, err
	}
	defer e.unlock()
	s, err := e.supervisor(name)
	if err != nil {
		return 0, err
	}
	if s.isState(status.StateStandby) {
		return 0, fmt.Errorf("reset pipeline %q: %w", name, ErrStandby)
	}
	if err := broker.CheckStart(to); err != nil { // before it stops for nothing
		return 0, fmt.Errorf("reset pipeline %q: %w", name, err)
	}
	_ = s.stop(context.Background()) // the drain has a limit of its own
	seq, err := e.data.ResetSource(ctx, name, s.spec.From, to)
	if err == nil {
		s.forgetPosition()
	}
	p := e.plan()
	if startErr := e.startPipeline(p, p.Pipeline(name), s); startErr != nil {
		return seq, startErr
	}
	if err != nil {
		return 0, err // names the pipeline
	}
	return seq, nil
}

func (s *supervisor) isState(state string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.state == state
}

// forgetPosition drops what was counted of the place in the topic.
func (s *supervisor) forgetPosition() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.past.AckedSeq, s.mu.past.Lag = 0, 0
}
