package engine_test

import (
	"fmt"
	"strings"
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

// A plugin that fails on every event, in whatever way, is set aside before it
// has made dead letters of the topic; the fixed plugin then finds the rest.
func TestAPluginThatAlwaysFailsIsSetAside(t *testing.T) {
	t.Parallel()
	for name, evil := range map[string]struct {
		module []byte
		fault  string
		limits string
	}{
		"a trap, exactly once": {plugin(wt.Cat(wt.Unreachable()), nil), abi.FaultTrap, ""},
		"a trap":               {plugin(wt.Cat(wt.Unreachable()), nil), abi.FaultTrap, ""},
		"a loop":               {plugin(wt.Cat(wt.Forever(), wt.Unreachable()), nil), abi.FaultDeadline, `deadline = "5ms"`},
		"an error":             {plugin(wt.I64Const(-1), nil), abi.FaultGuestError, ""},
		"a bad answer":         {plugin(wt.Answer(wt.FreeAt, 3), nil), abi.FaultBadResponse, ""},
		"a bad subject": {
			answers(emits(abi.Output{Subject: []byte("nowhere.*"), Payload: []byte("x")})),
			abi.FaultRefusedSubject, "",
		},
		"a panic": {
			answers(response(func(w *abi.ResponseWriter) {
				w.Outcome(0, abi.CodeRetry, 0, abi.PanicReason+"boom; at main.f (main.go:12)")
			})),
			abi.FaultPanic, "",
		},
		"hunger": {
			plugin(wt.Cat(wt.Loop(wt.NoResult, wt.I32Const(1), wt.MemoryGrow(), wt.I32Const(-1), wt.Op(wt.OpI32Ne), wt.BrIf(0)), wt.Unreachable()), nil),
			abi.FaultOutOfMemory, `memory = "1MiB"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFixture(t, "")
			r.file("evil", evil.module)
			r.file("good", passes())
			toml := fmt.Sprintf(neighbourConfig, "retry = { attempts = 1 }")
			toml = strings.Replace(toml, `path = "evil.wasm"`, "path = \"evil.wasm\"\nlimits = { "+evil.limits+" }", 1)
			toml = strings.Replace(toml, `stages = ["evil", "good"]`, `stages = ["evil"]`, 1)
			if strings.HasSuffix(name, "exactly once") {
				toml = strings.Replace(toml, "[pipelines.bad]", "[pipelines.bad]\ndelivery = \"exactly-once\"", 1)
			}
			if err := r.Open(t.Context(), r.plan(toml)); err != nil {
				t.Fatal(err)
			}
			r.state("bad running", "neighbour running")
			const events, given = 100, 16
			r.flood(events)
			r.state("bad quarantined")
			r.read("out", events, 1)
			bad := r.until("bad", "its record", func(p status.Pipeline) bool { return p.AckedSeq == given })
			if bad.State != status.StateQuarantined || bad.DeadLettered != given || bad.Faults[evil.fault] < given || bad.Quarantines != 1 {
				t.Errorf("status: %+v", bad)
			}
			s := r.Status(t.Context())
			if s.Ready || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], `pipeline "bad" is quarantined: stage "evil" has failed on nearly every event`) {
				t.Errorf("ready is %v, problems %q", s.Ready, s.Problems)
			}
			dead, err := r.DeadLetters().List(t.Context(), status.DeadLetterFilter{})
			if err != nil || len(dead) != given || dead[0].Fault != evil.fault || !strings.Contains(dead[0].Quarantine, "nearly every event") || dead[1].Quarantine != "" {
				t.Errorf("%d dead letters, %v; the last: %+v", len(dead), err, dead[:min(len(dead), 1)])
			}

			r.file("evil", passes())
			if err := r.ReloadPlugin(t.Context(), "evil"); err != nil {
				t.Fatal(err)
			}
			r.until("bad", "the fixed plugin to finish", func(p status.Pipeline) bool { return p.AckedSeq == events })
			left := make([]string, 0, events-given)
			for i := given; i < events; i++ {
				left = append(left, fmt.Sprint(i))
			}
			r.want("other", 1, left...)
		})
	}
}

// A plugin that never comes back has a tenth of a processor, and its neighbour
// all it needs.
func TestALoopLeavesTheNeighbourTheProcessor(t *testing.T) {
	t.Parallel()
	loop := plugin(wt.Cat(wt.Forever(), wt.Unreachable()), nil)
	r := newNeighbour(t, loop, `retry = { attempts = 1000, backoff = "1ms", max_backoff = "1ms" }`)
	const events = 1000
	r.flood(events)
	r.read("out", events, 1)
	bad := r.until("bad", "the loop to be held back", func(p status.Pipeline) bool {
		return p.Backpressure[event.ReasonThrottled] > 0
	})
	if bad.AckedSeq != 0 || bad.Faults[abi.FaultDeadline] == 0 || !strings.Contains(bad.Reason, `plugin "evil" is held back`) {
		t.Errorf("status: %+v", bad)
	}
	r.flood(events)
	r.read("out", 2*events, 1)
	if s := r.Status(t.Context()); !s.Ready {
		t.Errorf("not ready: %q", s.Problems)
	}
}
