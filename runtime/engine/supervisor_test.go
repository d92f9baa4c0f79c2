package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// play is a supervisor for whom the test plays the pipeline.
type play struct {
	*supervisor
	guard  sync.Mutex
	log    []string // "time state"
	opened []*run
	began  time.Time
	onOpen func(n int) error
	lost   chan struct{}
}

// run is one run of the pipeline: the test ends it.
type run struct {
	ready  chan struct{}
	fail   chan error
	paused bool
	fence  *fence
	closed bool
}

func (r *run) Ready() <-chan struct{} { return r.ready }
func (r *run) Pause()                 { r.paused = true }
func (r *run) Resume()                { r.paused = false }
func (r *run) Stats() pipeline.Stats  { return pipeline.Stats{In: 1, AckedSeq: 7} }
func (r *run) Swap(context.Context, int, func(int) (pipeline.Processor, error)) error {
	return errors.New("no swaps here")
}

func (r *run) Run(ctx context.Context) error {
	select {
	case err := <-r.fail:
		return err
	case <-ctx.Done():
		return nil
	}
}

func newPlay(t *testing.T, shared bool) *play {
	t.Helper()
	p := &play{began: time.Now(), lost: make(chan struct{})}
	p.supervisor = newSupervisor(plan.Pipeline{Name: "p"}, pipelineOps{
		paused: func(context.Context) (bool, error) { return false, nil },
		shared: shared,
		lease: func(context.Context) (lease, error) {
			p.guard.Lock()
			defer p.guard.Unlock()
			return fakeLease{p.lost}, nil
		},
		report: func(state string, err error) {
			p.guard.Lock()
			defer p.guard.Unlock()
			line := fmt.Sprint(time.Since(p.began), " ", state)
			if err != nil {
				line += ": " + err.Error()
			}
			p.log = append(p.log, line)
		},
		open: func(_ context.Context, f *fence, _ event.Listener, _ *pipeline.Conduct) (runner, func(), error) {
			p.guard.Lock()
			defer p.guard.Unlock()
			if p.onOpen != nil {
				if err := p.onOpen(len(p.opened)); err != nil {
					p.opened = append(p.opened, nil)
					return nil, nil, err
				}
			}
			r := &run{ready: make(chan struct{}), fail: make(chan error, 1), fence: f}
			close(r.ready)
			p.opened = append(p.opened, r)
			return r, func() { r.closed = true }, nil
		},
	}, nil)
	p.start(t.Context())
	synctest.Wait()
	return p
}

func (p *play) last() *run {
	p.guard.Lock()
	defer p.guard.Unlock()
	return p.opened[len(p.opened)-1]
}

func (p *play) runs() int {
	p.guard.Lock()
	defer p.guard.Unlock()
	return len(p.opened)
}

// forget empties the log.
func (p *play) forget() {
	p.guard.Lock()
	defer p.guard.Unlock()
	p.log = nil
}

func (p *play) want(t *testing.T, lines ...string) {
	t.Helper()
	p.guard.Lock()
	defer p.guard.Unlock()
	if !slices.Equal(p.log, lines) {
		t.Errorf("got %q\nwant %q", p.log, lines)
	}
	p.log = nil
}

// failNow ends the run at hand with err.
func (p *play) failNow(err error) {
	p.last().fail <- err
	synctest.Wait()
}

func TestSupervisor(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")

	t.Run("a failed pipeline starts again, later each time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.want(t, "0s starting", "0s running")
			for _, delay := range []int{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
				n := p.runs()
				p.failNow(boom)
				time.Sleep(time.Duration(delay-1) * time.Millisecond)
				synctest.Wait()
				if p.runs() != n {
					t.Fatalf("started again before %d ms", delay)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if p.runs() != n+1 {
					t.Fatalf("not started again after %d ms", delay)
				}
			}
			_ = p.stop(t.Context())
		})
	})
	t.Run("a minute of health lets the delay begin anew", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.failNow(boom)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			p.failNow(boom)
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			time.Sleep(time.Minute)
			p.forget()
			p.failNow(boom)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			p.want(t, "1m0.3s backoff: boom", "1m0.4s starting", "1m0.4s running")
			if p.mu.restarts != 3 {
				t.Errorf("%d restarts", p.mu.restarts)
			}
			_ = p.stop(t.Context())
		})
	})
	t.Run("what cannot be opened is tried again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.guard.Lock()
			p.onOpen = func(n int) error {
				if n == 1 {
					return errors.New("no source")
				}
				return nil
			}
			p.guard.Unlock()
			p.failNow(boom)
			p.forget()
			time.Sleep(time.Second)
			synctest.Wait()
			p.want(t, "100ms starting", "100ms backoff: no source", "300ms starting", "300ms running")
			_ = p.stop(t.Context())
		})
	})
	t.Run("a halted pipeline waits for an operator", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.resume() // on a running one: must not count for later
			synctest.Wait()
			p.failNow(fmt.Errorf("%w: event 3", pipeline.ErrHalted))
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			p.want(t, "0s starting", "0s running", "0s halted: pipeline halted: event 3")
			p.resume()
			synctest.Wait()
			p.want(t, "24h0m0s starting", "24h0m0s running")
			_ = p.stop(t.Context())
		})
	})
	t.Run("one that is stopped while it stands by has not failed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var log []string
			s := newSupervisor(plan.Pipeline{Name: "p"}, pipelineOps{
				paused: func(context.Context) (bool, error) { return false, nil },
				shared: true,
				lease: func(ctx context.Context) (lease, error) {
					<-ctx.Done()
					return nil, fmt.Errorf("acquire: %w", ctx.Err())
				},
				report: func(state string, err error) { log = append(log, fmt.Sprint(state, " ", err)) },
			}, nil)
			s.start(t.Context())
			synctest.Wait()
			if err := s.stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := []string{"standby <nil>", "stopped <nil>"}; !slices.Equal(log, want) {
				t.Errorf("got %q, want %q", log, want)
			}
		})
	})

	t.Run("a lost lease lets nothing through and goes back to standby", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, true)
			first := p.last()
			p.guard.Lock()
			lost := p.lost
			p.lost = make(chan struct{})
			p.guard.Unlock()
			close(lost)
			synctest.Wait()
			p.want(t, "0s standby", "0s starting", "0s running", "0s standby", "0s starting", "0s running")
			if !first.fence.closed.Load() || !first.closed {
				t.Error("the first run could still acknowledge")
			}
			if p.last().fence.closed.Load() {
				t.Error("the second run is fenced off")
			}
			_ = p.stop(t.Context())
		})
	})
	t.Run("a position that another process has claimed is as good as a lost lease", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, true)
			p.last().fence.close() // as the source does
			synctest.Wait()
			p.want(t, "0s standby", "0s starting", "0s running", "0s standby", "0s starting", "0s running")
			if p.last().fence.closed.Load() {
				t.Error("the second run is fenced off")
			}
			_ = p.stop(t.Context())
		})
	})
	t.Run("a pause outlives a restart", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.pause()
			p.failNow(boom)
			time.Sleep(time.Second)
			synctest.Wait()
			if !p.last().paused {
				t.Error("the new run is not paused")
			}
			p.resume()
			if p.last().paused {
				t.Error("resume did not reach the run")
			}
			p.want(t, "0s starting", "0s running", "0s paused", "0s backoff: boom", "100ms starting", "100ms paused", "1s running")
			_ = p.stop(t.Context())
		})
	})
	t.Run("stop drains and waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			if err := p.stop(t.Context()); err != nil {
				t.Error(err)
			}
			p.want(t, "0s starting", "0s running", "0s draining", "0s stopped")
			if !p.last().closed {
				t.Error("the source is still open")
			}
		})
	})
	t.Run("stop ends the wait of a pipeline that is not running", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.failNow(pipeline.ErrHalted)
			if err := p.stop(t.Context()); err != nil {
				t.Error(err)
			}
			if p.mu.state != status.StateStopped {
				t.Errorf("is %s", p.mu.state)
			}
		})
	})
	t.Run("counters go on over restarts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.failNow(boom)
			time.Sleep(time.Second)
			synctest.Wait()
			e := &Engine{}
			if st := e.describe(p.supervisor, 0, time.Now()); st.In != 2 || st.AckedSeq != 7 || st.Restarts != 1 {
				t.Errorf("got %+v", st)
			}
			_ = p.stop(t.Context())
		})
	})
}
