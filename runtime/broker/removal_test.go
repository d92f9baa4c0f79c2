package broker

import (
	"reflect"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// What smaller limits would remove is counted before, and is what they remove.
func TestRemoval(t *testing.T) {
	const stored = 20
	unfinished := func(n uint64) []status.Unfinished { return []status.Unfinished{{Pipeline: "p", Events: n}} }
	for _, tt := range []struct {
		name  string
		cfg   TopicConfig
		gaps  []uint64
		apply bool
		want  *status.Removal
	}{
		{name: "no limit"},
		{name: "a limit that is not reached", cfg: TopicConfig{MaxMessages: stored, MaxBytes: 1 << 20, MaxAge: time.Hour}},
		{name: "messages", cfg: TopicConfig{MaxMessages: 3}, apply: true, want: &status.Removal{Events: 17, Unfinished: unfinished(12)}},
		{name: "only what is finished", cfg: TopicConfig{MaxMessages: 15}, apply: true, want: &status.Removal{Events: 5}},
		{name: "messages, with gaps", cfg: TopicConfig{MaxMessages: 3}, gaps: []uint64{2, 7, 16, 20}, apply: true, want: &status.Removal{Events: 13, Unfinished: unfinished(9)}},
		{name: "a topic that refuses when it is full", cfg: TopicConfig{MaxMessages: 3, RefuseWhenFull: true}},
		{name: "age", cfg: TopicConfig{MaxAge: 100 * time.Millisecond}, want: &status.Removal{Events: stored, Unfinished: unfinished(15)}},
		{name: "bytes, all of one size", cfg: TopicConfig{MaxBytes: 1}, apply: true, want: &status.Removal{Events: stored, Estimated: true, Unfinished: unfinished(15)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, Config{StoreDir: t.TempDir()})
			ctx := testContext(t)
			ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
			var last time.Time
			for range stored {
				seq, err := b.Publish(ctx, "in", event.Output{Subject: "in.x", Payload: []byte("x")})
				if err != nil {
					t.Fatal(err)
				}
				m, err := b.Get(ctx, "in", seq)
				if err != nil {
					t.Fatal(err)
				}
				last = m.Time
			}
			for _, seq := range tt.gaps {
				if err := b.DeleteMessage(ctx, "in", seq); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.state.setPosition(ctx, "p", "in", 6); err != nil { // five are finished
				t.Fatal(err)
			}
			for tt.cfg.MaxAge > 0 && tt.want != nil && time.Since(last) <= tt.cfg.MaxAge { // until all are old enough
				if _, err := b.Topic(ctx, "in"); err != nil {
					t.Fatal(err)
				}
			}
			tt.cfg.Name, tt.cfg.Subjects = "in", []string{"in.>"}
			got, err := b.Removal(ctx, tt.cfg, []Follower{{Pipeline: "p"}, {Pipeline: "q", Filter: []string{"in.y"}}})
			if tt.want != nil {
				tt.want.Unknown = []string{"q"}
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got %+v, %v; want %+v", got, err, tt.want)
			}
			if !tt.apply {
				return
			}
			ensure(t, b, tt.cfg)
			if left := streamOf(t, b, "in").State.Msgs; left != stored-uint64(len(tt.gaps))-tt.want.Events {
				t.Errorf("%d are left", left)
			}
		})
	}
	t.Run("a topic that is not there", func(t *testing.T) {
		b := open(t, Config{StoreDir: t.TempDir()})
		if got, err := b.Removal(testContext(t), TopicConfig{Name: "in", MaxMessages: 1}, nil); got != nil || err != nil {
			t.Error(got, err)
		}
	})
}
