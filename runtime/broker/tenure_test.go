package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// guarded returns a connection under a tenure and its other end.
func guarded(t *testing.T) (*tenure, net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ten := newTenure()
	ten.extend(uptime() + time.Hour)
	conn, err := ten.guard(dialed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = peer.Close()
	})
	return ten, conn, peer
}

func TestTenure(t *testing.T) {
	t.Run("writes whole as long as it lasts, and nothing when it is over", func(t *testing.T) {
		ten, conn, peer := guarded(t)
		data := bytes.Repeat([]byte("wasmill "), 1<<18) // more than a socket takes at once
		got := make(chan []byte, 1)
		go func() {
			b := make([]byte, len(data))
			_, _ = io.ReadFull(peer, b)
			got <- b
		}()
		if n, err := conn.Write(data); n != len(data) || err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(<-got, data) {
			t.Error("something else arrived")
		}
		ten.extend(uptime()) // now
		if n, err := conn.Write([]byte("zombie")); n != 0 || !errors.Is(err, errTenureOver) {
			t.Error(n, err)
		}
		ten.extend(uptime() + time.Hour)
		if _, err := conn.Write([]byte("again")); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		if rest, err := io.ReadAll(peer); err != nil || string(rest) != "again" {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("stops a write that waits for room in the socket", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("there only the beginning of a write is checked")
		}
		ten, conn, peer := guarded(t)
		written := make(chan int, 1)
		go func() {
			n, err := conn.Write(make([]byte, 64<<20)) // the peer does not read
			if !errors.Is(err, errTenureOver) {
				t.Error(err)
			}
			written <- n
		}()
		one := make([]byte, 1)
		if _, err := io.ReadFull(peer, one); err != nil { // it has begun
			t.Fatal(err)
		}
		ten.extend(uptime())
		arrived := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(io.Discard, peer)
			arrived <- n + 1
		}()
		n := <-written
		_ = conn.Close()
		if got := <-arrived; got != int64(n) || n >= 64<<20 {
			t.Errorf("%d bytes written, %d arrived", n, got)
		}
	})
	t.Run("drops what the socket still holds when it ends", func(t *testing.T) {
		ten, conn, peer := guarded(t)
		if err := conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Write(make([]byte, 64<<20)) // the sockets are full now
		if err == nil {
			t.Fatal("64 MiB fit")
		}
		ten.end()
		ten.end()
		got, err := io.Copy(io.Discard, peer)
		if err == nil || got >= int64(n) {
			t.Errorf("%d of %d bytes arrived: %v", got, n, err)
		}
		if _, err := conn.Write([]byte("zombie")); err == nil {
			t.Error("a write after the end")
		}
		ten.extend(uptime() + time.Hour)
		if !ten.over() {
			t.Error("it goes on after its end")
		}
		if _, err := ten.guard(conn.(*guardedConn).tcp); !errors.Is(err, errTenureOver) {
			t.Error(err)
		}
	})
	t.Run("guards nothing when there is none", func(t *testing.T) {
		_, conn, _ := guarded(t)
		if c, err := (*tenure)(nil).guard(conn); c != conn || err != nil {
			t.Error(c, err)
		}
	})
}

// What an owner on an external server writes when its lease may be another's by
// now does not arrive, and arrives when the lease was renewed after all.
func TestALeaseThatRanOutFencesTheDataPath(t *testing.T) {
	s := natsServer(t)
	b := open(t, Config{URL: s.ClientURL(), timing: timing{leaseTTL: time.Hour, leaseRenew: time.Minute}}) // no renewal by itself
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	ensure(t, b, TopicConfig{Name: "out", Subjects: []string{"out.>"}})
	for range 10 {
		if _, err := b.Publish(testContext(t), "in", *output("in.a", "x")); err != nil {
			t.Fatal(err)
		}
	}
	lease := acquire(t, b, "p")
	src, err := b.OpenSource(testContext(t), SourceConfig{Pipeline: "p", Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	snk, err := b.OpenSink(testContext(t), SinkConfig{Pipeline: "p", Topics: []string{"out"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() uint64 {
		t.Helper()
		topic, err := b.Topic(testContext(t), "out")
		if err != nil {
			t.Fatal(err)
		}
		return topic.Messages
	}
	add(t, snk, 0, output("out.a", "1"))
	if err := snk.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first output is stored", func() bool { return snk.Confirmed(0) == 1 })

	lease.tenure.extend(uptime()) // as after a long sleep
	add(t, snk, 0, output("out.a", "2"))
	if err := snk.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sink sees that it cannot write", func() bool { return snk.Err() != "" })
	if n := stored(); n != 1 {
		t.Errorf("%d outputs are stored", n)
	}
	lease.tenure.extend(uptime() + time.Hour)
	eventually(t, "the second output is stored", func() bool { return snk.Confirmed(0) == 2 })

	events := take(t, src, 10, wide)
	lease.lose()
	add(t, snk, 0, output("out.a", "3"))
	_ = src.Ack(events[9].Ack)
	eventually(t, "the data path is cut off", func() bool { return !snk.wire.isUp() && !src.wire.isUp() })
	cons, err := b.js.Consumer(testContext(t), "in", "wasmill-p")
	if err != nil {
		t.Fatal(err)
	}
	if floor := cons.CachedInfo().AckFloor.Stream; floor != 0 || stored() != 2 {
		t.Errorf("acknowledged up to %d, %d outputs stored", floor, stored())
	}
	if _, err := b.OpenSink(testContext(t), SinkConfig{Pipeline: "p", Topics: []string{"out"}}, nil); err == nil {
		t.Error("a sink of a lost lease opens")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := snk.Close(ctx); err == nil {
		t.Error("an output that was not stored is not reported")
	}
}
