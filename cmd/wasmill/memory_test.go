package main

import (
	"os"
	"syscall"
	"testing"
)

func TestMemoryLimitFollowsWhatIsLive(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int64
	}{
		{10 << 20, 84 << 20},   // a quiet instance
		{40 << 20, 84 << 20},   // under load
		{200 << 20, 278 << 20}, // never below what is live: the collector would not come to rest
	} {
		if got := memoryLimit(c.live); got != c.want {
			t.Errorf("%d MiB live: limit %d MiB, want %d", c.live>>20, got>>20, c.want>>20)
		}
	}
}

func TestGovernor(t *testing.T) {
	var limits []int64
	collected := 0
	g := governor{
		setLimit: func(n int64) int64 { limits = append(limits, n); return 0 },
		collect:  func() { collected++ },
	}
	t.Run("the limit is set when it changes", func(t *testing.T) {
		g.tick(memoryUse{live: 1 << 20, cycles: 1})
		g.tick(memoryUse{live: 2 << 20, cycles: 2})
		g.tick(memoryUse{live: 400 << 20, cycles: 3})
		if len(limits) != 2 {
			t.Errorf("set %d times: %v", len(limits), limits)
		}
	})
	t.Run("a large heap at rest is collected once in a while", func(t *testing.T) {
		for range 2 * quietTicks {
			g.tick(memoryUse{live: 400 << 20, heap: 500 << 20, cycles: 3})
		}
		if collected != 2 {
			t.Errorf("collected %d times in two quiet spells", collected)
		}
	})
	t.Run("a small one is left alone", func(t *testing.T) {
		collected = 0
		for range 5 * quietTicks {
			g.tick(memoryUse{live: 8 << 20, heap: 10 << 20, cycles: 3})
		}
		if collected != 0 {
			t.Errorf("collected %d times", collected)
		}
	})
	t.Run("so is one that collects by itself", func(t *testing.T) {
		collected = 0
		for i := range uint64(5 * quietTicks) {
			g.tick(memoryUse{live: 400 << 20, heap: 500 << 20, cycles: 4 + i})
		}
		if collected != 0 {
			t.Errorf("collected %d times", collected)
		}
	})
}

// The first signal asks for an orderly end, the second ends the process.
func TestSignals(t *testing.T) {
	code := make(chan int, 1)
	a := &app{exit: func(c int) { code <- c }}
	ctx, stop := a.signals()
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	select {
	case c := <-code:
		t.Fatalf("the first signal has ended it with %d", c)
	default:
	}
	if err := self.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != exitFailure {
		t.Errorf("the second signal ends it with %d", c)
	}
}
