package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/backup"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
)

// TestBackupUnderLoad backs a store up while events are published and a consumer
// copies them to another topic, restores it elsewhere, and compares: everything
// that was stored when the backup began is there, the consumer is nowhere ahead
// of its outputs, and no sequence that the running store used is used again.
func TestBackupUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opened := func(dir string) *broker.Broker {
		b := broker.New(broker.Config{StoreDir: dir}, broker.Options{})
		if err := b.Open(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	b := opened(filepath.Join(t.TempDir(), "data"))
	for _, name := range []string{"in", "out"} {
		if err := b.EnsureTopic(ctx, broker.TopicConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
			t.Fatal(err)
		}
	}
	load, stop := context.WithCancel(ctx)
	var stored atomic.Uint64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for load.Err() == nil {
			seq, err := b.Publish(load, "in", event.Output{Subject: "in.x", Payload: []byte("event")})
			if err == nil {
				stored.Store(seq)
			}
		}
	})
	wg.Go(func() { copyEvents(load, t, b) })
	until := func(n uint64) {
		for stored.Load() < n {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("after two minutes %d events of %d are stored", stored.Load(), n)
			}
		}
	}

	until(2000)
	before := stored.Load()
	var file bytes.Buffer
	w, err := backup.NewWriter(&file, "test", "wasmill.toml", "data")
	if err != nil {
		t.Fatal(err)
	}
	book, err := b.Backup(ctx, []string{"out", "in"}, w.AddStore)
	if err != nil {
		t.Fatal(err)
	}
	used := book.Streams["in"].Last
	if err := w.Close(book, nil); err != nil {
		t.Fatal(err)
	}
	until(stored.Load() + 100) // it has not stood still
	stop()
	wg.Wait()

	archive, dir := filepath.Join(t.TempDir(), "archive"), t.TempDir()
	if err := os.WriteFile(archive, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(archive, dir); err != nil {
		t.Fatal(err)
	}
	r := opened(filepath.Join(dir, "data"))
	if list, err := r.Topics(ctx); err != nil || len(list) != 2 || list[0].Lost+list[1].Lost != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	for seq := uint64(1); seq <= before; seq++ {
		if _, err := r.Get(ctx, "in", seq); err != nil {
			t.Fatalf("event %d of the %d that were stored when the backup began: %v", seq, before, err)
		}
	}
	floor := place(ctx, t, r)
	outputs := map[string]bool{}
	for seq := uint64(1); ; seq++ {
		m, err := r.Next(ctx, "out", seq, "")
		if err != nil {
			break
		}
		outputs[m.Payload], seq = true, m.Seq
	}
	for seq := uint64(1); seq <= floor; seq++ {
		if !outputs[strconv.FormatUint(seq, 10)] {
			t.Fatalf("the consumer is behind %d, and the output of %d is not there", floor, seq)
		}
	}
	if seq, err := r.Publish(ctx, "in", event.Output{Subject: "in.x"}); err != nil || seq <= used {
		t.Errorf("sequence %d is used again, the store had got to %d; %v", seq, used, err)
	}
	t.Logf("%d events when the backup began, %d when it ended; the consumer goes on behind %d", before, used, floor)
}

const copier = "wasmill-copy"

// copyEvents publishes for every event of "in" its sequence to "out", and then
// acknowledges.
func copyEvents(ctx context.Context, t *testing.T, b *broker.Broker) {
	t.Helper()
	nc, err := b.Connect("copy")
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Error(err)
		return
	}
	cons, err := js.CreateConsumer(ctx, "in", jetstream.ConsumerConfig{Durable: copier, AckPolicy: jetstream.AckAllPolicy})
	if err != nil {
		t.Error(err)
		return
	}
	for ctx.Err() == nil {
		batch, err := cons.Fetch(50, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			continue // the end, or nothing there
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := js.Publish(ctx, "out.x", []byte(strconv.FormatUint(meta.Sequence.Stream, 10))); err != nil {
				return
			}
			_ = m.Ack()
		}
	}
}

// place is what the copying consumer has acknowledged.
func place(ctx context.Context, t *testing.T, b *broker.Broker) uint64 {
	t.Helper()
	nc, err := b.Connect("place")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.Consumer(ctx, "in", copier)
	if err != nil {
		t.Fatal(err)
	}
	return cons.CachedInfo().AckFloor.Stream
}
