package admin_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/live"
	"github.com/wasmill/wasmill/runtime/status"
)

// sse is one event of a stream.
type sse struct{ name, id, data string }

// subscribe reads a stream of events until the test ends or stop is called.
func subscribe(t *testing.T, s *admin.Server, path, lastID string) (next func() sse, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	tr := &http.Transport{}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s answers %s %s", path, res.Status, body)
	}
	stop = func() {
		cancel()
		_ = res.Body.Close()
		tr.CloseIdleConnections()
	}
	t.Cleanup(stop)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	return func() sse {
		t.Helper()
		var e sse
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					return e
				}
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return e
	}, stop
}

func decodeAs[T any](t *testing.T, data string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

type watchRows struct {
	Rows    []admin.Row
	Skipped uint64
}

func TestEvents(t *testing.T) {
	f := &fake{live: live.New(), status: status.Status{Version: "test", Pipelines: []status.Pipeline{{Name: "alerts"}}}}
	say := f.live.Listener()
	s := open(t, f, admin.Config{})
	say.Log("alerts", "strong", 0, 8, "<b>before</b>")
	next, stop := subscribe(t, s, "/api/v1/events", "")
	var id string
	seen := map[string]string{}
	for len(seen) < 2 {
		e := next()
		seen[e.name] = e.data
		if e.id != "" {
			id = e.id
		}
	}
	if !strings.Contains(seen["logs"], "before") || !strings.Contains(seen["status"], `"full":true`) || !strings.Contains(seen["status"], `"pipeline alerts"`) {
		t.Errorf("at first %v", seen)
	}
	say.Reload("plugin", "strong", "abc", "ok", nil)
	for e := next(); e.name != "history"; e = next() {
		if e.name == "status" && strings.Contains(e.data, `"full":true`) {
			t.Error("the whole picture is sent again")
		}
	}
	stop()

	t.Run("a broken stream goes on where it ended", func(t *testing.T) {
		say.Log("alerts", "strong", 0, 0, "meanwhile")
		next, _ := subscribe(t, s, "/api/v1/events?kinds=logs,history", id)
		if e := next(); e.name != "logs" || strings.Contains(e.data, "before") || !strings.Contains(e.data, "meanwhile") {
			t.Errorf("got %+v", e)
		}
		if e := next(); e.name != "history" || !strings.Contains(e.data, "abc") {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("one who was away for too long is told", func(t *testing.T) {
		for i := range 6000 {
			say.Log("alerts", "strong", 0, 0, fmt.Sprint(i))
		}
		next, _ := subscribe(t, s, "/api/v1/events?kinds=logs", id)
		for e := next(); e.name != "missed"; e = next() {
			if e.name != "logs" {
				t.Fatalf("got %+v", e)
			}
		}
	})
	t.Run("the lines of one plugin", func(t *testing.T) {
		next, _ := subscribe(t, s, "/api/v1/events?kinds=logs&plugin=other", "")
		say.Log("alerts", "strong", 0, 0, "not this")
		say.Log("alerts", "other", 0, 0, "but this")
		if e := next(); strings.Contains(e.data, "not this") || !strings.Contains(e.data, "but this") {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("nonsense is refused", func(t *testing.T) {
		if code, body := request(t, s, http.MethodGet, "/api/v1/events?kinds=all", "", nil); code != http.StatusBadRequest {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("the number of streams is bounded, and they are given back", func(t *testing.T) {
		var stops []func()
		refused := false
		for range 80 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/api/v1/events?kinds=history", nil)
			if err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{}
			res, err := tr.RoundTrip(req) //nolint:bodyclose // stops does it
			if err != nil {
				t.Fatal(err)
			}
			stops = append(stops, func() { _ = res.Body.Close(); tr.CloseIdleConnections() })
			if res.StatusCode == http.StatusServiceUnavailable {
				refused = true
				break
			}
		}
		if !refused {
			t.Error("eighty streams are open")
		}
		for _, stop := range stops {
			stop()
		}
		poll(t, "streams are given back", func() bool {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/api/v1/events?kinds=history", nil)
			if err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{DisableKeepAlives: true}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			return res.StatusCode == http.StatusOK
		})
	})
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after half a minute not: %s", what)
		}
	}
}

func TestWatchTopic(t *testing.T) {
	f := &fake{}
	for i := range 3 {
		f.store("quakes", "quakes.raw", fmt.Sprint("event ", i+1))
	}
	s := open(t, f, admin.Config{})
	next, stop := subscribe(t, s, "/api/v1/topics/quakes/watch", "")
	e := next()
	got := decodeAs[watchRows](t, e.data)
	if e.name != "rows" || e.id != "3" || len(got.Rows) != 3 || got.Rows[0].Payload != "event 1" || got.Rows[0].Bytes != 7 {
		t.Fatalf("got %+v", e)
	}
	f.store("quakes", "quakes.raw", "later")
	if e := next(); e.id != "4" || !strings.Contains(e.data, "later") {
		t.Errorf("got %+v", e)
	}
	t.Run("what comes faster than a person reads is passed over and counted", func(t *testing.T) {
		for i := range 5000 {
			f.store("quakes", "quakes.raw", fmt.Sprint("fast ", i))
		}
		skipped, shown := uint64(0), 0
		for last := uint64(0); last < 5004; {
			got := decodeAs[watchRows](t, next().data)
			skipped += got.Skipped
			shown += len(got.Rows)
			if n := len(got.Rows); n > 0 {
				last = got.Rows[n-1].Seq
			}
		}
		if skipped+uint64(shown) != 5000 || shown > 200 {
			t.Errorf("%d are shown, %d skipped, of 5000", shown, skipped)
		}
	})
	stop()
	t.Run("a broken stream goes on behind the last row", func(t *testing.T) {
		next, _ := subscribe(t, s, "/api/v1/topics/quakes/watch", "5001")
		if got := decodeAs[watchRows](t, next().data); len(got.Rows) != 3 || got.Rows[0].Seq != 5002 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("only what holds a text", func(t *testing.T) {
		next, _ := subscribe(t, s, "/api/v1/topics/quakes/watch?from=1&find=event+2", "")
		if got := decodeAs[watchRows](t, next().data); len(got.Rows) != 1 || got.Rows[0].Seq != 2 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("payloads are cut, text between characters", func(t *testing.T) {
		f := &fake{}
		s := open(t, f, admin.Config{})
		f.store("quakes", "quakes.raw", "x"+strings.Repeat("é", 1<<20))
		f.mu.Lock()
		f.messages = append(f.messages, status.Message{Seq: 2, Subject: "quakes.raw", Base64: []byte("\xff\xfe\x00"), Headers: map[string][]string{"B": {"2"}, "A": {"1"}}})
		f.mu.Unlock()
		next, _ := subscribe(t, s, "/api/v1/topics/quakes/watch?from=all", "")
		rows := decodeAs[watchRows](t, next().data).Rows
		if len(rows) != 2 || rows[0].Bytes != 1+2<<20 || len(rows[0].Payload) != event.ShownBytes-1 || rows[0].Base64 != nil {
			t.Errorf("a long text is %d of %d bytes", len(rows[0].Payload), rows[0].Bytes)
		}
		if base64.StdEncoding.EncodeToString(rows[1].Base64) != "//4A" || rows[1].Payload != "" || rows[1].Headers[0] != [2]string{"A", "1"} {
			t.Errorf("binary is %+v", rows[1])
		}
		if m := decodeAs[status.Message](t, get(t, s, "/api/v1/topics/quakes/messages/1")); len(m.Payload) != 1+2<<20 {
			t.Errorf("the whole payload has %d bytes", len(m.Payload))
		}
		for path, want := range map[string]int{"messages/3": http.StatusNotFound, "messages/0": http.StatusBadRequest, "messages/x": http.StatusBadRequest} {
			if code, body := request(t, s, http.MethodGet, "/api/v1/topics/quakes/"+path, "", nil); code != want {
				t.Errorf("%s: got %d %s", path, code, body)
			}
		}
	})
	t.Run("nonsense is refused", func(t *testing.T) {
		for path, want := range map[string]int{
			"/api/v1/topics/nope/watch":                                       http.StatusNotFound,
			"/api/v1/topics/quakes/watch?from=soon":                           http.StatusBadRequest,
			"/api/v1/topics/quakes/watch?find=" + strings.Repeat("x", 300):    http.StatusBadRequest,
			"/api/v1/pipelines/nope/watch":                                    http.StatusNotFound,
			"/api/v1/pipelines/alerts/watch?stage=nope":                       http.StatusNotFound,
			"/api/v1/pipelines/alerts/watch?find=" + strings.Repeat("x", 300): http.StatusBadRequest,
		} {
			if code, body := request(t, s, http.MethodGet, path, "", nil); code != want {
				t.Errorf("%s: got %d %s", path, code, body)
			}
		}
	})
}

func get(t *testing.T, s *admin.Server, path string) string {
	t.Helper()
	code, body := request(t, s, http.MethodGet, path, "", nil)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	return body
}

func TestWatchStage(t *testing.T) {
	f := &fake{taps: event.NewTaps()}
	s := open(t, f, admin.Config{})
	next, stop := subscribe(t, s, "/api/v1/pipelines/alerts/watch?stage=strong", "")
	tap := f.taps.Of("alerts")
	poll(t, "the stage is watched", func() bool { return tap.Watches() != nil })
	tap.Watches()[0].Put(&event.Sample{
		Attempt: 1, Outcome: event.OutcomeEmitted, Outputs: 1,
		Before: event.Shown{Seq: 7, Subject: "quakes.raw", Payload: []byte("in"), Bytes: 2},
		After:  []event.Shown{{Subject: "alerts.us", Payload: []byte("\xff"), Bytes: 1, Topic: "alerts", Output: "default"}},
	})
	rows := decodeAs[struct{ Rows []admin.StageRow }](t, next().data).Rows
	if len(rows) != 1 || rows[0].Before.Payload != "in" || rows[0].After[0].Topic != "alerts" || string(rows[0].After[0].Base64) != "\xff" {
		t.Errorf("got %+v", rows)
	}
	stop()
	poll(t, "nobody watches any more", func() bool { return tap.Watches() == nil })
}

func TestRedriveEdited(t *testing.T) {
	f := &fake{}
	s := open(t, f, admin.Config{})
	post := func(path, body string) (int, string) {
		return request(t, s, http.MethodPost, path, body, header("Content-Type", "application/json"))
	}
	if code, body := post("/api/v1/dead-letters/4/redrive", `{"payload":"mended"}`); code != http.StatusOK || !strings.Contains(body, `"seq":12`) {
		t.Errorf("got %d %s", code, body)
	}
	if code, _ := post("/api/v1/dead-letters/5/redrive", `{"payload":"mended"}`); code != http.StatusNotFound {
		t.Errorf("one that is gone: %d", code)
	}
	if code, body := post("/api/v1/dead-letters/4/redrive", `{"paylod":"x"}`); code != http.StatusBadRequest {
		t.Errorf("a misspelled field: %d %s", code, body)
	}
	if len(f.calls) != 1 || f.calls[0] != "redrive 4 as mended" {
		t.Errorf("calls %v", f.calls)
	}
}
