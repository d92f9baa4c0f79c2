package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/status"
)

// GoneError says that a topic does not hold the place that was asked for: limits
// or an operator have removed it, or it has not come yet.
type GoneError struct {
	Topic, Place string
	First, Last  uint64    // sequences that it holds; Last < First: none
	FirstTime    time.Time // of the first message; zero when there is none
}

func (e *GoneError) Error() string {
	switch {
	case e.Last < e.First:
		return fmt.Sprintf("%s is not in topic %q, which holds no messages; the next one gets sequence %d", e.Place, e.Topic, e.First)
	case e.FirstTime.IsZero():
		return fmt.Sprintf("%s is not in topic %q yet: it ends at sequence %d", e.Place, e.Topic, e.Last)
	}
	return fmt.Sprintf("%s is gone from topic %q: the first that is left is sequence %d of %s",
		e.Place, e.Topic, e.First, e.FirstTime.UTC().Format(time.RFC3339))
}

// Place returns the sequence of the first event of a topic at a place: "start",
// "end" (behind the last), a sequence, or an RFC 3339 time (of when it was
// stored); "all", "new" and "seq:N" are understood as well. Other than the start
// of a new pipeline it is exact: a sequence, or a time, of which events are gone
// is a *GoneError, and a time that has not come yet an ErrBadStart. ErrNotFound.
func (b *Broker) Place(ctx context.Context, topic, at string) (uint64, error) {
	seq, t, err := parseStart(at)
	if err != nil {
		return 0, err
	}
	info, err := b.info(ctx, topic)
	if err != nil {
		return 0, err
	}
	first, last := max(info.State.FirstSeq, 1), info.State.LastSeq
	gone := func(place string) error {
		e := &GoneError{Topic: topic, Place: place, First: first, Last: last}
		if last < first {
			e.First = last + 1
		} else if seq <= last {
			e.FirstTime = info.State.FirstTime
		}
		return e
	}
	switch {
	case isStart(at):
		return first, nil
	case isEnd(at):
		return last + 1, nil
	case seq > last+1, seq > 0 && seq < first:
		return 0, gone(fmt.Sprintf("sequence %d", seq))
	case seq > 0:
		return seq, nil
	case t.After(time.Now()):
		return 0, fmt.Errorf("%w %q: that time has not come yet: behind the last event is \"end\"", ErrBadStart, at)
	case first > 1 && last >= first && t.Before(info.State.FirstTime):
		return 0, gone(t.UTC().Format(time.RFC3339))
	}
	return b.SeqAt(ctx, topic, t)
}

func isStart(at string) bool { return at == "" || at == "all" || at == "start" }
func isEnd(at string) bool   { return at == "new" || at == "end" }

// PreviewReset says what ResetSource would do. The counts are of events that
// match the filter, as the topic is now. While nothing can be stored it is an
// error at once, that of Healthy.
func (b *Broker) PreviewReset(ctx context.Context, pipeline, topic string, filter []string, to string) (status.Reset, error) {
	r := status.Reset{Pipeline: pipeline, Topic: topic, Filter: filter}
	fail := func(err error) (status.Reset, error) {
		return r, fmt.Errorf("reset pipeline %q: %w", pipeline, err)
	}
	if err := b.Healthy(); err != nil { // nothing of it could be stored, and the server may not even answer
		return fail(err)
	}
	var err error
	if r.NextSeq, err = b.Place(ctx, topic, to); err != nil {
		return fail(err)
	}
	info, err := b.info(ctx, topic)
	if err != nil {
		return fail(err)
	}
	r.FirstSeq, r.LastSeq = info.State.FirstSeq, info.State.LastSeq
	rec, revision, err := b.state.readPosition(ctx, positionSubject(pipeline, topic))
	switch {
	case errors.Is(err, errNoState), err == nil && revision == 0:
		r.Unknown = "there is no record of where it is"
		return r, nil
	case err != nil && revision > 0:
		r.Unknown = err.Error()
		return r, nil
	case err != nil:
		return fail(err)
	}
	r.Epoch = rec.Reset
	if !rec.Created.Equal(info.Created) {
		r.Unknown = ErrTopicReplaced.Error()
		return r, nil
	}
	r.FromSeq = min(rec.Position, r.LastSeq) + 1
	from, err := b.countFrom(ctx, info, filter, r.FromSeq)
	if err != nil {
		return fail(err)
	}
	after, err := b.countFrom(ctx, info, filter, r.NextSeq)
	if err != nil {
		return fail(err)
	}
	if after > from {
		r.Repeated = after - from
	} else {
		r.Skipped = from - after
	}
	return r, nil
}

// Count returns how many events of a topic match the filter from sequence begin
// to before end.
func (b *Broker) Count(ctx context.Context, topic string, filter []string, begin, end uint64) (uint64, error) {
	info, err := b.info(ctx, topic)
	if err != nil {
		return 0, err
	}
	from, err := b.countFrom(ctx, info, filter, begin)
	if err != nil {
		return 0, err
	}
	behind, err := b.countFrom(ctx, info, filter, end)
	if err != nil {
		return 0, err
	}
	return from - min(from, behind), nil
}

// countFrom counts the events behind a sequence, itself included. The server
// counts them for a consumer, which is not used for anything else.
func (b *Broker) countFrom(ctx context.Context, info *jetstream.StreamInfo, filter []string, seq uint64) (uint64, error) {
	if seq > info.State.LastSeq {
		return 0, nil
	}
	if len(filter) == 0 && slices.ContainsFunc(info.Config.Subjects, isExactSubjects) {
		filter = visible(info.Config.Subjects) // the runtime's own records are no events
	}
	cons, err := b.js.CreateConsumer(ctx, info.Config.Name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(seq, 1), AckPolicy: jetstream.AckNonePolicy,
		FilterSubjects: filter, InactiveThreshold: 5 * time.Second, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return 0, fmt.Errorf("count the events of topic %q: %w", info.Config.Name, err)
	}
	n := cons.CachedInfo().NumPending
	// Else the server removes it by itself.
	_ = b.js.DeleteConsumer(ctx, info.Config.Name, cons.CachedInfo().Name)
	return n, nil
}
