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
// that who presents one after the other is told to stop, and the log of it. It
// never keeps a right token out: anybody on the same address could lock out its
// holder. What keeps a token from being found by trying is its length. It is safe
// for concurrent use.
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
// version 4, and a whole network of version 6; loopback is one. remote is
// host:port; one that is none, which a server does not hand over, shares its
// count with others.
func origin(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	}
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

// wrong counts a wrong token of an address. With a wait above 0 there were too
// many; the wait is how long the address has to keep still. last says that this
// is the last one before that.
func (a *attempts) wrong(from netip.Prefix, now time.Time) (wait time.Duration, last bool) {
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
