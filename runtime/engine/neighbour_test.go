package engine_test

import (
	"fmt"
	"testing"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// What a plugin does to its neighbours: nothing (invariant A4). Each test counts
// what the neighbour gets done, which is true on any machine.

const neighbourConfig = `
[server]
listen = ""
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.other]
subjects = ["other.>"]
[plugins.evil]
path = "evil.wasm"
[plugins.good]
path = "good.wasm"
limits = { max_in_flight = 64 }
[pipelines.bad]
from = "in"
stages = ["evil", "good"]
to = "other"
subject = "other.{subject.2}"
batch = { max_events = 1 }
%s
[pipelines.neighbour]
from = "in"
stages = ["good"]
to = "out"
subject = "out.{subject.2}"
batch = { max_events = 1 }
`

// answers is a plugin that gives the same response to every event.
func answers(response []byte) []byte {
	return plugin(wt.Answer(wt.FreeAt, uint32(len(response))), response)
}

// plugin is one that runs body for every batch with events; data lies at FreeAt.
func plugin(body, data []byte) []byte {
	m := new(wt.Module).Plugin(wt.Plugin{Process: wt.OnData(body)})
	m.Data(wt.FreeAt, data)
	return m.Bytes()
}

// passes is a plugin that lets every event pass.
func passes() []byte {
	return answers(response(func(w *abi.ResponseWriter) { w.Pass(0, 0) }))
}

// newNeighbour runs evil beside a pipeline that does its work, on the same
// events; more is for the pipeline of evil.
func newNeighbour(t *testing.T, evil []byte, more string) *fixture {
	t.Helper()
	r := newFixture(t, "")
	r.file("evil", evil)
	r.file("good", passes())
	if err := r.Open(t.Context(), r.plan(fmt.Sprintf(neighbourConfig, more))); err != nil {
		t.Fatal(err)
	}
	r.state("bad running", "neighbour running")
	return r
}

// flood publishes n events to "in".
func (r *fixture) flood(n int) {
	r.t.Helper()
	pub, err := r.broker.NewPublisher(r.t.Context(), "in")
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range n {
		m := event.Output{Subject: fmt.Sprintf("in.k%d", i%16), Payload: fmt.Appendf(nil, "%d", i)}
		if _, err := pub.Add(r.t.Context(), &m); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := pub.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if err := pub.Close(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for a pipeline to be as ok wants it.
func (r *fixture) until(name, what string, ok func(status.Pipeline) bool) status.Pipeline {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		p, err := r.Pipeline(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if ok(p) {
			return p
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s: %+v", what, p)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A plugin that asks for all its events again in 49 days holds most of what a
// plugin behind it may have in flight, for as long as it likes.
func TestEndlessRetriesLeaveTheNeighbourItsShare(t *testing.T) {
	t.Parallel()
	again := response(func(w *abi.ResponseWriter) { w.Outcome(0, abi.CodeRetry, 1<<32-1, "later") })
	r := newNeighbour(t, answers(again), `retry = { attempts = 1000, max_backoff = "1h" }`)
	const events = 1000
	r.flood(events)
	held := r.until("bad", "the bad pipeline to hold all it can have", func(p status.Pipeline) bool { return p.InFlight == 56 })
	r.read("out", events, 1)
	r.until("neighbour", "the neighbour to finish", func(p status.Pipeline) bool { return p.AckedSeq == events })
	if now := r.until("bad", "", func(status.Pipeline) bool { return true }); now.AckedSeq != 0 || held.AckedSeq != 0 {
		t.Errorf("the bad pipeline has acknowledged %d", now.AckedSeq)
	}
}
