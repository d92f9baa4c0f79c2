package broker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLogger is the embedded server's logger: warnings and errors go to slog.
// A failure to start reaches only Fatalf, after which the server lives on half
// started; fatal keeps the first of them for Open.
type serverLogger struct {
	log   *slog.Logger
	fatal chan string
	once  sync.Once
}

var _ server.Logger = (*serverLogger)(nil)

func newServerLogger(log *slog.Logger) *serverLogger {
	return &serverLogger{log: log, fatal: make(chan string, 1)}
}

func (l *serverLogger) Fatalf(format string, v ...any) {
	l.once.Do(func() { l.fatal <- fmt.Sprintf(format, v...) })
}

func (l *serverLogger) Errorf(format string, v ...any) {
	l.log.Error("nats server: " + oneLine(format, v...))
}

func (l *serverLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // deadHeadroom above 8 MiB is deliberate
	}
	l.log.Warn("nats server: " + oneLine(format, v...))
}

func (l *serverLogger) Noticef(string, ...any) {}
func (l *serverLogger) Debugf(string, ...any)  {}
func (l *serverLogger) Tracef(string, ...any)  {}

func oneLine(format string, v ...any) string {
	return strings.Join(strings.Fields(fmt.Sprintf(format, v...)), " ")
}
