// Package admin is the HTTP endpoint by which people, scripts and monitoring
// talk to a running Wasmill: health, readiness, metrics and a JSON API, and the
// client of that API which the command line uses.
//
// The endpoint changes pipelines and reads events, so it defends itself: off
// loopback it demands a bearer token, it answers only to the host names it
// listens on (a web page cannot reach it by rebinding a name), it refuses
// requests a browser makes for another site, and every body is bounded.
package admin

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/certificate"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/live"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Config says where the endpoint listens and what it demands.
type Config struct {
	// Listen is host:port; port 0 takes a free one, see Server.URL.
	Listen string
	// Tokens, when there are any, are demanded as "Authorization: Bearer <token>"
	// of every request but those for the page, /healthz and /readyz. Token is one
	// more, of the role admin. Off loopback there must be one.
	Token  string
	Tokens []Token
	// TLSCert and TLSKey are PEM files; with them the endpoint speaks HTTPS. They
	// are read again when they change.
	TLSCert, TLSKey string
	// Hosts are further names that the endpoint may be called by. An endpoint on
	// all addresses takes every name when there are none.
	Hosts []string
	// Session is how long a session lasts that began with a token; 0 is 12 hours.
	Session time.Duration
}

// Validate reports why the endpoint cannot be served like this.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("[admin] listen %q is not host:port", c.Listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("[admin] listen %q: the port is not a number from 0 to 65535", c.Listen)
	}
	if c.Token == "" && len(c.Tokens) == 0 && !isLoopback(host) {
		return fmt.Errorf("[admin] listen %q is reachable from other machines: set [admin] token, or listen on 127.0.0.1", c.Listen)
	}
	_, err = newKeys(&c)
	return err
}

// Pipelines is what the endpoint needs of the engine's pipelines.
type Pipelines interface {
	Pipeline(name string) (status.Pipeline, error)
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	// Replay runs events through the stages once more; PreviewReplay counts them.
	PreviewReplay(ctx context.Context, name string, r ReplayRequest) (status.Replayed, error)
	Replay(ctx context.Context, name string, r ReplayRequest) (status.Replayed, error)
	// Drain pauses and waits until nothing is in flight, or ctx ends.
	Drain(ctx context.Context, name string) error
	PreviewReset(ctx context.Context, name, to string) (status.Reset, error)
	Reset(ctx context.Context, name, to string) (uint64, error)
}

// Plugins is what it needs of the engine's plugins.
type Plugins interface {
	Plugins(ctx context.Context) []status.Plugin
	Rollback(ctx context.Context, plugin string) (status.Generation, error)
	Module(plugin string) ([]byte, error) // that it runs
}

// Topics reads topics by direct get: looking at a topic makes no consumer.
type Topics interface {
	Topics(ctx context.Context) ([]status.Topic, error)
	Topic(ctx context.Context, name string) (status.Topic, error)
	// Next returns the first message at or behind fromSeq whose subject matches
	// the filter ("" = all).
	Next(ctx context.Context, topic string, fromSeq uint64, subject string) (status.Message, error)
	// LastSeq is the highest sequence that the topic has given.
	LastSeq(ctx context.Context, topic string) (uint64, error)
	SeqAt(ctx context.Context, topic string, t time.Time) (uint64, error)
}

// Publisher stores messages in one topic. Flush waits until all are confirmed.
type Publisher interface {
	Add(ctx context.Context, m *event.Output) (uint64, error)
	Flush(ctx context.Context) error
	Close() error
}

// DeadLetters is what it needs of the dead-letter topic.
type DeadLetters interface {
	List(ctx context.Context, f status.DeadLetterFilter) ([]status.DeadLetter, error)
	Show(ctx context.Context, id uint64) (status.DeadLetter, error)
	// Redrive publishes the originals to their source topics again and removes
	// the records; Purge removes them. Both take those with the ids, or, when
	// there are none, those that the filter chooses, and return how many.
	Redrive(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (int, error)
	// RedriveSome does so for at most f.Limit, at most rate a second; Tally says
	// what it would do.
	RedriveSome(ctx context.Context, ids []uint64, f status.DeadLetterFilter, rate float64) (status.Redriven, error)
	Tally(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (status.Redriven, error)
	Purge(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (int, error)
	// RedriveEdited redrives one whose original is changed first, and returns the
	// sequence at which that is stored.
	RedriveEdited(ctx context.Context, id uint64, edit status.Edit) (uint64, error)
}

// Deps are the rooms behind the endpoint. All fields but the last four are required.
type Deps struct {
	Status      func(ctx context.Context) status.Status
	Pipelines   Pipelines
	Plugins     Plugins
	Topics      Topics
	Publisher   func(ctx context.Context, topic string) (Publisher, error)
	DeadLetters DeadLetters
	Audit       Audit // nil keeps none
	Reload      func(ctx context.Context) ([]plan.Change, error)
	// Drain has the process end as a signal would: it finishes what is in flight.
	// who is in the audit log for it.
	Drain func(who status.AuditRecord)
	// Plan says what taking a configuration would change; text nil is that of
	// the instance's own file. A configuration that is not valid is no error.
	Plan func(ctx context.Context, text *string) (status.Plan, error)
	// Apply takes the file as it is, under the conditions of the request.
	Apply   func(ctx context.Context, r ApplyRequest) (status.Applied, error)
	Backup  func(ctx context.Context, w io.Writer) error
	Config  func(ctx context.Context) (status.Configuration, error)
	Metrics http.Handler
	Live    *live.Live  // what happened lately
	Taps    *event.Taps // where events can be looked at
	// StatusOf maps an error of the above to an HTTP status; 0 means 500.
	StatusOf func(error) int
	Version  string
	Log      *slog.Logger
}

// ListenError says that the endpoint's address cannot be used: an error of the
// environment, not of the configuration.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("admin endpoint: listen on %s: %v: stop what uses it, or set [admin] listen", e.Addr, rootCause(e.Err))
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// EnvError marks the error as one of the environment.
func (e *ListenError) EnvError() bool { return true }

// CertificateError says that the endpoint's certificate cannot be used: an error
// of the environment.
type CertificateError struct{ Err error }

func (e *CertificateError) Error() string { return "[admin] tls_cert: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *CertificateError) Unwrap() error { return e.Err }

// Server is the endpoint. New does no I/O, Open listens, Close waits.
type Server struct {
	cfg    Config
	access *access
	deps   Deps
	log    *slog.Logger

	backingUp atomic.Bool
	turns     turns
	streams   atomic.Int64 // of server-sent events that are open
	pictures  *live.Pictures
	assets    assets

	mu struct {
		sync.Mutex
		ln     net.Listener
		scheme string
		srv    *http.Server
		cancel context.CancelFunc // ends the streams
		done   chan struct{}      // closed when Serve has returned
	}
}

// New returns a Server that is not listening yet.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.StatusOf == nil {
		deps.StatusOf = func(error) int { return 0 }
	}
	if deps.Version == "" {
		deps.Version = "unknown" // the header must be there: the client knows a Wasmill by it
	}
	if deps.Audit == nil {
		deps.Audit = noAudit{}
	}
	if deps.Live == nil {
		deps.Live = live.New()
	}
	if deps.Taps == nil {
		deps.Taps = event.NewTaps()
	}
	keys, err := newKeys(&cfg)
	if err != nil {
		return nil, err
	}
	ui, err := newAssets()
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, access: newAccess(keys, cmp.Or(cfg.Session, defaultSession), deps.Log), deps: deps, log: deps.Log, assets: ui,
		pictures: live.NewPictures(deps.Status, pictureEvery),
	}, nil
}

// Timeouts and limits of the server.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second // reading one bounded body
	writeTimeout  = 30 * time.Second // one response
	actionTimeout = 10 * time.Minute // one that changes something, such as a redrive of many
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 3 * time.Second
	maxHeaders    = 16 << 10
)

// Open listens and starts to serve. A busy port is a *ListenError.
func (s *Server) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.srv != nil {
		return errors.New("admin endpoint: is open already")
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return &ListenError{Addr: s.cfg.Listen, Err: err}
	}
	pair, err := certificate.Open(s.cfg.TLSCert, s.cfg.TLSKey, s.log)
	if err != nil {
		_ = ln.Close()
		return &CertificateError{err}
	}
	if s.mu.scheme = "http://"; pair != nil {
		s.mu.scheme = "https://"
		ln = tls.NewListener(ln, &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: pair.Get, NextProtos: []string{"http/1.1"},
		})
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	srv := &http.Server{
		Handler:           s.guard(s.serveMux()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaders,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the admin endpoint has ended", "err", err)
		}
	}()
	s.mu.ln, s.mu.srv, s.mu.cancel, s.mu.done = ln, srv, cancel, done
	return nil
}

// PrepareTokens checks tokens, see Config, and returns what makes them those of
// the endpoint. What is served to a token, or to a session, that is none any
// more ends then.
func (s *Server) PrepareTokens(token string, tokens []Token) (set func(), err error) {
	cfg := s.cfg
	cfg.Token, cfg.Tokens = token, tokens
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k, err := newKeys(&cfg)
	if err != nil {
		return nil, err
	}
	return func() { s.access.set(k) }, nil
}

// URL returns the base URL of the open endpoint, "" before Open.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ln == nil {
		return ""
	}
	return s.mu.scheme + s.mu.ln.Addr().String()
}

// Close stops listening, ends the streams, lets running requests finish for a
// few seconds and waits for all of them. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	srv, cancel, done := s.mu.srv, s.mu.cancel, s.mu.done
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	cancel()
	ctx, stop := context.WithTimeout(context.Background(), closeTimeout)
	defer stop()
	err := srv.Shutdown(ctx)
	if err != nil {
		err = srv.Close()
	}
	<-done
	return err
}

// rootCause returns the innermost error, which is the readable one of a chain
// of net errors.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
