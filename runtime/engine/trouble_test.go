package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// A topic that refuses what is published to it holds its pipelines back and no
// others. The status names the topic and the server's reason, and what waits
// goes on when there is room again.
func TestFullTopicIsNamedAndLosesNothing(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	full := strings.Replace(realConfig, "[topics.out]", "[topics.out]\nmax_messages = 3\nfull = \"refuse\"", 1)
	if _, err := r.Apply(t.Context(), r.plan(full)); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.publish("a", fmt.Sprint(i))
	}
	r.want("other", 1, "0 v1", "1 v1", "2 v1", "3 v1", "4 v1")
	reason := ""
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; !strings.Contains(reason, "topic out: maximum messages exceeded"); <-tick.C {
		if t.Context().Err() != nil {
			t.Fatalf("reason %q", reason)
		}
		p, err := r.Pipeline("one")
		if err != nil {
			t.Fatal(err)
		}
		reason = p.Reason
	}
	if p, err := r.Pipeline("two"); err != nil || p.State != status.StateRunning || p.Reason != "" {
		t.Errorf("the other pipeline: %+v, %v", p, err)
	}
	if _, err := r.Apply(t.Context(), r.plan(realConfig)); err != nil {
		t.Fatal(err)
	}
	r.want("out", 1, "0 v1", "1 v1", "2 v1", "3 v1", "4 v1")
	if p, err := r.Pipeline("one"); err != nil || p.Reason != "" {
		t.Errorf("afterwards: %+v, %v", p, err)
	}
}
