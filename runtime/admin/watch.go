package admin

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// A person reads a few rows a second; what comes faster is passed over and
// counted, so that looking costs a busy topic next to nothing.
const (
	watchEvery  = 250 * time.Millisecond
	watchTake   = 12  // rows of one look
	watchSearch = 100 // messages that one look searches
	maxFind     = 256 // bytes of what is searched for
)

// Row is one event as a watch shows it. Of the payload it has the first 16 KiB:
// as text when that is valid UTF-8, else in Base64.
type Row struct {
	Seq     uint64      `json:"seq,omitempty"`
	Time    time.Time   `json:"time"`
	Subject string      `json:"subject"`
	Key     string      `json:"key,omitempty"`
	Headers [][2]string `json:"headers,omitempty"`
	Payload string      `json:"payload"`
	Base64  []byte      `json:"payload_base64,omitempty"`
	Bytes   int         `json:"bytes"` // of the whole payload

	// Of an output of a stage.
	Output  string `json:"output,omitempty"`
	Topic   string `json:"topic,omitempty"`
	Refused string `json:"refused,omitempty"` // why it cannot be published
}

// StageRow is one event at one stage, before and after.
type StageRow struct {
	Time      time.Time `json:"time"`
	Partition int       `json:"partition"`
	Attempt   int       `json:"attempt"`
	Before    Row       `json:"before"`
	Outcome   string    `json:"outcome"` // "emitted", "dropped", "retried", "dead-lettered" or "fault"
	Reason    string    `json:"reason,omitempty"`
	After     []Row     `json:"after"`
	Outputs   int       `json:"outputs"` // After has the first ones
}

// rows is one event of a watch.
type rows[T any] struct {
	Rows    []T    `json:"rows"`
	Skipped uint64 `json:"skipped"` // passed over since the rows before
}

func finding(r *http.Request) ([]byte, error) {
	find := r.URL.Query().Get("find")
	if len(find) > maxFind {
		return nil, failure(http.StatusBadRequest, "find has %d bytes, more than %d", len(find), maxFind)
	}
	return []byte(find), nil
}

// message answers with one whole message of a topic, read by direct get.
func (s *Server) message(r *http.Request) (any, error) {
	topic := r.PathValue("name")
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil || seq == 0 {
		return nil, failure(http.StatusBadRequest, "%q is not a sequence: a number above 0 is expected", r.PathValue("seq"))
	}
	m, err := s.deps.Topics.Next(r.Context(), topic, seq, "")
	if err == nil && m.Seq != seq || s.statusOf(err) == http.StatusNotFound {
		return nil, failure(http.StatusNotFound, "topic %q has no message %d", topic, seq)
	}
	return m, err
}

// watchTopic streams the messages of a topic as server-sent events, read by
// direct get: "rows", each with at most a dozen rows. Query: from, as tail has
// it ("-50" when absent), subject and find. Last-Event-ID is the sequence of the
// last row, behind which a broken stream goes on.
func (s *Server) watchTopic(w http.ResponseWriter, r *http.Request) {
	q, err := parseTail(r)
	find, err2 := finding(r)
	if err := errors.Join(err, err2); err != nil {
		s.fail(w, err)
		return
	}
	if r.URL.Query().Get("from") == "" {
		q.from = "-50"
	}
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		q.from = strconv.FormatUint(last+1, 10)
	}
	topic := r.PathValue("name")
	next, err := s.start(r, topic, q.from)
	if err != nil {
		s.fail(w, err)
		return
	}
	st, ok := s.openStream(w)
	if !ok {
		return
	}
	defer st.close()
	reader := topicReader{s: s, topic: topic, subject: q.subject, find: find, next: next, backlog: true}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		got, err := reader.look(r.Context())
		if err != nil {
			if r.Context().Err() == nil {
				st.broken(err)
			}
			return
		}
		if len(got.Rows) > 0 || got.Skipped > 0 {
			if st.value("rows", strconv.FormatUint(reader.next-1, 10), got) != nil {
				return
			}
		}
		if st.flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// topicReader follows a topic at the pace of a person.
type topicReader struct {
	s       *Server
	topic   string
	subject string
	find    []byte
	next    uint64
	backlog bool // the first look shows what was asked for, however old it is
	full    bool // the last look ended before the topic did
}

// look returns the next rows. When the topic is further ahead than a look or
// two show, what lies between is passed over before anything is read: the server has
// the newest messages in memory, but those of a quarter of a second ago in a
// block of megabytes that it would have to load, while publishers wait.
func (t *topicReader) look(ctx context.Context) (rows[Row], error) {
	out := rows[Row]{Rows: []Row{}}
	take, search := watchTake, watchTake
	if t.backlog {
		take, search = 100, 100
	}
	if len(t.find) > 0 {
		search = watchSearch
	}
	// Of a subject that is rare nothing is passed over: the server finds it.
	if !t.backlog && (t.subject == "" || t.full) {
		keep := search
		if t.subject != "" {
			keep = watchSearch
		}
		more, err := t.passOver(ctx, uint64(keep), &out.Skipped)
		if err != nil || !more {
			t.full = false
			return out, err
		}
	}
	t.full = true
	for range search {
		m, err := t.s.deps.Topics.Next(ctx, t.topic, t.next, t.subject)
		if t.s.statusOf(err) == http.StatusNotFound {
			t.backlog, t.full = false, false
			return out, nil
		}
		if err != nil {
			return out, err
		}
		t.next = m.Seq + 1
		if len(t.find) > 0 && !holds(&m, t.find) {
			continue
		}
		if out.Rows = append(out.Rows, rowOf(&m)); len(out.Rows) == take {
			break
		}
	}
	t.backlog = false
	return out, nil
}

// passOver goes on to the newest messages, as many as keep, when the topic is
// twice as far ahead, and sets skipped to how many it leaves out. more says
// whether there are any that were not read.
func (t *topicReader) passOver(ctx context.Context, keep uint64, skipped *uint64) (more bool, err error) {
	last, err := t.s.deps.Topics.LastSeq(ctx, t.topic)
	if err != nil {
		return false, err
	}
	if last >= t.next+2*keep {
		*skipped = last + 1 - keep - t.next
		t.next += *skipped
	}
	return last >= t.next, nil
}

func holds(m *status.Message, find []byte) bool {
	if strings.Contains(m.Subject, string(find)) || strings.Contains(m.Payload, string(find)) || bytes.Contains(m.Base64, find) {
		return true
	}
	for k, values := range m.Headers {
		if strings.Contains(k, string(find)) || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, string(find)) }) {
			return true
		}
	}
	return false
}

func rowOf(m *status.Message) Row {
	row := Row{Seq: m.Seq, Time: m.Time, Subject: m.Subject}
	for k, values := range m.Headers {
		for _, v := range values {
			row.Headers = append(row.Headers, [2]string{k, v})
		}
	}
	slices.SortStableFunc(row.Headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	payload := m.Base64
	if payload == nil {
		payload = []byte(m.Payload)
	}
	row.setPayload(payload, len(payload))
	return row
}

// setPayload shows the beginning of a payload of that many bytes.
func (row *Row) setPayload(b []byte, bytes int) {
	row.Bytes = bytes
	if b = b[:min(len(b), event.ShownBytes)]; len(b) < bytes {
		b = wholeRunes(b)
	}
	if utf8.Valid(b) {
		row.Payload = string(b)
	} else {
		row.Base64 = b
	}
}

// wholeRunes returns b without the half of a character that a cut has left at
// its end.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if last := b[len(b)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// watchStage streams what goes into a stage of a pipeline and what becomes of
// it, as server-sent events "rows". It sees copies of at most fifty events a
// second, and holds nothing up. Query: stage (the first when absent) and find.
func (s *Server) watchStage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	find, err := finding(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	p, err := s.deps.Pipelines.Pipeline(name)
	if err != nil {
		s.fail(w, err)
		return
	}
	stage := r.URL.Query().Get("stage")
	if stage == "" && len(p.Stages) > 0 {
		stage = p.Stages[0]
	}
	if !slices.Contains(p.Stages, stage) {
		s.fail(w, failure(http.StatusNotFound, "pipeline %q has no stage %q: it has %s", name, stage, strings.Join(p.Stages, ", ")))
		return
	}
	st, ok := s.openStream(w)
	if !ok {
		return
	}
	defer st.close()
	watch := s.deps.Taps.Of(name).Watch(stage, find)
	defer watch.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if samples, skipped := watch.Fetch(); len(samples) > 0 || skipped > 0 {
			got := rows[StageRow]{Rows: make([]StageRow, 0, len(samples)), Skipped: skipped}
			for _, sample := range samples {
				got.Rows = append(got.Rows, stageRowOf(sample))
			}
			if st.value("rows", "", got) != nil {
				return
			}
		}
		if st.flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func stageRowOf(s *event.Sample) StageRow {
	row := StageRow{
		Time: s.Time, Partition: s.Partition, Attempt: s.Attempt, Before: shownRow(&s.Before),
		Outcome: s.Outcome, Reason: strings.ToValidUTF8(s.Reason, "\uFFFD"), After: make([]Row, 0, len(s.After)), Outputs: s.Outputs,
	}
	for i := range s.After {
		row.After = append(row.After, shownRow(&s.After[i]))
	}
	return row
}

func shownRow(s *event.Shown) Row {
	row := Row{
		Seq: s.Seq, Time: time.Unix(0, s.Stored).UTC(), Subject: s.Subject, Key: s.Key,
		Output: s.Output, Topic: s.Topic, Refused: s.Refused,
	}
	for block := s.Headers; ; {
		k, v, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		row.Headers = append(row.Headers, [2]string{string(k), string(v)})
		block = rest
	}
	row.setPayload(s.Payload, s.Bytes)
	return row
}
