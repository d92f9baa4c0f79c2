// Package live keeps what those who look at a running Wasmill want to see of
// the last minutes: what plugins logged, and what happened to plugins,
// configuration and pipelines. It holds it in rings, for everybody at once; a
// reader is nothing but a place in them, so that one who is slow, or gone
// without a word, costs nothing.
package live

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/runtime/event"
)

// Bounds of the rings.
const (
	maxLines      = 5000
	maxLineBytes  = 2 << 20
	maxLine       = 8 << 10 // of one line; the host cuts lines as well
	maxHappenings = 1000
	maxTextBytes  = 512 << 10
)

// Line is one line that a plugin has logged.
type Line struct {
	Time      time.Time `json:"time"`
	Level     int       `json:"level"` // as in log/slog
	Plugin    string    `json:"plugin"`
	Pipeline  string    `json:"pipeline"`
	Partition int       `json:"partition"`
	Line      string    `json:"line"`
}

// Kinds of a Happening.
const (
	KindReload = "reload" // a plugin or the configuration was replaced, refused or rolled back
	KindState  = "state"  // a pipeline has changed its state
)

// Happening is something that happened to a plugin, the configuration or a
// pipeline.
type Happening struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	What   string    `json:"what"` // "plugin", "config" or "pipeline"
	Name   string    `json:"name"`
	Result string    `json:"result"` // "ok", "failed" or "rolled_back"; of a pipeline its state
	Digest string    `json:"digest,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// Live is what happened lately. Safe for concurrent use.
type Live struct {
	boot string // of this Live: what an earlier process has numbered means nothing here

	mu struct {
		sync.Mutex
		lines      ring[Line]
		happenings ring[Happening]
		moved      chan struct{} // closed when there is something new, if somebody waits
	}
}

// New returns a Live in which nothing has happened.
func New() *Live {
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	l := &Live{boot: hex.EncodeToString(id[:])}
	l.mu.lines = newRing[Line](maxLines, maxLineBytes)
	l.mu.happenings = newRing[Happening](maxHappenings, maxTextBytes)
	return l
}

// Listener hears what is kept.
func (l *Live) Listener() event.Listener {
	return event.Listener{
		Log: func(pipeline, plugin string, partition, level int, line string) {
			r := Line{Time: time.Now(), Level: level, Plugin: plugin, Pipeline: pipeline, Partition: partition, Line: text(line)}
			l.add(func() { l.mu.lines.add(r, len(r.Line)+len(plugin)+len(pipeline)+64) })
		},
		Reload: func(what, name, digest, result string, err error) {
			l.happened(Happening{Kind: KindReload, What: what, Name: name, Digest: digest, Result: result}, err)
		},
		PipelineState: func(pipeline, state string, err error) {
			l.happened(Happening{Kind: KindState, What: "pipeline", Name: pipeline, Result: state}, err)
		},
	}
}

func (l *Live) happened(h Happening, err error) {
	h.Time = time.Now()
	if err != nil {
		h.Error = text(err.Error())
	}
	l.add(func() { l.mu.happenings.add(h, len(h.Error)+len(h.Name)+128) })
}

// text is a copy of s that is valid UTF-8 and no longer than a line may be.
func text(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "…"
	}
	if !utf8.ValidString(s) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.Clone(s)
}

func (l *Live) add(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	if l.mu.moved != nil {
		close(l.mu.moved)
		l.mu.moved = nil
	}
}

// Moved returns a channel that is closed when something new is there.
func (l *Live) Moved() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.moved == nil {
		l.mu.moved = make(chan struct{})
	}
	return l.mu.moved
}

// Place is how far a reader has got. The zero Place is the beginning of what is
// kept.
type Place struct {
	boot              string
	lines, happenings uint64
}

// String is the place as it travels in the id of an event.
func (p Place) String() string { return fmt.Sprintf("%s.%d.%d", p.boot, p.lines, p.happenings) }

// PlaceOf reads a place; what another process has said is the beginning.
func (l *Live) PlaceOf(s string) Place {
	boot, rest, _ := strings.Cut(s, ".")
	lines, happenings, _ := strings.Cut(rest, ".")
	a, err1 := strconv.ParseUint(lines, 10, 64)
	b, err2 := strconv.ParseUint(happenings, 10, 64)
	if boot != l.boot || err1 != nil || err2 != nil {
		return Place{boot: l.boot}
	}
	return Place{boot: l.boot, lines: a, happenings: b}
}

// News is what a reader has not seen yet.
type News struct {
	Lines      []Line
	Happenings []Happening
	Missed     uint64 // how many were gone before the reader came for them
}

// After returns what came behind a place, at most n of a kind, and the new place.
func (l *Live) After(p Place, n int) (News, Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var news News
	var missed uint64
	p.boot = l.boot
	begin := p == Place{boot: l.boot} // what was before is nothing that this reader has missed
	news.Lines, p.lines, news.Missed = l.mu.lines.after(p.lines, n)
	news.Happenings, p.happenings, missed = l.mu.happenings.after(p.happenings, n)
	news.Missed += missed
	if begin {
		news.Missed = 0
	}
	return news, p
}
