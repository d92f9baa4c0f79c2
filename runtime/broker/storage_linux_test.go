package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
)

// disk mounts a disk that fails on request.
func disk(t *testing.T, o lossyfs.Options) (*lossyfs.FS, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := lossyfs.Mount(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, dir
}

// await polls until ok, generously.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for this: %s", what)
		}
	}
}

// book publishes as an application does, each message until it is acknowledged,
// and remembers the acknowledged ones.
type book struct {
	t  *testing.T
	js jetstream.JetStream

	mu      sync.Mutex
	next    int
	refused error // the last refusal
}

// publish sends message after message until ctx ends.
func (p *book) publish(ctx context.Context, size int) {
	for ctx.Err() == nil {
		p.mu.Lock()
		n := p.next
		p.mu.Unlock()
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := p.js.Publish(try, "in.x", fmt.Appendf(nil, "%d %s", n, strings.Repeat(".", size)), jetstream.WithRetryAttempts(0))
		cancel()
		p.mu.Lock()
		var api *jetstream.APIError
		switch {
		case err == nil:
			p.next++
		case errors.As(err, &api):
			p.refused = err
		}
		p.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // as a client does before it tries again
		}
	}
}

func (p *book) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *book) refusal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// words are the first words of all messages of a topic, in order.
func words(t *testing.T, b *Broker, topic string) []string {
	t.Helper()
	info, err := b.Topic(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for seq := uint64(1); seq <= info.LastSeq; seq++ {
		m, err := b.Get(testContext(t), topic, seq)
		if errors.Is(err, ErrNotFound) {
			continue // a failed write may leave its sequence unused
		}
		if err != nil {
			t.Fatal(err)
		}
		word, _, _ := strings.Cut(m.Payload, " ")
		out = append(out, word)
	}
	return out
}

// relay copies topic "in" to "out" as a pipeline does, and begins anew when it
// fails as an engine does, until ctx ends.
func relay(ctx context.Context, t *testing.T, b *Broker) {
	t.Helper()
	for ctx.Err() == nil {
		if err := runRelay(ctx, b); err != nil && ctx.Err() == nil {
			t.Log("the pipeline starts again:", err)
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func runRelay(ctx context.Context, b *Broker) (err error) {
	source, err := b.OpenSource(ctx, SourceConfig{Pipeline: "relay", Topic: "in"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	sink, err := b.OpenSink(ctx, SinkConfig{Pipeline: "relay", Topics: []string{"out"}}, nil)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, sink.Close(last))
	}()
	for {
		events, _, err := source.Fetch(ctx, nil, event.Room{Events: 256, Bytes: 1 << 20})
		if err != nil {
			return err
		}
		for i := range events {
			word, _, _ := strings.Cut(string(events[i].Payload), " ")
			if _, err := sink.Add(ctx, 0, &event.Output{Subject: "out.x", Payload: []byte(word)}); err != nil {
				return err
			}
		}
		if err := sink.Flush(); err != nil {
			return err
		}
	}
}

// survives runs an application and a pipeline, breaks the disk, waits until
// messages are refused, mends it, and wants everything back: the port, the
// application, the pipeline, every acknowledged message and its output.
func survives(t *testing.T, cfg Config, d *lossyfs.FS, size int, hurt, heal func(b *Broker)) *Broker {
	t.Helper()
	b := open(t, cfg)
	for _, topic := range []string{"in", "out"} {
		ensure(t, b, TopicConfig{Name: topic, Subjects: []string{topic + ".>"}})
	}
	url := b.ClientURL()
	_, js := application(t, b, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	p := &book{t: t, js: js}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	var publishing sync.WaitGroup
	publishing.Go(func() { p.publish(ctx, size) })
	relayCtx, stopRelay := context.WithCancel(t.Context())
	defer stopRelay()
	work.Go(func() { relay(relayCtx, t, b) })
	await(t, "some messages and outputs", func() bool {
		info, err := b.Topic(testContext(t), "out")
		return err == nil && info.Messages > 0 && p.count() > 20
	})
	hurt(b)
	await(t, "the broker to say that it stores nothing", func() bool {
		err := b.Healthy()
		if err != nil {
			t.Log(err)
		}
		return err != nil
	})
	await(t, "an application to be refused", func() bool { return p.refusal() != nil })
	t.Log(p.refusal())
	await(t, "status to say it", func() bool { s := b.Describe(); return !s.Storing && s.StorageTrouble != "" })
	before := p.count()
	start := time.Now()
	heal(b)
	await(t, "the broker to store again", func() bool { return b.Healthy() == nil })
	await(t, "the application to go on", func() bool { return p.count() > before+20 })
	t.Logf("went on after %s, with %d restarts", time.Since(start).Round(time.Millisecond), b.Describe().StoreRestarts)
	if b.ClientURL() != url {
		t.Errorf("applications find it at %s, before at %s", b.ClientURL(), url)
	}
	stop()
	publishing.Wait()
	want := numbers(p.count())
	await(t, "the pipeline to go on", func() bool { return len(firsts(words(t, b, "out"))) >= len(want) })
	stopRelay()
	work.Wait()
	for _, topic := range []string{"in", "out"} {
		got := firsts(words(t, b, topic))
		sameOrder(t, got[:min(len(got), len(want))], want) // behind it: what was not acknowledged
	}
	return b
}

func TestStoreSurvives(t *testing.T) {
	t.Run("a disk that fills up: it refuses before it is full", func(t *testing.T) {
		d, dir := disk(t, lossyfs.Options{Size: 64 << 20})
		b := survives(t, Config{StoreDir: dir, Listen: "127.0.0.1:0"}, d, 1000,
			func(*Broker) { d.Resize(d.Used() + 1<<20) },
			func(*Broker) { d.Resize(64 << 20) })
		if n := b.Describe().StoreRestarts; n != 0 {
			t.Logf("%d restarts: the disk was full before anybody looked", n)
		}
	})
	t.Run("a disk that is full at once", func(t *testing.T) {
		d, dir := disk(t, lossyfs.Options{Size: 64 << 20})
		b := survives(t, Config{StoreDir: dir, Listen: "127.0.0.1:0"}, d, 1000,
			func(*Broker) { d.Fail(lossyfs.Write, ".blk", syscall.ENOSPC) },
			func(*Broker) { d.Heal() })
		if n := b.Describe().StoreRestarts; n == 0 {
			t.Error("the server was not restarted")
		}
	})
	for _, mode := range []string{DurabilityOS, DurabilityFsync} {
		t.Run("an error of write, "+mode, func(t *testing.T) {
			d, dir := disk(t, lossyfs.Options{})
			survives(t, Config{StoreDir: dir, Listen: "127.0.0.1:0", Durability: mode}, d, 10,
				func(*Broker) { d.Fail(lossyfs.Write, "", syscall.EIO) }, func(*Broker) { d.Heal() })
		})
	}
	t.Run("an error of fsync, and then a power loss", func(t *testing.T) {
		d, dir := disk(t, lossyfs.Options{})
		cfg := Config{StoreDir: dir, Listen: "127.0.0.1:0", Durability: DurabilityFsync}
		b := survives(t, cfg, d, 10, func(*Broker) { d.Fail(lossyfs.Sync, "", syscall.EIO) }, func(*Broker) { d.Heal() })
		before := words(t, b, "in")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		d.PowerLoss()
		sameOrder(t, words(t, open(t, cfg), "in"), before)
	})
}
