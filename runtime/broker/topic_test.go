package broker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// refusedTopic expects a TopicError that holds all of words.
func refusedTopic(t *testing.T, b *Broker, cfg TopicConfig, words ...string) {
	t.Helper()
	err := b.EnsureTopic(testContext(t), cfg)
	var te *TopicError
	if !errors.As(err, &te) {
		t.Fatalf("%T is no TopicError: %v", err, err)
	}
	t.Log(err)
	for _, w := range append(words, cfg.Name) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not hold %q", err, w)
		}
	}
}

func streamOf(t *testing.T, b *Broker, topic string) *jetstream.StreamInfo {
	t.Helper()
	info, err := b.info(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestEnsureTopic(t *testing.T) {
	t.Run("creates a durable log that pipelines can publish to fast and read directly", func(t *testing.T) {
		b := open(t, Config{})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		c := streamOf(t, b, "quakes").Config
		if c.Storage != jetstream.FileStorage || c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardOld ||
			!c.AllowDirect || !c.AllowBatchPublish || !c.AllowAtomicPublish || c.DenyDelete || c.DenyPurge || c.Replicas != 1 {
			t.Errorf("%+v", c)
		}
	})

	t.Run("changes limits and subjects in place, and keeps the messages", func(t *testing.T) {
		b := open(t, Config{})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		if _, err := b.js.Publish(testContext(t), "quakes.x", nil); err != nil {
			t.Fatal(err)
		}
		want := TopicConfig{Name: "quakes", Subjects: []string{"quakes.>", "tremors.>"}, MaxAge: time.Minute, MaxBytes: 1 << 20, MaxMessages: 7, RefuseWhenFull: true}
		ensure(t, b, want)
		info := streamOf(t, b, "quakes")
		if c := info.Config; c.MaxAge != want.MaxAge || c.MaxBytes != want.MaxBytes || c.MaxMsgs != want.MaxMessages ||
			c.Discard != jetstream.DiscardNew || !slices.Equal(c.Subjects, want.Subjects) {
			t.Errorf("%+v", c)
		}
		if info.State.Msgs != 1 {
			t.Errorf("%d messages, want 1", info.State.Msgs)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		if c := streamOf(t, b, "quakes").Config; c.MaxAge != 0 || c.MaxBytes != -1 || c.MaxMsgs != -1 || c.Discard != jetstream.DiscardOld {
			t.Errorf("taken back: %+v", c)
		}
	})

	t.Run("changes nothing when nothing is to change", func(t *testing.T) {
		b := open(t, Config{Durability: DurabilityAsync})
		cfg := TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxAge: time.Hour, MaxBytes: 1 << 20, MaxMessages: 7}
		ensure(t, b, cfg)
		have := streamOf(t, b, "quakes").Config
		next, err := change(have, b.streamConfig(cfg))
		if err != nil || !sameStream(have, next) {
			t.Errorf("have %+v, next %+v, %v", have, next, err)
		}
		ensure(t, b, cfg)
	})

	t.Run("keeps a durability that is stronger than asked for", func(t *testing.T) {
		dir := t.TempDir()
		cfg := TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}}
		b := New(Config{StoreDir: dir}, Options{Log: logTo(t)})
		if err := b.Open(testContext(t)); err != nil {
			t.Fatal(err)
		}
		ensure(t, b, cfg)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, Config{StoreDir: dir, Durability: DurabilityAsync})
		cfg.MaxAge = time.Hour
		ensure(t, b, cfg)
		if c := streamOf(t, b, "quakes").Config; c.PersistMode != jetstream.DefaultPersistMode || !c.AllowAtomicPublish {
			t.Errorf("%+v", c)
		}
	})

	t.Run("takes an age below the server's window of duplicates", func(t *testing.T) {
		b := open(t, Config{})
		ensure(t, b, TopicConfig{Name: "short", Subjects: []string{"short.>"}, MaxAge: time.Second})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxAge: time.Second})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxAge: time.Hour})
		if got := streamOf(t, b, "quakes").Config.Duplicates; got != duplicateWindow {
			t.Errorf("the window is %s", got)
		}
	})

	t.Run("takes a message with the same id once", func(t *testing.T) {
		b := open(t, Config{})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		for i := range 2 {
			ack, err := b.js.Publish(testContext(t), "quakes.x", nil, jetstream.WithMsgID("1"))
			if err != nil || ack.Sequence != 1 || ack.Duplicate != (i == 1) {
				t.Errorf("%+v, %v", ack, err)
			}
		}
	})

	t.Run("refuses", func(t *testing.T) {
		b := open(t, Config{MaxStore: 1 << 30})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxBytes: 600 << 20})
		t.Run("subjects of another topic, naming it", func(t *testing.T) {
			refusedTopic(t, b, TopicConfig{Name: "other", Subjects: []string{"quakes.raw.*"}}, `"quakes"`, `"quakes.>"`, "change the subjects")
			ensure(t, b, TopicConfig{Name: "other", Subjects: []string{"other.>"}})
			refusedTopic(t, b, TopicConfig{Name: "other", Subjects: []string{"quakes.raw"}}, `"quakes"`)
			if c := streamOf(t, b, "other").Config; !slices.Equal(c.Subjects, []string{"other.>"}) {
				t.Errorf("it has changed: %v", c.Subjects)
			}
		})
		t.Run("replicas without a cluster", func(t *testing.T) {
			refusedTopic(t, b, TopicConfig{Name: "three", Subjects: []string{"three.>"}, Replicas: 3}, "3 replicas", "cluster")
			refusedTopic(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxBytes: 600 << 20, Replicas: 3}, "3 replicas", "cluster")
		})
		t.Run("more room than the store has", func(t *testing.T) {
			refusedTopic(t, b, TopicConfig{Name: "big", Subjects: []string{"big.>"}, MaxBytes: 600 << 20}, "max_store", "max_bytes")
		})
		t.Run("the runtime's own name", func(t *testing.T) {
			refusedTopic(t, b, TopicConfig{Name: stateStream, Subjects: []string{"s.>"}}, "reserved")
		})
		t.Run("a stream that Wasmill has not made", func(t *testing.T) {
			if _, err := b.js.CreateStream(testContext(t), jetstream.StreamConfig{Name: "foreign", Subjects: []string{"foreign.>"}}); err != nil {
				t.Fatal(err)
			}
			refusedTopic(t, b, TopicConfig{Name: "foreign", Subjects: []string{"foreign.>"}}, "has not made", "rename")
		})
		t.Run("a change that cannot be made in place", func(t *testing.T) {
			ctx := testContext(t)
			mark := map[string]string{metaKey: metaTopic}
			for _, c := range []struct {
				stream jetstream.StreamConfig
				word   string
			}{
				{jetstream.StreamConfig{Name: "memory", Storage: jetstream.MemoryStorage}, "memory"},
				{jetstream.StreamConfig{Name: "work", Retention: jetstream.WorkQueuePolicy}, "retention"},
				{jetstream.StreamConfig{Name: "async", PersistMode: jetstream.AsyncPersistMode}, "durability"},
			} {
				c.stream.Subjects, c.stream.Metadata = []string{c.stream.Name}, mark
				if _, err := b.js.CreateStream(ctx, c.stream); err != nil {
					t.Fatal(err)
				}
				refusedTopic(t, b, TopicConfig{Name: c.stream.Name, Subjects: c.stream.Subjects}, c.word, "rename the topic")
			}
		})
	})

	t.Run("lets the largest event pass from topic to topic and to the dead letters", func(t *testing.T) {
		b := open(t, Config{MaxPayload: 64 << 10, Listen: "127.0.0.1:0"})
		ctx := testContext(t)
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		ensure(t, b, TopicConfig{Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}})
		_, js := application(t, b)
		event := make([]byte, 64<<10)
		if _, err := js.Publish(ctx, "quakes.x", event); err != nil {
			t.Error("the event:", err)
		}
		if _, err := js.Publish(ctx, "quakes.x", make([]byte, 64<<10+topicHeadroom+1)); !errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
			t.Errorf("a larger event: %v", err)
		}
		if _, err := b.js.Publish(ctx, "quakes.x", make([]byte, 64<<10+topicHeadroom-64)); err != nil {
			t.Error("the output:", err)
		}
		if _, err := b.js.Publish(ctx, "wasmill.dead.x.y", make([]byte, 64<<10+topicHeadroom+32<<10)); err != nil {
			t.Error("the dead letter:", err)
		}
	})
}

func TestTopics(t *testing.T) {
	b := open(t, Config{})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}, MaxAge: time.Hour, MaxBytes: 1 << 20})
	ensure(t, b, TopicConfig{Name: "alerts", Subjects: []string{"alerts.>"}})
	if _, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: "KV_other", Subjects: []string{"$KV.other.>"}}); err != nil {
		t.Fatal(err)
	}
	ack, err := b.js.Publish(ctx, "quakes.x", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	topics, err := b.Topics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 2 || topics[0].Name != "alerts" || topics[1].Name != "quakes" {
		t.Fatalf("got %+v", topics)
	}
	q := topics[1]
	if q.Messages != 1 || q.LastSeq != ack.Sequence || q.LastTime.IsZero() || q.MaxAge != "1h0m0s" || q.MaxBytes != 1<<20 || q.Replicas != 1 {
		t.Errorf("%+v", q)
	}
	if got, err := b.Topic(ctx, "quakes"); err != nil || got.Name != "quakes" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"none", "KV_other", "", "a.b", "a b"} {
		if _, err := b.Topic(ctx, name); !errors.Is(err, ErrNotFound) {
			t.Errorf("topic %q: %v", name, err)
		}
	}
}
