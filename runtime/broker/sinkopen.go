package broker

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// SinkConfig says where one partition of a pipeline publishes.
type SinkConfig struct {
	Pipeline  string
	Partition int
	Topics    []string // a topic may be there more than once
	// Window bounds what is added and not yet confirmed, over all topics; zero
	// fields have defaults.
	Window event.Room

	listener event.Listener
	timing   sinkTiming
}

// sinkTiming holds intervals that tests shorten.
type sinkTiming struct {
	tick   time.Duration // how soon an output that nobody flushed goes out, at the latest twice that
	ask    time.Duration // silence of the server after which it is asked for the batch
	answer time.Duration // silence of the server after which everything unconfirmed is sent again
	limits time.Duration // how long what a topic takes is believed when it refuses an output
}

func (c SinkConfig) withDefaults() SinkConfig {
	if c.Window.Events <= 0 {
		c.Window.Events = 8192
	}
	if c.Window.Bytes <= 0 {
		c.Window.Bytes = 16 << 20
	}
	if c.timing.tick == 0 {
		c.timing.tick = 50 * time.Millisecond
	}
	if c.timing.answer == 0 {
		c.timing.answer = 10 * time.Second
	}
	if c.timing.ask == 0 {
		c.timing.ask = 2 * time.Second
	}
	if c.timing.limits == 0 {
		c.timing.limits = 5 * time.Second
	}
	c.listener = c.listener.WithDefaults()
	return c
}

// OpenSink connects a sink. confirmed is called, by a goroutine that must not be
// kept, after a position that Confirmed returns has moved.
func (b *Broker) OpenSink(ctx context.Context, cfg SinkConfig, confirmed func()) (*Sink, error) {
	for _, topic := range cfg.Topics {
		if err := b.prepareOutput(ctx, topic); err != nil {
			return nil, fmt.Errorf("open sink: %w", err)
		}
	}
	w, err := b.openWire(fmt.Sprintf("sink %s/%d", cfg.Pipeline, cfg.Partition), sinkInProcess, b.tenureOf(cfg.Pipeline))
	if err != nil {
		return nil, err
	}
	cfg.listener = b.listener
	return openSink(ctx, w, cfg, confirmed)
}

// openSink takes over w, also when it fails.
func openSink(ctx context.Context, w *wire, cfg SinkConfig, confirmed func()) (_ *Sink, err error) {
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	cfg = cfg.withDefaults()
	if confirmed == nil {
		confirmed = func() {}
	}
	inbox := w.nc.NewInbox()
	s := &Sink{
		wire: w, pipeline: cfg.Pipeline, window: cfg.Window, timing: cfg.timing, listener: cfg.listener, confirmed: confirmed,
		inbox: []byte(inbox[:strings.LastIndexByte(inbox, '.')+1] + rand.Text()[:8]), id: []byte(rand.Text()[:10]),
		flow:  min(max(cfg.Window.Events/8, 1), maxFlow),
		names: cfg.Topics, positions: make([]atomic.Uint64, len(cfg.Topics)),
	}
	if s.js, err = jetstream.New(w.nc); err != nil {
		return nil, err
	}
	for i, name := range cfg.Topics {
		g := &ingest{intake: intake{topic: name}, index: strconv.AppendInt(nil, int64(i), 10), ring: newRing()}
		if err := g.limits(ctx, s.js, w.nc.MaxPayload()); err != nil {
			return nil, fmt.Errorf("open sink: %w", err)
		}
		s.mu.topics = append(s.mu.topics, g)
	}
	s.mu.timer = time.AfterFunc(time.Hour, s.tick)
	s.mu.timer.Stop()
	w.subscribe(string(s.inbox)+".>", s)
	w.join(s)
	return s, nil
}
