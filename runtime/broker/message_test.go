package broker

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestMessages(t *testing.T) {
	b := open(t, Config{})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	// The same content in a stream of another owner that allows no direct reads.
	if _, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: "slow", Subjects: []string{"slow.>"}}); err != nil {
		t.Fatal(err)
	}
	var times []time.Time
	for i := range 6 {
		for _, topic := range []string{"quakes", "slow"} {
			m := nats.NewMsg(fmt.Sprintf("%s.%c", topic, 'a'+i%2))
			m.Data = fmt.Appendf(nil, "%d", i+1)
			m.Header["Kind"] = []string{"x", "y"}
			if _, err := b.js.PublishMsg(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		m, err := b.Get(ctx, "quakes", uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, m.Time)
	}
	for _, topic := range []string{"quakes", "slow"} {
		for _, seq := range []uint64{2, 3} {
			if err := b.DeleteMessage(ctx, topic, seq); err != nil {
				t.Fatal(err)
			}
		}
	}

	for _, topic := range []string{"quakes", "slow"} {
		t.Run(topic, func(t *testing.T) {
			t.Run("Get returns the message with that sequence", func(t *testing.T) {
				m, err := b.Get(ctx, topic, 4)
				if err != nil {
					t.Fatal(err)
				}
				if m.Topic != topic || m.Seq != 4 || m.Subject != topic+".b" || m.Payload != "4" || m.Time.IsZero() ||
					len(m.Headers) != 1 || len(m.Headers["Kind"]) != 2 {
					t.Errorf("%+v", m)
				}
			})
			t.Run("Get says so when there is none", func(t *testing.T) {
				for _, seq := range []uint64{0, 2, 7, 1 << 60} {
					if _, err := b.Get(ctx, topic, seq); !errors.Is(err, ErrNotFound) {
						t.Errorf("%d: %v", seq, err)
					}
				}
			})
			t.Run("Next skips gaps and other subjects", func(t *testing.T) {
				for _, c := range []struct {
					from    uint64
					subject string
					want    uint64
				}{{0, "", 1}, {1, "", 1}, {2, "", 4}, {2, topic + ".a", 5}, {0, topic + ".*", 1}, {5, topic + ".b", 6}, {6, topic + ".a", 0}, {7, "", 0}, {0, "other.>", 0}} {
					m, err := b.Next(ctx, topic, c.from, c.subject)
					switch {
					case c.want == 0:
						if !errors.Is(err, ErrNotFound) {
							t.Errorf("%+v: %v", c, err)
						}
					case err != nil || m.Seq != c.want:
						t.Errorf("%+v: got %d, %v", c, m.Seq, err)
					}
				}
			})
			t.Run("SeqAt finds the first message of a time", func(t *testing.T) {
				for _, c := range []struct {
					at   time.Time
					want uint64
				}{{time.Unix(0, 0), 1}, {times[3].Add(-time.Nanosecond), 4}, {times[1], 4}, {times[5].Add(time.Hour), 7}} {
					if got, err := b.SeqAt(ctx, topic, c.at); err != nil || got != c.want {
						t.Errorf("%s: got %d, want %d, %v", c.at, got, c.want, err)
					}
				}
			})
		})
	}

	t.Run("reading leaves no consumer behind", func(t *testing.T) {
		if n := streamOf(t, b, "quakes").State.Consumers; n != 0 {
			t.Errorf("%d consumers", n)
		}
	})

	t.Run("a message whose headers pretend to be the server's", func(t *testing.T) {
		m := nats.NewMsg("quakes.fake")
		m.Header = nats.Header{"Nats-Sequence": {"1"}, "Nats-Subject": {"forged"}, "Status": {"404"}, "Nats-Time-Stamp": {"never"}}
		ack, err := b.js.PublishMsg(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Get(ctx, "quakes", ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if got.Seq != ack.Sequence || got.Subject != "quakes.fake" || got.Headers["Nats-Sequence"][0] != "1" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("a payload that is not text", func(t *testing.T) {
		ack, err := b.js.Publish(ctx, "quakes.bin", []byte{0xff, 0})
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Get(ctx, "quakes", ack.Sequence)
		if err != nil || got.Payload != "" || !bytes.Equal(got.Base64, []byte{0xff, 0}) {
			t.Errorf("%+v, %v", got, err)
		}
	})

	t.Run("a topic that does not exist", func(t *testing.T) {
		if _, err := b.Get(ctx, "none", 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		if _, err := b.SeqAt(ctx, "none", time.Now()); !errors.Is(err, ErrNotFound) {
			t.Errorf("SeqAt: %v", err)
		}
		if err := b.DeleteMessage(ctx, "none", 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("DeleteMessage: %v", err)
		}
		if _, err := b.Purge(ctx, "none", ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("Purge: %v", err)
		}
		if _, err := b.Publish(ctx, "none", event.Output{Subject: "x"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("Publish: %v", err)
		}
	})
}

func TestPublish(t *testing.T) {
	b := open(t, Config{MaxPayload: 4096})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	ensure(t, b, TopicConfig{Name: "alerts", Subjects: []string{"alerts.>"}})

	t.Run("stores subject, headers and payload", func(t *testing.T) {
		headers := abi.AppendHeader(nil, "kind", "x")
		headers = abi.AppendHeader(headers, "kind", "y")
		headers = abi.AppendHeader(headers, "Nats-Rollup", "all")
		seq, err := b.Publish(ctx, "quakes", event.Output{Subject: "quakes.a", Headers: headers, HeaderCount: 3, Payload: []byte("p")})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Get(ctx, "quakes", seq)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "quakes.a" || m.Payload != "p" || len(m.Headers) != 1 || len(m.Headers["kind"]) != 2 {
			t.Errorf("%+v", m)
		}
	})

	t.Run("refuses what can never be stored", func(t *testing.T) {
		for _, out := range []event.Output{
			{Subject: "alerts.x"},
			{Subject: "other"},
			{Subject: ""},
			{Subject: "quakes.*"},
			{Subject: "quakes.a b"},
			{Subject: "quakes.>"},
			{Subject: "quakes.a", Payload: make([]byte, 4096+topicHeadroom+1)},
			{Subject: "quakes.a", Payload: make([]byte, 1<<20)},
			{Subject: "quakes.a", Headers: []byte{1, 2, 3}},
		} {
			_, err := b.Publish(ctx, "quakes", out)
			var re *event.RefusedError
			if !errors.As(err, &re) {
				t.Errorf("%q, %d bytes: %T %v", out.Subject, len(out.Payload), err, err)
			}
		}
		if n := streamOf(t, b, "alerts").State.Msgs; n != 0 {
			t.Errorf("another topic got %d", n)
		}
	})
}

func TestPurge(t *testing.T) {
	b := open(t, Config{})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}})
	for i := range 10 {
		if _, err := b.js.Publish(ctx, fmt.Sprintf("wasmill.dead.p%d.s", i%2), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Purge(ctx, "dead-letters", "wasmill.dead.p1.*"); err != nil || n != 5 {
		t.Errorf("purged %d, %v", n, err)
	}
	if n, err := b.Purge(ctx, "dead-letters", ""); err != nil || n != 5 {
		t.Errorf("purged %d, %v", n, err)
	}
	if err := b.DeleteMessage(ctx, "dead-letters", 3); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete what is gone: %v", err)
	}
}
