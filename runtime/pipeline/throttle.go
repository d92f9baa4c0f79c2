package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// What a plugin may do with the processors without success (invariant A4).
const (
	// freeFaults is how much time a pipeline's plugin may waste before it is
	// held back: enough for the odd event that it cannot process.
	freeFaults = 2 * time.Second
	// faultShare is the part of one processor that a plugin in debt keeps.
	faultShare = 0.1
	// faultShareAll is the part of the machine that all plugins in debt keep together.
	faultShareAll = 0.25
)

// Throttle keeps the accounts of the time that plugins waste: calls that end in
// a fault, that answer nothing but "later", and the start of a fresh instance
// after a fault. There is one account for each plugin of each pipeline, so that
// what one pipeline's events do to a plugin is nobody else's debt. One Throttle
// serves all pipelines of a process. Safe for concurrent use.
type Throttle struct {
	processors int
	owing      atomic.Int64 // accounts in debt

	mu struct {
		sync.Mutex
		accounts map[accountKey]*Account
	}
}

type accountKey struct{ pipeline, plugin string }

// NewThrottle returns one without any account.
func NewThrottle() *Throttle {
	t := &Throttle{processors: runtime.GOMAXPROCS(0)}
	t.mu.accounts = map[accountKey]*Account{}
	return t
}

// account returns the account of a plugin in a pipeline. It outlives the
// pipeline's runs: a restart pays no debt.
func (t *Throttle) account(pipeline, plugin string) *Account {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := accountKey{pipeline, plugin}
	a := t.mu.accounts[key]
	if a == nil {
		a = &Account{throttle: t, turn: make(chan struct{}, 1)}
		t.mu.accounts[key] = a
	}
	return a
}

// Forget drops the accounts of a pipeline that is gone.
func (t *Throttle) Forget(pipeline string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, a := range t.mu.accounts {
		if key.pipeline == pipeline {
			a.Forgive()
			delete(t.mu.accounts, key)
		}
	}
}

// share is the part of a processor at which a debt is paid off now.
func (t *Throttle) share() float64 {
	all := faultShareAll * float64(t.processors) / float64(max(t.owing.Load(), 1))
	return min(faultShare, all)
}

// Account is the time that one plugin has wasted in one pipeline, over all
// partitions. Wasted time is debt; it is paid off by time that passes, at the
// share above, and by as much time as the plugin spends with success, so that
// one event in a thousand that it cannot process costs a busy plugin nothing,
// and one success does not wipe out a minute of failures. A plugin whose debt
// is more than freeFaults waits before each call until it is not, and its calls
// run one at a time until half of that is paid.
type Account struct {
	throttle *Throttle
	owes     atomic.Bool   // there is debt; a plugin without any takes no lock
	turn     chan struct{} // capacity 1: full while a call of a plugin in debt waits or runs

	mu struct {
		sync.Mutex
		debt   time.Duration
		paid   time.Time // until when debt is paid off
		inDebt bool
		wasted time.Duration // since it was last without debt
	}
}

// settle books a call: what it wasted and what it spent with success.
func (a *Account) settle(wasted, spent time.Duration) {
	if wasted == 0 && !a.owes.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.payLocked()
	a.mu.debt = max(a.mu.debt+wasted-spent, 0)
	a.mu.wasted += wasted
	a.noteLocked()
}

// Forgive clears the account: the plugin is another one now.
func (a *Account) Forgive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.debt = 0
	a.noteLocked()
}

// payLocked pays off what the time since the last payment is worth.
func (a *Account) payLocked() {
	now := time.Now()
	if a.mu.debt > 0 {
		paid := float64(now.Sub(a.mu.paid)) * a.throttle.share()
		a.mu.debt = max(a.mu.debt-time.Duration(paid), 0)
	}
	a.mu.paid = now
	a.noteLocked()
}

// noteLocked keeps what follows from the debt.
func (a *Account) noteLocked() {
	switch {
	case !a.mu.inDebt && a.mu.debt > freeFaults:
		a.mu.inDebt = true
		a.throttle.owing.Add(1)
	case a.mu.inDebt && a.mu.debt <= freeFaults/2:
		a.mu.inDebt = false
		a.throttle.owing.Add(-1)
	}
	if a.mu.debt == 0 {
		a.mu.wasted = 0
	}
	a.owes.Store(a.mu.debt > 0)
}

// wait returns how long the next call has to wait, and whether it has to be the
// only one of the account.
func (a *Account) wait() (d time.Duration, alone bool) {
	if !a.owes.Load() {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.payLocked()
	if over := a.mu.debt - freeFaults; over > 0 {
		d = max(time.Duration(float64(over)/a.throttle.share()), time.Millisecond)
	}
	return d, a.mu.inDebt
}

// explain says why the plugin is held back, or is "".
func (a *Account) explain(plugin string) string {
	if !a.owes.Load() {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.payLocked()
	if !a.mu.inDebt {
		return ""
	}
	return fmt.Sprintf("plugin %q is held back: it has spent %s in calls that failed", plugin, a.mu.wasted.Round(10*time.Millisecond))
}

// enter waits until stage k may be called with events of which the first comes
// from event at of the batch; leave must follow the call. While it waits,
// outputs are flushed and swaps applied, as before a retry. A plugin in debt is
// called by one partition at a time, the one that has the turn. The last outputs
// of an instance that is being replaced do not wait.
func (r *run) enter(ctx context.Context, k, at int) (leave func(), err error) {
	leave = func() {}
	if a := r.stages[k].account; !a.owes.Load() || r.swapping {
		return leave, nil
	}
	mine := false
	for {
		a := r.stages[k].account
		d, inDebt := a.wait()
		if d == 0 && (mine || !inDebt) {
			return leave, nil
		}
		var turn chan<- struct{}
		if !mine {
			d, turn = reportEvery, a.turn
		}
		start := time.Now()
		took, err := r.pause(ctx, k, min(d, reportEvery), turn)
		r.p.reportBlocked(event.ReasonThrottled, time.Since(start))
		if took {
			mine, leave = true, func() { <-a.turn }
		}
		if errors.Is(err, errDraining) && at < 0 {
			return leave, nil // no event will bring it back: it is called now
		}
		if err != nil {
			leave()
			return nil, r.cutAt(at, err)
		}
	}
}

// starter is a Processor that can say how long its last call took to start a
// fresh instance in place of one that had faulted; 0 when it did not.
type starter interface{ Started() time.Duration }

// book charges a call of d with n events to the plugin's account.
func (st *stage) book(d time.Duration, n int, failed bool) {
	if failed {
		st.faulted = true
		st.account.settle(d, 0)
		return
	}
	var wasted time.Duration
	if st.faulted { // it has a fresh instance now
		st.faulted = false
		if s, ok := st.proc.(starter); ok {
			wasted = min(s.Started(), d)
		}
	}
	later := 0
	for i := range st.res.Outcomes {
		if st.res.Outcomes[i].Code == abi.CodeRetry {
			later++
		}
	}
	worked := d - wasted
	if later > 0 {
		idle := worked * time.Duration(later) / time.Duration(max(n, 1))
		wasted, worked = wasted+idle, worked-idle
	}
	st.account.settle(wasted, worked)
}

// slots bound how many calls a pipeline has running at once to the number of
// processors: it gains nothing from more, and since Go shares the processors out
// among goroutines, a pipeline with many partitions would push its neighbours
// aside (invariant A4). nil for a pipeline that cannot have more.
type slots chan struct{}

func newSlots(partitions int) slots {
	if n := runtime.GOMAXPROCS(0); partitions > n {
		return make(slots, n)
	}
	return nil
}

// take waits for a slot. Its error is that of ctx, then nothing is to be given
// back and nothing to be called.
func (s slots) take(ctx context.Context) error {
	if s == nil {
		return ctx.Err()
	}
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		s.give()
		return err
	}
	return nil
}

func (s slots) give() {
	if s != nil {
		<-s
	}
}
