package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/status"
)

// Metadata that marks a stream as a topic of ours.
const (
	metaKey   = "wasmill"
	metaTopic = "topic"
)

// reservedSubjects is the first token of the subjects that only the runtime writes.
const reservedSubjects = "wasmill."

// TopicConfig is what a topic should be.
type TopicConfig struct {
	Name           string
	Subjects       []string
	MaxAge         time.Duration // 0 = no limit
	MaxBytes       int64         // 0 = no limit but the store's
	MaxMessages    int64         // 0 = no limit
	RefuseWhenFull bool          // at a limit refuse new messages instead of dropping the oldest
	Replicas       int           // 0 is 1; more need a cluster
}

// EnsureTopic creates the topic, or changes it in place to what cfg says, and
// returns when the server has stored that. An existing stream of another owner
// is adopted on an external server, where the operator may have made it, keeping
// what TopicConfig has no word for. What cannot be done is a *TopicError that
// says why and what to do; the topic is as it was before then.
func (b *Broker) EnsureTopic(ctx context.Context, cfg TopicConfig) error {
	if b.js == nil {
		return ErrClosed
	}
	want := b.streamConfig(cfg)
	stream, err := b.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err = b.js.CreateStream(ctx, want); err != nil {
			return b.topicError(ctx, cfg, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("look up topic %q: %w", cfg.Name, err)
	}
	have := stream.CachedInfo().Config
	next, err := b.change(have, want)
	if err != nil {
		return err
	}
	if sameStream(have, next) {
		return nil
	}
	if _, err = b.js.UpdateStream(ctx, next); err != nil {
		return b.topicError(ctx, cfg, err)
	}
	return nil
}

// streamConfig is the stream of a new topic.
func (b *Broker) streamConfig(cfg TopicConfig) jetstream.StreamConfig {
	s := jetstream.StreamConfig{
		Name:      cfg.Name,
		Subjects:  slices.Clone(cfg.Subjects),
		Retention: jetstream.LimitsPolicy,
		Storage:   jetstream.FileStorage,
		MaxAge:    cfg.MaxAge,
		MaxBytes:  cfg.MaxBytes,
		MaxMsgs:   cfg.MaxMessages,
		Discard:   jetstream.DiscardOld,
		Replicas:  max(1, cfg.Replicas),

		AllowDirect:        true,
		AllowBatchPublish:  true,
		AllowAtomicPublish: true,
		MaxMsgSize:         b.maxMessage(cfg.Subjects),
		Metadata:           map[string]string{metaKey: metaTopic},
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = -1
	}
	if s.MaxMsgs == 0 {
		s.MaxMsgs = -1
	}
	s.MaxConsumers, s.MaxMsgsPerSubject = -1, -1
	if cfg.RefuseWhenFull {
		s.Discard = jetstream.DiscardNew
	}
	if !b.cfg.external() && b.cfg.Durability == DurabilityAsync {
		// The server refuses atomic batches on such a stream.
		s.PersistMode, s.AllowAtomicPublish = jetstream.AsyncPersistMode, false
	}
	return s
}

// maxMessage is the limit of one message of a topic with those subjects.
func (b *Broker) maxMessage(subjects []string) int32 {
	if slices.ContainsFunc(subjects, func(s string) bool { return strings.HasPrefix(s, reservedSubjects) }) {
		return -1 // dead letters: as large as the server takes
	}
	if !b.cfg.external() {
		return int32(b.cfg.MaxPayload + topicHeadroom)
	}
	if limit := b.nc.MaxPayload(); limit > 2*deadHeadroom {
		return int32(limit - deadHeadroom + topicHeadroom)
	}
	return -1
}

// change returns have with everything that want speaks of.
func (b *Broker) change(have, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	refuse := func(format string, args ...any) (jetstream.StreamConfig, error) {
		return have, &TopicError{Topic: want.Name, Reason: fmt.Sprintf(format, args...)}
	}
	ours := have.Metadata[metaKey] == metaTopic
	if !ours && !b.cfg.external() {
		return refuse("the store holds a stream of that name that Wasmill has not made; rename the topic, or delete the stream")
	}
	switch {
	case have.Mirror != nil:
		return refuse("the stream of that name is a mirror of %q and takes no messages; rename the topic", have.Mirror.Name)
	case have.Sealed:
		return refuse("the stream of that name is sealed; rename the topic")
	case have.Storage != want.Storage:
		return refuse("its stream is kept in memory and a topic is kept on disk, which cannot be changed in place; rename the topic, or delete the stream")
	case have.PersistMode != want.PersistMode && ours:
		return refuse("it was made with another server.durability, and async cannot be changed in place; set durability back, or rename the topic")
	}
	next := have
	next.Subjects, next.MaxAge, next.MaxBytes, next.MaxMsgs = want.Subjects, want.MaxAge, want.MaxBytes, want.MaxMsgs
	next.Discard, next.Replicas = want.Discard, want.Replicas
	next.AllowDirect, next.AllowBatchPublish = true, true
	if have.PersistMode != jetstream.AsyncPersistMode {
		next.AllowAtomicPublish = true
	}
	if ours {
		next.MaxMsgSize = want.MaxMsgSize
	}
	next.Metadata = maps.Clone(have.Metadata)
	if next.Metadata == nil {
		next.Metadata = make(map[string]string)
	}
	next.Metadata[metaKey] = metaTopic
	return next, nil
}

// sameStream reports whether an update from a to b would change nothing.
func sameStream(a, b jetstream.StreamConfig) bool {
	return slices.Equal(a.Subjects, b.Subjects) && a.MaxAge == b.MaxAge && a.MaxBytes == b.MaxBytes && a.MaxMsgs == b.MaxMsgs &&
		a.Discard == b.Discard && a.Replicas == b.Replicas && a.AllowDirect == b.AllowDirect &&
		a.AllowBatchPublish == b.AllowBatchPublish && a.AllowAtomicPublish == b.AllowAtomicPublish &&
		a.MaxMsgSize == b.MaxMsgSize && a.Metadata[metaKey] == b.Metadata[metaKey]
}

// topicError turns the server's refusal into what to do.
func (b *Broker) topicError(ctx context.Context, cfg TopicConfig, err error) error {
	return &TopicError{Topic: cfg.Name, Reason: err.Error(), Err: err}
}

// Topics lists the topics of ours, by name.
func (b *Broker) Topics(ctx context.Context) ([]status.Topic, error) {
	if b.js == nil {
		return nil, ErrClosed
	}
	var topics []status.Topic
	list := b.js.ListStreams(ctx)
	for info := range list.Info() {
		if info.Config.Metadata[metaKey] == metaTopic {
			topics = append(topics, topicStatus(info))
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	slices.SortFunc(topics, func(a, b status.Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics, nil
}

// Topic describes one topic; ErrNotFound when there is none of ours of that name.
func (b *Broker) Topic(ctx context.Context, name string) (status.Topic, error) {
	info, err := b.info(ctx, name)
	if err != nil {
		return status.Topic{}, err
	}
	if info.Config.Metadata[metaKey] != metaTopic {
		return status.Topic{}, fmt.Errorf("topic %q: %w", name, ErrNotFound)
	}
	return topicStatus(info), nil
}

func (b *Broker) info(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	if b.js == nil {
		return nil, ErrClosed
	}
	stream, err := b.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrInvalidStreamName):
		return nil, fmt.Errorf("topic %q: %w", name, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("look up topic %q: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

func topicStatus(info *jetstream.StreamInfo) status.Topic {
	t := status.Topic{
		Name:      info.Config.Name,
		Subjects:  info.Config.Subjects,
		Messages:  info.State.Msgs,
		Bytes:     info.State.Bytes,
		FirstSeq:  info.State.FirstSeq,
		LastSeq:   info.State.LastSeq,
		LastTime:  info.State.LastTime,
		MaxBytes:  max(0, info.Config.MaxBytes),
		Replicas:  info.Config.Replicas,
		Consumers: info.State.Consumers,
	}
	if info.Config.MaxAge > 0 {
		t.MaxAge = info.Config.MaxAge.String()
	}
	return t
}
