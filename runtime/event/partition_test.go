package event_test

import (
	"fmt"
	"testing"

	"github.com/wasmill/wasmill/runtime/event"
)

func TestPartitionIsStableAndEven(t *testing.T) {
	// These must never change: checkpoints depend on them.
	for key, want := range map[string]int{"": 0, "a": 6, "k1": 0, "quakes.us": 5} {
		if got := event.Partition([]byte(key), 7); got != want {
			t.Errorf("key %q is in partition %d of 7, want %d", key, got, want)
		}
	}
	for _, format := range []string{"%d", "k%d", "device-%06d", "%x"} {
		for _, n := range []int{1, 2, 3, 8, 64} {
			count := make([]int, n)
			const keys = 64_000
			for i := range keys {
				count[event.Partition(fmt.Appendf(nil, format, i), n)]++
			}
			for p, c := range count {
				if mean := keys / n; c < mean*3/4 || c > mean*5/4 {
					t.Errorf("keys %q: partition %d of %d has %d of %d", format, p, n, c, keys)
				}
			}
		}
	}
}
