package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

func TestDrainOfAPipeline(t *testing.T) {
	t.Parallel()
	t.Run("returns when everything it had taken is finished, and leaves it paused", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := twoPipelines(t)
			w.change(func() { w.stuck["a"] = true })
			w.send("in", "1", "2")
			synctest.Wait()
			drained := make(chan error, 1)
			go func() { drained <- w.engine.Drain(t.Context(), "a") }()
			time.Sleep(time.Minute)
			synctest.Wait()
			select {
			case err := <-drained:
				t.Fatalf("it returned, %v, with outputs that are not stored", err)
			default:
			}
			w.unstick("a")
			if err := <-drained; err != nil {
				t.Fatal(err)
			}
			if p, _ := w.engine.Pipeline("a"); p.State != status.StatePaused || p.InFlight != 0 || p.AckedSeq != 2 {
				t.Errorf("it is %s with %d in flight, acknowledged up to %d", p.State, p.InFlight, p.AckedSeq)
			}
			w.send("in", "3")
			synctest.Wait()
			if p, _ := w.engine.Pipeline("a"); p.AckedSeq != 2 {
				t.Errorf("it went on, up to %d", p.AckedSeq)
			}
			_ = w.engine.Close(t.Context())
		})
	})
	t.Run("gives up when its time is over, and when somebody resumes it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := twoPipelines(t)
			w.change(func() { w.stuck["a"] = true })
			w.send("in", "1", "2")
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var held *DrainError
			if err := w.engine.Drain(ctx, "a"); !errors.As(err, &held) || held.InFlight != 2 {
				t.Errorf("got %v", err)
			}
			if p, _ := w.engine.Pipeline("a"); p.State != status.StatePaused {
				t.Errorf("it is %s", p.State)
			}
			drained := make(chan error, 1)
			go func() { drained <- w.engine.Drain(t.Context(), "a") }()
			synctest.Wait()
			if err := w.engine.Resume(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if err := <-drained; !errors.Is(err, ErrResumed) {
				t.Errorf("got %v", err)
			}
			w.unstick("a")
			_ = w.engine.Close(t.Context())
		})
	})
}
