package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Restarts of a failed pipeline.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 30 * time.Second
	healthyAfter = time.Minute // a run that lasts this long begins at firstBackoff again
)

// leaseGrace bounds how long giving a lease back may take.
const leaseGrace = 2 * time.Second

// errNotOwner is what the data path of a pipeline gets when another process
// owns the pipeline now: nothing is acknowledged or published any more.
var errNotOwner = errors.New("another process has taken the pipeline over")

// supervisor owns one pipeline: a single goroutine takes the lease, opens and
// runs the pipeline, and starts it again when it fails.
//
//	lease (standby) → open → run → failed: backoff → open …
//	                              → halted: wait for an operator or a change
//	                              → quarantined: rest, or until an operator or a change
//	                              → lease lost: standby
//
// A pipeline that fails, halts or hangs has no effect on any other. All
// methods are safe for concurrent use and none waits for the data path, but
// for stop.
type supervisor struct {
	name string
	spec plan.Pipeline
	ops  pipelineOps

	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
	wake   chan struct{} // capacity 1: try again now
	renew  chan struct{} // capacity 1: end the run at hand and start anew

	active   atomic.Int64 // events in flight, as the listener counts them
	progress moment       // when something finished, or there was nothing to finish
	limited  moment       // when a configured rate last held the pipeline back
	conduct  *pipeline.Conduct
	meter    *meter // what it does lately

	mu struct {
		sync.Mutex
		state       string
		reported    string // to the listener
		reason      string
		paused      bool
		told        bool // an operator has paused or resumed it since it was made
		attempt     *attempt
		past        pipeline.Stats // of the runs before the one at hand
		restarts    int
		quarantines int
		lastErr     string
	}
}

// pipelineOps is what a supervisor does to a pipeline.
type pipelineOps struct {
	shared bool // other processes may own the pipeline
	lease  func(ctx context.Context) (lease, error)
	// open prepares a run. fence refuses everything once it is closed; finish
	// releases what open acquired, after the run.
	open   func(ctx context.Context, fence *fence, listener event.Listener, conduct *pipeline.Conduct) (r runner, finish func(), err error)
	report func(state string, err error)
	paused func(ctx context.Context) (bool, error) // as it was stored
}

// attempt is one run of the pipeline.
type attempt struct {
	runner
	ended chan struct{} // closed when Run has returned
}

// newSupervisor returns one that does not run yet. before is the one whose
// place it takes, already stopped, or nil: whether it is paused and what it
// counted lives on.
func newSupervisor(spec plan.Pipeline, ops pipelineOps, before *supervisor) *supervisor {
	s := &supervisor{
		name: spec.Name, spec: spec, ops: ops,
		conduct: pipeline.NewConduct(),
		done:    make(chan struct{}), wake: make(chan struct{}, 1), renew: make(chan struct{}, 1),
	}
	s.mu.state = status.StateStarting
	var measured *meter
	if before != nil {
		measured = before.meter
		before.mu.Lock()
		s.mu.paused, s.mu.past, s.mu.restarts, s.mu.quarantines = before.mu.paused, before.mu.past, before.mu.restarts, before.mu.quarantines
		before.mu.Unlock()
	}
	s.meter = newMeter(stageNames(spec.Stages), spec.Stages, measured)
	return s
}

// start begins to supervise until stop; ctx ends it as well.
func (s *supervisor) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	go s.loop(ctx)
}

// stop drains the pipeline and waits until it has ended or ctx has.
func (s *supervisor) stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop pipeline %q: %w", s.name, ctx.Err())
	}
}

func (s *supervisor) loop(ctx context.Context) {
	defer close(s.done)
	var own lease
	defer func() { s.giveBack(own) }()
	delay, rest := firstBackoff, firstRest
	recalled := false // whether it is paused, since it has the lease
	for ctx.Err() == nil {
		var err error
		var healthy time.Duration
		if own != nil && isLost(own) { // while it waited or was halted
			s.giveBack(own)
			own = nil
		}
		if own == nil {
			own, err = s.acquire(ctx)
			recalled = false
		}
		if err == nil && !recalled {
			err = s.recallPause(ctx)
			recalled = err == nil
		}
		if err == nil {
			healthy, err = s.run(ctx, own)
		}
		drain(s.wake) // it was meant for the run that is over
		if healthy >= healthyAfter {
			delay = firstBackoff
		}
		var aside *pipeline.QuarantineError
		switch {
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			s.set(status.StateStopped, nil) // that it was stopped is no failure
		case ctx.Err() != nil:
			s.set(status.StateStopped, err)
		case errors.Is(err, errNotOwner):
			s.giveBack(own)
			own = nil
		case errors.Is(err, errRenew):
			// A new run at once: this is no failure.
		case errors.Is(err, pipeline.ErrHalted):
			s.set(status.StateHalted, err)
			s.rest(ctx, 0)
			delay = firstBackoff
		case errors.As(err, &aside):
			rest = s.quarantine(ctx, aside, rest)
			delay = firstBackoff
		default:
			s.set(status.StateBackoff, err)
			if s.rest(ctx, delay) {
				delay = firstBackoff
			} else {
				delay = min(2*delay, lastBackoff)
			}
		}
	}
	s.set(status.StateStopped, nil)
}

// acquire waits for the lease.
func (s *supervisor) acquire(ctx context.Context) (lease, error) {
	if s.ops.shared {
		s.set(status.StateStandby, nil)
	} else {
		s.set(status.StateStarting, nil)
	}
	own, err := s.ops.lease(ctx)
	if err != nil {
		return nil, err // names the pipeline
	}
	return own, nil
}

// recallPause takes over whether the pipeline is paused: by an operator before the
// start, or in the process that owned it before.
func (s *supervisor) recallPause(ctx context.Context) error {
	paused, err := s.ops.paused(ctx)
	if err != nil {
		return fmt.Errorf("pipeline %q: is it paused? %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ops.shared || !s.mu.told {
		s.mu.paused = paused
	}
	return nil
}

func isLost(own lease) bool {
	select {
	case <-own.Lost():
		return true
	default:
		return false
	}
}

func (s *supervisor) giveBack(own lease) {
	if own == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseGrace)
	defer cancel()
	own.Release(ctx)
}

// errRenew ends a run that begins again at once.
var errRenew = errors.New("the run was ended to begin anew")

// run opens the pipeline and runs it until it fails, ctx ends, the lease is
// lost or a renewal is asked for. It returns for how long it was ready.
func (s *supervisor) run(ctx context.Context, own lease) (time.Duration, error) {
	s.set(status.StateStarting, nil)
	drain(s.renew)
	f := newFence()
	r, finish, err := s.ops.open(ctx, f, event.Tee(s.listener(), s.meter.listener()), s.conduct)
	if err != nil {
		return 0, err
	}
	defer finish()
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := s.begin(r)
	result := make(chan error, 1)
	go func() { result <- r.Run(runCtx) }() // awaited below
	var since time.Time
	var because error
	ready, lost, down, stopped := r.Ready(), own.Lost(), f.down, ctx.Done()
	for {
		select {
		case <-ready:
			ready, since = nil, time.Now()
			s.progress.set(since)
			s.setRunning()
		case <-lost:
			lost = nil
			f.close() // without acknowledging: the new owner begins at the last safe position
		case <-down:
			down, because = nil, errNotOwner
			cancel()
		case <-s.renew:
			because = errors.Join(because, errRenew)
			cancel()
		case <-stopped:
			stopped = nil
			s.set(status.StateDraining, nil)
		case err := <-result:
			s.end(a)
			if because != nil {
				err = because
			}
			if err == nil && ctx.Err() == nil {
				err = errors.New("the pipeline ended without a reason")
			}
			if since.IsZero() {
				return 0, err
			}
			return time.Since(since), err
		}
	}
}

// begin makes r the run at hand. Swaps look for the run at hand, and r makes
// its instances after begin: it either gets the current generation itself or
// is swapped to it.
func (s *supervisor) begin(r runner) *attempt {
	a := &attempt{runner: r, ended: make(chan struct{})}
	s.active.Store(0)
	s.mu.Lock()
	s.mu.attempt = a
	if s.mu.paused {
		r.Pause()
	}
	s.mu.Unlock()
	return a
}

func (s *supervisor) end(a *attempt) {
	st := a.Stats()
	s.mu.Lock()
	s.mu.attempt = nil
	s.mu.past = sum(s.mu.past, st)
	s.mu.past.InFlight, s.mu.past.InFlightBytes = 0, 0
	s.mu.Unlock()
	close(a.ended)
}

// rest waits for d, or until it is woken, which it returns, or ctx ends; d = 0 is
// for ever.
func (s *supervisor) rest(ctx context.Context, d time.Duration) (woken bool) {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-s.wake:
		woken = true
	case <-ctx.Done():
		return false
	}
	s.mu.Lock()
	s.mu.restarts++
	s.mu.Unlock()
	return woken
}

func (s *supervisor) set(state string, err error) {
	s.mu.Lock()
	same := s.mu.reported == state && err == nil
	s.mu.state, s.mu.reported, s.mu.reason = state, state, ""
	if err != nil {
		s.mu.reason, s.mu.lastErr = err.Error(), err.Error()
	}
	s.mu.Unlock()
	if !same {
		s.ops.report(state, err)
	}
}

// setRunning enters running or paused, as the operator wishes.
func (s *supervisor) setRunning() {
	s.mu.Lock()
	state := status.StateRunning
	if s.mu.paused {
		state = status.StatePaused
	}
	s.mu.state, s.mu.reported, s.mu.reason = state, state, ""
	s.mu.Unlock()
	s.ops.report(state, nil)
}

// pause stops fetching, in this run and those to come, until resume.
func (s *supervisor) pause() {
	s.mu.Lock()
	s.mu.paused, s.mu.told = true, true
	if s.mu.attempt != nil {
		s.mu.attempt.Pause()
	}
	changed := s.mu.state == status.StateRunning
	if changed {
		s.mu.state = status.StatePaused
	}
	s.mu.Unlock()
	if changed {
		s.ops.report(status.StatePaused, nil)
	}
}

// resume undoes pause, and starts a halted, quarantined or waiting pipeline at once.
func (s *supervisor) resume() {
	s.mu.Lock()
	s.mu.paused, s.mu.told = false, true
	if s.mu.attempt != nil {
		s.mu.attempt.Resume()
	}
	changed := s.mu.state == status.StatePaused
	if changed {
		s.mu.state = status.StateRunning
		s.progress.set(time.Now())
	}
	s.mu.Unlock()
	if changed {
		s.ops.report(status.StateRunning, nil)
	}
	s.retry()
}

// retry starts a halted, quarantined or waiting pipeline at once: something has changed.
func (s *supervisor) retry() { signal(s.wake) }

// retryWaiting is retry for a pipeline that waits after a failure; a halted one
// stays halted.
func (s *supervisor) retryWaiting() {
	if s.isState(status.StateBackoff) {
		s.retry()
	}
}

// restart ends the run at hand, drained, and begins a new one.
func (s *supervisor) restart() { signal(s.renew) }

// current returns the run at hand, or nil.
func (s *supervisor) current() *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.attempt
}

// listener notes when the pipeline makes progress, for the state stalled.
func (s *supervisor) listener() event.Listener {
	now := func(at *moment) { at.set(time.Now()) }
	return event.Listener{
		Fetched: func(_ string, n, _ int, _ uint64) {
			if s.active.Add(int64(n)) == int64(n) {
				now(&s.progress) // there was nothing to finish before
			}
		},
		Done: func(_ string, n, _ int, _ time.Duration, _ event.TraceID) {
			s.active.Add(-int64(n))
			now(&s.progress)
		},
		Blocked: func(_, reason string, _ time.Duration) {
			if reason == event.ReasonRate {
				now(&s.limited)
			}
		},
	}
}

// moment is a time that is read and written by many at once. It keeps the
// monotonic reading: a clock that is set back does not make time stand still.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) set(t time.Time) { m.at.Store(&t) }

// get returns the time last set, or the zero time.
func (m *moment) get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}
