package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/wasmill/wasmill/runtime/broker"
)

// runBaseline is the fastest loop we know with the public clients alone:
// jetstream's Messages, orbit's fast-ingest publisher, one AckAll for 500
// events. No plugin, no headers, no partitions, no limits, no error handling
// beyond stopping.
func runBaseline(ctx context.Context, b *broker.Broker, id string, events int) (err error) {
	consume, err := b.ConnectWith(broker.ConnectOptions{Name: id + " consume"})
	if err != nil {
		return err
	}
	defer consume.Close()
	publish, err := b.ConnectWith(broker.ConnectOptions{Name: id + " publish"})
	if err != nil {
		return err
	}
	defer publish.Close()
	js, err := jetstream.New(consume)
	if err != nil {
		return err
	}
	out, err := jetstream.New(publish)
	if err != nil {
		return err
	}
	cons, err := js.CreateConsumer(ctx, "in", jetstream.ConsumerConfig{Durable: id, AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 20000})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	defer func() { err = errors.Join(err, js.DeleteConsumer(ctx, "in", id)) }()
	it, err := cons.Messages(jetstream.PullMaxMessages(2000))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer it.Stop()
	fast, err := jetstreamext.NewFastPublisher(out, jetstreamext.FastPublishFlowControl{Flow: 400, MaxOutstandingAcks: 3})
	if err != nil {
		return fmt.Errorf("fast publisher: %w", err)
	}
	for i := range events {
		m, err := it.Next()
		if err != nil {
			return fmt.Errorf("next event: %w", err)
		}
		if _, err := fast.Add("out.a", m.Data()); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if (i+1)%500 == 0 || i == events-1 {
			if err := m.Ack(); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
	}
	ack, err := fast.Close(ctx)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if ack.BatchSize != uint64(events) {
		return fmt.Errorf("the broker confirmed %d of %d outputs", ack.BatchSize, events)
	}
	return consume.Flush()
}

// atomicBatchSize is how many outputs runAtomic commits at once.
const atomicBatchSize = 500

// runAtomic is what exactly-once is measured against: the public clients again,
// with orbit's atomic batch publisher and one AckAll for each batch. It writes no
// checkpoint, so it could not go on after a crash.
func runAtomic(ctx context.Context, b *broker.Broker, id string, events int) (err error) {
	consume, err := b.ConnectWith(broker.ConnectOptions{Name: id + " consume"})
	if err != nil {
		return err
	}
	defer consume.Close()
	publish, err := b.ConnectWith(broker.ConnectOptions{Name: id + " publish", InProcess: true})
	if err != nil {
		return err
	}
	defer publish.Close()
	js, err := jetstream.New(consume)
	if err != nil {
		return err
	}
	out, err := jetstream.New(publish)
	if err != nil {
		return err
	}
	cons, err := js.CreateConsumer(ctx, "in", jetstream.ConsumerConfig{Durable: id, AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 20000})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	defer func() { err = errors.Join(err, js.DeleteConsumer(ctx, "in", id)) }()
	it, err := cons.Messages(jetstream.PullMaxMessages(2000))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer it.Stop()
	batch := make([]*nats.Msg, 0, atomicBatchSize)
	for i := range events {
		m, err := it.Next()
		if err != nil {
			return fmt.Errorf("next event: %w", err)
		}
		batch = append(batch, &nats.Msg{Subject: "out.a", Data: m.Data(), Header: nats.Header{}})
		if len(batch) < atomicBatchSize && i < events-1 {
			continue
		}
		ack, err := jetstreamext.PublishMsgBatch(ctx, out, batch)
		if err != nil {
			return fmt.Errorf("publish a batch: %w", err)
		}
		if ack.BatchSize != uint64(len(batch)) {
			return fmt.Errorf("the broker stored %d of %d outputs", ack.BatchSize, len(batch))
		}
		if err := m.Ack(); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		batch = make([]*nats.Msg, 0, atomicBatchSize)
	}
	return consume.Flush()
}
