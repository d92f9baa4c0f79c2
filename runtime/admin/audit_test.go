package admin_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// auditLog keeps records, and says of each what it is told to say.
type auditLog struct {
	mu      sync.Mutex
	records []status.AuditRecord
	err     error
}

func (l *auditLog) Record(_ context.Context, r status.AuditRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	return l.err
}

func (l *auditLog) Summed(ctx context.Context, r status.AuditRecord, counts map[string]int64) error {
	if counts["messages"] != 1 && counts["requests"] != 1 {
		return errors.New("not one")
	}
	return l.Record(ctx, r)
}

func (l *auditLog) List(_ context.Context, f status.AuditFilter) (list []status.AuditRecord, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.records {
		if f.Match(&l.records[i]) {
			list = append(list, l.records[i])
		}
	}
	return list, nil
}

func TestAudit(t *testing.T) {
	t.Parallel()
	t.Run("every request that changes something has a record with who, from where and what came of it", func(t *testing.T) {
		t.Parallel()
		log := &auditLog{}
		s := open(t, &fake{audit: log}, admin.Config{Token: "s3cret"})
		cl := admin.NewClient(s.URL(), "s3cret")
		defer cl.Close()
		ctx := t.Context()
		do := map[string]func() error{
			"reload":           func() error { _, err := cl.Reload(ctx); return err },
			"apply":            func() error { _, err := cl.Apply(ctx, admin.ApplyRequest{}); return err },
			"pipelines.pause":  func() error { _, err := cl.Pause(ctx, "alerts"); return err },
			"pipelines.resume": func() error { _, err := cl.Resume(ctx, "alerts"); return err },
			"drain":            func() error { _, err := cl.Drain(ctx); return err },
			"pipelines.reset":  func() error { _, err := cl.Reset(ctx, "alerts", "all", nil); return err },
			"pipelines.drain":  func() error { _, err := cl.DrainPipeline(ctx, "alerts", time.Second); return err },
			"pipelines.replay": func() error {
				_, err := cl.Replay(ctx, "alerts", admin.ReplayRequest{From: "start", Into: "x"})
				return err
			},
			"plugins.rollback": func() error { _, err := cl.Rollback(ctx, "strong"); return err },
			"dlq.redrive":      func() error { _, err := cl.Redrive(ctx, admin.Selection{All: true}, nil); return err },
			"dlq.purge":        func() error { _, err := cl.Purge(ctx, admin.Selection{All: true}); return err },
			"session.begin": func() error {
				code, body := request(t, s, http.MethodPost, "/api/v1/session", "{}", func(r *http.Request) {
					r.Header.Set("Authorization", "Bearer s3cret")
					r.Header.Set(admin.RequestHeader, "1")
				})
				if code != http.StatusOK {
					return errors.New(body)
				}
				return nil
			},
			"topics.publish": func() error {
				_, err := cl.Publish(ctx, admin.PublishRequest{Topic: "one", Body: []byte("x\n")})
				return err
			},
		}
		for verb, f := range do {
			if err := f(); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
			outcome := status.AuditOK
			if verb == "drain" { // its outcome is recorded at the end
				outcome = status.AuditBegun
			}
			list, err := cl.Audit(ctx, status.AuditFilter{Action: verb, Outcome: outcome})
			if err != nil || len(list) != 1 {
				t.Fatalf("%s: %d records, %v", verb, len(list), err)
			}
			if r := list[0]; r.Actor != admin.TokenHolder || r.Remote != "127.0.0.1" {
				t.Errorf("%s: %+v", verb, r)
			}
		}
		// What is added to the API and changes something has to be added here.
		source, err := os.ReadFile("routes.go")
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?m)^.*read\("POST.*$`).FindString(string(source)); m != "" {
			t.Errorf("not audited: %s", strings.TrimSpace(m))
		}
		for _, m := range regexp.MustCompile(`change\(\w+, "POST [^"]+", "([a-z.]+)"`).FindAllStringSubmatch(string(source), -1) {
			if do[m[1]] == nil {
				t.Errorf("%s is not tested", m[1])
			}
		}
	})
	t.Run("a reset is recorded before it begins, so that a crash cannot hide it", func(t *testing.T) {
		t.Parallel()
		log := &auditLog{}
		f := &fake{audit: log}
		var before []status.AuditRecord
		f.resetting = func(ctx context.Context) { before, _ = log.List(ctx, status.AuditFilter{}) }
		cl := client(t, open(t, f, admin.Config{}), "")
		if _, err := cl.PreviewReset(t.Context(), "alerts", "7"); err != nil {
			t.Fatal(err)
		}
		if len(log.records) != 0 {
			t.Errorf("looking is recorded: %+v", log.records)
		}
		if _, err := cl.Reset(t.Context(), "alerts", "7", nil); err != nil {
			t.Fatal(err)
		}
		if len(before) != 1 {
			t.Fatalf("before: %+v", before)
		}
		if r := before[0]; r.Outcome != status.AuditBegun || r.Target != "alerts" || r.Details["from_seq"] != "10" || r.Details["next_seq"] != "7" {
			t.Errorf("%+v", r)
		}
		if n := len(log.records); n != 2 || log.records[1].Outcome != status.AuditOK {
			t.Errorf("after: %+v", log.records)
		}
	})
	t.Run("an action whose record is not stored is done, and says so", func(t *testing.T) {
		t.Parallel()
		log := &auditLog{err: errors.New("the disk\nis full")}
		f := &fake{audit: log}
		s := open(t, f, admin.Config{})
		cl := admin.NewClient(s.URL(), "")
		defer cl.Close()
		warning := ""
		cl.OnWarning(func(w string) { warning = w })
		if _, err := cl.Pause(t.Context(), "alerts"); err != nil {
			t.Fatal(err)
		}
		if want := "the audit record of this action is not stored yet: the disk is full"; warning != want {
			t.Errorf("the warning is %q", warning)
		}
		if len(f.calls) != 1 {
			t.Errorf("called %q", f.calls)
		}
		if log.records[0].Actor != admin.Anonymous {
			t.Errorf("actor %q", log.records[0].Actor)
		}
	})
	t.Run("what was refused is in it, with the reason", func(t *testing.T) {
		t.Parallel()
		log := &auditLog{}
		s := open(t, &fake{audit: log}, admin.Config{})
		cl := admin.NewClient(s.URL(), "")
		defer cl.Close()
		if _, err := cl.Reset(t.Context(), "alerts", "", nil); err == nil {
			t.Fatal("it is not refused")
		}
		if r := log.records[0]; r.Outcome != status.AuditFailed || !strings.Contains(r.Error, `"to" is missing`) || r.Target != "alerts" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("so is who tried without having the role, but nobody without a token", func(t *testing.T) {
		t.Parallel()
		log := &auditLog{}
		s := open(t, &fake{audit: log}, admin.Config{Tokens: []admin.Token{{Name: "grafana", Role: admin.RoleView, Secret: "v"}}})
		for _, token := range []string{"v", "wrong", ""} {
			cl := admin.NewClient(s.URL(), token)
			if _, err := cl.Pause(t.Context(), "alerts"); err == nil {
				t.Error("it is not refused")
			}
			cl.Close()
		}
		if len(log.records) != 1 {
			t.Fatalf("%d records", len(log.records))
		}
		if r := log.records[0]; r.Actor != "grafana" || r.Role != "view" || r.Action != "refused" || !strings.Contains(r.Error, "/pause needs the role operate") {
			t.Errorf("%+v", r)
		}
	})
}
