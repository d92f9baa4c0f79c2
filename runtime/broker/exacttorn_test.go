package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// room lets the server take that many more messages of size bytes; -1: any number.
// It is a limit of the account, which the server checks before every message of a
// batch that it is storing: so are a full disk refused and server.max_store.
func (r *rig) room(t *testing.T, messages, size int) {
	t.Helper()
	store := int64(-1)
	if messages >= 0 {
		info, err := r.js.AccountInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		store = int64(info.Store) + int64(messages)*int64(size) + int64(size)/2
	}
	err := r.srv.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: store, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

const tornOutputs = 20

// tear commits events 1 to tornOutputs, with an output of 8 KiB each to two topics, and has the
// server refuse to store what comes behind the first messages of the batch.
func tear(t *testing.T, r *rig, s *ExactSink, messages int) (out, more []string) {
	t.Helper()
	out, more = s.emitTorn(t, 1, tornOutputs)
	r.room(t, messages, 8<<10)
	s.mustCommit(t, tornOutputs)
	return out, more
}

// emitTorn adds the outputs of the events from first to last, and returns those of all.
func (s *ExactSink) emitTorn(t *testing.T, first, last uint64) (out, more []string) {
	t.Helper()
	pad := " " + strings.Repeat(".", 8<<10)
	for seq := uint64(1); seq <= tornOutputs; seq++ {
		o, m := fmt.Sprint("o", seq), fmt.Sprint("m", seq)
		if first <= seq && seq <= last {
			s.emit(t, seq, "out:"+o+pad, "more:"+m)
		}
		out, more = append(out, o), append(more, m)
	}
	return out, more
}

// words are the first words of the events in a topic.
func (r *rig) words(t *testing.T, topic string) []string {
	t.Helper()
	all := r.outputs(t, topic)
	for i := range all {
		all[i], _, _ = strings.Cut(all[i], " ")
	}
	return all
}

// The server stores a part of an atomic batch when a limit ends within it, and
// does not answer. The rest is stored when there is room again, and nothing twice.
func TestExactCompletesATornBatch(t *testing.T) {
	for _, messages := range []int{0, 1, tornOutputs / 2, tornOutputs} {
		t.Run(fmt.Sprint(messages), func(t *testing.T) {
			t.Parallel()
			r := exactRig(t)
			e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
			s := e.mustSink(t, 0)
			out, more := tear(t, r, s, messages)
			waitFor(t, "the trouble to be noticed", func() bool { return s.Err() != "" })
			if messages > 0 && len(r.outputs(t, "out")) == 0 {
				t.Fatal("the server has torn nothing: this test shows nothing")
			}
			r.room(t, -1, 0)
			s.settle(t)
			sameOrder(t, r.words(t, "out"), out)
			sameOrder(t, r.words(t, "more"), more)
			e.Close()
			e = r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
			if !e.Covers(eventOf(tornOutputs, "in.x")) {
				t.Error("after a start the events are not committed")
			}
		})
	}
}

// The process ends while a batch is torn. The outputs that are stored are not
// stored again when their events come again, whoever has written to the topic
// meanwhile, and however often the next one ends, too.
func TestExactGoesOnBehindATornBatch(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, r *rig){
		"at once":                          func(*testing.T, *rig) {},
		"behind the outputs of others":     func(t *testing.T, r *rig) { t.Helper(); r.other(t) },
		"when the server was restarted":    func(t *testing.T, r *rig) { t.Helper(); r.other(t); r.stop(); r.start(t) },
		"when the server has completed it": func(t *testing.T, r *rig) { t.Helper(); r.stop(); r.start(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := exactRig(t)
			e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
			out, more := tear(t, r, e.mustSink(t, 0), tornOutputs/2)
			waitFor(t, "a part of the batch to be stored", func() bool { return len(r.outputs(t, "out")) > 0 })
			e.Close()
			r.room(t, -1, 0)
			between(t, r)
			for epoch := uint64(2); epoch < 5; epoch++ {
				e = r.exact(t, exactConfig(1), exactClaim{epoch: epoch, last: 1 << 40})
				s := e.mustSink(t, 0)
				from := uint64(1)
				for e.Covers(eventOf(from, "in.x")) && from <= tornOutputs {
					from++
				}
				to := map[uint64]uint64{2: tornOutputs, 3: 5, 4: tornOutputs}[epoch]
				s.emitTorn(t, from, to)
				if epoch > 2 { // the first one ends before it commits anything
					s.mustCommit(t, to)
					s.settle(t)
				}
				e.Close()
			}
			got := slices.DeleteFunc(r.words(t, "out"), func(s string) bool { return s == "other" })
			sameOrder(t, got, out)
			sameOrder(t, r.words(t, "more"), more)
			e = r.exact(t, exactConfig(1), exactClaim{epoch: 5, last: 1 << 40})
			e.Finished(tornOutputs)
			s := e.mustSink(t, 0)
			s.mustCommit(t, tornOutputs+1)
			s.settle(t)
			if len(e.next.Torn) > 0 {
				t.Errorf("all is finished, and the checkpoint still speaks of torn batches: %+v", e.next)
			}
		})
	}
}

// other publishes as somebody else.
func (r *rig) other(t *testing.T) {
	t.Helper()
	if _, err := r.js.Publish(t.Context(), "out.x", []byte("other")); err != nil {
		t.Fatal(err)
	}
}
