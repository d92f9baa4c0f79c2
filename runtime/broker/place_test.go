package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// A place is found exactly, or is said to be gone.
func TestPlace(t *testing.T) {
	b := open(t, Config{StoreDir: t.TempDir()})
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}, MaxMessages: 3})
	ctx := testContext(t)
	wantGone := func(at, says string, first uint64) {
		t.Helper()
		_, err := b.Place(ctx, "in", at)
		var gone *GoneError
		if !errors.As(err, &gone) || gone.First != first || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", at, err)
		}
	}
	want := func(at string, seq uint64) {
		t.Helper()
		if got, err := b.Place(ctx, "in", at); err != nil || got != seq {
			t.Errorf("%s is %d, %v; want %d", at, got, err, seq)
		}
	}
	want("start", 1)
	want("end", 1)
	wantGone("7", "holds no messages; the next one gets sequence 1", 1)
	var at []time.Time
	for range 5 {
		seq, err := b.Publish(ctx, "in", event.Output{Subject: "in.x", Payload: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Get(ctx, "in", seq)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, m.Time)
	}
	for place, seq := range map[string]uint64{
		"start": 3, "all": 3, "": 3, "3": 3, "seq:4": 4, "5": 5, "6": 6, "end": 6, "new": 6,
		at[3].Format(time.RFC3339Nano): 4, at[2].Format(time.RFC3339Nano): 3, at[4].Add(time.Nanosecond).Format(time.RFC3339Nano): 6,
	} {
		want(place, seq)
	}
	wantGone("2", "sequence 2 is gone from topic \"in\": the first that is left is sequence 3 of ", 3)
	wantGone(at[0].Format(time.RFC3339Nano), "is gone from topic", 3)
	wantGone("7", "sequence 7 is not in topic \"in\" yet: it ends at sequence 5", 3)
	for _, bad := range []string{"0", "seq:0", "seq:x", "-1", "yesterday", "2199-01-01T00:00:00Z", "99999999999999999999"} {
		if _, err := b.Place(ctx, "in", bad); !errors.Is(err, ErrBadStart) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := b.Place(ctx, "none", "start"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n, err := b.Count(ctx, "in", nil, 1, 5); err != nil || n != 2 {
		t.Errorf("%d events before 5, %v", n, err)
	}
	if n, err := b.Count(ctx, "in", []string{"in.y"}, 1, 9); err != nil || n != 0 {
		t.Errorf("%d events on in.y, %v", n, err)
	}
}
