package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/wasmill/wasmill/runtime/event"
)

// ExactSource is the Source of an exactly-once pipeline, with what commits its
// outputs. It leaves out the events that were committed before this start.
type ExactSource struct {
	*Source
	exact *Exact
}

// OpenExact claims the position of an exactly-once pipeline, takes over its
// checkpoint, completes what a crash has left half done, and opens its source
// behind what is committed. A pipeline that has no checkpoint goes on behind its
// position. The errors are those of OpenSource.
func (b *Broker) OpenExact(ctx context.Context, src SourceConfig, cfg ExactConfig) (*ExactSource, error) {
	w, err := b.openWire("source "+src.Pipeline, sourceInProcess, b.tenureOf(src.Pipeline))
	if err != nil {
		return nil, err
	}
	s := &ExactSource{}
	src.begin = func(ctx context.Context, rec positionRecord) (uint64, error) {
		info, err := topicState(ctx, b.js, src.Topic)
		if err != nil {
			return 0, err
		}
		out, err := b.openWire("commits "+cfg.Pipeline, sinkInProcess, b.tenureOf(cfg.Pipeline))
		if err != nil {
			return 0, err
		}
		claim := exactClaim{epoch: rec.Epoch, reset: rec.Reset, position: rec.Position, last: info.State.LastSeq}
		if s.exact, err = openExact(ctx, out, b.log, b.listener, cfg, claim); err != nil {
			return 0, err
		}
		if src.Replaced != nil {
			s.exact.onReplaced(src.Replaced)
		}
		return s.exact.floor.Load(), nil
	}
	if s.Source, err = openSource(ctx, w, b.state, src); err != nil {
		if s.exact != nil {
			s.exact.Close()
		}
		return nil, err
	}
	if err := b.syncCreated(src.Topic); err != nil { // the consumer may be new
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenSink returns the sink of a partition. notify is called, by a goroutine that
// must not be kept, after Confirmed has moved.
func (s *ExactSource) OpenSink(partition int, notify func()) (*ExactSink, error) {
	return s.exact.OpenSink(partition, notify)
}

// Fetch is Source.Fetch without the events that are committed.
func (s *ExactSource) Fetch(ctx context.Context, dst []event.Event, room event.Room) ([]event.Event, uint64, error) {
	for {
		if err := s.exact.failure(); err != nil {
			return dst, 0, err
		}
		from := len(dst)
		events, lag, err := s.Source.Fetch(ctx, dst, room)
		kept := events[:from]
		for i := range events[from:] {
			if e := &events[from+i]; !s.exact.Covers(e) {
				kept = append(kept, *e)
			}
		}
		if len(kept) > from || len(events) == from || err != nil || lag == 0 {
			return kept, lag, err
		}
	}
}

// Ack is Source.Ack; the next checkpoint says so, too.
func (s *ExactSource) Ack(token string) error {
	if seq, err := ackReplySeq(token); err == nil {
		s.exact.Finished(seq)
	}
	return s.Source.Ack(token)
}

// Close ends the commits, which the sinks have waited for, and the source.
func (s *ExactSource) Close() error {
	s.exact.Close()
	return s.Source.Close()
}

// retireExact ends what a pipeline has had as an exactly-once pipeline: what it
// has committed and not applied is completed, and its checkpoints are removed.
// Its position is behind them. force removes also what cannot be read.
func (b *Broker) retireExact(ctx context.Context, pipeline, topic string, force bool) error {
	topics, err := exactTopics(ctx, b.js, pipeline, topic)
	if err != nil || len(topics) == 0 {
		return err
	}
	w, err := b.openWire("commits "+pipeline, sinkInProcess, nil)
	if err != nil {
		return err
	}
	defer w.close()
	e, err := newExact(w, b.log, b.listener, ExactConfig{Pipeline: pipeline, Topic: topic})
	if err != nil {
		return err
	}
	for _, home := range topics {
		if err := e.retire(ctx, home, force); err != nil {
			return fmt.Errorf("end the exactly-once commits of pipeline %q in topic %q: %w", pipeline, home, err)
		}
	}
	return nil
}

// retire completes and removes the checkpoint that is in one topic.
func (e *Exact) retire(ctx context.Context, home string, force bool) error {
	s := e.stream(home)
	m, err := e.last(ctx, home, s.checkpoint)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := decodeCheckpoint(m.data)
	for _, ref := range c.Journals {
		if err == nil {
			err = e.complete(ctx, home, ref)
		}
	}
	if err != nil {
		if !force || !errors.Is(err, ErrDamagedRecord) && !errors.Is(err, ErrNewerRecord) {
			return err
		}
		e.log.Warn("a checkpoint is dropped that cannot be used", "pipeline", e.cfg.Pipeline, "topic", home, "error", err)
	}
	return errors.Join(e.purge(ctx, home, s.checkpoint, 0), e.purge(ctx, home, s.journal, 0))
}
