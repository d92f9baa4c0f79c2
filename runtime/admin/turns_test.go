package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// conflict checks that err tells who was faster.
func conflict(t *testing.T, err error, want ...string) {
	t.Helper()
	var e *admin.Error
	if !errors.As(err, &e) || e.Status != http.StatusConflict || e.Code != "conflict" {
		t.Fatalf("got %v, want a conflict", err)
	}
	for _, w := range want {
		if !strings.Contains(e.Message, w) {
			t.Errorf("the message is %q, want %q in it", e.Message, w)
		}
	}
}

// Of two operators who change the same thing at once one wins, and the other is
// told who was faster.
func TestTwoOperators(t *testing.T) {
	t.Parallel()
	f := &fake{audit: &auditLog{}}
	s := open(t, f, admin.Config{Tokens: []admin.Token{
		{Name: "ann", Role: admin.RoleOperate, Secret: "a"}, {Name: "bob", Role: admin.RoleOperate, Secret: "b"},
	}})
	ann, bob := admin.NewClient(s.URL(), "a"), admin.NewClient(s.URL(), "b")
	defer ann.Close()
	defer bob.Close()

	t.Run("at the same time", func(t *testing.T) {
		begun, goOn := make(chan struct{}), make(chan struct{})
		f.resetting = func(context.Context) { close(begun); <-goOn }
		first := make(chan error, 1)
		go func() { _, err := ann.Reset(t.Context(), "alerts", "start", nil); first <- err }()
		<-begun
		_, err := bob.Reset(t.Context(), "alerts", "end", nil)
		conflict(t, err, "pipeline alerts: somebody else is at work on it (pipelines.reset by ann")
		if _, err := bob.Pause(t.Context(), "alerts"); err != nil {
			t.Errorf("a pause never waits for anybody: %v", err)
		}
		close(goOn)
		if err := <-first; err != nil {
			t.Error(err)
		}
		f.resetting = nil
	})
	t.Run("after both have looked", func(t *testing.T) {
		seen, err := bob.PreviewReset(t.Context(), "alerts", "end")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ann.Reset(t.Context(), "alerts", "start", &status.Reset{Epoch: seen.Epoch}); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.epoch++
		f.mu.Unlock()
		_, err = bob.Reset(t.Context(), "alerts", "end", &seen)
		conflict(t, err, "pipeline alerts was reset since you looked at it (pipelines.reset by ann")
		if _, err := bob.Reset(t.Context(), "alerts", "end", nil); err != nil {
			t.Errorf("who has not looked is not held back: %v", err)
		}
	})
}
