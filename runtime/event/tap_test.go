package event

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

func TestTap(t *testing.T) {
	events := make([]abi.Event, 512)
	for i := range events {
		events[i] = abi.Event{Seq: uint64(i), Subject: []byte("a.b"), Payload: fmt.Appendf(nil, "event %d", i)}
	}
	t.Run("nobody watches", func(t *testing.T) {
		var none *Tap
		if none.Watches() != nil || (&Tap{}).Watches() != nil || (*Taps)(nil).Of("x") != nil {
			t.Error("somebody does")
		}
	})
	t.Run("watches come and go", func(t *testing.T) {
		taps := NewTaps()
		tap := taps.Of("p")
		if taps.Of("p") != tap {
			t.Error("a pipeline has one tap")
		}
		a, b := tap.Watch("one", nil), tap.Watch("two", nil)
		if len(tap.Watches()) != 2 {
			t.Error("two watch")
		}
		a.Close()
		a.Close()
		if w := tap.Watches(); len(w) != 1 || w[0] != b || b.Stage() != "two" {
			t.Error("one is left")
		}
		b.Close()
		if tap.Watches() != nil {
			t.Error("none is left")
		}
	})
	t.Run("a call is sampled, and the rest counted", func(t *testing.T) {
		w := new(Tap).Watch("s", nil)
		picked := w.Pick(events, nil)
		if len(picked) != tapBurst || picked[0] != 0 || picked[tapBurst-1] < 400 {
			t.Errorf("picked %v", picked)
		}
		w.Put(&Sample{})
		samples, skipped := w.Fetch()
		if len(samples) != 1 || skipped != uint64(len(events)-tapBurst) {
			t.Errorf("%d samples, %d skipped", len(samples), skipped)
		}
		if _, skipped := w.Fetch(); skipped != 0 {
			t.Error("skipped are counted once")
		}
	})
	t.Run("only what holds the text is shown", func(t *testing.T) {
		w := new(Tap).Watch("s", []byte("event 41"))
		if picked := w.Pick(events, nil); fmt.Sprint(picked) != "[41 410 411 412 413 414 415 416 417 418]" {
			t.Errorf("picked %v", picked)
		}
		if _, skipped := w.Fetch(); skipped != 1 { // 419
			t.Errorf("%d skipped", skipped)
		}
	})
	t.Run("one who does not fetch holds a bounded amount", func(t *testing.T) {
		w := new(Tap).Watch("s", nil)
		big := strings.Repeat("x", ShownBytes)
		n := 0
		for range 10_000 {
			w.mu.Lock()
			w.mu.filled = time.Now().Add(-time.Hour) // the rate would allow it
			w.mu.Unlock()
			for range w.Pick(events[:1], nil) {
				w.Put(&Sample{Before: Shown{Payload: []byte(big)}})
				n++
			}
		}
		if n == 0 || n > tapWaiting || w.mu.bytes > tapBytes+2*ShownBytes {
			t.Errorf("%d samples of %d bytes wait", n, w.mu.bytes)
		}
	})
}
