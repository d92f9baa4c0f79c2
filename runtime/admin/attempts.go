package admin

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of wrong tokens from one address.
const (
	freeAttempts  = 10              // at once
	attemptEvery  = 6 * time.Second // one more
	mostAddresses = 4096            // that are remembered
)

// attempts counts the wrong tokens that each address has presented lately, so
// that a token cannot be found by trying. It is safe for concurrent use.
type attempts struct {
	mu struct {
		sync.Mutex
		// When an address will have made up for all its attempts.
		even map[netip.Prefix]time.Time
	}
}

func newAttempts() *attempts {
	a := &attempts{}
	a.mu.even = map[netip.Prefix]time.Time{}
	return a
}

// origin is what an address is counted under: a machine has one address of
// version 4, and a whole network of version 6. remote is host:port; one that is
// none, which a server does not hand over, shares its count with others.
func origin(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// begin counts an attempt of an address before it is made, so that many at once
// are no more than one after the other. With a wait above 0 it must not be made;
// the wait is how long the address has to keep still. last says that this is
// the last one before that.
func (a *attempts) begin(from netip.Prefix, now time.Time) (wait time.Duration, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	even, known := a.mu.even[from]
	if !known || even.Before(now) {
		even = now
	}
	even = even.Add(attemptEvery)
	if over := even.Sub(now) - freeAttempts*attemptEvery; over > 0 {
		return over, false
	}
	if !known && len(a.mu.even) >= mostAddresses {
		a.forgetLocked(now)
	}
	a.mu.even[from] = even
	return 0, even.Sub(now) > (freeAttempts-1)*attemptEvery
}

// right takes an attempt back: its token was right.
func (a *attempts) right(from netip.Prefix, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if even := a.mu.even[from].Add(-attemptEvery); even.After(now) {
		a.mu.even[from] = even
	} else {
		delete(a.mu.even, from)
	}
}

// forgetLocked makes room: of those who have made up for their attempts, or
// else of the one that is nearest to it.
func (a *attempts) forgetLocked(now time.Time) {
	var nearest netip.Prefix
	for from, even := range a.mu.even {
		if !even.After(now) {
			delete(a.mu.even, from)
		} else if best, ok := a.mu.even[nearest]; !ok || even.Before(best) {
			nearest = from
		}
	}
	if len(a.mu.even) >= mostAddresses {
		delete(a.mu.even, nearest)
	}
}
