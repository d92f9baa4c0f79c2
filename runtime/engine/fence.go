package engine

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
)

// fence stands between a pipeline and the broker when other processes may take
// the pipeline over. Once closed nothing passes: no fetch, no output, no
// acknowledgement, so that the new owner works alone.
type fence struct {
	closed atomic.Bool
	once   sync.Once
	down   chan struct{} // closed with it
}

func newFence() *fence { return &fence{down: make(chan struct{})} }

func (f *fence) close() {
	f.closed.Store(true)
	f.once.Do(func() { close(f.down) })
}

type fencedSource struct {
	pipeline.Source
	fence *fence
}

func (s fencedSource) Fetch(ctx context.Context, dst []event.Event, room event.Room) ([]event.Event, uint64, error) {
	if s.fence.closed.Load() {
		return dst, 0, errNotOwner
	}
	return s.Source.Fetch(ctx, dst, room)
}

func (s fencedSource) Ack(token string) error {
	if s.fence.closed.Load() {
		return errNotOwner
	}
	return s.Source.Ack(token)
}

type fencedSink struct {
	pipeline.Sink
	fence *fence
}

func (s fencedSink) Add(ctx context.Context, topic int, m *event.Output) (uint64, error) {
	if s.fence.closed.Load() {
		return 0, errNotOwner
	}
	return s.Sink.Add(ctx, topic, m)
}

func (s fencedSink) Commit(ctx context.Context, seq uint64) (uint64, error) {
	if s.fence.closed.Load() {
		return 0, errNotOwner
	}
	return s.Sink.Commit(ctx, seq)
}

func (s fencedSink) Flush() error {
	if s.fence.closed.Load() {
		return errNotOwner
	}
	return s.Sink.Flush()
}
