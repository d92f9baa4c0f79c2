package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/audit"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNone = errors.New("none")

// topic is one that fails when it is told to.
type topic struct {
	mu     sync.Mutex
	broken error
	hangs  bool
	stored []status.Message
}

func (t *topic) breaks(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = err
}

func (t *topic) Topic(context.Context, string) (status.Topic, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return status.Topic{FirstSeq: 1, LastSeq: uint64(len(t.stored))}, nil
}

func (t *topic) Next(_ context.Context, _ string, from uint64, _ string) (status.Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from > uint64(len(t.stored)) {
		return status.Message{}, fmt.Errorf("behind %d: %w", from, errNone)
	}
	return t.stored[from-1], nil
}

func (t *topic) Publish(ctx context.Context, _ string, m event.Output) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hangs {
		t.mu.Unlock()
		<-ctx.Done()
		t.mu.Lock()
		return 0, ctx.Err()
	}
	if t.broken != nil {
		return 0, t.broken
	}
	seq := uint64(len(t.stored) + 1)
	t.stored = append(t.stored, status.Message{Seq: seq, Subject: m.Subject, Payload: string(m.Payload), Time: time.Now()})
	return seq, nil
}

// actions lists what the log has, newest first; what is not stored has a "?".
func actions(t *testing.T, l *audit.Log, f status.AuditFilter) string {
	t.Helper()
	list, err := l.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		mark := ""
		if r.Seq == 0 {
			mark = "?"
		}
		out = append(out, r.Action+mark)
	}
	return strings.Join(out, " ")
}

func TestLog(t *testing.T) {
	t.Parallel()
	t.Run("what cannot be stored is told at once, kept, and stored in order later", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store, l := &topic{}, audit.New(slog.New(slog.DiscardHandler))
			l.Open(store, errNone)
			record := func(action string) error { return l.Record(t.Context(), status.AuditRecord{Action: action}) }
			if err := record("a"); err != nil {
				t.Fatal(err)
			}
			full := errors.New("the disk is full")
			store.breaks(full)
			if err := record("b"); !errors.Is(err, full) {
				t.Errorf("got %v", err)
			}
			if err := record("c"); !errors.Is(err, full) {
				t.Errorf("got %v", err)
			}
			if got := actions(t, l, status.AuditFilter{}); got != "c? b? a" {
				t.Errorf("the log has %q", got)
			}
			time.Sleep(time.Hour)
			store.breaks(nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := actions(t, l, status.AuditFilter{}); got != "c b a" {
				t.Errorf("the log has %q", got)
			}
			l.Close()
			l.Close()
		})
	})
	t.Run("a topic that does not answer holds nothing up for longer than two seconds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store, l := &topic{hangs: true}, audit.New(slog.New(slog.DiscardHandler))
			l.Open(store, errNone)
			began := time.Now()
			if err := l.Record(t.Context(), status.AuditRecord{Action: "a"}); err == nil {
				t.Error("it is said to be stored")
			}
			l.Note(status.AuditRecord{Action: "b"})
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			l.Close()
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("with Close it took %s", took)
			}
		})
	})
	t.Run("requests of a kind within a minute become two records", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store, l := &topic{}, audit.New(slog.New(slog.DiscardHandler))
			l.Open(store, errNone)
			publish := func(target string) {
				rec := status.AuditRecord{Action: "topics.publish", Target: target}
				if err := l.Summed(t.Context(), rec, map[string]int64{"messages": 2}); err != nil {
					t.Fatal(err)
				}
			}
			for range 5 {
				publish("in")
			}
			publish("other")
			if got := actions(t, l, status.AuditFilter{Target: "in"}); got != "topics.publish" {
				t.Errorf("at once: %q", got)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			list, err := l.List(t.Context(), status.AuditFilter{Target: "in"})
			if err != nil || len(list) != 2 || list[0].Details["messages"] != "8" || list[0].Requests != 4 || list[1].Details["messages"] != "2" {
				t.Errorf("after a minute: %+v, %v", list, err)
			}
			publish("in")
			publish("in")
			l.Close() // has what is not told yet
			if got, _ := store.Topic(t.Context(), ""); got.LastSeq != 5 {
				t.Errorf("%d records are stored", got.LastSeq)
			}
		})
	})
	t.Run("the list pages back through what the filter chooses", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store, l := &topic{}, audit.New(slog.New(slog.DiscardHandler))
			l.Open(store, errNone)
			defer l.Close()
			for i := range 600 {
				rec := status.AuditRecord{Action: "pipelines.pause", Actor: "x"}
				if i%200 == 0 {
					rec = status.AuditRecord{Action: fmt.Sprintf("dlq.redrive%d", i), Actor: "y", Outcome: status.AuditFailed}
				}
				if err := l.Record(t.Context(), rec); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			if got := actions(t, l, status.AuditFilter{Actor: "y"}); got != "dlq.redrive400 dlq.redrive200 dlq.redrive0" {
				t.Errorf("got %q", got)
			}
			if got := actions(t, l, status.AuditFilter{Action: "dlq", Before: 401, Limit: 1}); got != "dlq.redrive200" {
				t.Errorf("got %q", got)
			}
			if got := actions(t, l, status.AuditFilter{Outcome: status.AuditFailed, Since: time.Now().Add(-5 * time.Minute)}); got != "dlq.redrive400" {
				t.Errorf("got %q", got)
			}
			if got := actions(t, l, status.AuditFilter{Action: "pipe"}); got != "" {
				t.Errorf("half a word chooses %q", got)
			}
		})
	})
}
