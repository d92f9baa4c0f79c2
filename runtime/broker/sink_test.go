package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// stored returns all messages of a stream, in order.
func (r *rig) stored(tb testing.TB, topic string) []jetstream.Msg {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stream, err := r.js.Stream(ctx, topic)
	if err != nil {
		tb.Fatal(err)
	}
	n := int(stream.CachedInfo().State.Msgs)
	if n == 0 {
		return nil
	}
	cons, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		tb.Fatal(err)
	}
	defer it.Stop()
	msgs := make([]jetstream.Msg, 0, n)
	for len(msgs) < n {
		m, err := it.Next()
		if err != nil {
			tb.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// payloads of the stored messages.
func (r *rig) payloads(tb testing.TB, topic string) []string {
	tb.Helper()
	var p []string
	for _, m := range r.stored(tb, topic) {
		p = append(p, string(m.Data()))
	}
	return p
}

// numbers returns "0", "1", … up to n-1.
func numbers(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprint(i)
	}
	return s
}

// sameOrder fails unless got is exactly want.
func sameOrder(tb testing.TB, got, want []string) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%d stored, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			tb.Fatalf("place %d has %q, want %q", i, got[i], want[i])
		}
	}
}

// firsts drops every later occurrence of a payload.
func firsts(got []string) []string {
	seen := make(map[string]bool)
	var out []string
	for _, s := range got {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// progress is a confirmed callback that can be waited for.
type progress chan struct{}

func (p progress) moved() {
	select {
	case p <- struct{}{}:
	default:
	}
}

func awaitConfirmed(t *testing.T, s *Sink, p progress, topic int, pos uint64) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for s.Confirmed(topic) < pos {
		select {
		case <-p:
		case <-limit:
			t.Fatalf("position %d of topic %d is not confirmed, only %d: %s", pos, topic, s.Confirmed(topic), s.Err())
		}
	}
}

func add(t *testing.T, s *Sink, topic int, m *event.Output) uint64 {
	t.Helper()
	pos, err := s.Add(testContext(t), topic, m)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func TestSink(t *testing.T) {
	t.Run("stores everything once, in order, as it is", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}}, nil)
		const n = 20_000
		for i := range n {
			m := output(fmt.Sprintf("out.%d", i%7), fmt.Sprint(i))
			switch i % 10 {
			case 3:
				m = output("out.h", fmt.Sprint(i), "A", "1", "b", "two words", "A", "3")
			case 4:
				m.Payload = append(m.Payload, make([]byte, 70_000*(i%100/44))...) // some are larger than a segment
			}
			if pos := add(t, s, 0, m); pos != uint64(i+1) {
				t.Fatalf("position %d, want %d", pos, i+1)
			}
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if s.Confirmed(0) != n {
			t.Errorf("%d confirmed", s.Confirmed(0))
		}
		for i, m := range r.stored(t, "out") {
			if got := strings.TrimRight(string(m.Data()), "\x00"); got != fmt.Sprint(i) {
				t.Fatalf("place %d has %q", i, got)
			}
			if i%10 == 3 {
				if v := m.Headers().Values("A"); len(v) != 2 || v[0] != "1" || v[1] != "3" || m.Headers().Get("b") != "two words" || m.Subject() != "out.h" {
					t.Fatalf("headers %v", m.Headers())
				}
			} else if m.Subject() != fmt.Sprintf("out.%d", i%7) || len(m.Headers()) != 0 {
				t.Fatalf("place %d: subject %q, headers %v", i, m.Subject(), m.Headers())
			}
		}
	})
	t.Run("leaves out what would instruct the server", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}}, nil)
		for i := range 3 {
			add(t, s, 0, output("out.a", fmt.Sprint(i), "Nats-Msg-Id", "same", "a", "1", "Nats-Expected-Stream", "else", "Nats-TTL", "1s", "Nats-Rollup", "all"))
		}
		add(t, s, 0, output("out.a", "3", "Nats-Msg-Id", "same"))
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, r.payloads(t, "out"), numbers(4))
		if h := r.stored(t, "out")[2].Headers(); len(h) != 1 || h.Get("a") != "1" {
			t.Error(h)
		}
	})
	t.Run("confirms at once what is flushed while idle", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		p := make(progress, 1)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{tick: time.Hour}}, p.moved)
		for i := range 100 {
			pos := add(t, s, 0, output("out.a", fmt.Sprint(i)))
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			awaitConfirmed(t, s, p, 0, pos)
		}
		sameOrder(t, r.payloads(t, "out"), numbers(100))
	})
	t.Run("sends what nobody flushes soon, too", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		p := make(progress, 1)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{tick: 5 * time.Millisecond}}, p.moved)
		for i := range 3 {
			awaitConfirmed(t, s, p, 0, add(t, s, 0, output("out.a", fmt.Sprint(i))))
		}
		sameOrder(t, r.payloads(t, "out"), numbers(3))
	})
	t.Run("confirms by flow while it is busy, without any flush", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		p := make(progress, 1)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{tick: time.Hour}}, p.moved)
		for i := range 5_000 {
			add(t, s, 0, output("out.a", fmt.Sprint(i)+strings.Repeat(" ", 200)))
		}
		awaitConfirmed(t, s, p, 0, 4_000)
	})
	t.Run("keeps several topics apart, also when one is there twice", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "a", nil)
		r.stream(t, "b", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"a", "b", "a"}}, nil)
		const n = 3000
		for i := range n {
			add(t, s, 0, output("a.x", fmt.Sprint(i)))
			if pos := add(t, s, 1, output("b.x", fmt.Sprint(i))); pos != uint64(i+1) {
				t.Fatal(pos)
			}
			add(t, s, 2, output("a.y", fmt.Sprint(i)))
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, r.payloads(t, "b"), numbers(n))
		var x, y []string
		for _, m := range r.stored(t, "a") {
			if m.Subject() == "a.x" {
				x = append(x, string(m.Data()))
			} else {
				y = append(y, string(m.Data()))
			}
		}
		sameOrder(t, x, numbers(n))
		sameOrder(t, y, numbers(n))
	})
	t.Run("shares a topic with other sinks", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		const n, sinks = 4000, 4
		var wg sync.WaitGroup
		for k := range sinks {
			s := r.sink(t, SinkConfig{Partition: k, Topics: []string{"out"}}, nil)
			wg.Go(func() {
				for i := range n {
					if _, err := s.Add(context.Background(), 0, output(fmt.Sprintf("out.%d", k), fmt.Sprint(i))); err != nil {
						t.Error(err)
						return
					}
					if i%97 == 0 {
						_ = s.Flush()
					}
				}
				if err := s.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := make(map[string][]string)
		for _, m := range r.stored(t, "out") {
			got[m.Subject()] = append(got[m.Subject()], string(m.Data()))
		}
		for k := range sinks {
			sameOrder(t, got[fmt.Sprintf("out.%d", k)], numbers(n))
		}
	})
}

func TestSinkRefuses(t *testing.T) {
	r := newRig(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	r.stream(t, "out", nil)
	r.stream(t, "small", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 })
	r.stream(t, "tiny", func(c *jetstream.StreamConfig) { c.MaxBytes = 200 })
	s := r.sink(t, SinkConfig{Topics: []string{"out", "small", "tiny"}}, nil)
	for name, c := range map[string]struct {
		topic int
		m     *event.Output
		why   string
	}{
		"more than the connection carries":     {0, output("out.a", strings.Repeat("x", 64<<10+1)), "65537 bytes, more than the 65536"},
		"headers and payload above the limit":  {1, output("small.a", strings.Repeat("x", 80), "k", "vvvvv"), "102 bytes, more than the 100"},
		"more than the whole topic holds":      {2, output("tiny.a", strings.Repeat("x", 180)), "the whole topic may hold 200"},
		"more headers than JetStream stores":   {0, output("out.a", "", "k", strings.Repeat("v", 65530)), "65547 bytes, more than the 65535"},
		"an empty subject":                     {0, output("", "x"), "empty"},
		"a subject that would break the line":  {0, output("out.a 1\r\nPUB b", "x"), "control character"},
		"a header value that would end a line": {0, output("out.a", "x", "k", "v\r\nb: c"), `header "k" has a character`},
		"a header key with a colon":            {0, output("out.a", "x", "k:", "v"), "cannot carry"},
		"a header without a key":               {0, output("out.a", "x", "", "v"), "cannot carry"},
		"headers that are no headers":          {0, &event.Output{Subject: "out.a", Headers: []byte{1, 2, 3}, HeaderCount: 1}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			var refused *event.RefusedError
			if _, err := s.Add(testContext(t), c.topic, c.m); !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.why) {
				t.Fatalf("got %v, want a refusal with %q", err, c.why)
			}
		})
	}
	t.Run("and goes on with the next output", func(t *testing.T) {
		if pos := add(t, s, 0, output("out.a", "0")); pos != 1 {
			t.Errorf("position %d", pos)
		}
		add(t, s, 1, output("small.a", strings.Repeat("x", 80), "k", "vvv"))
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, r.payloads(t, "out"), numbers(1))
	})
	t.Run("but not what the topic takes by now", func(t *testing.T) {
		r.stream(t, "grows", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 })
		s := r.sink(t, SinkConfig{Topics: []string{"grows"}, timing: sinkTiming{limits: 1}}, nil)
		stream, err := r.js.Stream(t.Context(), "grows")
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.MaxMsgSize = 200
		if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		add(t, s, 0, output("grows.a", strings.Repeat("x", 150)))
		var refused *event.RefusedError
		if _, err := s.Add(t.Context(), 0, output("grows.a", strings.Repeat("x", 250))); !errors.As(err, &refused) {
			t.Error(err)
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a topic that does not exist", func(t *testing.T) {
		_, err := openSink(testContext(t), r.wire(t, false), SinkConfig{Pipeline: "p", Topics: []string{"nope"}}, nil)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `topic "nope"`) {
			t.Error(err)
		}
	})
	t.Run("a topic without batch publishing", func(t *testing.T) {
		r.stream(t, "plain", func(c *jetstream.StreamConfig) { c.AllowBatchPublish = false })
		_, err := openSink(testContext(t), r.wire(t, false), SinkConfig{Pipeline: "p", Topics: []string{"plain"}}, nil)
		if err == nil || !strings.Contains(err.Error(), "does not allow batch publishing") {
			t.Error(err)
		}
	})
}

func TestPublisher(t *testing.T) {
	b := open(t, Config{})
	ensure(t, b, TopicConfig{Name: "news", Subjects: []string{"news.>"}})
	p, err := b.NewPublisher(testContext(t), "news")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		if pos, err := p.Add(testContext(t), output("news.a", fmt.Sprint(i))); err != nil || pos != uint64(i+1) {
			t.Fatal(pos, err)
		}
	}
	if err := p.Flush(testContext(t)); err != nil || p.Confirmed() != 10_000 || p.Err() != "" {
		t.Fatal(err, p.Confirmed(), p.Err())
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	topic, err := b.Topic(testContext(t), "news")
	if err != nil || topic.Messages != 10_000 {
		t.Fatal(topic, err)
	}
}

func TestFastReply(t *testing.T) {
	for text, want := range map[string]fastReply{
		"0.ABC1.500.fail.1.0.$FI":        {0, []byte("ABC1"), 1},
		"12.ABCzz.1.fail.123456.2.$FI":   {12, []byte("ABCzz"), 123456},
		"3.x.65535.ok.18446744073709.1.": {3, []byte("x"), 18446744073709},
	} {
		r, ok := parseFastReply([]byte(text))
		if !ok || r.topic != want.topic || string(r.batch) != string(want.batch) || r.seq != want.seq {
			t.Errorf("%q: %+v %v", text, r, ok)
		}
	}
	for _, text := range []string{"", "0", "0.a.1.fail", "0.a.1.fail.", "0.a.1.fail.x.0.$FI", "x.a.1.fail.1.0.$FI", "..1.fail.1.0", "999999999.a.1.fail.1.0.$FI"} {
		if r, ok := parseFastReply([]byte(text)); ok {
			t.Errorf("%q is taken as %+v", text, r)
		}
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{1, 200, 3, 255, 0, 9}, uint16(3))
	f.Fuzz(func(t *testing.T, sizes []byte, keep uint16) {
		r := newRing()
		var want []string
		for i, n := range sizes {
			m := output("s", strings.Repeat(string(rune('a'+i%26)), int(n)*int(n)))
			size, _, no := encodedSize(m)
			if no != "" {
				t.Fatal(no)
			}
			if pos := r.push(m, size); pos != uint64(i+1) {
				t.Fatal(pos)
			}
			want = append(want, "s"+string(m.Payload))
			for r.len() > int(keep) {
				check(t, &r, want)
				r.pop()
			}
		}
		for r.len() > 0 {
			check(t, &r, want)
			r.pop()
		}
	})
}

// check compares what the ring holds with what was pushed.
func check(t *testing.T, r *ring, want []string) {
	t.Helper()
	for p := r.first; p < r.next; p++ {
		if string(r.at(p).data) != want[p-1] {
			t.Fatalf("position %d has changed", p)
		}
	}
}

func TestEncodedSize(t *testing.T) {
	m := output("s.a", "payload", "k", "v", "Kk", "")
	size, header, no := encodedSize(m)
	r := newRing()
	r.push(m, size)
	e := r.at(1)
	want := "s.aNATS/1.0\r\nk: v\r\nKk: \r\n\r\npayload"
	if no != "" || string(e.data) != want || e.header != header || size != len(want) {
		t.Fatalf("%q, %d, %d, %q", e.data, e.header, size, no)
	}
	h, err := nats.DecodeHeadersMsg(e.data[e.subject : e.subject+e.header])
	if err != nil || h.Get("k") != "v" {
		t.Fatal(h, err)
	}
	back, n := appendNATSHeaders(nil, e.data[e.subject:e.subject+e.header])
	if n != 2 || abi.CheckHeaders(back, n) != nil || string(back) != string(m.Headers) {
		t.Fatal(n, back)
	}
}
