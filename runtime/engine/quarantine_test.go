package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestAQuarantinedPipeline(t *testing.T) {
	t.Parallel()
	aside := &pipeline.QuarantineError{Reason: "it always fails"}
	// rests sets the pipeline aside and checks for how long it rests.
	rests := func(t *testing.T, p *play, because *pipeline.QuarantineError, rest time.Duration) {
		t.Helper()
		n := p.runs()
		p.failNow(because)
		if !p.isState(status.StateQuarantined) {
			t.Fatal("it is not quarantined")
		}
		time.Sleep(rest - time.Second)
		synctest.Wait()
		if p.runs() != n {
			t.Fatalf("started again before %s", rest)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if p.runs() != n+1 || !p.isState(status.StateRunning) {
			t.Fatalf("not started again after %s", rest)
		}
	}
	t.Run("tries again by itself, later each time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			for _, minutes := range []int{1, 2, 4, 8, 16, 30, 30} {
				rests(t, p, aside, time.Duration(minutes)*time.Minute)
			}
			rests(t, p, &pipeline.QuarantineError{Reason: "again", Recovered: true}, time.Minute)
			rests(t, p, aside, 2*time.Minute)
			if p.mu.quarantines != 9 {
				t.Errorf("%d times are counted", p.mu.quarantines)
			}
			_ = p.stop(t.Context())
		})
	})
	t.Run("goes on at once when an operator or a changed plugin wants it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			rests(t, p, aside, time.Minute)
			p.forget()
			p.failNow(aside)
			p.guard.Lock()
			if len(p.log) != 1 || !strings.HasPrefix(p.log[0], "1m0s quarantined: it always fails; it tries again at ") {
				t.Errorf("reported %q", p.log)
			}
			p.guard.Unlock()
			time.Sleep(time.Second)
			p.resume()
			synctest.Wait()
			if p.runs() != 3 {
				t.Errorf("%d runs, want one more", p.runs())
			}
			rests(t, p, aside, time.Minute)
			_ = p.stop(t.Context())
		})
	})
	t.Run("stops at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(t, false)
			p.failNow(aside)
			before := time.Now()
			if err := p.stop(t.Context()); err != nil || time.Since(before) > 0 {
				t.Errorf("after %s: %v", time.Since(before), err)
			}
		})
	})
}
