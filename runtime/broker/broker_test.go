package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A server that is shut down within an atomic batch leaves the store behind in
	// which the batch was staged, and the clock that the store uses.
	const store = "github.com/nats-io/nats-server/v2/server."
	const clock = "github.com/nats-io/nats-server/v2/server/ats.Register.func1"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(store+"(*fileStore).flushStreamStateLoop"), goleak.IgnoreAnyFunction(store+"(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(clock))
}

// logTo writes a broker's log to the test's.
func logTo(t *testing.T) *slog.Logger {
	t.Helper()
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

// eventually waits until ok, for a minute at the most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
