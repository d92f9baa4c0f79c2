package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// exactClaim is what the claim of the pipeline's position says, under which an
// Exact is opened: checkpoints of an epoch before reset are void, and without one
// the pipeline goes on behind position. last is the end of the topic that is read.
type exactClaim struct{ epoch, reset, position, last uint64 }

// found is a checkpoint in the stream of a topic.
type found struct {
	topic    string
	revision uint64
	checkpoint
}

// openExact takes over w, also when it fails. It finds what the pipeline had
// committed, wherever that is, completes what it had not applied, and takes it
// over: from then on what a former owner commits is refused.
func openExact(ctx context.Context, w *wire, log *slog.Logger, listener event.Listener, cfg ExactConfig, claim exactClaim) (_ *Exact, err error) {
	defer func() {
		if err != nil {
			w.close()
			err = fmt.Errorf("open the commits of pipeline %q: %w", cfg.Pipeline, err)
		}
	}()
	e, err := newExact(w, log, listener, cfg)
	if err != nil {
		return nil, err
	}
	if err := e.prepareStreams(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A former owner that does not know yet may commit until it is shut out.
	for {
		old, err := e.find(ctx)
		if err != nil {
			return nil, err
		}
		err = e.claim(ctx, old, claim)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrReplaced) {
			return nil, err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%w (other processes keep committing)", ErrReplaced)
		}
	}
	e.start()
	return e, nil
}

// newExact returns one that has acquired nothing but w.
func newExact(w *wire, log *slog.Logger, listener event.Listener, cfg ExactConfig) (*Exact, error) {
	js, err := jetstream.New(w.nc)
	if err != nil {
		return nil, err
	}
	e := &Exact{
		wire: w, js: js, owner: rand.Text(), cfg: cfg.withDefaults(), log: log, listener: listener.WithDefaults(),
		work: make(chan struct{}, 1), queue: make(chan *commit, maxApplying), ended: make(chan struct{}),
		chunk: journalChunk, maxBytes: maxCommit,
	}
	e.commits, e.applies = newAtomicBatch(w), newAtomicBatch(w)
	return e, nil
}

// prepareStreams lists the streams, the home first, and makes sure that each
// takes atomic batches and the pipeline's records.
func (e *Exact) prepareStreams(ctx context.Context) error {
	for _, topic := range append([]string{e.cfg.Home}, e.cfg.Outputs...) {
		i := slices.IndexFunc(e.streams, func(s exactStream) bool { return s.topic == topic })
		if i < 0 {
			if err := allowExact(ctx, e.js, topic); err != nil {
				return err
			}
			s := e.stream(topic)
			if err := s.intake.limits(ctx, e.js, e.wire.nc.MaxPayload()); err != nil {
				return err
			}
			i = len(e.streams)
			e.streams = append(e.streams, s)
		}
		e.byTopic = append(e.byTopic, i)
	}
	e.byTopic = e.byTopic[1:]
	if len(e.streams) > 256 {
		return fmt.Errorf("it has %d output topics, more than 256", len(e.streams))
	}
	home := &e.streams[0].intake
	e.chunk = min(journalChunk, home.maxSize-journalHead)
	e.maxBytes = maxCommit
	if home.maxBytes > 0 {
		e.maxBytes = min(e.maxBytes, home.maxBytes/4)
	}
	return nil
}

func (e *Exact) stream(topic string) exactStream {
	name := func(kind string) string { return exactSubject(topic, e.cfg.Pipeline, e.cfg.Topic, kind) }
	return exactStream{
		topic: topic, intake: intake{topic: topic, atomic: true},
		checkpoint: name(kindCheckpoint), journal: name(kindJournal), applied: name(kindApplied),
	}
}

// find returns the latest checkpoint of the pipeline, whichever topic was its
// home then; Epoch 0 when there is none.
func (e *Exact) find(ctx context.Context) (found, error) {
	var latest found
	topics, err := exactTopics(ctx, e.js, e.cfg.Pipeline, e.cfg.Topic)
	if err != nil {
		return latest, err
	}
	for _, topic := range topics {
		m, err := e.last(ctx, topic, exactSubject(topic, e.cfg.Pipeline, e.cfg.Topic, kindCheckpoint))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return latest, err
		}
		c, err := decodeCheckpoint(m.data)
		if err != nil {
			return latest, fmt.Errorf("its checkpoint in topic %q: %w; choose a place with `wasmill pipelines reset %s`", topic, err, e.cfg.Pipeline)
		}
		if c.Begun {
			c.Begun, c.Torn = false, append(c.Torn, piece{topic, m.seq + 1, m.batch})
		}
		if topic == e.cfg.Home {
			e.revision = m.seq
		}
		if c.later(&latest.checkpoint) || latest.Epoch == 0 {
			latest = found{topic, m.seq, c}
		}
	}
	return latest, nil
}

// exactTopics are the streams that may hold records of a pipeline.
func exactTopics(ctx context.Context, js jetstream.JetStream, pipeline, topic string) ([]string, error) {
	var names []string
	list := js.StreamNames(ctx, jetstream.WithStreamListSubject(exactSubject("*", pipeline, topic, kindCheckpoint)))
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the topics with checkpoints: %w", err)
	}
	return names, nil
}

// claim takes over what old says, and completes what it has committed and not
// applied. Whoever has written old cannot commit any more then.
func (e *Exact) claim(ctx context.Context, old found, c exactClaim) error {
	for i := range e.streams {
		if err := e.readApplied(ctx, &e.streams[i]); err != nil {
			return err
		}
		// Only after the loss of the state stream can there be a later epoch.
		c.epoch = max(c.epoch, e.streams[i].at.Epoch+1)
	}
	c.epoch = max(c.epoch, old.Epoch+1)
	next := e.begin(old, c)
	event.Failpoint(event.FailExactClaim)
	moved := old.Epoch > 0 && old.topic != e.cfg.Home
	var err error
	if moved {
		was := e.stream(old.topic)
		_, err = e.take(ctx, &was, &next, old.revision)
	} else {
		e.revision, err = e.take(ctx, &e.streams[0], &next, e.revision)
	}
	if err != nil {
		return err
	}
	event.Failpoint(event.FailExactClaimed)
	for _, ref := range old.Journals {
		if err := e.complete(ctx, old.topic, ref); err != nil {
			return err
		}
	}
	next.Journals = nil
	if moved {
		if e.revision, err = e.take(ctx, &e.streams[0], &next, e.revision); err != nil {
			return err
		}
	}
	if e.before, err = next.coverage(); err != nil {
		return err
	}
	if err := e.readTorn(ctx, &next); err != nil {
		return err
	}
	e.next = next
	e.floor.Store(next.Floor)
	e.tidy(ctx, old)
	return nil
}

// begin is the first checkpoint of this run: where old has come, as far as it
// counts.
func (e *Exact) begin(old found, c exactClaim) checkpoint {
	next := old.clone()
	if old.Epoch == 0 && c.position > 0 && c.reset+1 < c.epoch {
		e.log.Warn("there is no checkpoint of this exactly-once pipeline (it was at-least-once before, or the topic was made anew, purged or at a limit): going on behind its stored position",
			"pipeline", e.cfg.Pipeline, "topic", e.cfg.Home, "position", c.position)
	}
	if old.Epoch == 0 || old.Epoch < c.reset {
		next.Floor, next.Layouts, next.Torn = c.position, nil, nil
	}
	next.Epoch, next.Batch, next.Owner = c.epoch, 0, e.owner
	if high := next.cut(c.last); high > c.last {
		e.log.Warn("the topic has lost events that an exactly-once pipeline has committed; the pipeline goes on at its end",
			"pipeline", e.cfg.Pipeline, "topic", e.cfg.Topic, "committed", high, "last_seq", c.last)
	}
	next.use(e.cfg.Key, e.cfg.Partitions)
	return next
}

// take writes a checkpoint alone.
func (e *Exact) take(ctx context.Context, to *exactStream, c *checkpoint, revision uint64) (uint64, error) {
	record, err := sealRecord(checkpointMagic, c)
	if err != nil {
		return 0, err
	}
	seq, _, err := e.attempt(ctx, e.commits, to, []atomicMessage{{subject: asBytes(to.checkpoint), payload: record}}, revision, nil)
	return seq, err
}

// tidy removes the records that are no longer needed.
func (e *Exact) tidy(ctx context.Context, old found) {
	home := &e.streams[0]
	err := errors.Join(e.purge(ctx, home.topic, home.checkpoint, e.revision), e.purge(ctx, home.topic, home.journal, 0))
	if old.Epoch > 0 && old.topic != home.topic {
		was := e.stream(old.topic)
		err = errors.Join(err, e.purge(ctx, was.topic, was.checkpoint, 0), e.purge(ctx, was.topic, was.journal, 0))
	}
	if err != nil {
		e.log.Debug("records of former commits could not be removed", "pipeline", e.cfg.Pipeline, "error", err)
	}
}

func (e *Exact) readApplied(ctx context.Context, s *exactStream) error {
	m, err := e.last(ctx, s.topic, s.applied)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	var at applied
	if err == nil {
		err = openRecord(appliedMagic, m.data, &at)
	}
	if err != nil {
		return fmt.Errorf("its record in topic %q: %w", s.topic, err)
	}
	s.revision = m.seq
	if at.Begun { // torn, see exactBatch
		at.Begun, at.Torn = false, []piece{{s.topic, m.seq + 1, m.batch}}
		record, err := sealRecord(appliedMagic, &at)
		if err != nil {
			return err
		}
		fence := []atomicMessage{{subject: asBytes(s.applied), payload: record}}
		if s.revision, _, err = e.attempt(ctx, e.applies, s, fence, m.seq, nil); err != nil {
			return err
		}
	}
	for _, p := range at.Torn {
		n, err := e.countPiece(ctx, p)
		if err != nil {
			return err
		}
		at.Outputs += n
	}
	at.Torn = nil
	s.at = at
	return nil
}

// complete publishes what the journal owes that the topics do not have yet.
func (e *Exact) complete(ctx context.Context, home string, ref journalRef) error {
	owing := false
	for topic, n := range ref.Outputs {
		s, err := e.knownStream(ctx, topic)
		if err != nil {
			return err
		}
		owing = owing || !s.at.reaches(ref.Epoch, ref.Batch, n)
	}
	if !owing {
		return nil
	}
	event.Failpoint(event.FailExactComplete)
	data, err := e.readJournal(ctx, home, ref)
	if err != nil {
		return err
	}
	side := map[int][]atomicMessage{}
	err = parseJournal(data, func(topic string, m atomicMessage) error {
		i := slices.IndexFunc(e.streams, func(s exactStream) bool { return s.topic == topic })
		if i < 0 {
			return fmt.Errorf("%w: a journal has an output to topic %q", ErrDamagedRecord, topic)
		}
		side[i] = append(side[i], m)
		return nil
	})
	if err != nil {
		return err
	}
	for i, out := range side {
		if err := e.apply(ctx, i, ref, out); err != nil {
			return err
		}
	}
	return nil
}

// knownStream returns the stream of a topic, which may be an output no longer.
func (e *Exact) knownStream(ctx context.Context, topic string) (*exactStream, error) {
	i := slices.IndexFunc(e.streams, func(s exactStream) bool { return s.topic == topic })
	if i < 0 {
		s := e.stream(topic)
		if err := s.intake.limits(ctx, e.js, e.wire.nc.MaxPayload()); err != nil {
			return nil, err
		}
		if err := e.readApplied(ctx, &s); err != nil {
			return nil, err
		}
		i = len(e.streams)
		e.streams = append(e.streams, s)
	}
	return &e.streams[i], nil
}

// readJournal returns the bytes of a journal, whole.
func (e *Exact) readJournal(ctx context.Context, home string, ref journalRef) ([]byte, error) {
	subject := exactSubject(home, e.cfg.Pipeline, e.cfg.Topic, kindJournal)
	lost := fmt.Errorf("%w: the journal of commit %d.%d in topic %q is not whole", ErrDamagedRecord, ref.Epoch, ref.Batch, home)
	chunks := make([][]byte, ref.Chunks)
	for seq := uint64(1); ; seq++ {
		m, err := getMessage(ctx, e.wire.nc, home, map[string]any{"seq": seq, "next_by_subj": subject})
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		b := m.data
		seq = m.seq
		if len(b) < journalHead {
			return nil, lost
		}
		epoch, batch, n := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), int(binary.LittleEndian.Uint32(b[16:]))
		if epoch == ref.Epoch && batch == ref.Batch && n < len(chunks) {
			chunks[n] = b[journalHead:]
		}
	}
	data := slices.Concat(chunks...)
	if len(data) != ref.Bytes || crc32.Checksum(data, castagnoli) != ref.Sum {
		return nil, lost
	}
	return data, nil
}

// allowExact makes sure that a topic takes atomic batches and the records of
// exactly-once pipelines. A stream of another owner is not changed.
func allowExact(ctx context.Context, js jetstream.JetStream, topic string) error {
	stream, err := js.Stream(ctx, topic)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("topic %q: %w", topic, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("look up topic %q: %w", topic, err)
	}
	cfg := stream.CachedInfo().Config
	records := exactSubjects(topic)
	takes := slices.ContainsFunc(cfg.Subjects, func(s string) bool { return event.Contains(s, records) })
	refuse := func(format string, args ...any) error {
		return &TopicError{Topic: topic, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case cfg.AllowAtomicPublish && takes && cfg.Mirror == nil && !cfg.Sealed:
		return nil
	case cfg.Mirror != nil:
		return refuse("it is a mirror of %q and takes no messages; publish to another topic", cfg.Mirror.Name)
	case cfg.Sealed:
		return refuse("it is sealed and takes no messages; publish to another topic")
	case cfg.PersistMode == jetstream.AsyncPersistMode:
		return refuse("its stream has persist_mode async, which excludes atomic publishing and with it exactly-once; publish to a topic with another durability, or set delivery = \"at-least-once\"")
	case cfg.Metadata[metaKey] != metaTopic:
		return refuse("its stream was not made by Wasmill, and an exactly-once pipeline needs two things of it: allow_atomic = true, and %q among its subjects; set both, or publish to a topic of Wasmill's", records)
	}
	cfg.AllowAtomicPublish = true
	if !takes {
		cfg.Subjects = append(slices.Clone(cfg.Subjects), records)
	}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return &TopicError{Topic: topic, Err: err, Reason: fmt.Sprintf("atomic publishing, which exactly-once needs, cannot be turned on: %v", err)}
	}
	return nil
}

// visible are the subjects of a topic's events, without those of records.
func visible(subjects []string) []string {
	return slices.DeleteFunc(slices.Clone(subjects), isExactSubjects)
}

func isExactSubjects(s string) bool {
	return cmp.Compare(len(s), len(exactPrefix)) > 0 && s[:len(exactPrefix)] == exactPrefix
}
