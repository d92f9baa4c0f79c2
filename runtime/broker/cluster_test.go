package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// newCluster starts three servers that replicate among themselves.
func newCluster(t *testing.T) []*rig {
	t.Helper()
	ports := make([]int, 3)
	var routes []*url.URL
	for i := range ports {
		addr := freeAddress(t)
		ports[i] = addr.Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: addr.String()})
	}
	rigs := make([]*rig, 3)
	for i := range rigs {
		rigs[i] = &rig{opts: &server.Options{
			ServerName: fmt.Sprintf("n%d", i), JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: freeAddress(t).Port, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i], PoolSize: 1}, Routes: routes,
		}}
		rigs[i].start(t)
		t.Cleanup(rigs[i].stop)
	}
	nc, err := nats.Connect(rigs[0].srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rigs {
		r.nc, r.js, r.replicas = nc, js, 3
	}
	return rigs
}

// createStream waits until the cluster can hold a replicated stream.
func createStream(t *testing.T, r *rig, name string) {
	t.Helper()
	ctx := testContext(t)
	var last error
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err := r.js.CreateStream(one, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Replicas: 3, AllowBatchPublish: true})
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(last)
		}
		last = err
	}
}

// TestCluster runs the loop over replicated topics whose leaders step down.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	rigs := newCluster(t)
	r := rigs[1]
	createStream(t, r, "in")
	createStream(t, r, "out")
	const n = 20_000
	r.fill(t, "in", 0, n)
	src := r.source(t, SourceConfig{Topic: "in", timing: quick})
	p := make(progress, 1)
	snk := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{answer: 3 * time.Second}}, p.moved)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var pending []event.Event
	stepDown := []string{"STREAM.LEADER.STEPDOWN.out", "CONSUMER.LEADER.STEPDOWN.in.wasmill-p", "STREAM.LEADER.STEPDOWN.in", "STREAM.LEADER.STEPDOWN." + stateStream}
	next := n / 5
	for got := 0; got < n; {
		events, lag, err := src.Fetch(ctx, nil, event.Room{Events: 500, Bytes: 1 << 20})
		if err != nil {
			t.Fatalf("after %d: %v; source %q, sink %q", got, err, src.Err(), snk.Err())
		}
		for i := range events {
			if want := fmt.Sprint(got + i); string(events[i].Payload) != want {
				t.Fatalf("event %q instead of %s", events[i].Payload, want)
			}
			if _, err := snk.Add(ctx, 0, output("out.a", string(events[i].Payload))); err != nil {
				t.Fatalf("after %d: %v; sink %q", got, err, snk.Err())
			}
		}
		pending = append(pending, events...)
		got += len(events)
		if lag == 0 {
			if err := snk.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if done := int(snk.Confirmed(0)) - (got - len(pending)); done > 0 {
			if err := src.Ack(pending[done-1].Ack); err != nil {
				t.Fatal(err)
			}
			pending = pending[done:]
		}
		if got >= next && len(stepDown) > 0 {
			next += n / 5
			m, err := r.nc.RequestWithContext(ctx, "$JS.API."+stepDown[0], nil)
			if err != nil || !bytes.Contains(m.Data, []byte(`"success":true`)) {
				t.Fatal(stepDown[0], m, err)
			}
			stepDown = stepDown[1:]
		}
	}
	if err := snk.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if snk.Confirmed(0) != n {
		t.Errorf("%d confirmed", snk.Confirmed(0))
	}
	if err := src.Ack(pending[len(pending)-1].Ack); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the position is stored", func() bool { return src.Durable() == n })
	got := r.payloads(t, "out")
	t.Logf("%d stored twice", len(got)-n)
	sameOrder(t, firsts(got), numbers(n))
}

// A cluster of which only a minority is up has no leader. A start waits for the
// others, and says so.
func TestOpenWaitsForTheLeaderOfACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	rigs := newCluster(t)
	eventually(t, "the cluster has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := rigs[0].js.AccountInfo(ctx)
		return err == nil
	})
	for _, r := range rigs {
		r.stop()
	}
	rigs[0].start(t) // it knows the others, and hears nothing of them
	said := make(chan string, 100)
	b := New(Config{URL: rigs[0].srv.ClientURL()}, Options{Log: slog.New(slog.NewTextHandler(lines(said), nil))})
	t.Cleanup(func() { _ = b.Close() })
	opened := make(chan error, 1)
	go func() { opened <- b.Open(t.Context()) }()
	for waits := false; !waits; {
		select {
		case line := <-said:
			waits = strings.Contains(line, "no JetStream leader")
		case err := <-opened:
			t.Fatalf("open without a leader: %v", err)
		case <-time.After(time.Minute):
			t.Fatal("it does not say that it waits")
		}
	}
	rigs[1].start(t)
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still waiting a minute after the majority was back")
	}
}

// lines takes a log line by line.
type lines chan string

func (c lines) Write(line []byte) (int, error) {
	select {
	case c <- string(line):
	default: // nobody reads any more
	}
	return len(line), nil
}
