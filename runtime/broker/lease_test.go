package broker

import (
	"context"
	"errors"
	"testing"
	"time"
)

// fast makes leases of a tenth of the usual times.
func fast(url string) Config {
	return Config{URL: url, timing: timing{leaseRenew: 200 * time.Millisecond, leaseTTL: 800 * time.Millisecond}}
}

func acquire(t *testing.T, b *Broker, pipeline string) *Lease {
	t.Helper()
	l, err := b.AcquireLease(testContext(t), pipeline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Release(context.Background()) })
	return l
}

// standBy acquires in the background.
func standBy(t *testing.T, ctx context.Context, b *Broker, pipeline string) <-chan *Lease {
	t.Helper()
	got := make(chan *Lease, 1)
	go func() {
		defer close(got)
		l, err := b.AcquireLease(ctx, pipeline)
		if err == nil {
			got <- l
		}
	}()
	return got
}

// waits expects that nobody gets the lease for d.
func waits(t *testing.T, got <-chan *Lease, d time.Duration) {
	t.Helper()
	select {
	case <-got:
		t.Fatal("does not wait")
	case <-time.After(d):
	}
}

func takesOver(t *testing.T, got <-chan *Lease) *Lease {
	t.Helper()
	select {
	case l := <-got:
		if l == nil {
			t.Fatal("gave up")
		}
		t.Cleanup(func() { l.Release(context.Background()) })
		return l
	case <-time.After(20 * time.Second):
		t.Fatal("does not take over")
	}
	return nil
}

func isLost(l *Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestLease(t *testing.T) {
	t.Run("on an embedded server is a formality", func(t *testing.T) {
		b := open(t, Config{})
		l, err := b.AcquireLease(testContext(t), "alerts")
		if err != nil {
			t.Fatal(err)
		}
		l.Release(t.Context())
		l.Release(t.Context())
		if isLost(l) {
			t.Error("lost")
		}
	})

	t.Run("belongs to one process, and to the next at once when released", func(t *testing.T) {
		s := natsServer(t)
		one, two := open(t, fast(s.ClientURL())), open(t, fast(s.ClientURL()))
		first := acquire(t, one, "alerts")
		next := standBy(t, testContext(t), two, "alerts")
		waits(t, next, 1200*time.Millisecond) // longer than a lease lives without renewal
		if isLost(first) {
			t.Fatal("the owner has lost it")
		}
		start := time.Now()
		first.Release(t.Context())
		second := takesOver(t, next)
		t.Logf("taken over %s after the release", time.Since(start))
		if d := time.Since(start); d > time.Second {
			t.Errorf("that took %s", d)
		}
		if isLost(first) || isLost(second) {
			t.Error("a release is no loss")
		}
	})

	t.Run("of another pipeline is another lease", func(t *testing.T) {
		s := natsServer(t)
		one, two := open(t, fast(s.ClientURL())), open(t, fast(s.ClientURL()))
		acquire(t, one, "alerts")
		acquire(t, two, "other")
	})

	t.Run("is given up by an owner that is cut off, before another takes over", func(t *testing.T) {
		s := natsServer(t)
		p := newProxy(t, s.ClientURL())
		one, two := open(t, fast(p.url())), open(t, fast(s.ClientURL()))
		first := acquire(t, one, "alerts")
		next := standBy(t, testContext(t), two, "alerts")
		waits(t, next, 300*time.Millisecond)
		start := time.Now()
		p.setCut(true)
		lostAfter := make(chan time.Duration, 1)
		go func() {
			<-first.Lost()
			lostAfter <- time.Since(start)
		}()
		takesOver(t, next)
		took := time.Since(start)
		t.Logf("taken over after %s", took)
		select {
		case d := <-lostAfter:
			t.Logf("given up after %s", d)
		default:
			t.Error("the first owner still believes that it owns the pipeline")
		}
		if took > 2*time.Second {
			t.Error("too late")
		}
		// When the network is back the first process may stand by again.
		p.setCut(false)
		first.Release(t.Context())
	})

	t.Run("survives a cut that is shorter than its life", func(t *testing.T) {
		s := natsServer(t)
		p := newProxy(t, s.ClientURL())
		cfg := fast(p.url())
		cfg.timing.leaseTTL = 10 * time.Second
		one := open(t, cfg)
		first := acquire(t, one, "alerts")
		p.setCut(true)
		p.setCut(false)
		two := open(t, fast(s.ClientURL()))
		outside := &Lease{b: two, pipeline: "alerts"}
		_, before, err := outside.read(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		next := standBy(t, testContext(t), two, "alerts")
		// It goes on renewing: the record moves, so that nobody takes over.
		for after := before; after <= before+1; {
			if _, after, err = outside.read(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		if isLost(first) {
			t.Error("lost")
		}
		first.Release(t.Context())
		takesOver(t, next)
	})

	t.Run("that ran out is taken again at once by its own process, and by another only when it is old enough", func(t *testing.T) {
		s := natsServer(t)
		slow := fast(s.ClientURL())
		slow.timing.leaseTTL = time.Hour
		one, two := open(t, slow), open(t, slow)
		first := acquire(t, one, "alerts")
		first.stop() // as after an outage: nothing is renewed and nothing released
		<-first.ended
		other := standBy(t, testContext(t), two, "alerts")
		waits(t, other, 300*time.Millisecond)
		again := takesOver(t, standBy(t, testContext(t), one, "alerts"))
		again.Release(t.Context())
		takesOver(t, other)
	})

	t.Run("is lost when somebody else writes it", func(t *testing.T) {
		s := natsServer(t)
		b := open(t, fast(s.ClientURL()))
		l := acquire(t, b, "alerts")
		if _, err := b.js.Publish(testContext(t), l.subject(), []byte(`{"owner":"other"}`)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-l.Lost():
		case <-testContext(t).Done():
			t.Fatal("not lost")
		}
		l.Release(t.Context())
		if rec, _, err := l.read(testContext(t)); err != nil || rec.Owner != "other" {
			t.Errorf("the release of a lost lease touched the record: %+v, %v", rec, err)
		}
	})

	t.Run("goes to one of many", func(t *testing.T) {
		s := natsServer(t)
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		got := make(chan *Lease, 8)
		for range 8 {
			b := open(t, fast(s.ClientURL()))
			go func() {
				if l, err := b.AcquireLease(ctx, "alerts"); err == nil {
					got <- l
				} else {
					got <- nil
				}
			}()
		}
		owner := takesOver(t, got)
		waits(t, got, 300*time.Millisecond)
		for range 7 {
			owner.Release(t.Context())
			owner = takesOver(t, got)
		}
	})

	t.Run("ends waiting with the context, and with Close", func(t *testing.T) {
		s := natsServer(t)
		one, two := open(t, fast(s.ClientURL())), open(t, fast(s.ClientURL()))
		first := acquire(t, one, "alerts")
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		wait := func(ctx context.Context) {
			_, err := two.AcquireLease(ctx, "alerts")
			failed <- err
		}
		go wait(ctx)
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		go wait(testContext(t))
		_ = two.Close()
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		_ = one.Close()
		if !isLost(first) {
			t.Error("the lease of a closed broker is not lost")
		}
		first.Release(t.Context())
	})
}
