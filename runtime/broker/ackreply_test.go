package broker

import (
	"strings"
	"testing"
)

func TestAckReply(t *testing.T) {
	want := delivery{delivered: 2, streamSeq: 1234567, consumerSeq: 890, time: 1700000000123456789, pending: 42}
	const tail = "2.1234567.890.1700000000123456789.42"
	for name, c := range map[string]struct{ reply, head string }{
		"version 1":                        {"$JS.ACK.quakes.wasmill-p." + tail, "$JS.ACK.quakes.wasmill-p."},
		"version 2":                        {"$JS.ACK._.acchash.quakes.wasmill-p." + tail, "$JS.ACK._.acchash.quakes.wasmill-p."},
		"version 2 with domain":            {"$JS.ACK.hub.acchash.quakes.wasmill-p." + tail, "$JS.ACK.hub.acchash.quakes.wasmill-p."},
		"version 2 with further tokens":    {"$JS.ACK._.acchash.quakes.wasmill-p." + tail + ".rnd", "$JS.ACK._.acchash.quakes.wasmill-p."},
		"version 2 with many further ones": {"$JS.ACK._.acchash.quakes.wasmill-p." + tail + ".a.b.c", "$JS.ACK._.acchash.quakes.wasmill-p."},
	} {
		t.Run(name, func(t *testing.T) {
			d, head, err := parseAckReply([]byte(c.reply))
			if err != nil || d != want || c.reply[:head] != c.head {
				t.Fatalf("got %+v, head %q, error %v", d, c.reply[:head], err)
			}
			if d, err := parseAckTail([]byte(c.reply[head:])); err != nil || d != want {
				t.Fatalf("tail: got %+v, error %v", d, err)
			}
			if seq, err := ackReplySeq(c.reply); err != nil || seq != want.streamSeq {
				t.Fatalf("sequence %d, error %v", seq, err)
			}
			reply := []byte(c.reply)
			if n := testing.AllocsPerRun(100, func() { _, _, _ = parseAckReply(reply) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	for _, reply := range []string{
		"", "$JS.ACK.", "$JS.ACK.s.c", "_INBOX.a.b.c.1.2.3.4.5", "$JS.ACK.s.c.1.2.3.4", "$JS.ACK.s.c.1.2.3.4.", "$JS.ACK.s.c.1..3.4.5",
		"$JS.ACK.s.c.1.x.3.4.5", "$JS.ACK.s.c.1.-2.3.4.5", "$JS.ACK.s.c.1.2.3.4." + strings.Repeat("9", 21),
	} {
		if d, _, err := parseAckReply([]byte(reply)); err == nil {
			t.Errorf("%q is taken as %+v", reply, d)
		}
	}
}

func FuzzAckReply(f *testing.F) {
	f.Add("$JS.ACK.s.c.1.2.3.4.5")
	f.Add("$JS.ACK.d.h.s.c.1.2.3.4.5.r")
	f.Fuzz(func(t *testing.T, reply string) {
		d, head, err := parseAckReply([]byte(reply))
		if err != nil {
			return
		}
		again, err := parseAckTail([]byte(reply[head:]))
		if err != nil || again != d {
			t.Fatalf("%q: %+v, then %+v, %v", reply, d, again, err)
		}
	})
}
