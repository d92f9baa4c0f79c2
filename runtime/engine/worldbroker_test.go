package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// The broker.

func (w *world) Describe() status.Server {
	if w.external {
		return status.Server{Mode: "external"}
	}
	return status.Server{Mode: "embedded"}
}

func (w *world) Healthy() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

func (w *world) EnsureTopic(_ context.Context, cfg broker.TopicConfig) error {
	if w.ensure != nil {
		if err := w.ensure(cfg); err != nil {
			return err
		}
	}
	w.change(func() { w.ensured[cfg.Name] = cfg })
	return nil
}

func (w *world) Removal(_ context.Context, cfg broker.TopicConfig, followers []broker.Follower) (*status.Removal, error) {
	if w.removal == nil {
		return nil, nil
	}
	return w.removal(cfg, followers)
}

func (w *world) Topics(context.Context) ([]status.Topic, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []status.Topic
	for name := range w.ensured {
		out = append(out, status.Topic{Name: name, FirstSeq: 1, LastSeq: uint64(len(w.topics[name]))})
	}
	return out, nil
}

func (w *world) Topic(_ context.Context, name string) (status.Topic, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return status.Topic{Name: name, FirstSeq: 1, LastSeq: uint64(len(w.topics[name]))}, nil
}

type fakeLease struct{ lost chan struct{} }

func (l fakeLease) Lost() <-chan struct{}   { return l.lost }
func (l fakeLease) Release(context.Context) {}

func (w *world) AcquireLease(ctx context.Context, name string) (lease, error) {
	if w.leases != nil {
		return w.leases(ctx, name)
	}
	return fakeLease{}, nil
}

func (w *world) Protect(...string) error { return nil }

func (w *world) ResetSource(_ context.Context, name, topic, to string) (uint64, error) {
	seq := uint64(1)
	switch {
	case to == "new":
		seq = uint64(len(w.topics[topic])) + 1
	case strings.HasPrefix(to, "seq:"):
		n, err := strconv.ParseUint(to[4:], 10, 64)
		if err != nil {
			return 0, err
		}
		seq = n
	case to != "all":
		return 0, errors.New("no such place: " + to)
	}
	w.change(func() { w.acked[name] = seq - 1 })
	return seq, nil
}

func (w *world) PreviewReset(_ context.Context, name, topic string, _ []string, to string) (status.Reset, error) {
	return status.Reset{Pipeline: name, Topic: topic, NextSeq: 1, Repeated: 2, Skipped: 1}, broker.CheckStart(to)
}

type memSource struct {
	w               *world
	pipeline, topic string
	at              uint64
	moved           func()
}

func (w *world) OpenSource(_ context.Context, cfg broker.SourceConfig) (pipeline.Source, error) {
	if w.openSource != nil {
		if err := w.openSource(cfg.Pipeline); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return &memSource{w: w, pipeline: cfg.Pipeline, topic: cfg.Topic, at: w.acked[cfg.Pipeline]}, nil
}

func (s *memSource) Fetch(ctx context.Context, dst []event.Event, room event.Room) ([]event.Event, uint64, error) {
	for {
		if ctx.Err() != nil {
			return dst, 0, ctx.Err()
		}
		s.w.mu.Lock()
		log, moved := s.w.topics[s.topic], s.w.moved
		for n := 0; s.at < uint64(len(log)) && n < room.Events; n++ {
			r := log[s.at]
			s.at++
			dst = append(dst, event.Event{
				Event: abi.Event{Seq: s.at, Attempt: 1, Subject: []byte(r.subject), Payload: []byte(r.payload), Time: time.Now().UnixNano()},
				Ack:   strconv.FormatUint(s.at, 10),
			})
		}
		lag := uint64(len(log)) - s.at
		s.w.mu.Unlock()
		if len(dst) > 0 {
			return dst, lag, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return dst, 0, ctx.Err()
		}
	}
}

func (s *memSource) Ack(token string) error {
	seq, err := strconv.ParseUint(token, 10, 64)
	s.w.change(func() { s.w.acked[s.pipeline] = seq })
	s.moved()
	return err
}

func (s *memSource) Durable() uint64 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.acked[s.pipeline]
}

func (s *memSource) OnDurable(moved func()) { s.moved = moved }

func (s *memSource) Close() error { return nil }

type memSink struct {
	w         *world
	cfg       broker.SinkConfig
	confirmed func()
	pos       []uint64
}

func (w *world) OpenSink(_ context.Context, cfg broker.SinkConfig, confirmed func()) (pipeline.Sink, error) {
	sink := &memSink{w: w, cfg: cfg, confirmed: confirmed, pos: make([]uint64, len(cfg.Topics))}
	w.change(func() { w.sinks = append(w.sinks, sink) })
	return sink, nil
}

// unstick lets the outputs of a stuck pipeline be confirmed.
func (w *world) unstick(name string) {
	var sinks []*memSink
	w.change(func() { w.stuck[name], sinks = false, slices.Clone(w.sinks) })
	for _, s := range sinks {
		if s.cfg.Pipeline == name {
			s.confirmed()
		}
	}
}

func (s *memSink) Check(context.Context, int, *event.Output) error { return nil }

func (s *memSink) Add(_ context.Context, topic int, m *event.Output) (uint64, error) {
	name := s.cfg.Topics[topic]
	s.w.change(func() {
		s.w.topics[name] = append(s.w.topics[name], record{
			subject: strings.Clone(m.Subject), payload: string(m.Payload), headers: slices.Clone(m.Headers), count: m.HeaderCount,
		})
		s.pos[topic]++
	})
	return s.pos[topic], nil
}

func (s *memSink) Commit(context.Context, uint64) (uint64, error) { return 0, nil }

func (w *world) OpenExact(context.Context, broker.SourceConfig, broker.ExactConfig) (exactSource, error) {
	return nil, errors.New("the world in memory is at least once")
}

func (s *memSink) Flush() error { s.confirmed(); return nil }

func (s *memSink) Confirmed(topic int) uint64 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.stuck[s.cfg.Pipeline] {
		return 0
	}
	return s.pos[topic]
}

func (s *memSink) Close(context.Context) error { return nil }

func (w *world) message(topic string, seq uint64) (status.Message, bool) {
	if seq == 0 || seq > uint64(len(w.topics[topic])) || w.topics[topic][seq-1].deleted {
		return status.Message{}, false
	}
	r := w.topics[topic][seq-1]
	m := status.Message{Topic: topic, Seq: seq, Subject: r.subject, Payload: r.payload, Headers: map[string][]string{}}
	for block := r.headers; len(block) > 0; {
		k, v, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		m.Headers[string(k)] = append(m.Headers[string(k)], string(v))
		block = rest
	}
	return m, true
}

func (w *world) Get(_ context.Context, topic string, seq uint64) (status.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m, ok := w.message(topic, seq); ok {
		return m, nil
	}
	return status.Message{}, broker.ErrNotFound
}

func (w *world) Next(_ context.Context, topic string, from uint64, subject string) (status.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; from <= uint64(len(w.topics[topic])); from++ {
		if m, ok := w.message(topic, from); ok && event.Match(subject, m.Subject) {
			return m, nil
		}
	}
	return status.Message{}, broker.ErrNotFound
}

func (w *world) Publish(_ context.Context, topic string, m event.Output) (uint64, error) {
	var seq uint64
	w.change(func() {
		w.topics[topic] = append(w.topics[topic], record{subject: m.Subject, payload: string(m.Payload), headers: m.Headers, count: m.HeaderCount})
		seq = uint64(len(w.topics[topic]))
	})
	return seq, nil
}

func (w *world) DeleteMessage(_ context.Context, topic string, seq uint64) error {
	w.change(func() { w.topics[topic][seq-1].deleted = true })
	return nil
}

func (w *world) Place(_ context.Context, topic, at string) (uint64, error) {
	if at == "end" {
		return uint64(len(w.topics[topic])) + 1, nil
	}
	return 1, broker.CheckStart(at)
}

func (w *world) Count(_ context.Context, _ string, _ []string, begin, end uint64) (uint64, error) {
	return end - begin, nil
}
