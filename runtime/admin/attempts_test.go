package admin

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestAttempts(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	addr := func(s string) netip.Prefix { return origin(netip.AddrPortFrom(netip.MustParseAddr(s), 1).String()) }

	t.Run("ten wrong ones at once, then one every six seconds", func(t *testing.T) {
		a, from := newAttempts(), addr("10.0.0.1")
		for i := range freeAttempts {
			wait, last := a.wrong(from, start)
			if wait != 0 || last != (i == freeAttempts-1) {
				t.Fatalf("attempt %d: wait %s, last %v", i+1, wait, last)
			}
		}
		for range 3 { // who has to wait does not wait longer for trying
			if wait, _ := a.wrong(from, start); wait != attemptEvery {
				t.Fatalf("has to wait %s", wait)
			}
		}
		if wait, _ := a.wrong(from, start.Add(attemptEvery)); wait != 0 {
			t.Errorf("still has to wait %s", wait)
		}
		if wait, _ := a.wrong(from, start.Add(attemptEvery)); wait == 0 {
			t.Error("a second one is let through")
		}
		if wait, _ := a.wrong(addr("10.0.0.2"), start); wait != 0 {
			t.Error("another address has to wait, too")
		}
	})
	t.Run("many at once are no more than one after the other", func(t *testing.T) {
		a, from := newAttempts(), addr("10.0.0.1")
		let := make(chan bool, 100)
		for range cap(let) {
			go func() { wait, _ := a.wrong(from, start); let <- wait == 0 }()
		}
		n := 0
		for range cap(let) {
			if <-let {
				n++
			}
		}
		if n != freeAttempts {
			t.Errorf("%d were let through", n)
		}
	})
	t.Run("a network of version 6 is one address, and a mapped one is of version 4", func(t *testing.T) {
		if addr("2001:db8::1") != addr("2001:db8::ffff:2") || addr("2001:db8::1") == addr("2001:db8:0:1::1") {
			t.Error("networks are told apart wrongly")
		}
		if addr("::ffff:10.0.0.1") != addr("10.0.0.1") || addr("10.0.0.1") == addr("10.0.0.2") {
			t.Error("addresses are told apart wrongly")
		}
		for _, same := range []string{"127.0.0.1", "127.0.0.40", "127.255.255.254", "::1", "::ffff:127.0.0.2"} {
			if addr(same) != addr("127.0.0.1") || addr(same) == addr("128.0.0.1") {
				t.Errorf("%s is not counted as this machine", same)
			}
		}
		if origin("a pipe") != origin("another") {
			t.Error("what is no address has no count")
		}
	})
	t.Run("memory is bounded, and who has tried most is kept", func(t *testing.T) {
		a, worst := newAttempts(), addr("10.0.0.1")
		for range freeAttempts {
			a.wrong(worst, start)
		}
		for i := range 2 * mostAddresses {
			a.wrong(addr(fmt.Sprintf("172.16.%d.%d", i/256, i%256)), start)
		}
		if n := len(a.mu.even); n > mostAddresses {
			t.Errorf("%d addresses are remembered", n)
		}
		if wait, _ := a.wrong(worst, start); wait == 0 {
			t.Error("the worst was forgotten for others")
		}
		later := start.Add(time.Hour)
		a.wrong(addr("10.9.9.9"), later)
		if n := len(a.mu.even); n != 1 {
			t.Errorf("after an hour %d addresses are remembered", n)
		}
	})
}
