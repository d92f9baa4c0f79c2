package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// Metadata that marks a stream as a topic of ours.
const (
	metaKey   = "wasmill"
	metaTopic = "topic"
)

// duplicateWindow is for how long the embedded server remembers the message ids
// (Nats-Msg-Id) of a topic: long enough for an application that repeats what
// was not confirmed. At start the server reads every message of the window, so
// that its own default of two minutes makes a busy topic start a second later
// for each million messages.
const duplicateWindow = 10 * time.Second

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
// returns when the server has stored that. What cannot be done is a
// *TopicError that says why and what to do; the topic is then as it was before.
//
// A stream that Wasmill has not made is refused by the embedded server. On an
// external server it belongs to its operator: it is used as it is, when it
// takes the subjects of cfg, and its limits, retention and replicas are left
// alone. Only when a pipeline publishes to it, fast-ingest publishing is turned
// on (see prepareOutput).
func (b *Broker) EnsureTopic(ctx context.Context, cfg TopicConfig) error {
	if err := b.usable(); err != nil {
		return err
	}
	if err := b.ensureTopic(ctx, cfg); err != nil {
		return err
	}
	if b.embedded != nil {
		b.embedded.lean(cfg.Name)
	}
	return b.syncCreated(cfg.Name)
}

// syncCreated makes what was created in a stream as durable as the messages are.
func (b *Broker) syncCreated(stream string) error {
	if b.embedded == nil || b.cfg.Durability != DurabilityFsync {
		return nil
	}
	return syncNames(b.cfg.StoreDir, filepath.Join(streamsDir(b.cfg.StoreDir), stream))
}

func (b *Broker) ensureTopic(ctx context.Context, cfg TopicConfig) error {
	if cfg.Name == stateStream {
		return &TopicError{Topic: cfg.Name, Reason: "the name is reserved for the runtime's own stream; rename the topic"}
	}
	want := b.streamConfig(cfg)
	stream, err := b.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err = b.js.CreateStream(ctx, want); err == nil {
			return nil
		}
		// Another process on the same cluster may have been faster.
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return b.topicError(ctx, cfg, err)
		}
		if stream, err = b.js.Stream(ctx, cfg.Name); err != nil {
			return fmt.Errorf("look up topic %q: %w", cfg.Name, err)
		}
	case err != nil:
		return fmt.Errorf("look up topic %q: %w", cfg.Name, err)
	}
	have := stream.CachedInfo().Config
	if have.Metadata[metaKey] != metaTopic {
		return b.adopt(have, cfg)
	}
	next, err := change(have, want)
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

// adopt takes a stream of another owner as a topic, unchanged.
func (b *Broker) adopt(have jetstream.StreamConfig, cfg TopicConfig) error {
	if !b.cfg.external() {
		return &TopicError{Topic: cfg.Name, Reason: "the store holds a stream of that name that Wasmill has not made; rename the topic, or give another server.store_dir"}
	}
	if have.Mirror == nil && len(have.Sources) == 0 {
		for _, s := range cfg.Subjects {
			if !slices.ContainsFunc(have.Subjects, func(h string) bool { return event.Contains(h, s) }) {
				return &TopicError{Topic: cfg.Name, Reason: fmt.Sprintf(
					"the server holds a stream of that name that Wasmill has not made, and it does not take %q but only %s; write its subjects in the topic, or rename the topic", s, quoted(have.Subjects))}
			}
		}
	}
	if cfg.MaxAge != 0 || cfg.MaxBytes != 0 || cfg.MaxMessages != 0 || cfg.RefuseWhenFull {
		b.log.Warn("the limits of this topic are not applied: its stream was not made by Wasmill and keeps its own (stream metadata wasmill=topic would hand it over)", "topic", cfg.Name)
	}
	b.mu.Lock()
	b.mu.adopted[cfg.Name] = struct{}{}
	b.mu.Unlock()
	return nil
}

// prepareOutput makes sure that a pipeline can publish to a topic. A stream of
// another owner gets fast-ingest publishing, and nothing else is changed.
func (b *Broker) prepareOutput(ctx context.Context, topic string) error {
	info, err := b.info(ctx, topic)
	if err != nil {
		return err
	}
	have := info.Config
	switch {
	case have.AllowBatchPublish:
		return nil
	case have.Mirror != nil:
		return &TopicError{Topic: topic, Reason: fmt.Sprintf("it is a mirror of %q and takes no messages; publish to another topic", have.Mirror.Name)}
	case have.Sealed:
		return &TopicError{Topic: topic, Reason: "it is sealed and takes no messages; publish to another topic"}
	}
	have.AllowBatchPublish = true
	if _, err := b.js.UpdateStream(ctx, have); err != nil {
		return &TopicError{Topic: topic, Err: err, Reason: fmt.Sprintf(
			"its stream was not made by Wasmill and fast-ingest publishing cannot be turned on (%v); set allow_batched on it, or allow this user to update it", err)}
	}
	b.log.Info("fast-ingest publishing is now on for a stream that Wasmill has not made", "topic", topic)
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
	if b.cfg.external() {
		return s
	}
	s.Duplicates = duplicateWindow
	if s.MaxAge > 0 {
		s.Duplicates = min(s.Duplicates, s.MaxAge)
	}
	if b.cfg.Durability == DurabilityAsync {
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

// change returns have, a topic of ours, with everything that want speaks of.
func change(have, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	refuse := func(format string, args ...any) (jetstream.StreamConfig, error) {
		return have, &TopicError{Topic: want.Name, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case have.Sealed:
		return refuse("its stream is sealed and cannot be changed; rename the topic")
	case have.Storage != want.Storage:
		return refuse("its stream is kept in memory and a topic is kept on disk, which cannot be changed in place; rename the topic")
	case have.Retention != want.Retention:
		return refuse("its stream has retention %q and a topic needs %q, which cannot be changed in place; rename the topic", have.Retention, want.Retention)
	case have.PersistMode == jetstream.AsyncPersistMode && want.PersistMode != have.PersistMode:
		return refuse("it was made with server.durability = \"async\", which cannot be taken back in place; set durability back, or rename the topic")
	}
	// A topic made with a stronger durability keeps it.
	next := have
	subjects := want.Subjects
	if slices.ContainsFunc(have.Subjects, isExactSubjects) { // and of exactly-once pipelines, for good
		subjects = append(slices.Clone(subjects), exactSubjects(want.Name))
	}
	next.Subjects, next.MaxAge, next.MaxBytes, next.MaxMsgs = subjects, want.MaxAge, want.MaxBytes, want.MaxMsgs
	next.Discard, next.Replicas, next.MaxMsgSize = want.Discard, want.Replicas, want.MaxMsgSize
	next.AllowDirect, next.AllowBatchPublish = want.AllowDirect, want.AllowBatchPublish
	next.AllowAtomicPublish = want.AllowAtomicPublish || have.AllowAtomicPublish
	next.DenyDelete, next.DenyPurge = want.DenyDelete, want.DenyPurge
	if want.Duplicates != 0 {
		next.Duplicates = want.Duplicates
	}
	if next.MaxAge > 0 { // the server wants it within the age
		next.Duplicates = min(next.Duplicates, next.MaxAge)
	}
	return next, nil
}

// sameStream reports whether an update from a to b would change nothing.
func sameStream(a, b jetstream.StreamConfig) bool {
	return slices.Equal(a.Subjects, b.Subjects) && a.MaxAge == b.MaxAge && a.MaxBytes == b.MaxBytes && a.MaxMsgs == b.MaxMsgs &&
		a.Discard == b.Discard && a.Replicas == b.Replicas && a.MaxMsgSize == b.MaxMsgSize &&
		a.AllowDirect == b.AllowDirect && a.AllowBatchPublish == b.AllowBatchPublish && a.AllowAtomicPublish == b.AllowAtomicPublish &&
		a.DenyDelete == b.DenyDelete && a.DenyPurge == b.DenyPurge && a.Duplicates == b.Duplicates
}

// Error codes of the server that nats.go has no name for.
const (
	codeNoPeers            = 10005
	codeNoResources        = 10023
	codeStorageExceeded    = 10047
	codeInvalidConfig      = 10052
	codeSubjectOverlap     = 10065
	codeReplicas           = 10074
	codeHeaderTooLarge     = 10097
	codeMaxBytesRequired   = 10113
	codeStreamBytesExceeds = 10122
)

// topicError turns the server's refusal into what to do.
func (b *Broker) topicError(ctx context.Context, cfg TopicConfig, err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("create or change topic %q: %w", cfg.Name, err)
	}
	reason := api.Description
	switch api.ErrorCode {
	case codeSubjectOverlap:
		reason = fmt.Sprintf("its subjects overlap those of another stream%s; change the subjects of one of them", b.overlapping(ctx, cfg))
	case codeReplicas, codeNoPeers:
		reason = fmt.Sprintf("the server cannot keep %d replicas (%s); lower replicas to the number of servers in the cluster", max(1, cfg.Replicas), api.Description)
	case codeStorageExceeded, codeNoResources:
		reason = fmt.Sprintf("the server has no room for max_bytes = %d (%s); lower the max_bytes of the topics, or raise server.max_store", cfg.MaxBytes, api.Description)
	case codeMaxBytesRequired, codeStreamBytesExceeds:
		reason = fmt.Sprintf("the server's account limits the size of a stream (%s); set max_bytes within it", api.Description)
	case codeInvalidConfig:
		reason = fmt.Sprintf("the server refuses the configuration: %s", api.Description)
	}
	return &TopicError{Topic: cfg.Name, Reason: reason, Err: err}
}

// overlapping names a stream whose subjects overlap those of cfg, as ` "name" (subjects)`.
func (b *Broker) overlapping(ctx context.Context, cfg TopicConfig) string {
	for info := range b.js.ListStreams(ctx).Info() {
		if info.Config.Name == cfg.Name {
			continue
		}
		for _, theirs := range info.Config.Subjects {
			for _, ours := range cfg.Subjects {
				if event.Overlap(theirs, ours) {
					return fmt.Sprintf(" %q (%s)", info.Config.Name, quoted(info.Config.Subjects))
				}
			}
		}
	}
	return ""
}

func quoted(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ", ")
}

// ours reports whether a stream is a topic: made by Wasmill, or adopted by this process.
func (b *Broker) ours(c *jetstream.StreamConfig) bool {
	if c.Metadata[metaKey] == metaTopic {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.mu.adopted[c.Name]
	return ok
}

// Topics lists the topics, by name: what Wasmill made on this server, and what
// EnsureTopic adopted.
func (b *Broker) Topics(ctx context.Context) ([]status.Topic, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	var topics []status.Topic
	var withRecords []int
	list, err := b.streams(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for _, info := range list {
		if !b.ours(&info.Config) {
			continue
		}
		if holdsRecords(info) {
			withRecords = append(withRecords, len(topics))
		}
		topics = append(topics, b.topicStatus(info))
	}
	for _, i := range withRecords {
		if err := b.leaveOutRecords(ctx, &topics[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(topics, func(a, b status.Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics, nil
}

// Topic describes one topic; ErrNotFound when there is none of that name.
func (b *Broker) Topic(ctx context.Context, name string) (status.Topic, error) {
	info, err := b.info(ctx, name)
	if err != nil {
		return status.Topic{}, err
	}
	if !b.ours(&info.Config) {
		return status.Topic{}, fmt.Errorf("topic %q: %w", name, ErrNotFound)
	}
	t := b.topicStatus(info)
	if holdsRecords(info) {
		err = b.leaveOutRecords(ctx, &t)
	}
	return t, err
}

// LastSeq returns the highest sequence that a topic has given; ErrNotFound when
// there is none of that name. It is cheaper than Topic, which may have to count.
func (b *Broker) LastSeq(ctx context.Context, name string) (uint64, error) {
	info, err := b.info(ctx, name)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// holdsRecords says whether records of exactly-once pipelines may be among the
// messages of a topic.
func holdsRecords(info *jetstream.StreamInfo) bool {
	return info.State.Msgs > 0 && slices.ContainsFunc(info.Config.Subjects, isExactSubjects)
}

// leaveOutRecords counts again without the records of exactly-once pipelines,
// which no reader of the topic gets.
func (b *Broker) leaveOutRecords(ctx context.Context, t *status.Topic) error {
	stream, err := b.stream(ctx, t.Name)
	if err != nil {
		return fmt.Errorf("look up topic %q: %w", t.Name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(exactSubjects(t.Name)))
	if err != nil {
		return fmt.Errorf("count the records of topic %q: %w", t.Name, err)
	}
	t.Messages = info.State.Msgs
	for _, n := range info.State.Subjects {
		t.Messages -= min(n, t.Messages)
	}
	return nil
}

func (b *Broker) info(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	stream, err := b.stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrInvalidStreamName), errors.Is(err, jetstream.ErrStreamNameRequired):
		return nil, fmt.Errorf("topic %q: %w", name, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("look up topic %q: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// answerTime is how long the server may take to describe a stream: it has a
// few thousand of them at the most, all in memory.
const answerTime = 5 * time.Second

// stream asks for a stream until there is an answer or ctx ends: a question that
// is on the way when the connection breaks gets none.
func (b *Broker) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	for {
		once, cancel := context.WithTimeout(ctx, answerTime)
		stream, err := b.js.Stream(once, name)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return stream, err
		}
	}
}

func (b *Broker) topicStatus(info *jetstream.StreamInfo) status.Topic {
	t := status.Topic{
		Name:      info.Config.Name,
		Subjects:  visible(info.Config.Subjects),
		Messages:  info.State.Msgs,
		Bytes:     info.State.Bytes,
		FirstSeq:  info.State.FirstSeq,
		LastSeq:   info.State.LastSeq,
		LastTime:  info.State.LastTime,
		MaxBytes:  max(0, info.Config.MaxBytes),
		Replicas:  info.Config.Replicas,
		Consumers: info.State.Consumers,
	}
	t.Lost, t.LostRanges = b.lossesOf(t.Name)
	if info.Config.MaxAge > 0 {
		t.MaxAge = info.Config.MaxAge.String()
	}
	return t
}
