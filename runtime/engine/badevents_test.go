package engine_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// One pipeline publishes every event as it is, with all its headers; the plugin
// of the other fails on each.
const hostileConfig = `
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["in-kept.>"]
[plugins.keep]
path = "keep.wasm"
[plugins.fail]
path = "fail.wasm"
[pipelines.keep]
from = "in"
stages = ["keep"]
to = "out"
subject = "in-kept.x"
key = "json:/id"
partitions = 2
batch = { max_events = 1 }
[pipelines.fail]
from = "in"
stages = ["fail"]
to = "out"
subject = "in-kept.{subject.2}"
key = "header:K"
batch = { max_events = 1 }
retry = { attempts = 1 }
`

// rawClient speaks the protocol of NATS by hand, since a good client refuses to
// send most of what these tests send.
type rawClient struct {
	t *testing.T
	net.Conn
	answers *bufio.Scanner
}

func dialRaw(t *testing.T, url string) *rawClient {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{t, conn, bufio.NewScanner(conn)}
	c.write("CONNECT {\"verbose\":false,\"headers\":true}\r\n")
	c.settle()
	return c
}

func (c *rawClient) write(s string) {
	c.t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

// settle waits until the server has taken everything that was written.
func (c *rawClient) settle() {
	c.t.Helper()
	c.write("PING\r\n")
	for c.answers.Scan() {
		switch line := c.answers.Text(); {
		case line == "PONG":
			return
		case strings.HasPrefix(line, "-ERR"):
			c.t.Fatal(line)
		}
	}
	c.t.Fatal(c.answers.Err())
}

// publish sends an event; a header block is sent as it is.
func (c *rawClient) publish(subject, block, payload string) {
	c.t.Helper()
	if block == "" {
		c.write(fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, len(payload), payload))
	} else {
		c.write(fmt.Sprintf("HPUB %s %d %d\r\n%s%s\r\n", subject, len(block), len(block)+len(payload), block, payload))
	}
	c.settle()
}

func TestWhateverAnApplicationPublishesIsNeverLost(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "127.0.0.1:0")
	r.file("keep", puppet{always: response(func(w *abi.ResponseWriter) { w.Pass(0, 0) })}.module())
	r.file("fail", puppet{always: []byte("no response")}.module())
	if err := r.Open(t.Context(), r.plan(hostileConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("keep running", "fail running")

	const head = "NATS/1.0\r\n"
	headers := func(n, size int) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			fmt.Fprintf(&b, "H%d: %s\r\n", i, strings.Repeat("v", size))
		}
		return b.String() + "\r\n"
	}
	cases := []struct{ name, subject, block, payload string }{
		{"nothing", "in.a", "", ""},
		{"text", "in.a", "", "no JSON"},
		{"half of a JSON document", "in.a", "", `{"id": "`},
		{"no UTF-8", "in.a", "", "\xff\xfe\x00{}"},
		{"JSON a million levels deep", "in.a", "", strings.Repeat("[", 1<<20)},
		{"a key a million levels deep", "in.a", "", `{"id":` + strings.Repeat(`{"id":`, 1<<17) + "1"},
		{"a huge number as the key", "in.a", "", `{"id":` + strings.Repeat("9", 1<<16) + "e999999999}"},
		{"a key of 1 MiB", "in.a", "", `{"id":"` + strings.Repeat("k", 1<<20) + `"}`},
		{"a key with a line break", "in.a", "", `{"id":"a\r\nb\u0000"}`},
		{"8 MiB", "in.a", "", strings.Repeat("x", 8<<20)},
		{"8 MiB with its headers", "in.a", headers(10, 10), strings.Repeat("x", 8<<20-len(headers(10, 10)))},
		{"hundreds of headers", "in.a", headers(900, 20), "x"},
		{"as many bytes of headers as can be stored", "in.a", headers(1, 1<<16-1-20), "x"},
		{"an empty header block", "in.a", head + "\r\n", "x"},
		{"a header block of something else", "in.a", "hello\r\n\r\n", "x"},
		{"a header without a colon", "in.a", head + "hello\r\nK: 1\r\n\r\n", "x"},
		{"a header without a name", "in.a", head + ": 1\r\n\r\n", "x"},
		{"a header name with a space", "in.a", head + "a b: 1\r\n\r\n", "x"},
		{"a header name with a control character", "in.a", head + "a\x01b: 1\r\n\r\n", "x"},
		{"a line break in a header", "in.a", head + "K: a\nNats-Rollup: all\r\n\r\n", "x"},
		{"a carriage return in a header", "in.a", head + "K: a\rb\r\n\r\n", "x"},
		{"NUL in a header", "in.a", head + "K: a\x00b\r\n\r\n", "x"},
		{"no UTF-8 in a header", "in.a", head + "K: \xff\xfe\r\n\r\n", "x"},
		{"headers of the runtime's own", "in.a", head + "Wasmill-Source: in/99/0\r\nWasmill-Cause: lie\r\n\r\n", "x"},
		{"one message id", "in.a", head + "Nats-Msg-Id: 1\r\n\r\n", "x"},
		{"one message id more", "in.a", head + "Nats-Msg-Id: 2\r\n\r\n", "x"},
		{"NUL in the subject", "in.\x00", "", "x"},
		{"a control character in the subject", "in.\x01\x7f", "", "x"},
		{"no UTF-8 in the subject", "in.\xff\xfe", "", "x"},
		{"a subject of 3 kB", "in." + strings.Repeat("s", 3000), "", "x"},
		{"a subject of a thousand tokens", "in" + strings.Repeat(".s", 1000), "", "x"},
		{"an end that is like any other event", "in.a", "", "end"},
	}
	client := dialRaw(t, r.broker.ClientURL())
	for _, c := range cases {
		client.publish(c.subject, c.block, c.payload)
	}

	in := r.read("in", 1, len(cases))
	ways := map[string]map[string][]status.Message{"keep": {}, "fail": {}} // by pipeline and sequence
	kept, dead := r.await(2*len(cases), "out", "dead-letters")
	for _, m := range kept {
		source := strings.Split(m.Headers["Wasmill-Source"][0], "/")[1]
		ways["keep"][source] = append(ways["keep"][source], m)
	}
	for _, m := range dead {
		name := strings.Split(m.Subject, ".")[2]
		source := m.Headers["Wasmill-Source-Seq"][0]
		ways[name][source] = append(ways[name][source], m)
	}
	for i, c := range cases {
		for name, way := range ways {
			got := way[fmt.Sprint(in[i].Seq)]
			if len(got) != 1 {
				t.Errorf("%s: pipeline %s made %d messages of it", c.name, name, len(got))
				continue
			}
			if payloadOf(got[0]) != c.payload {
				t.Errorf("%s: pipeline %s made a payload of %d bytes of one of %d", c.name, name, len(payloadOf(got[0])), len(c.payload))
			}
		}
	}
	r.unharmed("keep", "fail")

	// What no topic takes stays, and keeps nothing else from being redriven.
	const unfit = 5 // the subjects with NUL, a control character, no UTF-8, 3 kB and a thousand tokens
	n, err := r.DeadLetters().Redrive(t.Context(), nil, status.DeadLetterFilter{Pipeline: "fail"})
	if n != len(cases)-unfit || err == nil || strings.Count(err.Error(), "subject") < unfit {
		t.Errorf("redriven %d of %d: %v", n, len(cases), err)
	}
}

// await waits until two topics hold n messages together, and returns them.
func (r *fixture) await(n int, a, b string) (inA, inB []status.Message) {
	r.t.Helper()
	count := func(topic string) int {
		info, err := r.broker.Topic(r.t.Context(), topic)
		if err != nil {
			r.t.Fatal(err)
		}
		return int(info.Messages)
	}
	deadline := time.Now().Add(30 * time.Second)
	for count(a)+count(b) < n {
		if time.Now().After(deadline) {
			r.t.Errorf("topics %q and %q hold %d and %d messages, want %d together", a, b, count(a), count(b), n)
			break
		}
	}
	return r.read(a, 1, count(a)), r.read(b, 1, count(b))
}
