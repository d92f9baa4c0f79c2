package broker

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logTo writes a broker's log to the test's.
func logTo(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open returns an open broker that the test closes.
func open(t *testing.T, cfg Config) *Broker {
	t.Helper()
	if cfg.URL == "" && cfg.StoreDir == "" {
		cfg.StoreDir = t.TempDir()
	}
	b := New(cfg, Options{Log: logTo(t)})
	if err := b.Open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func ensure(t *testing.T, b *Broker, cfg TopicConfig) {
	t.Helper()
	if err := b.EnsureTopic(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
}

// application connects as any NATS client would: over TCP, with no credentials.
func application(t *testing.T, b *Broker, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(b.ClientURL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestEmbedded(t *testing.T) {
	t.Run("an application publishes to a topic and reads it", func(t *testing.T) {
		b := open(t, Config{Listen: "127.0.0.1:0"})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		_, js := application(t, b)
		ctx := testContext(t)
		if _, err := js.Publish(ctx, "quakes.raw.x", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		topic, err := b.Topic(ctx, "quakes")
		if err != nil {
			t.Fatal(err)
		}
		if topic.Messages != 1 {
			t.Errorf("the topic holds %d messages, want 1", topic.Messages)
		}
		t.Logf("ready in %s", b.embedded.took)
	})
}
