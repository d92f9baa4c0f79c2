package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Bounds of the streams of server-sent events. A stream is the goroutine of its
// request and nothing else: it keeps no queue, and one whose reader takes
// nothing ends at its write deadline.
const (
	maxStreams = 64
	keepAlive  = 15 * time.Second // between two signs of life
)

// stream is one answer of server-sent events.
type stream struct {
	s    *Server
	out  *bufio.Writer
	rc   *http.ResponseController
	sent time.Time
}

// openStream begins to answer with events. It reports false when it has
// answered with an error instead; the caller closes a stream it got.
func (s *Server) openStream(w http.ResponseWriter) (*stream, bool) {
	if n := s.streams.Add(1); n > maxStreams {
		s.streams.Add(-1)
		s.fail(w, failure(http.StatusServiceUnavailable, "%d streams are open, which is the most: close a window that shows this instance", maxStreams))
		return nil, false
	}
	st := &stream{s: s, out: bufio.NewWriterSize(w, flushBytes), rc: http.NewResponseController(w)}
	if err := st.rc.SetReadDeadline(time.Time{}); err != nil { // else it ends with the time to read a request
		s.streams.Add(-1)
		s.fail(w, err)
		return nil, false
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	return st, true
}

func (st *stream) close() { st.s.streams.Add(-1) }

// event writes one event; id "" leaves the reader's last id as it is. data is
// JSON, which has no line breaks.
func (st *stream) event(name, id string, data []byte) error {
	err := st.rc.SetWriteDeadline(time.Now().Add(streamWrite))
	if id != "" {
		_, e := st.out.WriteString("id: " + id + "\n")
		err = errors.Join(err, e)
	}
	_, e1 := st.out.WriteString("event: " + name + "\ndata: ")
	_, e2 := st.out.Write(data)
	_, e3 := st.out.WriteString("\n\n")
	return errors.Join(err, e1, e2, e3)
}

// value writes one event with v as JSON.
func (st *stream) value(name, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return st.event(name, id, data)
}

// flush sends what was written, or a sign of life when there was nothing for a
// while: a reader that is gone is noticed by that.
func (st *stream) flush() error {
	now := time.Now()
	if st.out.Buffered() == 0 && now.Sub(st.sent) < keepAlive {
		return nil
	}
	err := st.rc.SetWriteDeadline(now.Add(streamWrite))
	if st.out.Buffered() == 0 {
		_, e := st.out.WriteString(": alive\n\n")
		err = errors.Join(err, e)
	}
	st.sent = now
	return errors.Join(err, st.out.Flush(), st.rc.Flush())
}

// broken tells the reader why the stream ends.
func (st *stream) broken(err error) {
	_ = st.value("broken", "", errorBody{Error: err.Error(), Code: codeOf(st.s.statusOf(err))})
	_ = st.flush() // the stream ends either way
}
