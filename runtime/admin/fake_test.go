package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/live"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNotFound = errors.New("not found")

// fake is all the rooms behind the endpoint in one.
type fake struct {
	backup  func(ctx context.Context, w io.Writer) error
	status  status.Status
	metrics http.Handler
	live    *live.Live
	audit   admin.Audit
	epoch   uint64
	// resetting is called by Reset when it is set.
	resetting func(context.Context)
	taps      *event.Taps

	mu       sync.Mutex
	calls    []string
	messages []status.Message
	nextErr  error
	block    chan struct{} // Next waits for it when set
	filter   status.DeadLetterFilter
}

func (f *fake) called(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Pipeline(name string) (status.Pipeline, error) {
	if name != "alerts" {
		return status.Pipeline{}, fmt.Errorf("pipeline %q: %w", name, errNotFound)
	}
	return status.Pipeline{Name: name, State: status.StateRunning, Stages: []string{"strong"}}, nil
}

func (f *fake) Pause(_ context.Context, name string) error { f.called("pause %s", name); return nil }

func (f *fake) Resume(_ context.Context, name string) error { f.called("resume %s", name); return nil }

func (f *fake) Drain(_ context.Context, name string) error { f.called("drain %s", name); return nil }

func (f *fake) PreviewReplay(context.Context, string, admin.ReplayRequest) (status.Replayed, error) {
	return status.Replayed{Events: 2}, nil
}

func (f *fake) Replay(_ context.Context, name string, r admin.ReplayRequest) (status.Replayed, error) {
	f.called("replay %s into %s", name, r.Into)
	return status.Replayed{Events: 2, NextSeq: 3, Outputs: 2}, nil
}

func (f *fake) Module(string) ([]byte, error) { return []byte("module"), nil }

func (f *fake) PreviewReset(_ context.Context, name, to string) (status.Reset, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return status.Reset{Pipeline: name, FromSeq: 10, NextSeq: 7, Repeated: 3, Epoch: f.epoch}, nil
}

func (f *fake) Reset(ctx context.Context, name, to string) (uint64, error) {
	if f.resetting != nil {
		f.resetting(ctx)
	}
	f.called("reset %s %s", name, to)
	return 7, nil
}

func (f *fake) Plugins(context.Context) []status.Plugin {
	return []status.Plugin{{Name: "strong", Source: "builtin:threshold"}}
}

func (f *fake) Rollback(_ context.Context, name string) (status.Generation, error) {
	f.called("rollback %s", name)
	return status.Generation{Number: 1}, nil
}

func (f *fake) Topics(context.Context) ([]status.Topic, error) { return nil, nil }

func (f *fake) Topic(_ context.Context, name string) (status.Topic, error) {
	if own := map[string]string{"dead-letters": "wasmill.dead.>", "wasmill-audit": "wasmill.audit.>", "wasmill-state": "wasmill.state.>"}[name]; own != "" {
		return status.Topic{Name: name, Subjects: []string{own}}, nil
	}
	if name != "quakes" && name != "one" {
		return status.Topic{}, fmt.Errorf("topic %q: %w", name, errNotFound)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := status.Topic{Name: name, Subjects: []string{"quakes.>"}, FirstSeq: 1, LastSeq: uint64(len(f.messages))}
	if name == "one" {
		t.Subjects = []string{"one"}
	}
	return t, nil
}

func (f *fake) LastSeq(ctx context.Context, name string) (uint64, error) {
	t, err := f.Topic(ctx, name)
	return t.LastSeq, err
}

func (f *fake) Next(ctx context.Context, topic string, from uint64, subject string) (status.Message, error) {
	if f.block != nil {
		select {
		case <-f.block:
		case <-ctx.Done():
			return status.Message{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nextErr != nil {
		return status.Message{}, f.nextErr
	}
	for _, m := range f.messages {
		if m.Seq >= from && (subject == "" || event.Match(subject, m.Subject)) {
			return m, nil
		}
	}
	return status.Message{}, fmt.Errorf("topic %q behind %d: %w", topic, from, errNotFound)
}

func (f *fake) SeqAt(_ context.Context, _ string, t time.Time) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		if !m.Time.Before(t) {
			return m.Seq, nil
		}
	}
	return 0, errNotFound
}

func (f *fake) publisher(_ context.Context, topic string) (admin.Publisher, error) {
	return &fakePublisher{f: f, topic: topic}, nil
}

// fakePublisher refuses payloads that begin with "!".
type fakePublisher struct {
	f     *fake
	topic string
}

func (p *fakePublisher) Add(_ context.Context, m *event.Output) (uint64, error) {
	if m.Payload[0] == '!' {
		return 0, &event.RefusedError{Topic: p.topic, Reason: "it begins with a bang"}
	}
	p.f.store(p.topic, m.Subject, string(m.Payload))
	return 1, nil
}

func (p *fakePublisher) Flush(context.Context) error { p.f.called("flush"); return nil }
func (p *fakePublisher) Close() error                { return nil }

func (f *fake) store(topic, subject, payload string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq := uint64(len(f.messages) + 1)
	f.messages = append(f.messages, status.Message{
		Topic: topic, Seq: seq, Subject: subject, Payload: payload,
		Time: time.Unix(int64(1000*seq), 0).UTC(),
	})
}

func (f *fake) List(_ context.Context, filter status.DeadLetterFilter) ([]status.DeadLetter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = filter
	return []status.DeadLetter{{ID: 4, Pipeline: "alerts"}}, nil
}

func (f *fake) Show(_ context.Context, id uint64) (status.DeadLetter, error) {
	if id != 4 {
		return status.DeadLetter{}, errNotFound
	}
	return status.DeadLetter{ID: id}, nil
}

func (f *fake) Redrive(_ context.Context, ids []uint64, filter status.DeadLetterFilter) (int, error) {
	f.called("redrive %v %s", ids, filter.Pipeline)
	return 3, nil
}

func (f *fake) RedriveSome(_ context.Context, ids []uint64, filter status.DeadLetterFilter, rate float64) (status.Redriven, error) {
	f.called("redrive %v %s", ids, filter.Pipeline)
	return status.Redriven{Count: 3}, nil
}

func (f *fake) Tally(context.Context, []uint64, status.DeadLetterFilter) (status.Redriven, error) {
	return status.Redriven{Count: 3, DryRun: true}, nil
}

func (f *fake) Purge(_ context.Context, ids []uint64, filter status.DeadLetterFilter) (int, error) {
	f.called("purge %v %s", ids, filter.Pipeline)
	return 2, nil
}

func (f *fake) RedriveEdited(_ context.Context, id uint64, edit status.Edit) (uint64, error) {
	if id != 4 {
		return 0, errNotFound
	}
	if edit.Payload == nil {
		return 0, nil
	}
	f.called("redrive %d as %s", id, *edit.Payload)
	return 12, nil
}

// unopened is an endpoint over f; cfg.Listen defaults to a free loopback port.
func unopened(t *testing.T, f *fake, cfg admin.Config) *admin.Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if f.metrics == nil {
		f.metrics = http.NotFoundHandler()
	}
	s, err := admin.New(cfg, admin.Deps{
		Status:    func(context.Context) status.Status { return f.status },
		Pipelines: f, Plugins: f, Topics: f, DeadLetters: f,
		Publisher: f.publisher,
		Reload:    func(context.Context) ([]plan.Change, error) { f.called("reload"); return nil, nil },
		Plan: func(_ context.Context, text *string) (status.Plan, error) {
			f.called("plan %v", text != nil)
			return status.Plan{File: "/x.toml", Valid: true, Hash: "12-34"}, nil
		},
		Apply: func(_ context.Context, r admin.ApplyRequest) (status.Applied, error) {
			f.called("apply %s %v", r.Hash, r.Config != nil)
			done := status.Applied{Plan: status.Plan{File: "/x.toml", Hash: "12-34"}}
			if r.Hash == "moved" {
				return done, errNotFound
			}
			return done, nil
		},
		Backup:  func(ctx context.Context, w io.Writer) error { return f.backup(ctx, w) },
		Drain:   func(status.AuditRecord) { f.called("drain") },
		Metrics: f.metrics,
		Live:    f.live, Taps: f.taps, Audit: f.audit,
		Config: func(context.Context) (status.Configuration, error) { return status.Configuration{Hash: "abc"}, nil },
		StatusOf: func(err error) int {
			if errors.Is(err, errNotFound) {
				return http.StatusNotFound
			}
			return 0
		},
		Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open starts an endpoint over f.
func open(t *testing.T, f *fake, cfg admin.Config) *admin.Server {
	t.Helper()
	s := unopened(t, f, cfg)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T, s *admin.Server, token string) *admin.Client {
	t.Helper()
	c := admin.NewClient(s.URL(), token)
	t.Cleanup(c.Close)
	return c
}
