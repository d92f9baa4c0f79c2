package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// claimConfig says whose position is claimed, and where it is when no record says.
type claimConfig struct {
	pipeline, topic string
	partitions      int // written into the record
	// first is asked when there is no record, or with the ErrDamagedRecord when
	// it cannot be read: how far the pipeline has come as far as is known
	// otherwise, 0 = it begins with the first event. Its error ends the claim.
	first func(ctx context.Context, damaged error) (position uint64, err error)
	// from > 0 is the place that the operator has chosen: the sequence of the
	// next event. It replaces any record, also one that cannot be used.
	from uint64
}

// claimTries bounds how often a claim begins anew because somebody else wrote.
const claimTries = 20

// claim makes this process the owner of a pipeline's position: it reads the
// record, checks that it can be used with the topic as it is, and writes it back
// with the next epoch. From then on nothing that a former owner writes counts
// (invariant A9). moved is called, by a goroutine that must not be kept,
// whenever stored has grown or err has become an error. The caller closes the
// position.
func (s *stateStore) claim(ctx context.Context, c claimConfig, moved func()) (*position, error) {
	rec, revision, err := s.takeRecord(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("position of pipeline %q in topic %q: %w", c.pipeline, c.topic, err)
	}
	return newPosition(s, c.pipeline, rec, revision, moved), nil
}

// setPosition writes the place that the operator has chosen.
func (s *stateStore) setPosition(ctx context.Context, pipeline, topic string, from uint64) error {
	if _, _, err := s.takeRecord(ctx, claimConfig{pipeline: pipeline, topic: topic, from: max(from, 1)}); err != nil {
		return fmt.Errorf("position of pipeline %q in topic %q: %w", pipeline, topic, err)
	}
	return nil
}

// hasPosition reports whether there is a record, of whatever kind.
func (s *stateStore) hasPosition(ctx context.Context, pipeline, topic string) (bool, error) {
	_, _, err := s.get(ctx, positionSubject(pipeline, topic))
	if errors.Is(err, ErrNotFound) || errors.Is(err, errNoState) {
		return false, nil
	}
	return err == nil, err
}

func (s *stateStore) takeRecord(ctx context.Context, c claimConfig) (positionRecord, uint64, error) {
	if err := s.ensure(ctx); err != nil {
		return positionRecord{}, 0, err
	}
	subject := positionSubject(c.pipeline, c.topic)
	var busy error
	for range claimTries {
		have, revision, err := s.readPosition(ctx, subject)
		if err != nil && revision == 0 {
			return positionRecord{}, 0, err
		}
		next, err := s.nextRecord(ctx, c, have, revision, err)
		if err != nil {
			return positionRecord{}, 0, err
		}
		doc, err := next.encode()
		if err != nil {
			return positionRecord{}, 0, err
		}
		written, err := s.put(ctx, subject, doc, revision)
		if err == nil {
			return next, written, nil
		}
		if !errors.Is(err, errRevision) {
			return positionRecord{}, 0, err
		}
		busy = err
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return positionRecord{}, 0, err
		}
	}
	return positionRecord{}, 0, fmt.Errorf("other processes keep writing it: %w", busy)
}

// readPosition returns the record and its revision; revision 0 and no error
// when there is none. An error with a revision says that what is there cannot
// be read.
func (s *stateStore) readPosition(ctx context.Context, subject string) (positionRecord, uint64, error) {
	doc, revision, err := s.get(ctx, subject)
	if errors.Is(err, ErrNotFound) {
		return positionRecord{}, 0, nil
	}
	if err != nil {
		return positionRecord{}, 0, err
	}
	rec, err := decodePosition(doc)
	return rec, revision, err
}

// nextRecord is what a claim writes in place of have; unusable says why have
// cannot be read.
func (s *stateStore) nextRecord(ctx context.Context, c claimConfig, have positionRecord, revision uint64, unusable error) (positionRecord, error) {
	info, err := topicState(ctx, s.js, c.topic)
	if err != nil {
		return have, err
	}
	if unusable != nil {
		// Epochs grow also over a record that cannot be read: they are below its
		// revision, which grows with every write.
		have.Epoch = revision
	}
	next := positionRecord{
		Topic: c.topic, Created: info.Created, Position: have.Position,
		Owner: s.owner, Epoch: have.Epoch + 1, Reset: have.Reset, Partitions: c.partitions,
	}
	switch {
	case c.from > 0:
		next.Position, next.Reset = c.from-1, next.Epoch
		return next, nil
	case errors.Is(unusable, ErrNewerRecord):
		return next, fmt.Errorf("%w: run that version, or choose a place with `wasmill pipelines reset %s`", unusable, c.pipeline)
	case revision == 0 || unusable != nil:
		next.Position, err = c.first(ctx, unusable)
		if err == nil && unusable != nil {
			s.log.Warn("a pipeline's position record is damaged; it goes on behind what its consumer has acknowledged",
				"pipeline", c.pipeline, "topic", c.topic, "position", next.Position, "error", unusable)
		}
		return next, err
	case have.Topic != c.topic || !have.Created.Equal(info.Created):
		return next, fmt.Errorf("%w: position %d belongs to the topic made at %s, and this one was made at %s; choose a place with `wasmill pipelines reset %s`",
			ErrTopicReplaced, have.Position, have.Created.Format(time.RFC3339Nano), info.Created.Format(time.RFC3339Nano), c.pipeline)
	case have.Position > info.State.LastSeq:
		// The topic has lost its end, and sequences up to the position will be
		// given to events that the pipeline has not seen.
		s.log.Warn("the topic has lost events that a pipeline has finished; the pipeline goes on at its end",
			"pipeline", c.pipeline, "topic", c.topic, "position", have.Position, "last_seq", info.State.LastSeq, "lost", have.Position-info.State.LastSeq)
		next.Position = info.State.LastSeq
	}
	return next, nil
}

// topicState asks what the topic is now; ErrNotFound when there is none.
func topicState(ctx context.Context, js jetstream.JetStream, topic string) (*jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, topic)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("topic %q: %w", topic, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("look up topic %q: %w", topic, err)
	}
	return stream.CachedInfo(), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
