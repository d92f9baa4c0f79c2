// Command count is a plugin that counts the requests and the errors of each host
// in windows of event time: the time in the logs, not that of a clock.
//
//	window   = "1m"    # length of a window
//	lateness = "10s"   # how long after its end a window waits for late lines
//
// A window of a host ends when a request of that host is later than its end by
// lateness; then its counts are emitted. What comes later still is dropped and
// counted (late_total).
//
// The counts are in memory: they end with the instance. When it ends in order,
// at a reload or a stop, the open windows are emitted with "partial":true, and
// the instance that follows counts on with another part. After a crash the open
// windows are lost; the requests are still in their topic.
package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.HandleConfig(open) }

type config struct {
	Window   time.Duration
	Lateness time.Duration
}

// counter is one instance. It serves one partition, in which all requests of a
// host are, because the pipeline's key is the host.
type counter struct {
	window, lateness int64 // seconds
	hosts            map[string]*host
}

type host struct {
	latest  int64 // time of the latest request
	closed  int64 // windows that began before this have been emitted
	windows map[int64]*counts
}

type counts struct {
	requests, errors int64
	paths            map[string]int64 // errors by path
}

// maxPaths bounds what is kept of a window, whatever clients ask for.
const maxPaths = 100

var late = sdk.NewCounter("late_total")

var errLate = sdk.DropBecause("its window has been emitted")

func open(in *sdk.Instance, c config) (sdk.Handler, error) {
	n := counter{window: 60, lateness: int64(c.Lateness / time.Second), hosts: map[string]*host{}}
	if c.Window != 0 {
		n.window = int64(c.Window / time.Second)
	}
	if n.window < 1 || n.lateness < 0 {
		return nil, errors.New("config: window is at least a second and lateness not negative")
	}
	in.OnClose(n.rest)
	return n.count, nil
}

func (n *counter) count(e *sdk.Event, out *sdk.Out) error {
	name := string(e.Find("/host").Bytes())
	at, ok := e.Find("/at").Int()
	status, known := e.Find("/status").Int()
	if name == "" || !ok || !known {
		return sdk.DeadLetterBecause("a request has host, at and status")
	}
	h := n.hosts[name]
	if h == nil {
		h = &host{windows: map[int64]*counts{}}
		n.hosts[name] = h
	}
	start := at - at%n.window
	if start < h.closed {
		late.Inc()
		return errLate
	}
	w := h.windows[start]
	if w == nil {
		w = &counts{paths: map[string]int64{}}
		h.windows[start] = w
	}
	w.requests++
	if status >= 500 {
		w.errors++
		if path := string(e.Find("/path").Bytes()); w.paths[path] > 0 || len(w.paths) < maxPaths {
			w.paths[path]++
		}
	}
	h.latest = max(h.latest, at)
	for _, s := range h.due(h.latest - n.lateness - n.window) {
		n.emit(out, name, s, h.windows[s], false)
		delete(h.windows, s)
		h.closed = max(h.closed, s+n.window)
	}
	return nil
}

// due returns the windows that began at last or before, the oldest first.
func (h *host) due(last int64) []int64 {
	var starts []int64
	for s := range h.windows {
		if s <= last {
			starts = append(starts, s)
		}
	}
	slices.Sort(starts)
	return starts
}

// rest emits what is open when the instance ends.
func (n *counter) rest(out *sdk.Out) error {
	names := make([]string, 0, len(n.hosts))
	for name := range n.hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := n.hosts[name]
		for _, s := range h.due(1 << 62) {
			n.emit(out, name, s, h.windows[s], true)
		}
	}
	return nil
}

func (n *counter) emit(out *sdk.Out, name string, start int64, w *counts, partial bool) {
	b := append([]byte(`{"host":"`), name...)
	b = append(b, `","from":"`...)
	b = time.Unix(start, 0).UTC().AppendFormat(b, time.RFC3339)
	b = append(b, `","requests":`...)
	b = strconv.AppendInt(b, w.requests, 10)
	b = append(b, `,"errors":`...)
	b = strconv.AppendInt(b, w.errors, 10)
	if w.errors > 0 {
		b = append(b, `,"worst":"`...)
		b = append(b, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w.worst())...)
		b = append(b, '"')
	}
	if partial {
		b = append(b, `,"partial":true`...)
	}
	out.Emit(sdk.Message{Subject: "minutes." + name, Payload: append(b, '}')})
}

// worst is the path with the most errors, of several the first by name.
func (w *counts) worst() string {
	worst := ""
	for path, n := range w.paths {
		if most := w.paths[worst]; n > most || n == most && path < worst {
			worst = path
		}
	}
	return worst
}

func main() {}
