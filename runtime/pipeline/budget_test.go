package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

func ignore(string, time.Duration) {}

// take acquires with s, in the background, until it has n events.
func take(t *testing.T, s *Share, n, size int, got func()) {
	t.Helper()
	go func() {
		sizes := slices.Repeat([]int{size}, n)
		for len(sizes) > 0 {
			k, err := s.Acquire(t.Context(), sizes, ignore)
			if err != nil {
				return // the test is over
			}
			sizes = sizes[k:]
		}
		got()
	}()
	synctest.Wait()
}

func TestWaitersOfABudgetAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(16, 1<<20, 0)
		names := []string{"a", "b", "c", "d"}
		b.SetUsers(names)
		for _, name := range names { // everybody has what nobody else can have
			take(t, b.Share(name), 1, 1, func() {})
		}
		take(t, b.Share("d"), 12, 1, func() {}) // and d all the rest
		var order []string
		for _, name := range names[:3] {
			take(t, b.Share(name), 1, 1, func() { order = append(order, name) })
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { _, err := b.Share("d").Acquire(ctx, []int{1}, ignore); failed <- err }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled waiter got %v", err)
		}
		for i := range 3 {
			if len(order) != i {
				t.Fatalf("served %v before %d were given back", order, i+1)
			}
			b.Share("d").Release(1, 1)
			synctest.Wait()
		}
		if !slices.Equal(order, names[:3]) {
			t.Errorf("served %v", order)
		}
	})
}

func TestAnEventLargerThanTheByteLimitStillPasses(t *testing.T) {
	s := NewBudget(10, 100, 0).Share("p")
	n, err := s.Acquire(t.Context(), []int{500, 10}, nil)
	if n != 1 || err != nil {
		t.Fatalf("admitted %d, %v; want the large event alone", n, err)
	}
}

// Invariant A4: whatever one pipeline holds, the others keep a reserve.
func TestAReserveOfABudget(t *testing.T) {
	t.Run("of events", func(t *testing.T) {
		b := NewBudget(64, 1<<20, 0)
		hog, other := b.Share("hog"), b.Share("other")
		if f := hog.Free(); f.Events != 56 {
			t.Errorf("one of two has %d of 64, want all but an eighth", f.Events)
		}
		if n, err := hog.Acquire(t.Context(), slices.Repeat([]int{1}, 100), nil); n != 56 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if n, err := other.Acquire(t.Context(), slices.Repeat([]int{1}, 100), nil); n != 8 || err != nil {
			t.Errorf("the other got %d, %v; want its reserve", n, err)
		}
	})
	t.Run("of bytes", func(t *testing.T) {
		b := NewBudget(1000, 800, 0)
		hog, other := b.Share("hog"), b.Share("other")
		if n, err := hog.Acquire(t.Context(), slices.Repeat([]int{10}, 100), nil); n != 70 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if n, err := other.Acquire(t.Context(), slices.Repeat([]int{10}, 100), nil); n != 10 || err != nil {
			t.Errorf("the other got %d, %v; want its reserve", n, err)
		}
		other.Release(10, 100)
		if n, err := other.Acquire(t.Context(), []int{500}, nil); n != 1 || err != nil {
			t.Errorf("%d, %v; one event always passes", n, err)
		}
	})
	t.Run("is one event at least", func(t *testing.T) {
		b := NewBudget(1, 1, 0)
		for i := range 5 {
			s := b.Share(fmt.Sprint(i))
			if n, err := s.Acquire(t.Context(), []int{7, 7}, nil); n != 1 || err != nil {
				t.Errorf("pipeline %d of a budget of 1: %d, %v", i, n, err)
			}
			if f := s.Free(); f.Events != 0 {
				t.Errorf("pipeline %d may take %+v more", i, f)
			}
		}
	})
	t.Run("is not held up by one that waits for more than its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(64, 1<<20, 0)
			hog, other := b.Share("hog"), b.Share("other")
			take(t, hog, 60, 1, func() { t.Error("the hog got more than its share") })
			for range 100 {
				n, err := other.Acquire(t.Context(), slices.Repeat([]int{1}, 100), ignore)
				if n != 8 || err != nil {
					t.Fatalf("got %d, %v", n, err)
				}
				other.Release(n, int64(n))
			}
		})
	})
	t.Run("is nobody else's when its pipeline is gone", func(t *testing.T) {
		b := NewBudget(64, 1<<20, 0)
		b.SetUsers([]string{"a", "b"})
		a, gone := b.Share("a"), b.Share("b")
		if n, _ := gone.Acquire(t.Context(), slices.Repeat([]int{1}, 5), nil); n != 5 {
			t.Fatalf("got %d", n)
		}
		b.SetUsers([]string{"a"})
		if f := a.Free(); f.Events != 59 {
			t.Errorf("free: %+v, want all that the one that is gone does not hold", f)
		}
		gone.Release(5, 5)
		if f := a.Free(); f != (event.Room{Events: 64, Bytes: 1 << 20}) {
			t.Errorf("free: %+v, want all", f)
		}
		if n := len(b.mu.shares); n != 1 {
			t.Errorf("%d shares are remembered", n)
		}
	})
	t.Run("is there for one that comes to a budget that is used up", func(t *testing.T) {
		b := NewBudget(64, 1<<20, 0)
		if n, _ := b.Share("hog").Acquire(t.Context(), slices.Repeat([]int{1}, 100), nil); n != 64 {
			t.Fatalf("got %d", n)
		}
		if n, err := b.Share("new").Acquire(t.Context(), slices.Repeat([]int{1}, 100), nil); n != 8 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
	t.Run("draws on the rate like all others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(64, 1<<20, 10)
			hog, other := b.Share("hog"), b.Share("other")
			take(t, hog, 60, 1, func() { t.Error("the hog got more than its share") })
			start := time.Now()
			for range 100 {
				n, err := other.Acquire(t.Context(), []int{1}, ignore)
				if n != 1 || err != nil {
					t.Fatalf("got %d, %v", n, err)
				}
				other.Release(1, 1)
			}
			if d := time.Since(start); d < 14*time.Second || d > 17*time.Second {
				t.Errorf("100 and the hog's 56 events took %s at 10/s", d)
			}
		})
	})
}

func TestAWaitForABudgetIsReportedWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewBudget(1, 1<<20, 0).Share("p")
		take(t, s, 1, 1, func() {})
		total := time.Duration(0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = s.Acquire(ctx, []int{1}, func(reason string, d time.Duration) {
				if reason != event.ReasonPluginEvents {
					t.Errorf("reason %q", reason)
				}
				total += d
			})
		}()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if total != 10*time.Second {
			t.Errorf("%s of 10 s have been reported", total)
		}
		cancel()
		<-done
	})
}

// A plugin that asks to see its events again in 49 days holds what its
// pipeline's max_backoff allows, and no neighbour waits for that.
func TestEndlessRetriesDoNotStarveANeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := NewBudget(32, 1<<20, 0)
		shared.SetUsers([]string{"a", "b"})
		cfg := testConfig()
		cfg.Name, cfg.Stages = "a", []Stage{{Name: "evil", Plugin: "evil"}, {Name: "threshold", Plugin: "threshold"}}
		cfg.Retry.Attempts, cfg.Retry.MaxBackoff = 1<<30, time.Minute
		var calls atomic.Int64
		a := start(t, cfg, newSource(numbers(1000)...), each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
			calls.Add(1)
			w.Outcome(i, abi.CodeRetry, 1<<32-1, "later")
			return nil
		}), func(d *Deps, _ *sinkLog) {
			d.Shares = []*Share{NewBudget(1000, 1<<20, 0).Share("a"), shared.Share("a")}
		})
		synctest.Wait()

		cfg = testConfig()
		cfg.Name, cfg.Stages = "b", []Stage{{Name: "threshold", Plugin: "threshold"}}
		b := start(t, cfg, newSource(numbers(500)...), each(pass), func(d *Deps, _ *sinkLog) { d.Shares = []*Share{shared.Share("b")} })
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(b.log.payloads(0)); n != 500 {
			t.Errorf("the neighbour has published %d of 500", n)
		}
		before := calls.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := calls.Load() - before; n != 10 {
			t.Errorf("%d calls in ten minutes with a max_backoff of one", n)
		}
		if err := errors.Join(a.drain(), b.drain()); err != nil {
			t.Error(err)
		}
	})
}
