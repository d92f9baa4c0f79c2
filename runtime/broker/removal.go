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

// Follower is a pipeline that reads a topic, and the events of it that it gets.
type Follower struct {
	Pipeline string
	Filter   []string // nil = all
}

// Removal says what EnsureTopic would remove from a topic as it is now, because
// the limits of cfg are smaller than what is stored, and how much of it the
// followers have not finished by their positions. nil: nothing. How many events
// are over a limit in bytes is estimated by their mean size.
func (b *Broker) Removal(ctx context.Context, cfg TopicConfig, followers []Follower) (*status.Removal, error) {
	if cfg.MaxAge == 0 && cfg.MaxBytes == 0 && cfg.MaxMessages == 0 {
		return nil, nil
	}
	info, err := b.info(ctx, cfg.Name)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && info.Config.Metadata[metaKey] != metaTopic: // it is made, or keeps its own limits
		return nil, nil
	case err != nil:
		return nil, err
	}
	first := max(info.State.FirstSeq, 1)
	cut, estimated, err := b.firstKept(ctx, cfg, info)
	if err != nil || cut <= first {
		return nil, err
	}
	r := &status.Removal{Estimated: estimated}
	if r.Events, err = b.Count(ctx, cfg.Name, nil, first, cut); err != nil || r.Events == 0 {
		return nil, err
	}
	for _, f := range followers {
		rec, revision, err := b.state.readPosition(ctx, positionSubject(f.Pipeline, cfg.Name))
		if err != nil || revision == 0 || !rec.Created.Equal(info.Created) {
			r.Unknown = append(r.Unknown, f.Pipeline)
			continue
		}
		from := max(rec.Position+1, first)
		if from >= cut {
			continue
		}
		n, err := b.Count(ctx, cfg.Name, f.Filter, from, cut)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.Unfinished = append(r.Unfinished, status.Unfinished{Pipeline: f.Pipeline, Events: n})
		}
	}
	return r, nil
}

// firstKept returns the sequence of the oldest message that the limits of cfg
// leave in a stream, and whether it is estimated.
func (b *Broker) firstKept(ctx context.Context, cfg TopicConfig, info *jetstream.StreamInfo) (cut uint64, estimated bool, err error) {
	st := &info.State
	var excess uint64
	if !cfg.RefuseWhenFull { // then the server removes nothing, and takes nothing either
		if limit := uint64(max(cfg.MaxMessages, 0)); limit > 0 && st.Msgs > limit {
			excess = st.Msgs - limit
		}
		if limit := uint64(max(cfg.MaxBytes, 0)); limit > 0 && st.Bytes > limit {
			over := min(uint64(float64(st.Bytes-limit)/float64(st.Bytes)*float64(st.Msgs))+1, st.Msgs)
			estimated = over > excess
			excess = max(excess, over)
		}
	}
	if cut = st.FirstSeq; excess > 0 {
		gaps, err := b.gaps(ctx, info)
		if err != nil {
			return 0, false, err
		}
		cut += excess
		for _, gap := range gaps {
			if gap >= cut {
				break
			}
			cut++
		}
	}
	if cfg.MaxAge > 0 && st.Msgs > 0 {
		young, err := b.SeqAt(ctx, cfg.Name, time.Now().Add(-cfg.MaxAge))
		if err != nil {
			return 0, false, err
		}
		if young > cut {
			cut, estimated = young, false
		}
	}
	return cut, estimated, nil
}

// gaps lists the sequences between the first and the last of a stream that hold
// no message, ascending.
func (b *Broker) gaps(ctx context.Context, info *jetstream.StreamInfo) ([]uint64, error) {
	if info.State.NumDeleted == 0 {
		return nil, nil
	}
	stream, err := b.stream(ctx, info.Config.Name)
	if err == nil {
		info, err = stream.Info(ctx, jetstream.WithDeletedDetails(true))
	}
	if err != nil {
		return nil, fmt.Errorf("look up what was deleted from topic %q: %w", info.Config.Name, err)
	}
	slices.Sort(info.State.Deleted)
	return info.State.Deleted, nil
}
