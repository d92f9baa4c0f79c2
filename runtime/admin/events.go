package admin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/live"
)

// What a stream of events can have.
const (
	feedStatus  = "status"
	feedLogs    = "logs"
	feedHistory = "history"
)

const (
	pictureEvery = time.Second
	gather       = 100 * time.Millisecond // what comes so soon after each other is sent together
	newsAtOnce   = 200
)

// events streams what happens to the whole instance as server-sent events:
//
//	status   the picture of the instance, once a second: whole at first, then what has changed
//	logs     lines that plugins have logged
//	history  reloads of plugins and configuration, changes of pipelines' states
//	missed   how many of those were gone before the reader came for them
//
// Query: kinds, some of the first three between commas (all when absent), and
// plugin, to have the lines of one plugin only. Last-Event-ID makes logs and
// history go on where a broken stream has ended.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	kinds := strings.Split(q.Get("kinds"), ",")
	if q.Get("kinds") == "" {
		kinds = []string{feedStatus, feedLogs, feedHistory}
	}
	for _, k := range kinds {
		if k != feedStatus && k != feedLogs && k != feedHistory {
			s.fail(w, failure(http.StatusBadRequest, "kinds has %q: it is some of status, logs, history, between commas", k))
			return
		}
	}
	st, ok := s.openStream(w)
	if !ok {
		return
	}
	defer st.close()
	f := feed{
		s: s, st: st, plugin: q.Get("plugin"), place: s.deps.Live.PlaceOf(r.Header.Get("Last-Event-ID")),
		logs: slices.Contains(kinds, feedLogs), history: slices.Contains(kinds, feedHistory),
	}
	pictures := slices.Contains(kinds, feedStatus)
	tick := time.NewTicker(pictureEvery)
	defer tick.Stop()
	for {
		moved := s.deps.Live.Moved()
		if f.news() != nil || pictures && f.picture(r) != nil || st.flush() != nil {
			return
		}
		if !f.logs && !f.history {
			moved = nil
		}
		select {
		case <-tick.C:
		case <-moved:
			wait := time.NewTimer(gather)
			select {
			case <-wait.C:
			case <-r.Context().Done():
				wait.Stop()
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// feed is one reader of events.
type feed struct {
	s             *Server
	st            *stream
	plugin        string
	logs, history bool
	place         live.Place
	seen          uint64 // number of the last picture
}

// news sends what was logged and what happened since the last call.
func (f *feed) news() error {
	for {
		news, next := f.s.deps.Live.After(f.place, newsAtOnce)
		if next == f.place {
			return nil
		}
		if f.plugin != "" {
			news.Lines = slices.DeleteFunc(news.Lines, func(l live.Line) bool { return l.Plugin != f.plugin })
		}
		f.place = next
		if f.logs && len(news.Lines) > 0 {
			if err := f.st.value(feedLogs, next.String(), news.Lines); err != nil {
				return err
			}
		}
		if f.history && len(news.Happenings) > 0 {
			if err := f.st.value(feedHistory, next.String(), news.Happenings); err != nil {
				return err
			}
		}
		if news.Missed > 0 {
			if err := f.st.value("missed", next.String(), Count{int(news.Missed)}); err != nil {
				return err
			}
		}
	}
}

// picture sends the status when there is a new one.
func (f *feed) picture(r *http.Request) error {
	data, n, err := f.s.pictures.Next(r.Context(), f.seen)
	if err != nil || n == f.seen {
		return err
	}
	f.seen = n
	return f.st.event(feedStatus, "", data)
}
