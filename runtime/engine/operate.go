package engine

import (
	"context"
	"fmt"

	"github.com/wasmill/wasmill/runtime/plan"
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

// PreviewReset says what Reset would do, and changes nothing. Its errors are
// those of Reset.
func (e *Engine) PreviewReset(ctx context.Context, name, to string) (status.Reset, error) {
	s, err := e.supervisor(name)
	if err != nil {
		return status.Reset{}, err
	}
	if s.isState(status.StateStandby) {
		return status.Reset{}, fmt.Errorf("reset pipeline %q: %w", name, ErrStandby)
	}
	r, err := e.data.PreviewReset(ctx, name, s.spec.From, s.spec.Filter, to)
	if err != nil {
		return r, err // names the pipeline
	}
	r.Delivery = s.spec.Delivery
	r.Meaning = meaningOf(&r)
	return r, nil
}

// meaningOf says what a reset does to the promise of a pipeline's delivery.
func meaningOf(r *status.Reset) string {
	switch {
	case r.Unknown != "":
		return "how much is repeated or skipped is not known"
	case r.Repeated > 0 && r.Delivery == plan.ExactlyOnce:
		return "what these events cause is published a second time, because you ask for it: exactly-once counts anew from there. " +
			"Outputs that are decided on are completed first, and a process that still runs the pipeline can store nothing more"
	case r.Repeated > 0:
		return "what these events cause is published again"
	case r.Skipped > 0:
		return "these events are never processed"
	}
	return ""
}

// Reset stops a pipeline, drained, moves it to another place of its topic (see
// broker.Place), and starts it again. It returns the sequence of the first event
// the pipeline will read. ErrNotFound: there is no such pipeline; ErrStandby:
// another process runs it, ask that one; *broker.GoneError: the topic does not
// hold the place. With delivery exactly-once the journals are completed and the
// checkpoint is removed: a former owner is refused, and what is read again is
// published again.
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
	if _, err := e.data.PreviewReset(ctx, name, s.spec.From, s.spec.Filter, to); err != nil { // before it stops for nothing
		return 0, err // names the pipeline
	}
	_ = s.stop(context.Background()) // the drain has a limit of its own
	seq, err := e.data.ResetSource(ctx, name, s.spec.From, to)
	if err == nil {
		s.movePosition(seq)
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

// movePosition says where a stopped pipeline is before it has finished anything
// from there on: behind what it will not read. How far that is from the end is
// looked up anew.
func (s *supervisor) movePosition(next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.past.AckedSeq, s.mu.past.Lag = next-min(next, 1), 0
}
