package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLogger is the embedded server's logger: warnings and errors go to slog.
// Some things are told to nobody but the logger, and kept here: a failure to
// start (Fatalf, after which the server lives on half started); a failure to
// write or sync, after which a stream stores nothing more and answers no publish
// until a restart; and that all of max_store is in use.
type serverLogger struct {
	log    *slog.Logger
	hurt   func()                 // called when broken or spent is set
	fatal  chan string            // the first failure to start
	broken atomic.Pointer[string] // the first failure to write or sync
	spent  atomic.Bool            // max_store is in use; who finds that it is not any more clears it

	unsynced atomic.Bool // a sync has failed: what was written before may never reach the disk
	mu       struct {
		sync.Mutex
		window  time.Time // start of the current clientWindow
		clients int       // lines about clients in it
	}
}

// What one client does wrong must not fill the log: of lines about clients
// only so many in a window are written, and how many were not.
const (
	clientWindow = 10 * time.Second
	clientLines  = 20
)

var _ server.Logger = (*serverLogger)(nil)

func newServerLogger(log *slog.Logger, hurt func()) *serverLogger {
	return &serverLogger{log: log, hurt: hurt, fatal: make(chan string, 1)}
}

func (l *serverLogger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}

func (l *serverLogger) Errorf(format string, v ...any) {
	line := oneLine(format, v...)
	if strings.Contains(line, "cid:") { // the server puts the client's id in front
		l.client(line)
		return
	}
	switch {
	case strings.Contains(line, "ritical write error"):
		if strings.Contains(line, "error: sync ") { // as os.File.Sync words it
			l.unsynced.Store(true)
		}
		l.fail(line)
	case strings.Contains(line, "resource limits exceeded for server"):
		l.spent.Store(true)
		l.hurt()
		return // the guard says it, with what to do
	}
	l.log.Error("nats server", "message", line)
}

// fail notes why nothing is stored any more.
func (l *serverLogger) fail(line string) {
	if l.broken.CompareAndSwap(nil, &line) {
		l.hurt()
	}
}

func (l *serverLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // deadHeadroom above 8 MiB is deliberate
	}
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // the runtime's own is made at each start; others come from where secrets are
	}
	line := oneLine(format, v...)
	switch {
	case strings.Contains(line, "cid:"):
		l.client(line)
		return
	case strings.Contains(line, "limits exceeded for account"), strings.Contains(line, "account limits exceeded"):
		return // what the guard does; it has said why
	case aboutIndex(line):
		l.log.Debug("nats server", "message", line)
		return
	}
	l.log.Warn("nats server", "message", line)
}

// aboutIndex says that a line is about index.db of a stream or the like, which is
// older than the messages after every crash. It is made anew from them; whether
// they are all there the ledger knows.
func aboutIndex(line string) bool {
	return strings.Contains(line, "] Stream state ") || strings.Contains(line, "tate from index errored") ||
		strings.Contains(line, "tate is outdated; attempting to recover")
}

func (l *serverLogger) client(line string) {
	now := time.Now()
	l.mu.Lock()
	left := 0
	if now.Sub(l.mu.window) >= clientWindow {
		left = l.mu.clients - clientLines
		l.mu.window, l.mu.clients = now, 0
	}
	l.mu.clients++
	write := l.mu.clients <= clientLines
	l.mu.Unlock()
	if left > 0 {
		l.log.Warn("nats server: further lines about clients were left out", "lines", left)
	}
	if write {
		l.log.Warn("nats server: a client is refused or lost", "message", line)
	}
}

func (l *serverLogger) Noticef(string, ...any) {}
func (l *serverLogger) Debugf(string, ...any)  {}
func (l *serverLogger) Tracef(string, ...any)  {}

func oneLine(format string, v ...any) string {
	return strings.Join(strings.Fields(fmt.Sprintf(format, v...)), " ")
}
