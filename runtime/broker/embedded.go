package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a NATS server inside this process, with the lock of its store.
type embedded struct {
	cfg    Config
	server *server.Server
	lock   *flock.Flock
	access *access
	logger *serverLogger
	keeper *keeper
	took   time.Duration // start to ready, recovery of the store included

	reload sync.Mutex // serialises refresh
	reauth int        // number of refreshes, guarded by reload
}

// openEmbedded starts a server that is ready when it returns. Every failure of
// the environment is an *EnvError and leaves nothing behind: a busy port is
// found before the store is touched.
func openEmbedded(ctx context.Context, cfg Config, log *slog.Logger) (_ *embedded, err error) {
	if err := checkPort(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	e := &embedded{cfg: cfg, access: newAccess(), logger: newServerLogger(log)}
	if e.lock, err = lockStore(cfg.StoreDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()

	if e.keeper, err = openKeeper(cfg, log); err != nil {
		return nil, err
	}
	if e.server, err = server.NewServer(e.options()); err != nil {
		return nil, fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	e.server.SetLoggerV2(e.logger, false, false, false)

	start := time.Now()
	started := make(chan struct{})
	go func() { // ends with Start, for which close waits through WaitForShutdown
		defer close(started)
		e.server.Start()
	}()
	limit := time.NewTimer(cfg.timing.ready)
	defer limit.Stop()
	select {
	case <-started:
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = envErrorf(nil, "the embedded NATS server did not recover the store %s within %s; check the disk", cfg.StoreDir, cfg.timing.ready)
	}
	if err != nil {
		e.server.Shutdown()
		<-started
		return nil, err
	}
	select {
	case msg := <-e.logger.fatal:
		return nil, e.startError(msg)
	default:
	}
	e.took = time.Since(start)
	if host, _, _ := splitListen(cfg.Listen); cfg.Listen != "" && !loopback(host) {
		log.Warn("the NATS listener is open to other machines and asks for no credentials", "listen", cfg.Listen)
	}
	return e, nil
}

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
		JetStreamMaxStore:  e.cfg.MaxStore,
		JetStreamMaxMemory: maxMemoryStore,
		SyncInterval:       2 * time.Minute,
		SyncAlways:         e.cfg.Durability == DurabilityFsync,

		MaxPayload:       int32(e.cfg.MaxPayload + deadHeadroom),
		MaxPending:       maxPending,
		MaxClosedClients: 16, // only the connection list of a monitoring port would show them

		CustomClientAuthentication: e.access,
		DisableJetStreamBanner:     true,
	}
	if !o.DontListen {
		host, port, _ := splitListen(e.cfg.Listen) // Validate has checked it
		if port == 0 {
			port = server.RANDOM_PORT
		}
		o.Host, o.Port = host, port
	}
	return o
}

// refresh makes the server ask access about every connected client again,
// without closing a connection. It does so after a change of any authorization
// option; the one changed here has no effect of its own, since access decides.
func (e *embedded) refresh() error {
	e.reload.Lock()
	defer e.reload.Unlock()
	e.reauth++
	o := e.options()
	if addr := e.addr(); addr != nil {
		o.Port = addr.Port
	}
	o.Authorization = strconv.Itoa(e.reauth)
	if err := e.server.ReloadOptions(o); err != nil {
		return fmt.Errorf("reload permissions of the embedded NATS server: %w", err)
	}
	return nil
}

func (e *embedded) addr() *net.TCPAddr {
	a, _ := e.server.Addr().(*net.TCPAddr)
	return a
}

// clientURL is where an application of this machine connects; "" when nothing listens.
func (e *embedded) clientURL() string {
	a := e.addr()
	if a == nil {
		return ""
	}
	host, _, _ := splitListen(e.cfg.Listen)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// close stops the server, waits for it and frees the store.
func (e *embedded) close() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
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

// checkPort finds a busy port before anything else is touched.
func checkPort(ctx context.Context, listen string) error {
	if listen == "" {
		return nil
	}
	host, port, err := splitListen(listen)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return portBusy(listen, err)
	}
	return l.Close()
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
	info, err := e.server.Jsz(nil)
	if err != nil {
		return 0
	}
	return info.Store
}

// healthy says why the server stores nothing more, nil when it does.
func (e *embedded) healthy() error {
	line := e.logger.broken.Load()
	switch {
	case line != nil && strings.Contains(*line, "no space left"):
		return envErrorf(errors.New(*line), "the disk of store directory %s is full, and topics take nothing until a restart; free some space and restart", e.cfg.StoreDir)
	case line != nil:
		return envErrorf(errors.New(*line), "store directory %s cannot be written, and topics take nothing until a restart: %s", e.cfg.StoreDir, *line)
	case !e.server.JetStreamEnabled():
		return envErrorf(nil, "the embedded NATS server has turned JetStream off (the log says why); restart")
	}
	return nil
}
