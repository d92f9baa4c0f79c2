package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// intake is what a topic takes, as far as is known. Not for concurrent use.
type intake struct {
	topic    string
	atomic   bool      // it is published to in atomic batches, else by fast ingest
	maxSize  int       // of header block and payload
	maxBytes int       // of the topic, 0 = no limit
	asked    time.Time // when the topic said so
}

// limits asks the topic what it takes.
func (t *intake) limits(ctx context.Context, js jetstream.JetStream, maxPayload int64) error {
	stream, err := js.Stream(ctx, t.topic)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("topic %q: %w", t.topic, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("look up topic %q: %w", t.topic, err)
	}
	cfg := stream.CachedInfo().Config
	switch {
	case t.atomic && !cfg.AllowAtomicPublish:
		return fmt.Errorf("topic %q does not allow atomic publishing: set allow_atomic on its stream", t.topic)
	case !t.atomic && !cfg.AllowBatchPublish:
		return fmt.Errorf("topic %q does not allow batch publishing: set allow_batched on its stream, or let Wasmill create it", t.topic)
	case cfg.NoAck:
		return fmt.Errorf("topic %q does not acknowledge what it stores: unset no_ack on its stream", t.topic)
	}
	t.maxSize, t.maxBytes = int(maxPayload), 0
	if cfg.MaxMsgSize > 0 {
		t.maxSize = min(t.maxSize, int(cfg.MaxMsgSize))
	}
	if cfg.MaxBytes > 0 {
		t.maxBytes = int(cfg.MaxBytes)
	}
	if t.atomic {
		t.maxSize -= atomicHeader
	}
	t.asked = time.Now()
	return nil
}

// storeOverhead is what the server's file store adds to one message.
const storeOverhead = 34

// refusal says why the topic can never store m, or nil.
func (t *intake) refusal(m *event.Output) (size int, err error) {
	size, header, no := encodedSize(m)
	switch body := size - len(m.Subject); {
	case no != "":
	case body > t.maxSize:
		no = fmt.Sprintf("headers and payload have %d bytes, more than the %d that it takes", body, t.maxSize)
	case t.atomic && header > maxHeader-atomicHeader:
		no = fmt.Sprintf("the headers have %d bytes, more than the %d that fit into an atomic batch", header, maxHeader-atomicHeader)
	case t.maxBytes > 0 && size+storeOverhead > t.maxBytes:
		no = fmt.Sprintf("the message has %d bytes and the whole topic may hold %d", size, t.maxBytes)
	default:
		return size, nil
	}
	return size, &event.RefusedError{Topic: t.topic, Reason: no}
}

// refusalNow is refusal, but asks again when what the topic said is older than
// stale and would refuse m: it may have been changed since. If it cannot be
// asked, what is known stands.
func (t *intake) refusalNow(ctx context.Context, js jetstream.JetStream, maxPayload int64, stale time.Duration, m *event.Output) (size int, err error) {
	size, err = t.refusal(m)
	if err != nil && time.Since(t.asked) > stale && t.limits(ctx, js, maxPayload) == nil {
		size, err = t.refusal(m)
	}
	return size, err
}
