package broker

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/freeport"
	"github.com/wasmill/wasmill/sdk/abi"
)

// rig is a NATS server for the data path alone, without a Broker around it.
type rig struct {
	srv  *server.Server
	opts *server.Options
	nc   *nats.Conn // for the test's own requests
	js   jetstream.JetStream

	replicas int // of the state stream; 0 is 1
}

// state is the state store of one process.
func (r *rig) state(tb testing.TB, owner string) *stateStore {
	return &stateStore{nc: r.nc, js: r.js, owner: owner, replicas: max(r.replicas, 1), maxBytes: -1, log: slog.New(slog.NewTextHandler(tb.Output(), nil))}
}

func newRig(tb testing.TB, change func(*server.Options)) *rig {
	tb.Helper()
	r := &rig{opts: &server.Options{JetStream: true, StoreDir: tb.TempDir(), Host: "127.0.0.1", Port: freeAddress(tb).Port, NoSigs: true, NoLog: true}}
	if change != nil {
		change(r.opts)
	}
	r.start(tb)
	tb.Cleanup(func() { r.stop() })
	nc, err := nats.Connect(r.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	r.nc = nc
	if r.js, err = jetstream.New(nc); err != nil {
		tb.Fatal(err)
	}
	return r
}

func (r *rig) start(tb testing.TB) {
	tb.Helper()
	srv, err := server.NewServer(r.opts.Clone())
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		tb.Fatal("the test server is not ready")
	}
	r.srv = srv
}

// freeAddress is one that a server can be started on again after a stop.
func freeAddress(tb testing.TB) *net.TCPAddr {
	tb.Helper()
	addr, err := freeport.Address(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return tcp
}

func (r *rig) stop() {
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
}

// wire connects a wire by TCP or by the in-process pipe.
func (r *rig) wire(tb testing.TB, inProcess bool, more ...nats.Option) *wire {
	tb.Helper()
	w := newWire()
	opts := append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)}, more...)
	if inProcess {
		opts = append(opts, nats.InProcessServer(r.srv))
	}
	nc, err := nats.Connect(r.srv.ClientURL(), append(opts, w.option)...)
	if err != nil {
		w.close()
		tb.Fatal(err)
	}
	w.start(nc)
	tb.Cleanup(w.close)
	return w
}

func (r *rig) stream(tb testing.TB, name string, change func(*jetstream.StreamConfig)) {
	tb.Helper()
	cfg := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, AllowAtomicPublish: true, AllowBatchPublish: true, AllowDirect: true}
	if change != nil {
		change(&cfg)
	}
	if _, err := r.js.CreateStream(context.Background(), cfg); err != nil {
		tb.Fatal(err)
	}
}

func (r *rig) source(tb testing.TB, cfg SourceConfig) *Source {
	tb.Helper()
	if cfg.Pipeline == "" {
		cfg.Pipeline = "p"
	}
	s, err := openSource(context.Background(), r.wire(tb, false), r.state(tb, "test"), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func (r *rig) sink(tb testing.TB, cfg SinkConfig, confirmed func()) *Sink {
	tb.Helper()
	if cfg.Pipeline == "" {
		cfg.Pipeline = "p"
	}
	s, err := openSink(context.Background(), r.wire(tb, false), cfg, confirmed)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // do not drain
		_ = s.Close(ctx)
	})
	return s
}

func output(subject, payload string, headers ...string) *event.Output {
	m := &event.Output{Subject: subject, Payload: []byte(payload)}
	for i := 0; i < len(headers); i += 2 {
		m.Headers = abi.AppendHeader(m.Headers, headers[i], headers[i+1])
		m.HeaderCount++
	}
	return m
}
