package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/ledger"
	"github.com/wasmill/wasmill/runtime/status"
)

const (
	// ledgerEvery is how often the ledger is brought up to date: what was stored
	// since and is damaged by a crash cannot be told from what never was.
	ledgerEvery = time.Second
	// ledgerBudget is how many bytes of blocks are read before the server
	// opens the store; the rest is read while it works, at scrubRate bytes a second.
	ledgerBudget = 512 << 20
	scrubRate    = 64 << 20
	// deletedDetails is up to how many deleted messages a topic is asked every
	// time for what it could not read, since the answer names all of them.
	deletedDetails = 10_000
)

// LossError says that messages that were stored are gone from the store, and
// that nobody has accepted it yet.
type LossError struct {
	StoreDir string
	Losses   []ledger.Loss
}

func (e *LossError) Error() string {
	lines := make([]string, 0, len(e.Losses)+1)
	for _, l := range e.Losses {
		lines = append(lines, describeLoss(&l))
	}
	lines = append(lines, fmt.Sprintf("store directory %s has lost messages, and nothing has been changed in it: put back what was moved or restore a backup, or go on without them by \"wasmill run --accept-loss\"", e.StoreDir))
	return strings.Join(lines, "\n")
}

func describeLoss(l *ledger.Loss) string {
	what := "messages"
	if l.Count == 1 {
		what = "message"
	}
	s := fmt.Sprintf("topic %q has lost %d %s, %s: %s", l.Stream, l.Count, what, ledger.Describe(l.Ranges), l.Cause)
	for _, name := range sortedNames(l.Unread) {
		p, ok := strings.CutPrefix(name, consumerName(""))
		if !ok {
			continue
		}
		switch n := l.Unread[name]; {
		case n == 0:
			s += fmt.Sprintf("; pipeline %q had finished all of it", p)
		case n >= l.Count:
			s += fmt.Sprintf("; pipeline %q had finished none of it", p)
		default:
			s += fmt.Sprintf("; pipeline %q had not finished %d of them", p, n)
		}
	}
	return s
}

func sortedNames(m map[string]uint64) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// keeper keeps the ledger of the embedded server's store. Its methods run one
// after the other: at open, in the goroutine that ticks, at close. Only
// losses and repairs may be read at any time.
type keeper struct {
	log     *slog.Logger
	dir     string // of the streams
	paths   []string
	synced  bool // as the messages are
	book    *ledger.Book
	watcher *ledger.Watcher
	unread  []ledger.Block
	ask     chan chan *ledger.Book // takes requests for a copy of book
	asked   map[string]asked
	failed  string // the last error of a tick, so that it is logged once

	repairs []string
	losses  atomic.Pointer[[]ledger.Loss]
}

// asked is when a topic was asked for what it could not read.
type asked struct {
	deleted int
	at      time.Time
}

func streamsDir(storeDir string) string {
	return filepath.Join(storeDir, "jetstream", "$G", "streams")
}

// openKeeper checks the store against its ledger, before a server opens it, and
// mends what can be mended. Losses that are not accepted are a *LossError; the
// store is as it was then.
func openKeeper(cfg Config, log *slog.Logger) (*keeper, error) {
	k := &keeper{log: log, dir: streamsDir(cfg.StoreDir), synced: cfg.Durability == DurabilityFsync, asked: map[string]asked{}, ask: make(chan chan *ledger.Book)}
	k.paths = []string{filepath.Join(cfg.StoreDir, ledger.Name)}
	if cfg.Ledger != "" {
		k.paths = append(k.paths, cfg.Ledger)
	}
	var err error
	switch k.book, err = ledger.Load(k.paths...); {
	case errors.Is(err, fs.ErrNotExist):
		k.book = ledger.NewBook()
	case errors.Is(err, ledger.ErrDamaged):
		log.Error("what the store should hold is not known: messages that went missing before this start cannot be noticed", "error", err)
		k.book = ledger.NewBook()
	case err != nil:
		return nil, envErrorf(err, "%v", err)
	}
	report, err := ledger.Check(k.dir, k.book, ledger.Options{Internal: []string{stateStream}, Budget: ledgerBudget})
	if err != nil {
		return nil, envErrorf(err, "store directory %s cannot be checked: %v", cfg.StoreDir, err)
	}
	if open := k.book.Unaccepted(); len(open) > 0 {
		if !cfg.AcceptLoss {
			return nil, &LossError{StoreDir: cfg.StoreDir, Losses: open}
		}
		for _, l := range open {
			log.Error("messages are gone from the store; the loss is accepted", "topic", l.Stream, "lost", l.Count, "what", describeLoss(&l))
		}
		k.book.Accept()
	}
	for _, n := range report.Notes {
		log.Warn("the store is not as its ledger says", "what", n)
	}
	k.repairs, k.unread = report.Repairs, report.Unread
	k.book.Clean = false
	if err := k.save(); err != nil {
		return nil, err
	}
	for _, r := range report.Repairs {
		log.Warn("mending the store", "what", r)
	}
	if err := report.Mend(); err != nil {
		return nil, envErrorf(err, "store directory %s cannot be mended: %v; make it writable, or free some space", cfg.StoreDir, err)
	}
	k.watcher = ledger.NewWatcher(k.dir, k.book, stateStream)
	k.publish()
	return k, nil
}

// save writes the ledger. The copy beside the store is a second one, and may fail.
func (k *keeper) save() error {
	if err := k.book.Save(k.synced, k.paths[:1]...); err != nil {
		return envErrorf(err, "the ledger %s cannot be written: %v", k.paths[0], cause(err))
	}
	if len(k.paths) == 1 {
		return nil
	}
	k.book.Edition-- // the same one
	if err := k.book.Save(k.synced, k.paths[1:]...); err != nil {
		k.log.Warn("no copy of the ledger is kept beside the store, so that the loss of the whole store would not be noticed: its directory cannot be written", "path", k.paths[1], "error", cause(err))
		k.paths = k.paths[:1]
	}
	return nil
}

// publish makes the losses visible to others.
func (k *keeper) publish() {
	losses := slices.Clone(k.book.Losses)
	k.losses.Store(&losses)
}

// known are the losses so far.
func (k *keeper) known() []ledger.Loss {
	if l := k.losses.Load(); l != nil {
		return *l
	}
	return nil
}

// lost notes losses that have been found while the server runs.
func (k *keeper) lost(fresh []ledger.Loss) {
	for _, l := range fresh {
		k.log.Error("messages are gone from the store", "topic", l.Stream, "lost", l.Count, "what", describeLoss(&l))
	}
	if len(fresh) > 0 {
		k.publish()
	}
}

// finish closes the ledger behind a server that has stopped.
func (k *keeper) finish() {
	if err := errors.Join(k.watcher.Finish(), k.save()); err != nil {
		k.log.Warn("the ledger of the store could not be closed; the next start checks as after a crash", "error", err)
	}
}

// keepLedger brings the ledger up to date until the broker ends, and reads the
// blocks that were not read at the start.
func (b *Broker) keepLedger(ctx context.Context) {
	k := b.embedded.keeper
	tick := time.NewTicker(ledgerEvery)
	defer tick.Stop()
	allowance := int64(0)
	var reply chan *ledger.Book
	for {
		b.tickLedger(ctx)
		if reply != nil {
			c, err := k.book.Clone()
			k.trouble(err)
			reply <- c // has room
			reply = nil
		}
		for allowance += scrubRate; allowance > 0 && len(k.unread) > 0 && ctx.Err() == nil; {
			allowance -= k.scrub()
		}
		allowance = min(allowance, 0)
		select {
		case <-tick.C:
		case reply = <-k.ask:
		case <-ctx.Done():
			return
		}
	}
}

// scrub reads one more block and returns how many bytes that were.
func (k *keeper) scrub() int64 {
	b := k.unread[len(k.unread)-1]
	k.unread = k.unread[:len(k.unread)-1]
	ranges, size, err := ledger.Scrub(k.dir, b)
	if err != nil {
		k.log.Error("a block of a topic cannot be read", "topic", b.Stream, "block", b.Index, "error", err)
		return 0
	}
	if len(ranges) > 0 {
		if l, ok := k.book.Add(ledger.Loss{Stream: b.Stream, Ranges: ranges, Cause: "damaged on disk", Found: time.Now().UTC()}); ok {
			k.lost([]ledger.Loss{l})
		}
	}
	return size
}

// tickLedger asks the server for the state of its streams and writes it down. A
// server that does not answer is no news: the ledger stays as it is.
func (b *Broker) tickLedger(ctx context.Context) {
	k := b.embedded.keeper
	states, err := b.streamStates(ctx)
	if err != nil {
		if ctx.Err() == nil {
			k.trouble(fmt.Errorf("ask the server for its streams: %w", err))
		}
		return
	}
	fresh, err := k.watcher.Observe(states)
	k.lost(fresh)
	for _, n := range k.watcher.Notes() {
		k.log.Warn("the store is not as its ledger says", "what", n)
	}
	k.trouble(errors.Join(err, k.save()))
}

// trouble logs an error once, until it is another one.
func (k *keeper) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != k.failed && err != nil {
		k.log.Warn("the ledger of the store is not up to date", "error", err)
	}
	k.failed = text
}

// streamList is what the server answers to a request for its streams.
type streamList struct {
	Total   int `json:"total"`
	Limit   int `json:"limit"`
	Streams []struct {
		Config struct {
			Name   string        `json:"name"`
			MaxAge time.Duration `json:"max_age"`
		} `json:"config"`
		State struct {
			First     uint64    `json:"first_seq"`
			FirstTime time.Time `json:"first_ts"`
			Last      uint64    `json:"last_seq"`
			Messages  uint64    `json:"messages"`
			Deleted   int       `json:"num_deleted"`
		} `json:"state"`
	} `json:"streams"`
}

// streamStates asks for the state of every stream.
func (b *Broker) streamStates(ctx context.Context) ([]ledger.State, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	var states []ledger.State
	for {
		var list streamList
		if err := b.request(ctx, "$JS.API.STREAM.LIST", map[string]int{"offset": len(states)}, &list); err != nil {
			return nil, err
		}
		for i := range list.Streams {
			s := &list.Streams[i]
			st := ledger.State{Name: s.Config.Name, First: s.State.First, Last: s.State.Last, Deleted: s.State.Deleted}
			if s.State.Messages == 0 {
				st.First = st.Last + 1
			}
			if s.Config.MaxAge > 0 && s.State.Messages > 0 {
				var err error
				if st.Aged, err = b.aged(ctx, &st, s.State.FirstTime, s.Config.MaxAge); err != nil {
					return nil, err
				}
			}
			if err := b.unreadable(ctx, &st); err != nil {
				return nil, err
			}
			states = append(states, st)
		}
		if len(list.Streams) == 0 || len(states) >= list.Total {
			return states, nil
		}
	}
}

// aged is the sequence up to which a topic's max_age may remove messages within
// the next ten seconds.
func (b *Broker) aged(ctx context.Context, st *ledger.State, first time.Time, maxAge time.Duration) (uint64, error) {
	cutoff := time.Now().Add(10*time.Second - maxAge)
	if first.After(cutoff) {
		return 0, nil
	}
	var resp struct {
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	err := b.request(ctx, "$JS.API.STREAM.MSG.GET."+st.Name, map[string]any{"start_time": cutoff, "next_by_subj": ">", "no_hdr": true}, &resp)
	if errors.Is(err, ErrNotFound) {
		return st.Last, nil
	}
	return max(resp.Message.Seq, 1) - 1, err
}

// unreadable asks a topic what it could not read, when more is missing of it
// than before.
func (b *Broker) unreadable(ctx context.Context, st *ledger.State) error {
	k := b.embedded.keeper
	before := k.asked[st.Name]
	if st.Deleted <= before.deleted || st.Deleted > deletedDetails && time.Since(before.at) < time.Minute {
		if st.Deleted < before.deleted {
			k.asked[st.Name] = asked{st.Deleted, before.at}
		}
		return nil
	}
	var resp struct {
		State struct {
			Lost struct {
				Messages []uint64 `json:"msgs"`
			} `json:"lost"`
		} `json:"state"`
	}
	err := b.request(ctx, "$JS.API.STREAM.INFO."+st.Name, map[string]bool{"deleted_details": true}, &resp)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	k.asked[st.Name] = asked{st.Deleted, time.Now()}
	st.Lost = resp.State.Lost.Messages
	return nil
}

// lossesOf describes what a topic has lost.
func (b *Broker) lossesOf(topic string) (lost uint64, ranges []status.LostRange) {
	if b.embedded == nil {
		return 0, nil
	}
	for _, l := range b.embedded.keeper.known() {
		if l.Stream != topic {
			continue
		}
		lost += l.Count
		for _, r := range l.Ranges {
			ranges = append(ranges, status.LostRange{First: r.First, Last: r.Last, Cause: l.Cause, Found: l.Found, Accepted: l.Accepted})
		}
	}
	return lost, ranges
}

// Lost returns how many events of its topic a pipeline had not finished when
// they were lost. With a filter it may be fewer that it would have read.
func (b *Broker) Lost(pipeline, topic string) (lost uint64) {
	if b.embedded == nil {
		return 0
	}
	for _, l := range b.embedded.keeper.known() {
		if l.Stream == topic {
			lost += l.Unread[consumerName(pipeline)]
		}
	}
	return lost
}
