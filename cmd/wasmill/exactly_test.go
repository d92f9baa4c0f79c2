package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

const exactlyTOML = `
[server]
store_dir = "data"
listen    = %q
[admin]
listen = %q
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.high]
subjects = ["high.>"]
[plugins.split]
builtin = "threshold"
[plugins.split.config]
pointer = "/n"
max     = 6
else    = "high"
[pipelines.ledger]
from       = "in"
stages     = ["split"]
to         = "out"
subject    = "out.{subject.2}.{subject.3}"
outputs    = { high = { topic = "high", subject = "high.{subject.2}" } }
key        = "subject:2"
partitions = %d
delivery   = "exactly-once"
`

// exactlyEvent makes events that end in each of the ways that there are: in one
// of two topics, as a dead letter (the subject lacks what the output's is made
// of), or nowhere.
func exactlyEvent(n int) (subject, payload string) {
	subject = "in.k" + strconv.Itoa(n%16) + ".x"
	switch {
	case n%50 == 49:
		return "in.k" + strconv.Itoa(n%16), fmt.Sprintf(`{"id":%d,"n":0}`, n)
	case n%10 == 3:
		return subject, fmt.Sprintf(`{"id":%d}`, n)
	}
	return subject, fmt.Sprintf(`{"id":%d,"n":%d}`, n, n%10)
}

// exactlyEnd is the topic in which an event ends.
func exactlyEnd(m message) string {
	_, n, ok := strings.Cut(m.payload, `"n":`)
	switch {
	case !ok:
		return ""
	case strings.Count(m.subject, ".") < 2:
		return "dead-letters"
	case n > "6}":
		return "high"
	}
	return "out"
}

// exactlyRig is a process with an exactly-once pipeline under load.
type exactlyRig struct {
	*victim
	t         *testing.T
	url, toml string
	ledger    *ledger
}

func newExactly(t *testing.T, partitions int) *exactlyRig {
	t.Helper()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	r := &exactlyRig{
		t: t, url: "nats://" + natsAddr, toml: fmt.Sprintf(exactlyTOML, natsAddr, adminAddr, partitions),
		ledger: &ledger{acked: map[string]bool{}, event: exactlyEvent, every: 500 * time.Microsecond},
	}
	r.victim = &victim{t: t, file: filepath.Join(t.TempDir(), "wasmill.toml"), admin: "http://" + adminAddr, bin: buildBinary(t, "-tags", "torture")}
	r.configure(r.toml)
	return r
}

func (r *exactlyRig) configure(toml string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(toml), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// load publishes until the function that it returns is called.
func (r *exactlyRig) load() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.ledger.publish(ctx, r.t, r.url) })
	return func() { cancel(); wg.Wait() }
}

// verify wants every event to have ended in its topic, once, in order.
func (r *exactlyRig) verify() {
	r.t.Helper()
	nc, err := nats.Connect(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	in := readTopic(r.t, js, "in")
	r.finish(r.t, in)
	stored, ends := map[string]bool{}, map[string]map[uint64]bool{"": {}}
	for _, m := range in {
		stored[m.payload] = true
	}
	lost, twice, reordered := 0, 0, 0
	for id := range r.ledger.acked {
		if !stored[id] {
			lost++
		}
	}
	total := 0
	for _, topic := range []string{"out", "high", "dead-letters"} {
		ends[topic] = map[uint64]bool{}
		last := map[string]uint64{}
		for _, m := range readTopic(r.t, js, topic) {
			total++
			source := m.source
			seq, err := strconv.ParseUint(strings.Split(strings.TrimPrefix(source, "in/"), "/")[0], 10, 64)
			if err != nil {
				r.t.Fatalf("topic %s: Wasmill-Source is %q", topic, source)
			}
			if ends[topic][seq] {
				twice++
			}
			ends[topic][seq] = true
			if seq < last[m.subject] && topic != "dead-letters" {
				reordered++
			}
			last[m.subject] = seq
		}
	}
	for _, m := range in {
		want := exactlyEnd(m)
		for topic, has := range ends {
			switch {
			case topic == want && topic != "" && !has[m.seq]:
				lost++
			case topic != want && has[m.seq]:
				twice++
			}
		}
	}
	r.t.Logf("%d acknowledged, %d stored, %d outputs: lost %d, twice %d, out of order %d", len(r.ledger.acked), len(in), total, lost, twice, reordered)
	if lost+twice+reordered > 0 {
		r.t.Errorf("lost %d, twice %d, out of order %d", lost, twice, reordered)
	}
}

// The process kills itself under load at every failpoint of an exactly-once
// pipeline with several outputs, and the number of its partitions changes in
// between. Nothing may be lost, nothing stored twice, nothing out of order.
// WASMILL_KILLS is how often it goes through all of them; without it, it goes once
// through those of exactly-once alone.
func TestExactlyOnceOverEveryFailpoint(t *testing.T) {
	rounds, points := 1, slices.DeleteFunc(event.Failpoints(), func(name string) bool { return !strings.HasPrefix(name, "exact.") })
	if s := os.Getenv("WASMILL_KILLS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		points = event.Failpoints()
	}
	r := newExactly(t, 2)
	r.start()
	stop := r.load()
	r.ledger.waitFor(t, 1000)
	r.kill()
	for round := range rounds {
		for i, name := range points {
			if name == event.FailPublish || name == event.FailConfirmed || name == event.FailExactComplete {
				continue // of at-least-once; of a start after a kill with a journal to apply
			}
			partitions := 1 + (round+i)%4
			r.configure(strings.Replace(r.toml, "partitions = 2", fmt.Sprintf("partitions = %d", partitions), 1))
			count := 1 + rand.IntN(20) //nolint:gosec // a test's choice of moments
			if strings.HasPrefix(name, "exact.claim") || name == event.FailExactSweep {
				count = 1
			}
			r.dieAt(name, count)
			if name == event.FailExactCommitted || name == event.FailExactApply || name == event.FailExactPartApplied {
				r.start() // completes a journal
				r.kill()
			}
		}
	}
	r.start()
	r.ledger.waitFor(t, r.ledger.count()+1000)
	stop()
	r.verify()
	r.interrupt(t)
}
