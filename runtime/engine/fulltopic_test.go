package engine_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

const fullConfig = `
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
max_messages = 5
full = "refuse"
[topics.dead-letters]
max_messages = 3
full = "refuse"
[topics.other]
subjects = ["other.>"]
[plugins.puppet]
path = "puppet.wasm"
[plugins.pass]
path = "pass.wasm"
limits = { max_in_flight = 2, max_in_flight_bytes = "64KiB" }
[pipelines.full]
from = "in"
filter = ["in.x"]
stages = ["puppet"]
to = "out"
subject = "out.x"
batch = { max_events = 1 }
retry = { attempts = 1 }
[pipelines.beside]
from = "in"
stages = ["pass"]
to = "other"
subject = "other.x"
batch = { max_events = 1, max_bytes = "1KiB" }
`

func TestAFullTopicHoldsItsPipelineAndNothingElse(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "")
	r.file("puppet", puppet{}.module())
	r.file("pass", puppet{always: response(func(w *abi.ResponseWriter) { w.Pass(0, 0) })}.module())
	if err := r.Open(t.Context(), r.plan(fullConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("full running", "beside running")
	const n = 24 // events; every fourth fails
	for i := range n {
		payload := emits(abi.Output{Payload: fmt.Append(nil, i)})
		if i%4 == 3 {
			payload = fmt.Appendf(nil, "T%d", i)
		}
		r.send("in.x", payload)
	}
	r.read("other", 1, n) // the neighbour has finished
	r.read("out", 1, 5)

	// Whoever empties the topics sees every event, in order.
	var outputs, dead []string
	for deadline := time.Now().Add(30 * time.Second); len(outputs)+len(dead) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("got %q and %q; %v", outputs, dead, r.Status(t.Context()))
		}
		for topic, got := range map[string]*[]string{"out": &outputs, "dead-letters": &dead} {
			m, err := r.broker.Next(t.Context(), topic, 1, "")
			if err != nil {
				continue
			}
			*got = append(*got, payloadOf(m))
			if err := r.broker.DeleteMessage(t.Context(), topic, m.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	var want, wantDead []string
	for i := range n {
		if i%4 == 3 {
			wantDead = append(wantDead, fmt.Sprintf("T%d", i))
		} else {
			want = append(want, fmt.Sprint(i))
		}
	}
	if fmt.Sprint(outputs) != fmt.Sprint(want) || fmt.Sprint(dead) != fmt.Sprint(wantDead) {
		t.Errorf("got %q and %q", outputs, dead)
	}
	r.unharmed("full", "beside")
}

func TestEventsLargerThanEveryLimitPassOneAtATime(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "")
	r.file("puppet", puppet{}.module())
	r.file("pass", puppet{always: response(func(w *abi.ResponseWriter) { w.Pass(0, 0) })}.module())
	if err := r.Open(t.Context(), r.plan(fullConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("full running", "beside running")
	sizes := []int{0, 1, 8 << 20, 10, 10, 3000, 1 << 20, 0, 8 << 20, 70_000, 5, 60_000, 300, 2 << 20, 1}
	for _, size := range sizes {
		if _, err := r.broker.Publish(t.Context(), "in", event.Output{Subject: "in.large", Payload: bytes.Repeat([]byte("x"), size)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range r.read("other", 1, len(sizes)) {
		if len(m.Payload) != sizes[i] {
			t.Errorf("output %d has %d bytes, want %d", i, len(m.Payload), sizes[i])
		}
	}
	r.unharmed("beside")
}
