package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// fakeSource is a topic in memory. Fetch never returns more than room.
type fakeSource struct {
	mu      sync.Mutex
	events  []event.Event
	next    int
	more    chan struct{}
	acked   []string
	chunk   int  // most events a Fetch returns; 0 = all
	behind  bool // the position is not stored until store
	stored  uint64
	moved   func()
	fetched int
}

func newSource(payloads ...string) *fakeSource {
	s := &fakeSource{more: make(chan struct{}, 1)}
	s.add(payloads...)
	return s
}

func (s *fakeSource) add(payloads ...string) {
	s.mu.Lock()
	for _, p := range payloads {
		seq := uint64(len(s.events) + 1)
		e := event.Event{Ack: strconv.FormatUint(seq, 10)}
		e.Seq, e.Time = seq, time.Now().UnixNano()
		e.Subject, e.Payload = []byte("in.a"), []byte(p)
		s.events = append(s.events, e)
	}
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *fakeSource) Fetch(ctx context.Context, dst []event.Event, room event.Room) ([]event.Event, uint64, error) {
	for {
		s.mu.Lock()
		for s.next < len(s.events) && len(dst) < room.Events && (s.chunk == 0 || len(dst) < s.chunk) {
			dst = append(dst, s.events[s.next])
			s.next++
		}
		lag := uint64(len(s.events) - s.next)
		s.fetched += len(dst)
		s.mu.Unlock()
		if len(dst) > 0 {
			return dst, lag, nil
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return dst, 0, ctx.Err()
		}
	}
}

func (s *fakeSource) Ack(token string) error {
	s.mu.Lock()
	s.acked = append(s.acked, token)
	behind := s.behind
	s.mu.Unlock()
	if !behind {
		s.store()
	}
	return nil
}

// store makes what is acknowledged durable.
func (s *fakeSource) store() {
	seq := s.ackedSeq()
	s.mu.Lock()
	s.stored = max(s.stored, uint64(seq))
	s.mu.Unlock()
	s.moved()
}

func (s *fakeSource) Durable() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

func (s *fakeSource) OnDurable(moved func()) { s.moved = moved }

func (s *fakeSource) Close() error { return nil }

func (s *fakeSource) ackedSeq() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acked) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(s.acked[len(s.acked)-1])
	return n
}

// fakeSink records outputs; it confirms on Flush, or only when told to.
type fakeSink struct {
	mu        sync.Mutex
	log       *sinkLog
	added     map[int]uint64
	confirmed map[int]uint64
	notify    func()
	hold      bool
	closed    bool
}

// sinkLog holds what all partitions published, in the order of Add.
type sinkLog struct {
	mu      sync.Mutex
	out     []published
	commits []uint64 // what Commit was told
	sinks   []*fakeSink
	hold    bool
	limit   int // payloads larger than this are refused; 0 = none
}

type published struct {
	topic     int
	partition int
	subject   string
	payload   string
	headers   map[string]string
	cause     uint64
}

func (l *sinkLog) open(partition int, confirmed func()) (Sink, error) {
	s := &fakeSink{log: l, added: map[int]uint64{}, confirmed: map[int]uint64{}, notify: confirmed, hold: l.hold}
	l.mu.Lock()
	l.sinks = append(l.sinks, s)
	l.mu.Unlock()
	return s, nil
}

func (l *sinkLog) release() {
	l.mu.Lock()
	sinks := l.sinks
	l.mu.Unlock()
	for _, s := range sinks {
		s.mu.Lock()
		s.hold = false
		s.mu.Unlock()
		s.confirm()
	}
}

func (l *sinkLog) payloads(topic int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var p []string
	for _, o := range l.out {
		if o.topic == topic {
			p = append(p, o.payload)
		}
	}
	return p
}

func (l *sinkLog) all() []published {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]published(nil), l.out...)
}

func (s *fakeSink) Check(_ context.Context, _ int, m *event.Output) error {
	if s.log.limit > 0 && len(m.Payload) > s.log.limit {
		return &event.RefusedError{Topic: "t", Reason: "too large"}
	}
	return nil
}

func (s *fakeSink) Add(ctx context.Context, topic int, m *event.Output) (uint64, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if err := s.Check(ctx, topic, m); err != nil {
		return 0, err
	}
	h := map[string]string{}
	n := 0
	for block := m.Headers; ; n++ {
		k, v, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		h[string(k)] = string(v)
		block = rest
	}
	if n != m.HeaderCount {
		return 0, fmt.Errorf("header count is %d, the block has %d", m.HeaderCount, n)
	}
	part := 0
	for i, o := range s.log.sinks {
		if o == s {
			part = i
		}
	}
	s.log.out = append(s.log.out, published{topic: topic, partition: part, subject: strings.Clone(m.Subject), payload: string(m.Payload), headers: h, cause: m.Cause})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added[topic]++
	return s.added[topic], nil
}

func (s *fakeSink) Commit(_ context.Context, seq uint64) (uint64, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.commits = append(s.log.commits, seq)
	return 0, nil
}

func (s *fakeSink) Flush() error {
	s.confirm()
	return nil
}

func (s *fakeSink) confirm() {
	s.mu.Lock()
	if !s.hold {
		for t, n := range s.added {
			s.confirmed[t] = n
		}
	}
	s.mu.Unlock()
	s.notify()
}

func (s *fakeSink) Confirmed(topic int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed[topic]
}

func (s *fakeSink) Close(context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.confirm()
	return nil
}

// funcProc is a plugin made of a function per event.
type funcProc struct {
	event     func(e *abi.Event, w *abi.ResponseWriter, i uint32) error
	final     func(w *abi.ResponseWriter)
	w         abi.ResponseWriter
	frame     []byte
	discarded *int
	calls     int
}

// named is a plugin that knows its module.
type named struct {
	*funcProc
	digest string
}

func (n named) Digest() string { return n.digest }

// testFault is a fault as the host reports it.
type testFault struct{ kind, msg string }

func (f *testFault) Error() string       { return f.msg }
func (f *testFault) FaultKind() string   { return f.kind }
func (f *testFault) FaultDetail() string { return "stack line 1\nstack line 2" }

func (p *funcProc) Process(_ context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	p.calls++
	if int(h.Count) != len(events) {
		return errors.New("count differs")
	}
	p.w.Reset()
	for i := range events {
		if err := p.event(&events[i], &p.w, uint32(i)); err != nil {
			clear(p.frame) // views of the last call are gone, as in a module
			return err
		}
	}
	return p.decode(len(events), res)
}

// decode goes through the real codec, and overwrites the memory of the
// previous result, as the next call of a module would.
func (p *funcProc) decode(n int, res *abi.Result) error {
	clear(p.frame)
	p.frame = append([]byte(nil), p.w.Bytes()...)
	return abi.DecodeResponse(p.frame, abi.ResponseLimits{Events: n, Outputs: 4}, res)
}

func (p *funcProc) Close(_ context.Context, res *abi.Result) error {
	p.w.Reset()
	if p.final != nil {
		p.final(&p.w)
	}
	return p.decode(0, res)
}

func (p *funcProc) Discard() {
	if p.discarded != nil {
		*p.discarded++
	}
}

func pass(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
	w.Pass(i, 0)
	return nil
}

// emit writes a new payload for event i.
func emit(w *abi.ResponseWriter, i uint32, payload string) {
	w.Output(&abi.Output{Source: i, Payload: []byte(payload)})
}

// rig is a pipeline under test.
type rig struct {
	*Pipeline
	src  *fakeSource
	log  *sinkLog
	stop context.CancelFunc
	done chan error
}

func testConfig() Config {
	return Config{
		Name: "p", Topic: "in",
		Stages:      []Stage{{Name: "s", Plugin: "plug"}},
		Outputs:     []Output{{Name: "default", Topic: "out", Subjects: []string{"in.>", "out.>"}}},
		DeadLetters: "dead-letters",
		Partitions:  1,
		Batch:       Batch{MaxEvents: 8, MaxBytes: 1 << 20, MaxWait: time.Millisecond},
		Retry:       Retry{Attempts: 3, Backoff: 10 * time.Millisecond, MaxBackoff: time.Second},
		OnFailure:   "dead-letter",
		Room:        event.Room{Events: 64, Bytes: 1 << 20},
	}
}

type procs func(stage, partition int) (Processor, error)

func each(f func(e *abi.Event, w *abi.ResponseWriter, i uint32) error) procs {
	return func(int, int) (Processor, error) { return &funcProc{event: f}, nil }
}

func start(t *testing.T, cfg Config, src *fakeSource, mk procs, change ...func(*Deps, *sinkLog)) *rig {
	t.Helper()
	log := &sinkLog{}
	deps := Deps{Source: src, Sink: log.open, Processor: mk, DrainTimeout: 5 * time.Second}
	for _, c := range change {
		c(&deps, log)
	}
	p, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{Pipeline: p, src: src, log: log, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- p.Run(ctx) }()
	t.Cleanup(cancel)
	return r
}

// drain stops the pipeline and returns what Run returned.
func (r *rig) drain() error {
	r.stop()
	return <-r.done
}

func numbers(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = strconv.Itoa(i + 1)
	}
	return s
}
