package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// dispatch is the only goroutine that fetches. It returns nil when ctx ends.
func (p *Pipeline) dispatch(ctx context.Context) error {
	defer p.endFetch()
	var buf []event.Event
	var sizes []int
	for {
		fetch, room, err := p.waitRoom(ctx)
		if err != nil {
			return nil // only ctx ends the wait: a drain, not a failure
		}
		events, lag, err := p.deps.Source.Fetch(fetch, buf[:0], room)
		if err != nil && len(events) == 0 {
			if ctx.Err() != nil {
				return nil // as above
			}
			if errors.Is(err, context.Canceled) {
				continue // paused
			}
			return fmt.Errorf("pipeline %q: fetch from %q: %w", p.cfg.Name, p.cfg.Topic, err)
		}
		buf = events
		if len(events) == 0 {
			p.stats.lag.Store(lag)
			p.expectMore(lag > 0)
			continue
		}
		sizes = sizesOf(sizes, events)
		p.arrived(events, sizes, lag)
		event.Failpoint(event.FailFetched)
		if err := p.deliver(ctx, events, sizes, lag > 0); err != nil {
			return nil // as above; the events stay unacknowledged
		}
		clear(events) // lets the messages go
	}
}

func (p *Pipeline) arrived(events []event.Event, sizes []int, lag uint64) {
	bytes := 0
	for _, s := range sizes {
		bytes += s
	}
	p.stats.enter(len(events), bytes, lag)
	p.deps.Listener.Fetched(p.cfg.Name, len(events), bytes, lag)
}

// waitRoom blocks while the pipeline is paused or full and returns the context
// for the next Fetch, which Pause cancels, and the room for it.
func (p *Pipeline) waitRoom(ctx context.Context) (context.Context, event.Room, error) {
	for {
		p.mu.Lock()
		paused := p.mu.paused
		p.mu.parked = paused != nil
		if paused == nil {
			room, reason := p.room()
			if reason != "" && p.positionBehind() {
				reason = event.ReasonPosition
			}
			if reason == "" {
				fetch := p.fetchContextLocked(ctx)
				p.mu.Unlock()
				return fetch, room, nil
			}
			p.mu.Unlock()
			if err := p.blocked(ctx, reason, p.progress, 10*time.Millisecond); err != nil {
				return nil, event.Room{}, err
			}
			continue
		}
		p.mu.Unlock()
		if err := p.blocked(ctx, event.ReasonPaused, paused, time.Second); err != nil {
			return nil, event.Room{}, err
		}
	}
}

// fetchContextLocked returns the context of the next Fetch: the last one, or a
// new one after Pause has cancelled it.
func (p *Pipeline) fetchContextLocked(ctx context.Context) context.Context {
	if p.mu.fetch == nil || p.mu.fetch.Err() != nil {
		p.mu.fetch, p.mu.unfetch = context.WithCancel(ctx) //nolint:fatcontext // always a child of Run's, never of the last one
	}
	return p.mu.fetch
}

// endFetch releases the context of the last Fetch.
func (p *Pipeline) endFetch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.unfetch != nil {
		p.mu.unfetch()
	}
}

// room is what may be fetched now. Invariant A3. The pipeline's own window
// opens again only when an eighth of it is free, so that a full pipeline
// fetches runs of events, not one at a time.
func (p *Pipeline) room() (event.Room, string) {
	events, bytes := p.stats.inFlight()
	room := event.Room{Events: p.cfg.Room.Events - events, Bytes: p.cfg.Room.Bytes - bytes}
	if events > 0 && (room.Events < max(p.cfg.Room.Events/8, 1) || room.Bytes < max(p.cfg.Room.Bytes/8, 1)) {
		return room, event.ReasonPartition
	}
	for _, s := range p.deps.Shares {
		free := s.Free()
		if free.Events == 0 {
			return room, event.ReasonPluginEvents
		}
		if free.Bytes == 0 {
			return room, event.ReasonPluginBytes
		}
		room.Events, room.Bytes = min(room.Events, free.Events), min(room.Bytes, free.Bytes)
	}
	return room, ""
}

// positionBehind reports whether most of what is in flight is finished and only
// waits for its position to be stored.
func (p *Pipeline) positionBehind() bool {
	events, _ := p.stats.inFlight()
	return 2*p.track.finished() > events
}

// blocked waits for wake, at most for limit, and accounts the time to reason.
// Partitions that wait for fuller batches are told to go on with what they have.
func (p *Pipeline) blocked(ctx context.Context, reason string, wake <-chan struct{}, limit time.Duration) error {
	p.expectMore(false)
	start := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
	p.reportBlocked(reason, time.Since(start))
	return ctx.Err()
}

func (p *Pipeline) reportBlocked(reason string, d time.Duration) {
	p.stats.block(reason, d)
	p.deps.Listener.Blocked(p.cfg.Name, reason, d)
}

// expectMore tells the partitions whether further events are on their way.
func (p *Pipeline) expectMore(more bool) {
	if p.expect.Swap(more) == more && more {
		return
	}
	for _, pt := range p.parts {
		pt.queue.notify(more, p.cfg.Batch)
	}
}

// deliver admits events through the shares and puts each into the queue of its
// partition. Events with the same key go to the same partition (A2).
func (p *Pipeline) deliver(ctx context.Context, events []event.Event, sizes []int, more bool) error {
	p.expect.Store(more)
	for len(events) > 0 {
		n, err := p.admit(ctx, sizes)
		if err != nil {
			return err
		}
		for i := range events[:n] {
			e := &events[i]
			part := 0
			if len(p.parts) > 1 {
				e.Key = p.cfg.Key.Of(&e.Event)
				part = event.Partition(e.Key, len(p.parts))
			} else if !p.cfg.Key.None() {
				e.Key = p.cfg.Key.Of(&e.Event)
			}
			e.Attempt = 1
			p.parts[part].queue.put(&e.Event, p.track.add(e.Seq, e.Ack, sizes[i]), sizes[i])
		}
		event.Failpoint(event.FailAdmitted)
		events, sizes = events[n:], sizes[n:]
		last := len(events) == 0
		for _, pt := range p.parts {
			pt.queue.notify(more || !last, p.cfg.Batch)
		}
	}
	return nil
}

// admit acquires every share for the longest prefix that all of them allow.
func (p *Pipeline) admit(ctx context.Context, sizes []int) (int, error) {
	n := len(sizes)
	for i, s := range p.deps.Shares {
		k, err := s.Acquire(ctx, sizes[:n], func(reason string, d time.Duration) {
			p.expectMore(false)
			p.reportBlocked(reason, d)
		})
		if err != nil {
			k = 0
		}
		if k < n {
			bytes := int64(0)
			for _, size := range sizes[k:n] {
				bytes += int64(size)
			}
			for _, earlier := range p.deps.Shares[:i] {
				earlier.Release(n-k, bytes)
			}
			n = k
		}
		if err != nil {
			return 0, err
		}
	}
	bytes := int64(0)
	for _, s := range sizes[:n] {
		bytes += int64(s)
	}
	p.held.add(n, bytes)
	return n, nil
}
