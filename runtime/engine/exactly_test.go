package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/status"
)

const exactlyConfig = `
[server]
listen = ""
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.other]
subjects = ["other.>"]
[plugins.p]
path = "p.wasm"
[plugins.q]
path = "q.wasm"
[pipelines.one]
from = "in"
stages = ["p"]
to = "out"
subject = "out.{subject.2}"
key = "subject:2"
partitions = 2
retry = { attempts = 1 }
delivery = "exactly-once"
[pipelines.two]
from = "out"
stages = ["q"]
to = "other"
subject = "other.{subject.2}"
`

// Everything that an operator can do to an exactly-once pipeline: reload its
// plugin, pause it, change its partitions, key and delivery, reset it. Each event
// has one output all the while, and the pipeline that reads the outputs sees
// nothing else in the topic.
func TestExactlyOnceOperated(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "")
	r.file("p", version(t, "v1"))
	r.file("q", version(t, "v1"))
	if err := r.Open(t.Context(), r.plan(exactlyConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("one running", "two running")
	events := 0
	send := func() {
		t.Helper()
		for range 40 {
			r.publish(fmt.Sprintf("k%d", events%7), fmt.Sprintf("%d", events))
			events++
		}
	}
	apply := func(changes ...string) {
		t.Helper()
		if _, err := r.Apply(t.Context(), r.plan(strings.NewReplacer(changes...).Replace(exactlyConfig))); err != nil {
			t.Fatal(err)
		}
	}
	send()
	for v := 2; v <= 6; v++ {
		r.file("p", version(t, fmt.Sprintf("v%d", v)))
		if err := r.ReloadPlugin(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		send()
	}
	if err := r.Pause(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	send()
	if err := r.Resume(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	apply("partitions = 2", "partitions = 3")
	send()
	apply(`key = "subject:2"`, `key = "subject:1"`)
	send()
	apply(`delivery = "exactly-once"`, "")
	send()
	apply()
	send()
	r.publish("k0", "poison")
	send()

	// One output each, in the order of the key.
	last := map[string]int{}
	seen := map[int]bool{}
	for _, m := range r.read("out", 1, events) {
		var n int
		if _, err := fmt.Sscanf(m.Payload, "%d v", &n); err != nil {
			t.Fatalf("%q: %v", m.Payload, err)
		}
		if seen[n] || n < last[m.Subject] {
			t.Errorf("event %d comes twice or late", n)
		}
		seen[n], last[m.Subject] = true, n
	}
	if len(r.read("dead-letters", 1, 1)) != 1 {
		t.Error("no dead letter")
	}
	other := r.read("other", 1, events)
	end := other[len(other)-1].Seq
	r.until("two", "the end of its topic", func(p status.Pipeline) bool { return p.Lag == 0 && p.InFlight == 0 })
	if m, err := r.broker.Next(t.Context(), "other", end+1, ""); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("the downstream pipeline has made an output of %+v: %v", m, err)
	}

	// The place that the operator chooses counts, whatever is committed.
	topic, err := r.broker.Topic(t.Context(), "out")
	if err != nil {
		t.Fatal(err)
	}
	if topic.Messages != uint64(events) {
		t.Errorf("the topic counts %d messages, a reader gets %d", topic.Messages, events)
	}
	if list, err := r.broker.Topics(t.Context()); err != nil || !slices.ContainsFunc(list, func(l status.Topic) bool { return l.Name == "out" && l.Messages == topic.Messages }) {
		t.Errorf("in the list of topics: %+v, %v", list, err)
	}
	if strings.Contains(strings.Join(topic.Subjects, " "), "wasmill.") {
		t.Errorf("the topic shows the subjects of its records: %q", topic.Subjects)
	}
	in, err := r.broker.Topic(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reset(t.Context(), "one", fmt.Sprintf("seq:%d", in.LastSeq-1)); err != nil {
		t.Fatal(err)
	}
	r.want("out", topic.LastSeq+1, fmt.Sprintf("%d v6", events-2), fmt.Sprintf("%d v6", events-1))
}
