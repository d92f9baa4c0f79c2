package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// recover resets the consumer to behind the last acknowledged event and starts
// a new generation: a new subscription, so that nothing that was on its way can
// be taken for new, and no outstanding requests. A consumer that was deleted is
// made again: the position says where it stood. It tries until it succeeds, ctx
// ends, or the topic is known to be gone or another one. Called by Fetch's
// goroutine only.
func (s *Source) recover(ctx context.Context, why error) error {
	missing := 0
	for wait := s.cfg.timing.retry; ; wait = min(2*wait, 5*time.Second) {
		if err := s.wire.waitUp(ctx); err != nil {
			return err
		}
		err := s.tryRecover(ctx)
		if err == nil {
			return nil
		}
		s.mu.Lock()
		closed := s.errLocked()
		s.mu.Unlock()
		if closed != nil {
			return closed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrNotFound) {
			missing++
		} else {
			missing = 0
		}
		switch {
		case errors.Is(err, ErrTopicReplaced), errors.Is(err, errTailLost):
			return s.fail(err)
		case missing == 3, missing > 0 && errors.Is(why, errNeverReset):
			return s.fail(fmt.Errorf("%w: it was deleted behind the pipeline's back", err))
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// fail makes every later call fail with err and returns it.
func (s *Source) fail(err error) error {
	s.mu.Lock()
	if s.mu.fatal == nil {
		s.mu.fatal = err
	}
	err = s.mu.fatal
	s.mu.Unlock()
	s.wake()
	return err
}

// errTailLost ends a source whose topic has fewer events than it has delivered:
// the next start begins at the topic's end, see nextRecord.
var errTailLost = errors.New("the topic has lost events that were delivered already")

func (s *Source) tryRecover(ctx context.Context) error {
	s.mu.Lock()
	s.mu.generation++
	generation, old := s.mu.generation, s.mu.sid
	s.mu.asked, s.mu.refused, s.mu.consumer, s.mu.behind = event.Room{}, 0, 0, 0
	// What the new generation delivers up to here has been queued before.
	s.mu.handed, s.mu.again, s.mu.owed, s.mu.unsent, s.mu.record = s.mu.last, nil, 0, nil, redelivery{}
	s.mu.inbox = s.wire.nc.NewInbox()
	s.mu.reset = nil
	inbox := s.mu.inbox
	acked, last := s.acked.Load(), max(s.mu.last, s.acked.Load())
	s.mu.Unlock()

	if old != 0 {
		s.wire.unsubscribe(old)
	}
	sid := s.wire.subscribe(inbox, &sourceSub{s: s, generation: generation})
	s.mu.Lock()
	s.mu.sid = sid
	s.mu.Unlock()

	rctx, cancel := context.WithTimeout(ctx, s.cfg.timing.api)
	defer cancel()
	err := s.resetConsumer(rctx, acked, last)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.needResetLocked(fmt.Errorf("reset consumer %q: %w", s.name, err))
		return s.mu.reset
	}
	s.mu.heard = time.Now()
	return nil
}

// resetConsumer moves the consumer behind acked, if the topic is still the one
// that the position belongs to and holds what was delivered.
func (s *Source) resetConsumer(ctx context.Context, acked, last uint64) error {
	info, err := topicState(ctx, s.js, s.cfg.Topic)
	switch {
	case err != nil:
		return err
	case !info.Created.Equal(s.created):
		return fmt.Errorf("%w: the one made at %s was deleted, and one made at %s is in its place",
			ErrTopicReplaced, s.created.Format(time.RFC3339Nano), info.Created.Format(time.RFC3339Nano))
	case info.State.LastSeq < last:
		return fmt.Errorf("%w: it ends at %d, and event %d was delivered", errTailLost, info.State.LastSeq, last)
	}
	// A request to reset a consumer that does not exist is never answered.
	_, err = s.js.Consumer(ctx, s.cfg.Topic, s.name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		s.log.Warn("a pipeline's consumer was deleted; it is made again and goes on behind the pipeline's position",
			"pipeline", s.cfg.Pipeline, "topic", s.cfg.Topic, "position", acked)
		err = s.createConsumer(ctx)
	}
	if err != nil {
		return err
	}
	_, err = s.js.ResetConsumerToSequence(ctx, s.cfg.Topic, s.name, acked+1)
	return err
}
