package broker

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// What the embedded server is asked by a call is what its API says.
func TestSurvey(t *testing.T) {
	b := open(t, Config{})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxBytes: 1 << 20})
	ensure(t, b, TopicConfig{Name: "alerts", Subjects: []string{"alerts.>"}})
	for range 5 {
		if _, err := b.Publish(ctx, "quakes", event.Output{Subject: "quakes.a", Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	cons, err := b.js.CreateConsumer(ctx, "quakes", jetstream.ConsumerConfig{
		Durable: consumerName("p"), AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := cons.Fetch(2)
	if err != nil {
		t.Fatal(err)
	}
	for range got.Messages() { // both are given, and neither is acknowledged
	}

	if _, ok := b.survey(server.JSzOptions{}); !ok {
		t.Fatal("the embedded server cannot be asked by a call")
	}
	readers := []Reader{{"q", "quakes"}, {"p", "quakes"}, {"p", "alerts"}, {"p", "none"}}
	want := make([]Backlog, len(readers))
	for i, r := range readers {
		if want[i].Waiting, want[i].Unacked, err = b.Behind(ctx, r.Pipeline, r.Topic); err != nil {
			t.Fatal(err)
		}
	}
	if want[1] != (Backlog{3, 2}) {
		t.Fatalf("the consumer is at %+v", want[1])
	}
	if diff := cmp.Diff(want, b.BehindAll(ctx, readers)); diff != "" {
		t.Errorf("backlogs (-one by one +all):\n%s", diff)
	}
	topics, err := b.Topics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alerts", "quakes"} {
		one, err := b.Topic(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(topics, func(s status.Topic) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("%s is not listed", name)
		}
		if diff := cmp.Diff(one, topics[i]); diff != "" {
			t.Errorf("%s (-by name +in the list):\n%s", name, diff)
		}
		if last, err := b.LastSeq(ctx, name); err != nil || last != one.LastSeq {
			t.Errorf("the last sequence of %s is %d, %v", name, last, err)
		}
	}

	// The way to a server of others.
	if diff := cmp.Diff(want, b.behindEach(ctx, readers)); diff != "" {
		t.Errorf("backlogs of an external server (-one by one +all):\n%s", diff)
	}
	list, err := b.listStreams(ctx)
	if err != nil || len(list) < 2 {
		t.Errorf("streams of an external server: %d, %v", len(list), err)
	}
}
