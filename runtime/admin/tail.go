package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// How often a stream that has shown everything looks for more: soon after the
// last message, ever more rarely while nothing comes.
const (
	minPoll     = 5 * time.Millisecond
	maxPoll     = 200 * time.Millisecond
	flushBytes  = 32 << 10
	streamWrite = 10 * time.Second // a reader that takes nothing for so long is cut off
)

// tailQuery is what a tail request asks for.
type tailQuery struct {
	from    string // "new", "all", a sequence, "-N" for the last N, or an RFC 3339 time
	subject string
	limit   int // 0 = no limit
	follow  bool
}

func parseTail(r *http.Request) (tailQuery, error) {
	q := r.URL.Query()
	t := tailQuery{from: q.Get("from"), subject: q.Get("subject"), follow: q.Get("follow") != "false"}
	if t.from == "" {
		t.from = "new"
	}
	if t.subject != "" {
		if err := event.CheckFilter(t.subject); err != nil {
			return t, failure(http.StatusBadRequest, "%v", err)
		}
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return t, failure(http.StatusBadRequest, "limit %q is not a number above 0", v)
		}
		t.limit = n
	}
	return t, nil
}

// start returns the sequence a tail begins at.
func (s *Server) start(r *http.Request, topic, from string) (uint64, error) {
	t, err := s.deps.Topics.Topic(r.Context(), topic)
	if err != nil {
		return 0, err
	}
	switch from {
	case "new":
		return t.LastSeq + 1, nil
	case "all":
		return max(t.FirstSeq, 1), nil
	}
	if last, ok := strings.CutPrefix(from, "-"); ok {
		if n, err := strconv.ParseUint(last, 10, 64); err == nil {
			return max(t.LastSeq+1-min(n, t.LastSeq), t.FirstSeq, 1), nil
		}
	}
	if n, err := strconv.ParseUint(from, 10, 64); err == nil {
		return max(n, t.FirstSeq, 1), nil
	}
	if at, err := time.Parse(time.RFC3339, from); err == nil {
		seq, err := s.deps.Topics.SeqAt(r.Context(), topic, at)
		if s.statusOf(err) == http.StatusNotFound {
			return t.LastSeq + 1, nil
		}
		return seq, err
	}
	return 0, failure(http.StatusBadRequest,
		"from %q is not new, all, a sequence, -N for the last N, or an RFC 3339 time", from)
}

// tail streams the messages of a topic as NDJSON. It reads by direct get, so
// that looking never takes part in delivery, and ends when the client leaves,
// the limit is reached, the server closes, or all is shown and follow=false.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	s.follow(w, r, r.PathValue("name"), func(m *status.Message) (any, bool) { return m, true })
}

// follow streams what show makes of each message that it wants to be shown.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, topic string, show func(*status.Message) (line any, ok bool)) {
	q, err := parseTail(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	next, err := s.start(r, topic, q.from)
	if err != nil {
		s.fail(w, err)
		return
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, flushBytes)
	flush := func() error {
		return errors.Join(rc.SetWriteDeadline(time.Now().Add(streamWrite)), out.Flush(), rc.Flush())
	}
	if flush() != nil { // the client knows at once that it is listening
		return
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	timer := time.NewTimer(maxPoll)
	defer timer.Stop()
	poll := minPoll
	for shown := 0; ; {
		m, err := s.deps.Topics.Next(r.Context(), topic, next, q.subject)
		switch {
		case err == nil:
			next, poll = m.Seq+1, minPoll
			line, ok := show(&m)
			if !ok {
				continue
			}
			if rc.SetWriteDeadline(time.Now().Add(streamWrite)) != nil || enc.Encode(line) != nil {
				return
			}
			if shown++; q.limit > 0 && shown >= q.limit {
				_ = flush() // the last one; a client that is gone misses nothing
				return
			}
			continue
		case s.statusOf(err) != http.StatusNotFound:
			if r.Context().Err() == nil {
				_ = enc.Encode(errorBody{Error: err.Error(), Code: codeOf(s.statusOf(err))})
				_ = flush() // the stream ends either way
			}
			return
		}
		if flush() != nil || !q.follow {
			return
		}
		timer.Reset(poll)
		select {
		case <-timer.C:
			poll = min(poll*2, maxPoll)
		case <-r.Context().Done():
			return
		}
	}
}
