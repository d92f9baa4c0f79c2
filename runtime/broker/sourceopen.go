package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// consumerAckWait is long: what was not acknowledged comes back by a reset of the
// consumer, never by the server's timer.
const consumerAckWait = 24 * time.Hour

// ErrBadStart means a place in a topic that is not well written.
var ErrBadStart = errors.New("start")

// OpenSource claims the position of a pipeline, creates or updates its durable
// consumer, moves it behind the position, and connects to it. Only one process
// may have the source of a pipeline open, see AcquireLease; one that is opened
// later takes the position away from those before, which then fail with
// ErrReplaced. ErrTopicReplaced, ErrNewerRecord and ErrDamagedRecord say that the
// operator has to choose a place, see ResetSource.
func (b *Broker) OpenSource(ctx context.Context, cfg SourceConfig) (*Source, error) {
	w, err := b.openWire("source "+cfg.Pipeline, sourceInProcess, b.tenureOf(cfg.Pipeline))
	if err != nil {
		return nil, err
	}
	// It may have been an exactly-once pipeline before.
	cfg.begin = func(ctx context.Context, rec positionRecord) (uint64, error) {
		return rec.Position, b.retireExact(ctx, cfg.Pipeline, cfg.Topic, false)
	}
	s, err := openSource(ctx, w, b.state, cfg)
	if err != nil {
		return nil, err
	}
	// The consumer and the stream of positions may be new.
	if err := errors.Join(b.syncCreated(cfg.Topic), b.syncCreated(stateStream)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ResetSource moves a pipeline to another place in its topic, and returns the
// sequence of the next event it will read. to is a place, see Place. A source of the pipeline that is open fails with ErrReplaced. It is
// also the way out when a pipeline's position cannot be used.
func (b *Broker) ResetSource(ctx context.Context, pipeline, topic, to string) (uint64, error) {
	if err := b.usable(); err != nil {
		return 0, err
	}
	seq, err := b.Place(ctx, topic, to)
	if err == nil {
		err = resetSource(ctx, b.state, pipeline, topic, seq)
	}
	if err == nil {
		err = b.retireExact(ctx, pipeline, topic, true)
	}
	if err != nil {
		return 0, fmt.Errorf("reset pipeline %q: %w", pipeline, err)
	}
	return seq, nil
}

// Behind returns how many events of its topic a pipeline has not been given
// yet, and how many it was given and has not acknowledged. It may be called
// while the pipeline runs, stands by in another process, or does not run; 0 and
// 0 when it has never run.
func (b *Broker) Behind(ctx context.Context, pipeline, topic string) (waiting, unacked uint64, err error) {
	if b.js == nil {
		return 0, 0, ErrClosed
	}
	cons, err := b.js.Consumer(ctx, topic, consumerName(pipeline)) // asks the server: the info is of now
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look at the place of pipeline %q in topic %q: %w", pipeline, topic, err)
	}
	info := cons.CachedInfo()
	return info.NumPending, uint64(max(info.NumAckPending, 0)), nil
}

func resetSource(ctx context.Context, state *stateStore, pipeline, topic string, seq uint64) error {
	js := state.js
	known, err := state.hasPosition(ctx, pipeline, topic)
	if err != nil {
		return err
	}
	_, err = js.Consumer(ctx, topic, consumerName(pipeline))
	exists := err == nil
	switch {
	case exists:
	case !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case !known:
		return fmt.Errorf("it has never run on topic %q: %w", topic, ErrNotFound)
	}
	if err := state.setPosition(ctx, pipeline, topic, seq); err != nil {
		return err
	}
	if !exists { // a request to reset a consumer that does not exist is never answered
		return nil
	}
	// The position alone decides; this makes what Behind tells true at once.
	_, err = js.ResetConsumerToSequence(ctx, topic, consumerName(pipeline), seq)
	return err
}

// openSource takes over w, also when it fails.
func openSource(ctx context.Context, w *wire, state *stateStore, cfg SourceConfig) (_ *Source, err error) {
	s := &Source{wire: w, cfg: cfg.withDefaults(), name: consumerName(cfg.Pipeline), log: state.log, notify: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			if s.pos != nil {
				s.pos.close(ctx)
			}
			w.close()
			err = fmt.Errorf("open source of pipeline %q on topic %q: %w", cfg.Pipeline, cfg.Topic, err)
		}
	}()
	s.next = "$JS.API.CONSUMER.MSG.NEXT." + cfg.Topic + "." + s.name
	if s.js, err = jetstream.New(w.nc); err != nil {
		return nil, err
	}
	s.silence = time.NewTimer(time.Hour)
	ctx, cancel := context.WithTimeout(ctx, 4*s.cfg.timing.api)
	defer cancel()
	s.pos, err = state.claim(ctx, claimConfig{pipeline: cfg.Pipeline, topic: cfg.Topic, first: s.firstPosition}, s.positionMoved)
	if err != nil {
		return nil, err
	}
	rec, _ := s.pos.record()
	s.created = rec.Created
	begin := rec.Position
	if cfg.begin != nil {
		if begin, err = cfg.begin(ctx, rec); err != nil {
			return nil, err
		}
	}
	s.acked.Store(begin)
	if err := s.ensureConsumer(ctx); err != nil {
		return nil, err
	}
	w.join(s)
	if err := s.recover(ctx, errNeverReset); err != nil {
		return nil, err
	}
	return s, nil
}

// firstPosition is how far a pipeline has come of which there is no readable
// record: as far as the server knows, if it does, since acknowledgements follow
// the record; else it starts for the first time.
func (s *Source) firstPosition(ctx context.Context, damaged error) (uint64, error) {
	cons, err := s.js.Consumer(ctx, s.cfg.Topic, s.name)
	switch {
	case err == nil:
		return cons.CachedInfo().AckFloor.Stream, nil
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return 0, fmt.Errorf("look up consumer %q: %w", s.name, err)
	case damaged != nil:
		return 0, fmt.Errorf("%w, and there is no consumer that knows better; choose a place with `wasmill pipelines reset %s`", damaged, s.cfg.Pipeline)
	}
	seq, err := startSeq(ctx, s.js, s.wire.nc, s.cfg.Topic, s.cfg.Start)
	if err != nil {
		return 0, err
	}
	return seq - 1, nil
}

// ensureConsumer creates the consumer or changes it to what the pipeline needs,
// keeping what it does not care about (a pause, replicas, metadata). Where it
// stands does not matter: the source moves it behind the position.
func (s *Source) ensureConsumer(ctx context.Context) error {
	cons, err := s.js.Consumer(ctx, s.cfg.Topic, s.name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return s.createConsumer(ctx)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("topic %q: %w", s.cfg.Topic, ErrNotFound)
	case err != nil:
		return fmt.Errorf("look up consumer %q: %w", s.name, err)
	}
	have := cons.CachedInfo().Config
	if have.AckPolicy != jetstream.AckAllPolicy || have.DeliverPolicy != jetstream.DeliverAllPolicy || have.DeliverSubject != "" {
		return fmt.Errorf("consumer %q exists and is not one of Wasmill's (it must be a pull consumer that delivers all and acknowledges all): delete it, or rename the pipeline", s.name)
	}
	want := have
	want.AckWait, want.MaxAckPending, want.MaxDeliver = consumerAckWait, -1, -1
	want.InactiveThreshold, want.HeadersOnly, want.BackOff = 0, false, nil
	want.MaxRequestBatch, want.MaxRequestExpires, want.MaxRequestMaxBytes = 0, 0, 0
	want.FilterSubject, want.FilterSubjects = "", slices.Clone(s.cfg.Filter)
	if sameConsumer(have, want) {
		return nil
	}
	if _, err := s.js.UpdateConsumer(ctx, s.cfg.Topic, want); err != nil {
		return fmt.Errorf("update consumer %q: %w", s.name, err)
	}
	return nil
}

func (s *Source) createConsumer(ctx context.Context) error {
	_, err := s.js.CreateConsumer(ctx, s.cfg.Topic, jetstream.ConsumerConfig{
		Durable:        s.name,
		Description:    "Wasmill pipeline " + s.cfg.Pipeline,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckAllPolicy,
		AckWait:        consumerAckWait,
		MaxAckPending:  -1,
		MaxDeliver:     -1,
		FilterSubjects: slices.Clone(s.cfg.Filter),
	})
	if err != nil {
		return fmt.Errorf("create consumer %q: %w", s.name, err)
	}
	return nil
}

func sameConsumer(a, b jetstream.ConsumerConfig) bool {
	filters := func(c jetstream.ConsumerConfig) []string {
		f := slices.Clone(c.FilterSubjects)
		if c.FilterSubject != "" {
			f = append(f, c.FilterSubject)
		}
		slices.Sort(f)
		return f
	}
	return a.AckWait == b.AckWait && a.MaxAckPending == b.MaxAckPending && a.MaxDeliver == b.MaxDeliver &&
		a.InactiveThreshold == b.InactiveThreshold && a.HeadersOnly == b.HeadersOnly && len(a.BackOff) == len(b.BackOff) &&
		a.MaxRequestBatch == b.MaxRequestBatch && a.MaxRequestExpires == b.MaxRequestExpires && a.MaxRequestMaxBytes == b.MaxRequestMaxBytes &&
		slices.Equal(filters(a), filters(b))
}

// CheckStart says whether a place in a topic is well written, see Place. Its
// error is an ErrBadStart.
func CheckStart(start string) error {
	_, _, err := parseStart(start)
	return err
}

// parseStart returns the sequence that start names, or else the time; neither
// for "new".
func parseStart(start string) (seq uint64, at time.Time, err error) {
	switch n, ok := strings.CutPrefix(start, "seq:"); {
	case isStart(start):
		return 1, at, nil
	case isEnd(start):
		return 0, at, nil
	case ok || isDigits(start):
		if seq, err = strconv.ParseUint(n, 10, 64); err != nil || seq == 0 {
			return 0, at, fmt.Errorf("%w %q: a sequence is a number from 1", ErrBadStart, start)
		}
		return seq, at, nil
	}
	if at, err = time.Parse(time.RFC3339Nano, start); err != nil {
		return 0, at, fmt.Errorf("%w %q: neither start, end, a sequence nor an RFC 3339 time", ErrBadStart, start)
	}
	return 0, at, nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// startSeq resolves "all", "new", "seq:N" and RFC 3339 times to a sequence.
func startSeq(ctx context.Context, js jetstream.JetStream, nc *nats.Conn, topic, start string) (uint64, error) {
	seq, at, err := parseStart(start)
	if err != nil || seq > 0 {
		return seq, err
	}
	stream, err := js.Stream(ctx, topic)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("topic %q: %w", topic, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("look up topic %q: %w", topic, err)
	}
	end := stream.CachedInfo().State.LastSeq + 1
	if isEnd(start) {
		return end, nil
	}
	req, err := json.Marshal(map[string]any{"start_time": at, "next_by_subj": ">", "no_hdr": true})
	if err != nil {
		return 0, err
	}
	msg, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+topic, req)
	if err != nil {
		return 0, fmt.Errorf("look up %s in topic %q: %w", start, topic, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &resp); err != nil {
		return 0, fmt.Errorf("look up %s in topic %q: %w", start, topic, err)
	}
	switch {
	case resp.Error == nil:
		return resp.Message.Seq, nil
	case resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return end, nil
	default:
		return 0, fmt.Errorf("look up %s in topic %q: %w", start, topic, resp.Error)
	}
}
