package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// block makes a block of headers of "key=value" entries.
func block(entries ...string) ([]byte, int) {
	var b []byte
	for _, e := range entries {
		k, v, _ := strings.Cut(e, "=")
		b = abi.AppendHeader(b, k, v)
	}
	return b, len(entries)
}

func entriesOf(b []byte) []string {
	var list []string
	for {
		k, v, rest, ok := abi.NextHeader(b)
		if !ok {
			return list
		}
		list = append(list, string(k)+"="+string(v))
		b = rest
	}
}

func TestWhatAnOutputTakesOver(t *testing.T) {
	many := make([]string, 40) // more than are looked through one by one
	for i := range many {
		many[i] = fmt.Sprintf("own-%d=%d", i, i)
	}
	src := []string{"a=1", "traceparent=t", "own-7=old", "Nats-Msg-Id=x", "b=2", "a=3"}
	for _, tc := range []struct {
		name      string
		flags     uint32
		own       []string
		published []string // beside the output's own
		chained   []string
	}{
		{"nothing but the trace context", 0, []string{"x=y"}, []string{"traceparent=t"}, []string{"traceparent=t"}},
		{"its own trace context instead", 0, []string{"traceparent=u"}, nil, nil},
		{
			"all that it keeps", abi.FlagKeepHeaders,
			[]string{"a=own"},
			[]string{"traceparent=t", "own-7=old", "b=2"},
			[]string{"traceparent=t", "own-7=old", "Nats-Msg-Id=x", "b=2"},
		},
		{
			"all but its many own", abi.FlagKeepHeaders, many,
			[]string{"a=1", "traceparent=t", "b=2", "a=3"},
			[]string{"a=1", "traceparent=t", "Nats-Msg-Id=x", "b=2", "a=3"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &abi.Event{}
			b, n := block(src...)
			e.Headers, e.HeaderCount = b, uint32(n)
			o := &abi.Output{Flags: tc.flags}
			b, n = block(tc.own...)
			o.Headers, o.HeaderCount = b, uint16(n)
			var s scratch
			for range 2 { // the scratch is used again
				h, count := s.inherit(nil, o, e, false)
				if got := entriesOf(h); !slices.Equal(got, tc.published) || count != len(got) {
					t.Errorf("published with %d: %q, want %q", count, got, tc.published)
				}
				next := &stage{}
				var sum uint32
				if tc.flags&abi.FlagKeepHeaders != 0 {
					h, sum = s.merge(next, e, o)
				} else {
					h, sum = s.continueTrace(next, e, o)
				}
				if got, want := entriesOf(h), slices.Concat(tc.chained, tc.own); !slices.Equal(got, want) || int(sum) != len(want) {
					t.Errorf("the next stage sees %d: %q, want %q", sum, got, want)
				}
				if len(s.own.spare) != 0 {
					t.Error("keys of a response are kept")
				}
			}
			if h, n := s.named([]string{"a", "own-7", "none"}, e, o); int(n) != len(entriesOf(h)) || !slices.Contains(entriesOf(h), "a=1") && tc.own[0] != "a=own" {
				t.Errorf("a template finds %d: %q", n, entriesOf(h))
			}
		})
	}
	t.Run("of each event its own, also in the same place", func(t *testing.T) {
		var s scratch
		e := &abi.Event{}
		for _, want := range []string{"1", "2"} {
			e.Headers, _ = block("traceparent=" + want)
			s.trace.forget()
			if v, ok := s.trace.find(e, "traceparent"); !ok || string(v) != want {
				t.Errorf("found %q, want %q", v, want)
			}
		}
	})
}

// BenchmarkInherit is an output of many headers of an event of many more: what
// a plugin can make the pipeline do for each of its outputs.
func BenchmarkInherit(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n, " headers of the event"), func(b *testing.B) {
			e, o := &abi.Event{}, &abi.Output{Flags: abi.FlagKeepHeaders}
			for i := range n {
				e.Headers = abi.AppendHeader(e.Headers, fmt.Sprint("event-", i), "value")
				e.HeaderCount++
			}
			for i := range 256 {
				o.Headers = abi.AppendHeader(o.Headers, fmt.Sprint("own-", i), "value")
				o.HeaderCount++
			}
			var s scratch
			var h []byte
			b.SetBytes(int64(len(e.Headers)))
			for b.Loop() {
				h, _ = s.inherit(h[:0], o, e, false)
			}
		})
	}
}
