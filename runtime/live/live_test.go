package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A reader gets each record once, in order, and is told of those it was too
// slow for.
func TestNews(t *testing.T) {
	l := New()
	say := l.Listener()
	place := l.PlaceOf("")
	read := func() News {
		t.Helper()
		var all News
		for {
			news, next := l.After(place, 10)
			if next == place {
				return all
			}
			place = l.PlaceOf(next.String()) // as it travels
			all.Lines = append(all.Lines, news.Lines...)
			all.Happenings = append(all.Happenings, news.Happenings...)
			all.Missed += news.Missed
		}
	}
	for i := range 25 {
		say.Log("alerts", "strong", 1, 0, fmt.Sprint("line ", i))
	}
	say.Reload("plugin", "strong", "abc", "failed", errors.New("it does not load"))
	say.PipelineState("alerts", "running", nil)
	got := read()
	if len(got.Lines) != 25 || got.Lines[24].Line != "line 24" || got.Lines[0].Plugin != "strong" || got.Missed != 0 {
		t.Errorf("lines: %+v", got)
	}
	if len(got.Happenings) != 2 || got.Happenings[0].Error != "it does not load" || got.Happenings[1].Result != "running" {
		t.Errorf("happenings: %+v", got.Happenings)
	}
	if again := read(); len(again.Lines)+len(again.Happenings) != 0 {
		t.Errorf("read twice: %+v", again)
	}

	t.Run("one who is slow misses the oldest and is told", func(t *testing.T) {
		for i := range maxLines + 100 {
			say.Log("alerts", "strong", 1, 0, fmt.Sprint(i))
		}
		got := read()
		if len(got.Lines) != maxLines || got.Missed != 100 || got.Lines[0].Line != "100" {
			t.Errorf("%d lines from %q, %d missed", len(got.Lines), got.Lines[0].Line, got.Missed)
		}
	})
	t.Run("bytes are bounded as well, and lines are text", func(t *testing.T) {
		for range 1000 {
			say.Log("alerts", "strong", 1, 0, strings.Repeat("\xff", 100_000))
		}
		l.mu.Lock()
		held := l.mu.lines.bytes
		l.mu.Unlock()
		if held > maxLineBytes {
			t.Errorf("%d bytes are held", held)
		}
		for _, line := range read().Lines {
			if len(line.Line) > 4*maxLine || !json.Valid([]byte(`"`+line.Line+`"`)) {
				t.Fatalf("a line of %d bytes", len(line.Line))
			}
		}
	})
	t.Run("a place of another process is the beginning", func(t *testing.T) {
		other := New()
		other.Listener().Log("a", "b", 0, 0, "first")
		news, _ := other.After(other.PlaceOf(place.String()), 10)
		if len(news.Lines) != 1 || news.Missed != 0 {
			t.Errorf("got %+v", news)
		}
		for _, nonsense := range []string{"", ".", "x.y.z", "..", place.boot + ".1", place.boot + ".99999999999999999999.1"} {
			if p := l.PlaceOf(nonsense); p.lines != 0 || p.happenings != 0 {
				t.Errorf("%q is %+v", nonsense, p)
			}
		}
	})
	t.Run("one who waits is woken", func(t *testing.T) {
		moved := l.Moved()
		select {
		case <-moved:
			t.Fatal("nothing has happened")
		default:
		}
		say.Log("a", "b", 0, 0, "now")
		<-moved
	})
}

// However many look, the status is taken once, and each sees every change.
func TestPictures(t *testing.T) {
	var mu sync.Mutex
	taken, st := 0, status.Status{Version: "v"}
	p := NewPictures(func(context.Context) status.Status {
		mu.Lock()
		defer mu.Unlock()
		taken++
		return st
	}, time.Hour)
	change := func(f func()) {
		mu.Lock()
		f()
		mu.Unlock()
		p.mu.Lock()
		p.mu.taken = time.Time{} // it is old now
		p.mu.Unlock()
	}
	read := func(seen uint64) (picture, uint64) {
		t.Helper()
		out, n, err := p.Next(t.Context(), seen)
		if err != nil {
			t.Fatal(err)
		}
		var pic picture
		if out != nil {
			if err := json.Unmarshal(out, &pic); err != nil {
				t.Fatal(err)
			}
		}
		return pic, n
	}
	first, n := read(0)
	if !first.Full || n != 1 || len(first.Parts) != 1 {
		t.Errorf("the first picture is %+v", first)
	}
	for range 10 {
		if pic, same := read(1); pic.N != 0 || same != 1 {
			t.Errorf("nothing is new, but %+v", pic)
		}
	}
	if taken != 1 {
		t.Errorf("taken %d times", taken)
	}
	change(func() {
		st.Pipelines = []status.Pipeline{{Name: "a", State: "running"}, {Name: "b"}}
		st.Topics = []status.Topic{{Name: "t"}}
	})
	pic, n := read(1)
	if pic.Full || n != 2 || len(pic.Parts) != 3 || pic.Parts["status"] != nil {
		t.Errorf("the change is %+v", pic)
	}
	change(func() { st.Pipelines = st.Pipelines[:1] })
	pic, n = read(2)
	if string(pic.Parts["pipeline b"]) != "null" || len(pic.Parts) != 1 || n != 3 {
		t.Errorf("a pipeline that is gone: %+v", pic)
	}
	if pic, _ := read(1); !pic.Full || len(pic.Parts) != 3 {
		t.Errorf("one who has missed a picture gets the whole: %+v", pic)
	}
}
