package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/runtime/certificate"
)

// embedded is a NATS server inside this process, with the lock of its store. The
// server may be replaced by another on the same store and port, see restart.
type embedded struct {
	cfg         Config
	log         *slog.Logger
	lock        *flock.Flock
	access      *access
	certificate *certificate.Pair // nil without TLS
	bound       *net.TCPAddr      // where it listens, nil when it does not; constant after openEmbedded
	keeper      *keeper
	took        time.Duration // first start to ready, recovery of the store included
	hurt        chan struct{} // capacity 1: a server has met a failure of its store

	refusing atomic.Bool // see refuse

	reload sync.Mutex // serialises refresh

	mu struct {
		sync.Mutex
		life *serverLife // the server; the last one while there is none
		down bool        // between two servers, and after close
	}
}

// serverLife is one server, from its start to its end.
type serverLife struct {
	server *server.Server
	logger *serverLogger
}

var _ nats.InProcessConnProvider = (*embedded)(nil)

// openEmbedded starts a server that is ready when it returns. Every failure of
// the environment is an *EnvError and leaves nothing behind: a busy port is
// found before the store is touched.
func openEmbedded(ctx context.Context, cfg Config, log *slog.Logger) (_ *embedded, err error) {
	if err := checkPort(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	pair, err := certificate.Open(cfg.TLSCert, cfg.TLSKey, log)
	if err != nil {
		return nil, envErrorf(err, "server.tls_cert: %v", err)
	}
	e := &embedded{cfg: cfg, log: log, certificate: pair, access: newAccess(cfg.Users), hurt: make(chan struct{}, 1)}
	if e.lock, err = lockStore(cfg.StoreDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if back, err := newSafeguard(cfg.StoreDir).restore(); err != nil {
		return nil, envErrorf(err, "store directory %s: %v", cfg.StoreDir, err)
	} else if len(back) > 0 {
		log.Warn("a start that did not end had removed streams or consumers; they were put back", "names", back)
	}
	if e.keeper, err = openKeeper(cfg, log); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	e.took = time.Since(start)
	e.bound, _ = e.current().Addr().(*net.TCPAddr)
	if host, _, _ := splitListen(cfg.Listen); cfg.Listen != "" && !loopback(host) && len(cfg.Users) == 0 {
		log.Warn("the NATS listener is open to other machines and asks for no credentials", "listen", cfg.Listen)
	}
	return e, nil
}

// start starts a server, and returns when it is ready or has ended again. What
// it cannot recover is left as it was.
func (e *embedded) start(ctx context.Context) error {
	guard := newSafeguard(e.cfg.StoreDir)
	if err := guard.set(); err != nil {
		e.log.Warn("the embedded NATS server starts without a safeguard for what it cannot recover", "error", err)
	}
	err := e.launch(ctx)
	gone, lookErr := guard.missing()
	if err == nil && (len(gone) > 0 || lookErr != nil) {
		e.stop()
	}
	_, putBack := guard.restore()
	switch {
	case err != nil || lookErr != nil || putBack != nil:
		return errors.Join(err, lookErr, putBack)
	case len(gone) > 0:
		return envErrorf(nil, "the embedded NATS server could not recover %s (the log says why) and would have removed it; it was put back: check the disk of %s",
			quoted(gone), e.cfg.StoreDir)
	}
	return nil
}

// launch starts a server, and returns when it is ready or has ended again.
func (e *embedded) launch(ctx context.Context) error {
	r := &serverLife{logger: newServerLogger(e.log, func() { signal(e.hurt) })}
	var err error
	if r.server, err = server.NewServer(e.options()); err != nil {
		return fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	r.server.SetLoggerV2(r.logger, false, false, false)
	started := make(chan struct{})
	go func() { // ends with Start, which is waited for
		defer close(started)
		r.server.Start()
	}()
	limit := time.NewTimer(e.cfg.timing.ready)
	defer limit.Stop()
	select {
	case <-started:
		select {
		case msg := <-r.logger.fatal:
			err = e.startError(msg)
		default:
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = envErrorf(nil, "the embedded NATS server did not recover the store %s within %s; check the disk", e.cfg.StoreDir, e.cfg.timing.ready)
	}
	if err != nil {
		r.server.Shutdown()
		<-started
		r.server.WaitForShutdown()
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.life, e.mu.down = r, false
	return nil
}

// stop ends the server and waits for it; it reports whether there has been one.
// Whoever is connected is cut off and finds the next one, see InProcessConn.
func (e *embedded) stop() bool {
	e.mu.Lock()
	r := e.mu.life
	e.mu.down = true
	e.mu.Unlock()
	if r == nil {
		return false
	}
	r.server.Shutdown()
	r.server.WaitForShutdown()
	return true
}

// current is the server, or the last one while there is none: that one answers
// with errors.
func (e *embedded) current() *server.Server { return e.life().server }

func (e *embedded) life() *serverLife {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.life
}

// InProcessConn implements nats.InProcessConnProvider with whatever server
// there is at the moment.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	r, down := e.mu.life, e.mu.down
	e.mu.Unlock()
	if down {
		return nil, errors.New("the embedded NATS server is being restarted")
	}
	return r.server.InProcessConn()
}

// syncInterval is how often what was written is synced, except with
// DurabilityFsync.
const syncInterval = 2 * time.Minute

// options are all explicit: what the server chooses for itself when embedded
// is 0.0.0.0:4222, /tmp, and three quarters of the memory and the disk.
func (e *embedded) options() *server.Options {
	o := &server.Options{
		ServerName: "wasmill",
		DontListen: e.cfg.Listen == "",
		Host:       "127.0.0.1",
		NoSigs:     true,

		JetStream:          true,
		StoreDir:           e.cfg.StoreDir,
		JetStreamMaxStore:  e.cfg.MaxStore + refusalBytes,
		JetStreamMaxMemory: maxMemoryStore,
		SyncInterval:       syncInterval,
		SyncAlways:         e.cfg.Durability == DurabilityFsync,

		MaxPayload:       int32(e.cfg.MaxPayload + deadHeadroom),
		MaxPending:       maxPending,
		MaxClosedClients: 16, // only the connection list of a monitoring port would show them

		DisableJetStreamBanner: true,
	}
	e.access.authorize(o)
	if e.certificate != nil && !o.DontListen {
		o.TLS, o.TLSTimeout = true, tlsTimeout.Seconds()
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: e.certificate.Get}
	}
	if !o.DontListen {
		host, port, _ := splitListen(e.cfg.Listen) // Validate has checked it
		switch {
		case e.bound != nil:
			port = e.bound.Port // clients come back to where they were
		case port == 0:
			port = server.RANDOM_PORT
		}
		o.Host, o.Port = host, port
	}
	return o
}

// tlsTimeout is how long a client may take to agree on TLS.
const tlsTimeout = 5 * time.Second

// refresh makes the server take over who access lets in, for every connected
// client, too. Connections stay, but for those of users that are gone.
func (e *embedded) refresh() error {
	e.reload.Lock()
	defer e.reload.Unlock()
	if err := e.current().ReloadOptions(e.options()); err != nil {
		return fmt.Errorf("reload permissions of the embedded NATS server: %w", err)
	}
	if e.refusing.Load() {
		return e.refuse() // the reload has lifted it
	}
	return nil
}

// clientURL is where an application of this machine connects; "" when nothing listens.
func (e *embedded) clientURL() string {
	if e.bound == nil {
		return ""
	}
	host, _, _ := splitListen(e.cfg.Listen)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "nats://"
	if e.certificate != nil {
		scheme = "tls://"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(e.bound.Port))
}

// close stops the server, waits for it and frees the store.
func (e *embedded) close() {
	if e.stop() {
		e.keeper.finish()
	}
	_ = e.lock.Unlock() // the process's end frees it too
}

// startError turns what the server told its logger into an EnvError.
func (e *embedded) startError(msg string) error {
	msg = oneLine("%s", msg)
	switch low := strings.ToLower(msg); {
	case strings.Contains(low, "listening on port"):
		return portBusy(e.cfg.Listen, errors.New(msg))
	case strings.Contains(low, "no space left"):
		return envErrorf(errors.New(msg), "the disk of store directory %s is full; free some space, or give another server.store_dir", e.cfg.StoreDir)
	case strings.Contains(low, "not writable"), strings.Contains(low, "permission denied"):
		return envErrorf(errors.New(msg), "store directory %s is not writable; give another server.store_dir, or make it writable for this user", e.cfg.StoreDir)
	default:
		return envErrorf(errors.New(msg), "the embedded NATS server did not start on store %s: %s", e.cfg.StoreDir, msg)
	}
}

// portGrace is how long a start waits for a port: a process that was killed just
// before it needs a moment to let go of it.
const portGrace = 2 * time.Second

// checkPort finds a busy port before anything else is touched.
func checkPort(ctx context.Context, listen string) error {
	if listen == "" {
		return nil
	}
	host, port, err := splitListen(listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, portGrace)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var lc net.ListenConfig
	for {
		l, err := lc.Listen(context.WithoutCancel(ctx), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return portBusy(listen, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return portBusy(listen, err)
		}
	}
}

func portBusy(listen string, err error) error {
	what := "cannot listen on " + listen
	switch {
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use"):
		return envErrorf(err, "%s: another process has this port; stop it, or give another server.listen (\"\" = no listener)", what)
	case errors.Is(err, syscall.EACCES):
		return envErrorf(err, "%s: not permitted; give a port above 1023 in server.listen", what)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return envErrorf(err, "%s: this machine has no such address; give another server.listen", what)
	default:
		return envErrorf(err, "%s: %v; give another server.listen", what, err)
	}
}

// storeBytes is what JetStream holds on disk.
func (e *embedded) storeBytes() uint64 {
	info, err := e.current().Jsz(nil)
	if err != nil {
		return 0
	}
	return info.Store
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
