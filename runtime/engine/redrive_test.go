package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// endless is a dead-letter topic of n records that are made when they are read,
// and takes what is redriven without keeping it; every tenth is refused.
type endless struct {
	n       uint64
	payload string
	gone    map[uint64]bool
	stored  int
}

func (m *endless) Topic(context.Context, string) (status.Topic, error) {
	return status.Topic{FirstSeq: 1, LastSeq: m.n}, nil
}

func (m *endless) Get(context.Context, string, uint64) (status.Message, error) {
	return status.Message{}, broker.ErrNotFound
}

func (m *endless) Next(_ context.Context, _ string, from uint64, _ string) (status.Message, error) {
	for ; from <= m.n && m.gone[from]; from++ {
	}
	if from > m.n {
		return status.Message{}, fmt.Errorf("behind %d: %w", from, broker.ErrNotFound)
	}
	return status.Message{
		Seq: from, Subject: "wasmill.dead.p.s", Payload: m.payload + fmt.Sprint(from), Time: time.Unix(int64(from), 0),
		Headers: map[string][]string{"Wasmill-Source-Topic": {"in"}, "Wasmill-Source-Subject": {"in.x"}, "Wasmill-Cause": {"it broke"}},
	}, nil
}

func (m *endless) Publish(_ context.Context, topic string, out event.Output) (uint64, error) {
	if len(out.Payload) == 0 || out.Payload[len(out.Payload)-1] == '0' {
		return 0, &event.RefusedError{Topic: topic, Reason: "it ends in a nought"}
	}
	m.stored++
	return uint64(m.stored), nil
}

func (m *endless) DeleteMessage(_ context.Context, _ string, seq uint64) error {
	m.gone[seq] = true
	return nil
}

// It measures the heap, so nothing runs beside it.
func TestRedriveOfMany(t *testing.T) { //nolint:tparallel // see above
	t.Run("ten thousand, in requests of five hundred, each once and one in memory at a time", func(t *testing.T) {
		const n = 10_000
		m := &endless{n: n, payload: string(make([]byte, 16<<10)), gone: map[uint64]bool{}}
		d := DeadLetters{m, make(chan struct{}, 1)}
		f := status.DeadLetterFilter{Reason: "BROKE", Subject: "in.*"}
		if r, err := d.Tally(t.Context(), nil, f); err != nil || r.Count != n || len(r.Kinds) != 1 || m.stored != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		f.Limit = 500
		count, refused, requests := 0, 0, 0
		var before, mem runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var most uint64
		for more := true; more; requests++ {
			r, err := d.RedriveSome(t.Context(), nil, f, 0)
			if err != nil || len(r.Errors) > maxRefused {
				t.Fatalf("%d errors, %v", len(r.Errors), err)
			}
			if requests == 0 {
				m.n += 5 // that came since: left alone
			}
			count, refused, more = count+r.Count, refused+r.Refused, r.More
			f.After, f.Before = r.Last, r.Before
			runtime.GC()
			runtime.ReadMemStats(&mem)
			most = max(most, mem.HeapAlloc)
		}
		if count != n*9/10 || refused != n/10 || m.stored != count || requests != n/500 {
			t.Errorf("%d redriven, %d refused, %d stored in %d requests", count, refused, m.stored, requests)
		}
		if most > before.HeapAlloc+64<<20 { // all payloads are 160 MB
			t.Errorf("%d MiB of heap, %d before", most>>20, before.HeapAlloc>>20)
		}
	})
	t.Run("no faster than it is told, and it ends when nobody wants it any more", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			m := &endless{n: 9, gone: map[uint64]bool{}}
			d := DeadLetters{m, make(chan struct{}, 1)}
			began := time.Now()
			if r, err := d.RedriveSome(t.Context(), nil, status.DeadLetterFilter{Limit: 5}, 2); err != nil || r.Count != 5 || !r.More {
				t.Errorf("%+v, %v", r, err)
			}
			if took := time.Since(began); took != 2*time.Second {
				t.Errorf("five at two a second took %s", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
			defer cancel()
			if r, err := d.RedriveSome(ctx, nil, status.DeadLetterFilter{}, 2); !errors.Is(err, context.DeadlineExceeded) || r.Count != 3 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	})
	t.Run("a range of time", func(t *testing.T) {
		t.Parallel()
		m := &endless{n: 9, gone: map[uint64]bool{}}
		d := DeadLetters{m, make(chan struct{}, 1)}
		f := status.DeadLetterFilter{Since: time.Unix(3, 0), Until: time.Unix(6, 0)}
		if r, err := d.RedriveSome(t.Context(), nil, f, 0); err != nil || r.Count != 3 || !m.gone[3] || !m.gone[5] || m.gone[6] {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func (m *endless) Place(context.Context, string, string) (uint64, error) { return 1, nil }

func (m *endless) Count(context.Context, string, []string, uint64, uint64) (uint64, error) {
	return m.n, nil
}
