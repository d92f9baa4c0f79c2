package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

const (
	// consumerAckWait is long: what was not acknowledged comes back by a reset
	// of the consumer, never by the server's timer.
	consumerAckWait = 24 * time.Hour
	// metaStart holds, in the consumer's metadata, the sequence at which a
	// pipeline starts for the first time, until it has been set there.
	metaStart = "wasmill-start"
	startDone = "done"
)

// ErrBadStart means a place in a topic that is not well written.
var ErrBadStart = errors.New("start")

// OpenSource creates or updates the durable consumer of a pipeline, moves it
// back behind the last acknowledged event, and connects to it. Only one process
// may have the source of a pipeline open, see AcquireLease.
func (b *Broker) OpenSource(ctx context.Context, cfg SourceConfig) (*Source, error) {
	w, err := b.openWire("source "+cfg.Pipeline, sourceInProcess)
	if err != nil {
		return nil, err
	}
	return openSource(ctx, w, cfg)
}

// ResetSource moves a pipeline, which must not be running, to another place in
// its topic, and returns the sequence of the next event it will read. to is
// "all", "new", "seq:N" or an RFC 3339 time.
func (b *Broker) ResetSource(ctx context.Context, pipeline, topic, to string) (uint64, error) {
	if b.js == nil {
		return 0, ErrClosed
	}
	return resetSource(ctx, b.js, b.nc, pipeline, topic, to)
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

func resetSource(ctx context.Context, js jetstream.JetStream, nc *nats.Conn, pipeline, topic, to string) (uint64, error) {
	seq, err := startSeq(ctx, js, nc, topic, to)
	if err != nil {
		return 0, fmt.Errorf("reset pipeline %q: %w", pipeline, err)
	}
	// A request to reset a consumer that does not exist is never answered.
	_, err = js.Consumer(ctx, topic, consumerName(pipeline))
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("reset pipeline %q: it has never run on topic %q: %w", pipeline, topic, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("reset pipeline %q: %w", pipeline, err)
	}
	r, err := js.ResetConsumerToSequence(ctx, topic, consumerName(pipeline), seq)
	if err != nil {
		return 0, fmt.Errorf("reset pipeline %q: %w", pipeline, err)
	}
	return r.ResetSeq, nil
}

// openSource takes over w, also when it fails.
func openSource(ctx context.Context, w *wire, cfg SourceConfig) (_ *Source, err error) {
	defer func() {
		if err != nil {
			w.close()
			err = fmt.Errorf("open source of pipeline %q on topic %q: %w", cfg.Pipeline, cfg.Topic, err)
		}
	}()
	js, err := jetstream.New(w.nc)
	if err != nil {
		return nil, err
	}
	s := &Source{wire: w, cfg: cfg.withDefaults(), name: consumerName(cfg.Pipeline), notify: make(chan struct{}, 1)}
	s.next = "$JS.API.CONSUMER.MSG.NEXT." + cfg.Topic + "." + s.name
	s.js = js
	s.silence = time.NewTimer(time.Hour)
	ctx, cancel := context.WithTimeout(ctx, 4*s.cfg.timing.api)
	defer cancel()
	if err := s.ensureConsumer(ctx); err != nil {
		return nil, err
	}
	w.join(s)
	if err := s.recover(ctx, errNeverReset); err != nil {
		return nil, err
	}
	return s, nil
}

// ensureConsumer creates the consumer or changes it to what the pipeline needs,
// keeping what it does not care about (a pause, replicas, metadata). The first
// start is two steps, and a crash between them is healed by the next start: the
// sequence to start from is in the metadata until the consumer stands there.
func (s *Source) ensureConsumer(ctx context.Context) error {
	cons, err := s.js.Consumer(ctx, s.cfg.Topic, s.name)
	var have jetstream.ConsumerConfig
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		have, err = s.createConsumer(ctx)
		if err != nil {
			return err
		}
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("topic %q: %w", s.cfg.Topic, ErrNotFound)
	case err != nil:
		return fmt.Errorf("look up consumer %q: %w", s.name, err)
	default:
		have = cons.CachedInfo().Config
	}
	if have.AckPolicy != jetstream.AckAllPolicy || have.DeliverPolicy != jetstream.DeliverAllPolicy || have.DeliverSubject != "" {
		return fmt.Errorf("consumer %q exists and is not one of Wasmill's (it must be a pull consumer that delivers all and acknowledges all): delete it, or rename the pipeline", s.name)
	}
	if at := have.Metadata[metaStart]; at != "" && at != startDone {
		seq, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			return fmt.Errorf("consumer %q has a broken start %q in its metadata: delete it", s.name, at)
		}
		if _, err := s.js.ResetConsumerToSequence(ctx, s.cfg.Topic, s.name, seq); err != nil {
			return fmt.Errorf("start consumer %q at %d: %w", s.name, seq, err)
		}
	}
	want := have
	want.AckWait, want.MaxAckPending, want.MaxDeliver = consumerAckWait, -1, -1
	want.InactiveThreshold, want.HeadersOnly, want.BackOff = 0, false, nil
	want.MaxRequestBatch, want.MaxRequestExpires, want.MaxRequestMaxBytes = 0, 0, 0
	want.FilterSubject, want.FilterSubjects = "", slices.Clone(s.cfg.Filter)
	want.Metadata = maps.Clone(have.Metadata)
	if want.Metadata == nil {
		want.Metadata = make(map[string]string)
	}
	want.Metadata[metaStart] = startDone
	if sameConsumer(have, want) {
		return nil
	}
	if _, err := s.js.UpdateConsumer(ctx, s.cfg.Topic, want); err != nil {
		return fmt.Errorf("update consumer %q: %w", s.name, err)
	}
	return nil
}

func (s *Source) createConsumer(ctx context.Context) (jetstream.ConsumerConfig, error) {
	start := startDone
	if s.cfg.Start != "" && s.cfg.Start != "all" {
		seq, err := startSeq(ctx, s.js, s.wire.nc, s.cfg.Topic, s.cfg.Start)
		if err != nil {
			return jetstream.ConsumerConfig{}, err
		}
		start = strconv.FormatUint(seq, 10)
	}
	cons, err := s.js.CreateConsumer(ctx, s.cfg.Topic, jetstream.ConsumerConfig{
		Durable:        s.name,
		Description:    "Wasmill pipeline " + s.cfg.Pipeline,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckAllPolicy,
		AckWait:        consumerAckWait,
		MaxAckPending:  -1,
		MaxDeliver:     -1,
		FilterSubjects: slices.Clone(s.cfg.Filter),
		Metadata:       map[string]string{metaStart: start},
	})
	if err != nil {
		return jetstream.ConsumerConfig{}, fmt.Errorf("create consumer %q: %w", s.name, err)
	}
	return cons.CachedInfo().Config, nil
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
		a.Metadata[metaStart] == b.Metadata[metaStart] && slices.Equal(filters(a), filters(b))
}

// CheckStart says whether a place in a topic is well written: "all", "new",
// "seq:N" or an RFC 3339 time. Its error is an ErrBadStart.
func CheckStart(start string) error {
	_, _, err := parseStart(start)
	return err
}

// parseStart returns the sequence that start names, or else the time; neither
// for "new".
func parseStart(start string) (seq uint64, at time.Time, err error) {
	switch n, ok := strings.CutPrefix(start, "seq:"); {
	case start == "all" || start == "":
		return 1, at, nil
	case start == "new":
		return 0, at, nil
	case ok:
		if seq, err = strconv.ParseUint(n, 10, 64); err != nil || seq == 0 {
			return 0, at, fmt.Errorf("%w %q: a sequence is a number from 1", ErrBadStart, start)
		}
		return seq, at, nil
	}
	if at, err = time.Parse(time.RFC3339Nano, start); err != nil {
		return 0, at, fmt.Errorf("%w %q: neither all, new, seq:N nor an RFC 3339 time", ErrBadStart, start)
	}
	return 0, at, nil
}

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
	if start == "new" {
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

// recover resets the consumer to behind the last acknowledged event and starts
// a new generation: a new subscription, so that nothing that was on its way can
// be taken for new, and no outstanding requests. It tries until it succeeds, ctx
// ends or the consumer is known to be gone. Called by Fetch's goroutine only.
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
		gone := errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
		if gone {
			missing++
		} else {
			missing = 0
		}
		if missing == 3 || gone && errors.Is(why, errNeverReset) {
			err = fmt.Errorf("consumer %q of topic %q is gone (%w): it was deleted behind the pipeline's back; start the pipeline again", s.name, s.cfg.Topic, err)
			s.mu.Lock()
			s.mu.fatal = err
			s.mu.Unlock()
			return err
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (s *Source) tryRecover(ctx context.Context) error {
	s.mu.Lock()
	s.mu.generation++
	generation, old := s.mu.generation, s.mu.sid
	s.mu.asked, s.mu.refused, s.mu.consumer, s.mu.behind = event.Room{}, 0, 0, 0
	// What the new generation delivers up to here has been queued before.
	s.mu.handed, s.mu.again, s.mu.owed = s.mu.last, nil, 0
	s.mu.inbox = s.wire.nc.NewInbox()
	s.mu.reset = nil
	inbox := s.mu.inbox
	acked := s.acked.Load()
	s.mu.Unlock()

	if old != 0 {
		s.wire.unsubscribe(old)
	}
	sid := s.wire.subscribe(inbox, &sourceSub{s: s, generation: generation})
	s.mu.Lock()
	s.mu.sid = sid
	s.mu.Unlock()

	reset := func(ctx context.Context) (*jetstream.ConsumerResetResponse, error) {
		// A request to reset a consumer that does not exist is never answered.
		if _, err := s.js.Consumer(ctx, s.cfg.Topic, s.name); err != nil {
			return nil, err
		}
		if acked == 0 {
			return s.js.ResetConsumer(ctx, s.cfg.Topic, s.name) // to the server's ack floor + 1
		}
		// Acknowledgements that were lost on the way count, too.
		return s.js.ResetConsumerToSequence(ctx, s.cfg.Topic, s.name, acked+1)
	}
	rctx, cancel := context.WithTimeout(ctx, s.cfg.timing.api)
	defer cancel()
	r, err := reset(rctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.needResetLocked(fmt.Errorf("reset consumer %q: %w", s.name, err))
		return s.mu.reset
	}
	if acked == 0 && r.ResetSeq > 0 {
		s.acked.CompareAndSwap(0, r.ResetSeq-1)
	}
	s.mu.heard = time.Now()
	return nil
}
