package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/status"
)

var errNone = errors.New("none")

// unused are the methods that a watch does not call.
type unused = Topics

// busyTopic has messages 1 to last, each tenth of them about "rare", and notes
// which were read.
type busyTopic struct {
	unused
	last  uint64
	reads []uint64
}

func (b *busyTopic) LastSeq(context.Context, string) (uint64, error) { return b.last, nil }

func (b *busyTopic) Next(_ context.Context, _ string, from uint64, subject string) (status.Message, error) {
	for seq := from; seq <= b.last; seq++ {
		if subject == "" || seq%10 == 0 {
			b.reads = append(b.reads, seq)
			return status.Message{Seq: seq, Subject: "in.a", Payload: "x"}, nil
		}
	}
	return status.Message{}, errNone
}

func (b *busyTopic) reader(subject, find string) *topicReader {
	s := &Server{deps: Deps{Topics: b, StatusOf: func(err error) int {
		if errors.Is(err, errNone) {
			return http.StatusNotFound
		}
		return 0
	}}}
	return &topicReader{s: s, topic: "in", subject: subject, find: []byte(find), next: 1, backlog: true}
}

func look(t *testing.T, r *topicReader) rows[Row] {
	t.Helper()
	got, err := r.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Of a topic that is faster than a person reads only the newest messages are
// read, which the server has in memory.
func TestAWatchReadsTheNewestMessages(t *testing.T) {
	topic := &busyTopic{last: 50}
	r := topic.reader("", "")
	if got := look(t, r); len(got.Rows) != 50 || got.Skipped != 0 {
		t.Fatalf("the first look shows %d rows and skips %d", len(got.Rows), got.Skipped)
	}
	topic.reads, topic.last = nil, 25_050
	got := look(t, r)
	if len(got.Rows) != watchTake || got.Skipped != 25_000-watchTake || got.Rows[watchTake-1].Seq != 25_050 {
		t.Errorf("%d rows, %d skipped", len(got.Rows), got.Skipped)
	}
	for _, seq := range topic.reads {
		if seq <= 25_050-watchTake {
			t.Errorf("message %d was read", seq)
		}
	}
	topic.last += watchTake + 3 // hardly faster than it is shown
	if got := look(t, r); len(got.Rows) != watchTake || got.Skipped != 0 {
		t.Errorf("%d rows, %d skipped", len(got.Rows), got.Skipped)
	}
	if got := look(t, r); len(got.Rows) != 3 || got.Skipped != 0 {
		t.Errorf("%d rows, %d skipped", len(got.Rows), got.Skipped)
	}
	topic.reads = nil
	if got := look(t, r); len(got.Rows) != 0 || len(topic.reads) != 0 {
		t.Errorf("%d rows of a topic that has nothing new, %d read", len(got.Rows), len(topic.reads))
	}
}

// Of a subject nothing is passed over that a look could have shown.
func TestAWatchOfASubjectMissesNothingRare(t *testing.T) {
	topic := &busyTopic{last: 9}
	r := topic.reader("in.a", "")
	look(t, r)
	for range 3 {
		topic.last += 100 // ten of the subject
		if got := look(t, r); len(got.Rows) != 10 || got.Skipped != 0 {
			t.Fatalf("%d rows, %d skipped", len(got.Rows), got.Skipped)
		}
	}
	topic.last += 100_000
	if got := look(t, r); len(got.Rows) != watchTake {
		t.Errorf("%d rows", len(got.Rows))
	}
	got := look(t, r)
	if got.Skipped == 0 || got.Rows[0].Seq < topic.last-watchSearch {
		t.Errorf("it does not catch up: %d skipped, first row %d of %d", got.Skipped, got.Rows[0].Seq, topic.last)
	}
}

func TestAWatchSearchesTheNewestMessages(t *testing.T) {
	topic := &busyTopic{last: 1}
	r := topic.reader("", strings.Repeat("y", 3))
	look(t, r)
	topic.reads, topic.last = nil, 10_000
	if got := look(t, r); len(got.Rows) != 0 || len(topic.reads) != watchSearch || topic.reads[0] != 10_000-watchSearch+1 {
		t.Errorf("%d rows, %d read from %d on", len(got.Rows), len(topic.reads), topic.reads[0])
	}
}
