package broker

import (
	"context"
	"fmt"

	"github.com/wasmill/wasmill/runtime/event"
)

// Publisher publishes many messages to one topic, in order: the bulk form of
// Broker.Publish. Add and Flush are called by one goroutine.
type Publisher struct{ sink *Sink }

// NewPublisher connects a publisher.
func (b *Broker) NewPublisher(ctx context.Context, topic string) (*Publisher, error) {
	if err := b.prepareOutput(ctx, topic); err != nil {
		return nil, fmt.Errorf("open publisher: %w", err)
	}
	w, err := b.openWire("publisher "+topic, sinkInProcess, nil)
	if err != nil {
		return nil, err
	}
	s, err := openSink(ctx, w, SinkConfig{Topics: []string{topic}}, nil)
	if err != nil {
		return nil, err
	}
	return &Publisher{sink: s}, nil
}

// Add queues a copy of m and returns its position, counted from 1. It blocks
// while 8192 messages or 16 MiB are not confirmed. A message that the topic can
// never store is a *event.RefusedError.
func (p *Publisher) Add(ctx context.Context, m *event.Output) (uint64, error) {
	return p.sink.Add(ctx, 0, m)
}

// Confirmed is how many messages the topic has stored.
func (p *Publisher) Confirmed() uint64 { return p.sink.Confirmed(0) }

// Flush waits until everything that was added is stored, or ctx ends.
func (p *Publisher) Flush(ctx context.Context) error { return p.sink.drain(ctx) }

// Err says why messages are not being stored at the moment, or is "".
func (p *Publisher) Err() string { return p.sink.Err() }

// Close flushes, waits until ctx ends at the latest, and disconnects.
func (p *Publisher) Close(ctx context.Context) error { return p.sink.Close(ctx) }
