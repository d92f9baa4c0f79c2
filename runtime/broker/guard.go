package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// guard keeps the promise of the embedded server's store: what it cannot store
// is refused, never left without an answer, and it stores again by itself soon
// after it could.
//
//	storing ── little space left ──────► refusing ── space again ───────────► storing;
//	        ── a write or sync failed, ► refusing ── a trial write ► restart ► storing
//	           or JetStream is off                   succeeds
//
// The server remembers a failed write until it is restarted. The restart happens
// inside this process, on the same port: connections find the new server by
// themselves, sources and sinks go on where they were. Invariant A1 does not
// rest on the guard: what a server cannot write it does not acknowledge.
type guard struct {
	e   *embedded
	log *slog.Logger

	// Owned by watch's goroutine.
	tries  int       // to restart, since the store was last well for a while
	next   time.Time // not before
	stored time.Time // since when it stores, zero while it refuses

	mu struct {
		sync.Mutex
		trouble  error // why nothing is stored, nil when it is
		free     int64
		restarts int
	}
}

const (
	// probeAgain is the time between two trial writes.
	probeAgain = time.Second
	// lastRestart is the longest pause before a restart after a disk was full;
	// recovery is promised within ten seconds.
	lastRestart = 3 * time.Second
	// lastRetry is that after other failures: a disk that fails again and again
	// must not cut everybody off every few seconds.
	lastRetry = time.Minute
	// wellAfter is how long the store must be well for the next failure to be a
	// new one.
	wellAfter = time.Minute
)

// watch guards until ctx ends.
func (g *guard) watch(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.e.hurt:
		case <-pause.C:
		}
		pause.Reset(g.look(ctx))
	}
}

// look looks once, does what is to be done, and says when to look again.
func (g *guard) look(ctx context.Context) time.Duration {
	s, err := freeSpace(g.e.cfg.StoreDir)
	if err != nil {
		s = space{} // whatever it is, nothing can be written there
		err = envErrorf(err, "store directory %s is out of reach: %v; topics refuse messages until it is back", g.e.cfg.StoreDir, cause(err))
	}
	g.mu.Lock()
	g.mu.free = s.free
	refusing := g.mu.trouble != nil
	g.mu.Unlock()

	if broken := g.broken(); broken != nil {
		g.refuse(broken)
		g.tryRestart(ctx, s, err)
		return g.e.cfg.timing.look
	}
	if err == nil && s.short(refusing) {
		err = envErrorf(nil, "the disk of store directory %s is full (%s free, of which %s are kept back): topics refuse messages, and take them again when there is space",
			g.e.cfg.StoreDir, bytesText(s.free), bytesText(s.reserve()))
	}
	if err == nil {
		err = g.spent()
	}
	if err != nil {
		g.refuse(err)
		return g.e.cfg.timing.look
	}
	g.accept()
	if s.near() {
		return g.e.cfg.timing.look / 4
	}
	return g.e.cfg.timing.look
}

// broken says that the server stores nothing more until it is restarted.
func (g *guard) broken() error {
	dir := g.e.cfg.StoreDir
	line := g.e.life().logger.broken.Load()
	switch {
	case line == nil && g.e.current().JetStreamEnabled():
		return nil
	case line == nil:
		return envErrorf(nil, "the embedded NATS server has turned JetStream off (the log says why); it is restarted by itself")
	case outOfSpace(*line):
		return envErrorf(errors.New(*line), "the disk of store directory %s is full: topics refuse messages, and take them again when there is space", dir)
	default:
		return envErrorf(errors.New(*line), "store directory %s cannot be written (%s): topics refuse messages until it can; check the disk", dir, *line)
	}
}

func outOfSpace(line string) bool {
	return strings.Contains(line, "no space left") || strings.Contains(line, "quota exceeded")
}

// spent says that max_store is in use.
func (g *guard) spent() error {
	logger := g.e.life().logger
	if !logger.spent.Load() {
		return nil
	}
	if g.e.storeBytes() <= uint64(g.e.cfg.MaxStore) {
		logger.spent.Store(false)
		return nil
	}
	return envErrorf(nil, "the topics use all of server.max_store (%s): they refuse messages until some are deleted or expire; raise server.max_store, or give topics a max_bytes or max_age",
		bytesText(g.e.cfg.MaxStore))
}

// refuse makes every publish be answered with an error.
func (g *guard) refuse(why error) {
	g.mu.Lock()
	before := g.mu.trouble
	g.mu.trouble = why
	g.mu.Unlock()
	if before == nil {
		if err := g.e.refuse(); err != nil && g.e.current().JetStreamEnabled() {
			g.log.Error("messages are not refused in good order", "error", err)
		}
	}
	g.stored = time.Time{}
	// The space that is left is in the text and changes.
	if before == nil || kind(before) != kind(why) {
		g.log.Error("the store takes no messages", "error", why)
	}
}

// kind is what a trouble is, whatever figures are in it.
func kind(err error) string {
	text, _, _ := strings.Cut(err.Error(), "(")
	return text
}

// accept takes messages again.
func (g *guard) accept() {
	g.mu.Lock()
	refused := g.mu.trouble != nil
	g.mu.Unlock()
	if refused {
		if err := g.e.accept(); err != nil {
			g.log.Error("the store stays closed", "error", err)
			return
		}
		g.mu.Lock()
		g.mu.trouble = nil
		g.mu.Unlock()
		g.log.Info("the store takes messages again")
	}
	switch {
	case g.stored.IsZero():
		g.stored = time.Now()
	case time.Since(g.stored) > wellAfter:
		g.tries = 0
	}
}

// tryRestart restarts the server when the disk can be written again. s is its
// space, or err why it is not known.
func (g *guard) tryRestart(ctx context.Context, s space, err error) {
	now := time.Now()
	if g.next.IsZero() {
		g.next = now.Add(g.pause())
	}
	if err != nil || s.short(true) || now.Before(g.next) {
		return
	}
	if err := probe(g.e.cfg.StoreDir); err != nil {
		g.log.Debug("the store cannot be written yet", "error", err)
		g.next = now.Add(probeAgain)
		return
	}
	g.next = time.Time{}
	g.tries++
	if err := g.restart(ctx); err != nil && ctx.Err() == nil {
		g.log.Error("the embedded NATS server could not be restarted, and will be tried again", "error", err)
	}
}

// pause is how long to wait before the next restart: the longer, the more of
// them have not helped.
func (g *guard) pause() time.Duration {
	last := lastRetry
	if line := g.e.life().logger.broken.Load(); line != nil && outOfSpace(*line) {
		last = lastRestart
	}
	return min(g.e.cfg.timing.restart<<min(g.tries, 10), last)
}

// restart replaces the server by a new one.
func (g *guard) restart(ctx context.Context) error {
	start := time.Now()
	g.e.stop()
	if g.e.life().logger.unsynced.Load() {
		n, err := rewriteUnsynced(g.e.cfg.StoreDir, start.Add(-unsyncedWindow(g.e.cfg.Durability)))
		if err != nil {
			return err
		}
		g.log.Warn("a sync had failed: what may not be on disk was written again", "blocks", n)
	}
	if err := g.e.start(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	g.mu.restarts++
	g.mu.Unlock()
	if err := g.e.recovered(); err != nil {
		g.e.life().logger.fail(err.Error())
		return errors.Join(err, g.e.refuse())
	}
	g.log.Warn("the embedded NATS server was restarted after its store had failed", "took", time.Since(start).Round(time.Millisecond))
	g.accept()
	return nil
}

// trouble says why nothing is stored, nil when it is.
func (g *guard) trouble() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.trouble
}

// describe says what the guard knows.
func (g *guard) describe(s *status.Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Storing, s.StoreFree, s.StoreRestarts = g.mu.trouble == nil, uint64(max(0, g.mu.free)), g.mu.restarts
	if g.mu.trouble != nil {
		s.StorageTrouble = g.mu.trouble.Error()
	}
}

// bytesText is a size for people.
func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
