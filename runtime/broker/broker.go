// Package broker is everything Wasmill knows of NATS: the embedded server or
// the connections to an existing one, topics (JetStream streams), the source
// and the sink of a pipeline, publishing, and the lease that lets one process
// of several own a pipeline. The rest of Wasmill sees events, positions and
// sequences, never a NATS type, save for Connect.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// Options are what a Broker reports to.
type Options struct {
	Log      *slog.Logger   // nil discards
	Listener event.Listener // data path events; the zero value is fine
}

// Broker is one NATS server with topics, embedded or external. Its methods are
// safe for concurrent use between Open and Close.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	listener event.Listener
	owner    string // this process in the leases of an external server

	// Set by Open, constant until Close has returned.
	embedded *embedded // nil with an external server
	guard    *guard    // of the embedded server
	nc       *nats.Conn
	js       jetstream.JetStream // on nc, for management and single messages
	state    *stateStore         // on nc

	// life ends when Close begins: what works in the background for the broker
	// as a whole (leases) is bound to it and not to the context of a call.
	life    context.Context //nolint:containedctx // it is the life of the broker itself, not of a call
	end     context.CancelFunc
	workers sync.WaitGroup // goroutines that run until life ends; Add only through track

	opened atomic.Bool
	mu     struct {
		sync.Mutex
		closed  bool
		conns   map[*nats.Conn]struct{} // handed out by Connect and still open
		adopted map[string]struct{}     // topics whose stream another owner made
		tenures map[string]*tenure      // of the last lease, by pipeline
	}
	// closing is held while Close works, so that a second Close waits for the first.
	closing sync.Mutex
}

// New returns a broker for cfg. It does no I/O.
func New(cfg Config, opts Options) *Broker {
	b := &Broker{cfg: cfg.withDefaults(), log: opts.Log, listener: opts.Listener.WithDefaults(), owner: rand.Text()}
	b.life, b.end = context.WithCancel(context.Background())
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.mu.conns = make(map[*nats.Conn]struct{})
	b.mu.adopted = make(map[string]struct{})
	b.mu.tenures = make(map[string]*tenure)
	return b
}

// Open starts the embedded server, or connects to the external one, and returns
// when topics can be used. What the environment refuses (busy port, locked or
// unwritable store, unreachable or too old server) is an *EnvError; nothing
// is left running or locked then. ctx bounds Open only. A Broker is opened once.
func (b *Broker) Open(ctx context.Context) (err error) {
	if err := b.cfg.Validate(); err != nil {
		return fmt.Errorf("open broker: %w", err)
	}
	if !b.opened.CompareAndSwap(false, true) || b.life.Err() != nil {
		return errors.New("open broker: it has been opened or closed before")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	if !b.cfg.external() {
		if b.embedded, err = openEmbedded(ctx, b.cfg, b.log); err != nil {
			return err
		}
	}
	if b.nc, err = b.Connect("control"); err != nil {
		return b.connectError(err)
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	b.state = &stateStore{nc: b.nc, js: b.js, log: b.log, owner: b.owner, replicas: 1, maxBytes: -1}
	if b.cfg.external() {
		b.state.replicas, b.state.maxBytes = 3, stateBytes
		return b.checkServer(ctx)
	}
	if err := b.embedded.recovered(); err != nil {
		return err
	}
	b.tickLedger(ctx)
	b.guard = &guard{e: b.embedded, log: b.log}
	b.guard.look(b.life) // what is wrong from the beginning is known when Open returns
	b.workers.Add(2)     // Close has not begun: Open has not returned
	go func() {
		defer b.workers.Done()
		b.guard.watch(b.life)
	}()
	go func() {
		defer b.workers.Done()
		b.keepLedger(b.life)
	}()
	return nil
}

// Close closes every connection that Connect gave out, stops the embedded
// server, waits for it and frees the store. It is idempotent; every call
// returns when all is closed. Pipelines are to be drained before.
func (b *Broker) Close() error {
	b.closing.Lock()
	defer b.closing.Unlock()
	b.mu.Lock()
	b.mu.closed = true
	b.mu.Unlock()
	b.end()
	b.workers.Wait()

	b.mu.Lock()
	conns := make([]*nats.Conn, 0, len(b.mu.conns))
	for nc := range b.mu.conns {
		conns = append(conns, nc)
	}
	b.mu.Unlock()
	for _, nc := range conns {
		nc.Close()
	}
	if b.embedded != nil {
		b.embedded.close()
	}
	return nil
}

// ClientURL is where NATS clients of this machine connect: the embedded
// server's listener ("" when it has none) or the external server's URL without
// credentials.
func (b *Broker) ClientURL() string {
	if b.cfg.external() {
		return redactURLs(b.cfg.URL)
	}
	if b.embedded == nil {
		return ""
	}
	return b.embedded.clientURL()
}

// ConnectOptions say how Connect reaches the embedded server.
type ConnectOptions struct {
	Name string // shows in the server's connection list
	// InProcess uses a synchronous pipe also when the server listens on TCP:
	// faster to publish, slower to consume in bulk. An external server ignores it.
	InProcess bool

	extra []nats.Option // come last
}

// Connect returns a new connection with all rights. It reconnects for ever, and
// logs when it loses the server and finds it again. The caller closes it;
// Close closes it at the latest.
func (b *Broker) Connect(name string) (*nats.Conn, error) {
	return b.ConnectWith(ConnectOptions{Name: name, InProcess: true})
}

// ConnectWith is Connect with a choice.
func (b *Broker) ConnectWith(o ConnectOptions) (*nats.Conn, error) {
	log := b.log.With("connection", o.Name)
	opts := []nats.Option{
		nats.Name("wasmill " + o.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.Timeout(b.cfg.timing.connect),
		nats.ClosedHandler(b.forget),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if nc.IsClosed() || err == nil {
				return
			}
			log.Warn("lost the NATS server, reconnecting", "error", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("reconnected to the NATS server", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("NATS connection", "error", err, "subject", subject)
		}),
	}
	url := b.cfg.URL
	if b.cfg.external() {
		more, err := b.cfg.clientOptions()
		if err != nil {
			return nil, err
		}
		opts = append(opts, more...)
	} else {
		if b.embedded == nil {
			return nil, ErrClosed
		}
		opts = append(opts, nats.UserInfo(runtimeUser, b.embedded.access.secret), nats.CustomInboxPrefix(inboxPrefix))
		url = b.embedded.clientURL()
		if b.embedded.certificate != nil {
			url = "" // within the process nobody needs TLS
		}
		if url == "" || o.InProcess {
			opts = append(opts, nats.InProcessServer(b.embedded))
		}
	}
	nc, err := nats.Connect(url, append(opts, o.extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to NATS: %w", o.Name, err)
	}
	b.mu.Lock()
	closed := b.mu.closed
	if !closed && !nc.IsClosed() {
		b.mu.conns[nc] = struct{}{}
	}
	b.mu.Unlock()
	if closed {
		nc.Close()
		return nil, ErrClosed
	}
	return nc, nil
}

// Healthy says why topics cannot be used now, nil when they can: the external
// server is out of reach, or the embedded one cannot store messages, refuses them
// and will take them again by itself.
func (b *Broker) Healthy() error {
	if err := b.usable(); err != nil {
		return err
	}
	if b.guard != nil {
		return b.guard.trouble()
	}
	if !b.nc.IsConnected() {
		return envErrorf(b.nc.LastError(), "NATS server %s is out of reach", b.ClientURL())
	}
	return nil
}

// usable returns ErrClosed before Open and after Close.
func (b *Broker) usable() error {
	if b.js == nil || b.life.Err() != nil {
		return ErrClosed
	}
	return nil
}

// track counts one goroutine that Close waits for; false when Close has begun.
func (b *Broker) track() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return false
	}
	b.workers.Add(1)
	return true
}

func (b *Broker) forget(nc *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.conns, nc)
}

// Protect tells which pipelines there are, so that applications on the embedded
// server cannot delete, reset, pause, pull from or acknowledge their consumers.
// It takes effect for connected applications, too, without closing a
// connection. Names are only added. An external server ignores it: there the
// operator's accounts decide.
func (b *Broker) Protect(pipelines ...string) error {
	if b.embedded == nil || !b.embedded.access.protect(pipelines...) {
		return nil
	}
	return b.embedded.refresh()
}

// SetUsers replaces who may connect to the embedded server. It takes effect for
// connected clients, too: those of users that are gone are cut off. An external
// server ignores it.
func (b *Broker) SetUsers(users []User) error {
	if b.embedded == nil {
		return nil
	}
	if !b.embedded.access.set(users) {
		return nil
	}
	return b.embedded.refresh()
}

// ConsumerName is the name of a pipeline's durable consumer.
func (b *Broker) ConsumerName(pipeline string) string { return consumerName(pipeline) }

func consumerName(pipeline string) string { return "wasmill-" + pipeline }

// Describe says what server this is and what a crash may lose.
func (b *Broker) Describe() status.Server {
	if b.cfg.external() {
		s := status.Server{Mode: "external", URL: b.ClientURL(), Durability: "external", LossWindow: lossExternal, Storing: true}
		if b.nc != nil {
			s.Version = b.nc.ConnectedServerVersion()
		}
		return s
	}
	s := status.Server{
		Mode: "embedded", URL: b.ClientURL(), StoreDir: b.cfg.StoreDir, MaxStore: b.cfg.MaxStore,
		Durability: b.cfg.Durability, LossWindow: lossWindow[b.cfg.Durability],
	}
	if b.embedded != nil && b.nc != nil {
		s.Version = b.nc.ConnectedServerVersion()
		s.StoreBytes = b.embedded.storeBytes()
		s.Repairs = b.embedded.keeper.repairs
	}
	if b.guard != nil {
		b.guard.describe(&s)
	}
	return s
}
