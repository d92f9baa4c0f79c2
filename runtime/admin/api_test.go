package admin_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// waitForReader returns once a tail is blocked in Next: only then does an
// unbuffered send on the channel succeed.
func (f *fake) waitForReader(t *testing.T) {
	t.Helper()
	select {
	case f.block <- struct{}{}:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody reads")
	}
}

func (f *fake) subjects() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, m := range f.messages {
		out = append(out, m.Subject+" "+m.Payload)
	}
	return out
}

func TestPublish(t *testing.T) {
	lines := func(l ...string) []byte { return []byte(strings.Join(l, "\n")) }
	for _, c := range []struct {
		name string
		req  admin.PublishRequest
		want admin.Published
		out  []string
		err  string
	}{
		{
			name: "one message a line, in order; empty lines are skipped",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.raw", Body: lines("a", "", "b\r", "c", "")},
			want: admin.Published{Published: 3, Bytes: 3},
			out:  []string{"quakes.raw a", "quakes.raw b", "quakes.raw c"},
		},
		{
			name: "lines longer than the reader's buffer stay whole",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.raw", Body: lines(strings.Repeat("x", 200_000), "b")},
			want: admin.Published{Published: 2, Bytes: 200_001},
			out:  []string{"quakes.raw " + strings.Repeat("x", 200_000), "quakes.raw b"},
		},
		{
			name: "a body can be one message",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.raw", Body: lines("a", "b"), Whole: true},
			want: admin.Published{Published: 1, Bytes: 3},
			out:  []string{"quakes.raw a\nb"},
		},
		{
			name: "nobody forges a record",
			req:  admin.PublishRequest{Topic: "wasmill-audit", Subject: "wasmill.audit.x", Body: lines("{}")},
			err:  "only the runtime writes to the topic wasmill-audit",
		},
		{
			name: "nor a dead letter",
			req:  admin.PublishRequest{Topic: "dead-letters", Subject: "wasmill.dead.x", Body: lines("{}")},
			err:  "only the runtime writes to the topic dead-letters",
		},
		{
			name: "nor a position",
			req:  admin.PublishRequest{Topic: "wasmill-state", Subject: "wasmill.state.p.in.position", Body: lines("{}")},
			err:  "only the runtime writes to the topic wasmill-state",
		},
		{
			name: "the topic's only subject is the default",
			req:  admin.PublishRequest{Topic: "one", Body: lines("a")},
			want: admin.Published{Published: 1, Bytes: 1},
			out:  []string{"one a"},
		},
		{
			name: "a topic with a pattern has no default",
			req:  admin.PublishRequest{Topic: "quakes", Body: lines("a")},
			err:  "topic quakes stores quakes.>: say which subject (--subject, or the parameter subject)",
		},
		{
			name: "the subject is filled from the line",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.{json:/p/net}.m{json:/mag}", Body: lines(`{"p":{"net":"us"},"mag":5}`)},
			want: admin.Published{Published: 1, Bytes: 26},
			out:  []string{`quakes.us.m5 {"p":{"net":"us"},"mag":5}`},
		},
		{
			name: "a line without the field stops there, and says so",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.{json:/net}", Body: lines(`{"net":"us"}`, `{}`, `{"net":"ci"}`)},
			want: admin.Published{Published: 1, Bytes: 12, Line: 2, Error: "the subject needs /net, which this line does not have"},
			out:  []string{`quakes.us {"net":"us"}`},
		},
		{
			name: "a value cannot smuggle tokens or wildcards in",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.{json:/net}", Body: lines(`{"net":"a.>"}`)},
			want: admin.Published{Line: 1, Error: `/net is "a.>", which cannot be a token of a subject`},
		},
		{
			name: "what the broker refuses is told with its line",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.raw", Body: lines("a", "!", "b")},
			want: admin.Published{Published: 1, Bytes: 1, Line: 2, Error: "topic quakes refuses the output: it begins with a bang"},
			out:  []string{"quakes.raw a"},
		},
		{
			name: "a subject of another topic is refused",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "alerts.x", Body: lines("a")},
			err:  `subject "alerts.x" is not one of the topic's: quakes.>`,
		},
		{
			name: "a wildcard is refused",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.*", Body: lines("a")},
			err:  "wildcard",
		},
		{
			name: "a placeholder that is none is refused",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.{net}", Body: lines("a")},
			err:  "a placeholder is {json:/pointer}",
		},
		{
			name: "a header that is none is refused",
			req:  admin.PublishRequest{Topic: "quakes", Subject: "quakes.x", Headers: []string{"nope"}, Body: lines("a")},
			err:  `"Name: value"`,
		},
		{
			name: "an unknown topic",
			req:  admin.PublishRequest{Topic: "nope", Body: lines("a")},
			err:  `topic "nope": not found`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			got, err := client(t, open(t, f, admin.Config{}), "").Publish(t.Context(), c.req)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.out, f.subjects()); d != "" {
				t.Error(d)
			}
			if !slices.Contains(f.calls, "flush") {
				t.Error("answered before everything was confirmed")
			}
		})
	}
	t.Run("a body beyond the bound is refused", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		body := strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 65)
		_, err := client(t, s, "").Publish(t.Context(), admin.PublishRequest{Topic: "one", Body: []byte(body)})
		var e *admin.Error
		if !errors.As(err, &e) || e.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("got %v", err)
		}
	})
}

func TestTail(t *testing.T) {
	const n = 10
	filled := func() *fake {
		f := &fake{}
		for i := range n {
			f.store("quakes", []string{"quakes.raw.us", "quakes.raw.ci"}[i%2], "x")
		}
		return f
	}
	seqs := func(t *testing.T, req admin.TailRequest) ([]uint64, error) {
		t.Helper()
		req.Topic = "quakes"
		var out []uint64
		err := client(t, open(t, filled(), admin.Config{}), "").Tail(t.Context(), req, func(m status.Message) error {
			out = append(out, m.Seq)
			return nil
		})
		return out, err
	}
	for _, c := range []struct {
		name string
		req  admin.TailRequest
		want []uint64
	}{
		{"all", admin.TailRequest{From: "all"}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"a sequence", admin.TailRequest{From: "8"}, []uint64{8, 9, 10}},
		{"the last ones", admin.TailRequest{From: "-2"}, []uint64{9, 10}},
		{"more than there are", admin.TailRequest{From: "-99", Limit: 1}, []uint64{1}},
		{"a time", admin.TailRequest{From: time.Unix(9000, 0).UTC().Format(time.RFC3339)}, []uint64{9, 10}},
		{"a time to come", admin.TailRequest{From: "2999-01-01T00:00:00Z"}, nil},
		{"a limit", admin.TailRequest{From: "all", Limit: 2, Follow: true}, []uint64{1, 2}},
		{"a subject", admin.TailRequest{From: "all", Subject: "quakes.*.ci"}, []uint64{2, 4, 6, 8, 10}},
		{"only new ones, and none come", admin.TailRequest{From: "new"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := seqs(t, c.req)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("nonsense is refused", func(t *testing.T) {
		for _, req := range []admin.TailRequest{{From: "yesterday"}, {From: "-x"}, {From: "all", Subject: "a..b"}} {
			if _, err := seqs(t, req); err == nil {
				t.Errorf("%+v is taken", req)
			}
		}
	})
	t.Run("following shows what comes later", func(t *testing.T) {
		f := filled()
		c := client(t, open(t, f, admin.Config{}), "")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []uint64
		err := c.Tail(ctx, admin.TailRequest{Topic: "quakes", From: "-1", Follow: true}, func(m status.Message) error {
			got = append(got, m.Seq)
			if len(got) < 4 {
				f.store("quakes", "quakes.raw.us", "later")
			} else {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || !slices.Equal(got, []uint64{10, 11, 12, 13}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("an error in the middle reaches the reader", func(t *testing.T) {
		f := filled()
		f.nextErr = errors.New("the store is gone")
		err := client(t, open(t, f, admin.Config{}), "").Tail(t.Context(), admin.TailRequest{Topic: "quakes", From: "all"}, func(status.Message) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "the store is gone") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOperations(t *testing.T) {
	f := &fake{status: status.Status{Ready: true, Version: "test"}}
	c := client(t, open(t, f, admin.Config{}), "")
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	st, err := c.Status(ctx)
	check(err)
	if st.Version != "test" {
		t.Errorf("status is %+v", st)
	}
	topics, err := c.Topics(ctx)
	check(err)
	if topics == nil {
		t.Error("an empty list is null")
	}
	_, err = c.Topic(ctx, "quakes")
	check(err)
	_, err = c.Pipelines(ctx)
	check(err)
	p, err := c.Pipeline(ctx, "alerts")
	check(err)
	if p.Name != "alerts" {
		t.Errorf("pipeline is %+v", p)
	}
	_, err = c.Pause(ctx, "alerts")
	check(err)
	_, err = c.Resume(ctx, "alerts")
	check(err)
	reset, err := c.Reset(ctx, "alerts", "seq:7", nil)
	check(err)
	if reset.NextSeq != 7 {
		t.Errorf("reset is %+v", reset)
	}
	_, err = c.Plugins(ctx)
	check(err)
	_, err = c.Plugin(ctx, "strong")
	check(err)
	_, err = c.Rollback(ctx, "strong")
	check(err)
	_, err = c.Reload(ctx)
	check(err)

	_, err = c.DeadLetters(ctx, status.DeadLetterFilter{Pipeline: "alerts", Stage: "s", Plugin: "p", Fault: "trap", Before: 9, Limit: 5})
	check(err)
	if d := cmp.Diff(status.DeadLetterFilter{Pipeline: "alerts", Stage: "s", Plugin: "p", Fault: "trap", Before: 9, Limit: 5}, f.filter); d != "" {
		t.Error(d)
	}
	_, err = c.DeadLetter(ctx, 4)
	check(err)
	n, err := c.Redrive(ctx, admin.Selection{IDs: []uint64{4, 5}}, nil)
	check(err)
	if n.Count != 3 {
		t.Errorf("%+v", n)
	}
	_, err = c.Purge(ctx, admin.Selection{Pipeline: "alerts"})
	check(err)
	want := []string{
		"pause alerts", "resume alerts", "reset alerts seq:7", "rollback strong", "reload",
		"redrive [4 5] ", "purge [] alerts",
	}
	if d := cmp.Diff(want, f.calls); d != "" {
		t.Error(d)
	}

	t.Run("a refused apply comes with the plan it is about", func(t *testing.T) {
		p, err := c.Plan(ctx, nil)
		check(err)
		text := "x"
		_, err = c.Plan(ctx, &text)
		check(err)
		done, err := c.Apply(ctx, admin.ApplyRequest{Hash: p.Hash, Config: &text})
		check(err)
		if p.Hash != "12-34" || done.Hash != p.Hash {
			t.Errorf("got %+v and %+v", p, done)
		}
		done, err = c.Apply(ctx, admin.ApplyRequest{Hash: "moved"})
		var answer *admin.Error
		if !errors.As(err, &answer) || answer.Status != http.StatusNotFound || done.Hash != "12-34" {
			t.Errorf("got %+v, %v", done, err)
		}
		if d := cmp.Diff([]string{"plan false", "plan true", "apply 12-34 true", "apply moved false"}, f.calls[len(want):]); d != "" {
			t.Error(d)
		}
	})
	t.Run("an empty selection never means everything", func(t *testing.T) {
		for _, sel := range []admin.Selection{{}, {All: true, Pipeline: "a"}, {IDs: []uint64{1}, All: true}} {
			if _, err := c.Purge(ctx, sel); err == nil {
				t.Errorf("%+v is taken", sel)
			}
		}
	})
	t.Run("a misspelled selection is refused", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		code, body := request(t, s, http.MethodPost, "/api/v1/dead-letters/purge", `{"pipelin":"a"}`, header("Content-Type", "application/json"))
		if code != http.StatusBadRequest || !strings.Contains(body, "pipelin") {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("a reset without a place is refused", func(t *testing.T) {
		if _, err := c.Reset(ctx, "alerts", "", nil); err == nil {
			t.Error("it is taken")
		}
	})
}
