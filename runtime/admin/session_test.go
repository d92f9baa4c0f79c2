package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// recorder is a connection without deadlines.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

// ask sends a request past the network, so that time can be made.
func ask(h http.Handler, method, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, "http://127.0.0.1"+path, strings.NewReader("{}"))
	r.Header.Set(admin.RequestHeader, "1")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(recorder{w}, r)
	return w
}

func sessionOf(t *testing.T, w *httptest.ResponseRecorder) admin.Session {
	t.Helper()
	var out admin.Session
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("answers %d %s", w.Code, w.Body)
	}
	return out
}

func handlerOf(t *testing.T, cfg admin.Config) (*admin.Server, http.Handler) {
	t.Helper()
	s := unopened(t, &fake{}, cfg)
	return s, admin.Handler(s)
}

func setTokens(s *admin.Server, token string, tokens []admin.Token) error {
	set, err := s.PrepareTokens(token, tokens)
	if err == nil {
		set()
	}
	return err
}

var people = []admin.Token{
	{Name: "grafana", Role: admin.RoleView, Secret: "v"}, {Name: "oncall", Role: admin.RoleOperate, Secret: "o"},
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := handlerOf(t, admin.Config{Tokens: people, Session: time.Hour})
		begun := sessionOf(t, ask(h, http.MethodPost, "/api/v1/session", "v"))
		if begun.Name != "grafana" || begun.Role != "view" || begun.Expires == nil || !begun.Expires.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("begun as %+v", begun)
		}
		if who := sessionOf(t, ask(h, http.MethodGet, "/api/v1/session", begun.Session)); who.Name != "grafana" || who.Role != "view" || who.Session != "" || !who.Expires.Equal(*begun.Expires) {
			t.Errorf("it is %+v", who)
		}
		if w := ask(h, http.MethodPost, "/api/v1/pipelines/alerts/pause", begun.Session); w.Code != http.StatusForbidden {
			t.Errorf("it may more than its token: %d", w.Code)
		}
		if w := ask(h, http.MethodPost, "/api/v1/session", begun.Session); w.Code != http.StatusForbidden {
			t.Errorf("a session begins another: %d %s", w.Code, w.Body)
		}
		if w := ask(h, http.MethodPost, "/api/v1/session", "wrong"); w.Code != http.StatusUnauthorized {
			t.Errorf("a session begins with a wrong token: %d", w.Code)
		}

		time.Sleep(time.Hour - time.Second)
		if w := ask(h, http.MethodGet, "/api/v1/status", begun.Session); w.Code != http.StatusOK {
			t.Errorf("shortly before its end: %d", w.Code)
		}
		time.Sleep(time.Second)
		w := ask(h, http.MethodGet, "/api/v1/status", begun.Session)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"session_expired"`) || !strings.Contains(w.Body.String(), "give the token again") {
			t.Errorf("after its end: %d %s", w.Code, w.Body)
		}
		// However often it is tried, nobody has to wait for it.
		for range 50 {
			ask(h, http.MethodGet, "/api/v1/status", begun.Session)
		}
		if w := ask(h, http.MethodPost, "/api/v1/session", "v"); w.Code != http.StatusOK {
			t.Errorf("a new one: %d %s", w.Code, w.Body)
		}
	})
}

func TestASessionEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(s *admin.Server, h http.Handler, session string)
	}{
		{"by its hand", func(_ *admin.Server, h http.Handler, session string) {
			ask(h, http.MethodDelete, "/api/v1/session", session)
		}},
		{"with its token", func(s *admin.Server, _ http.Handler, _ string) {
			if err := setTokens(s, "", people[1:]); err != nil {
				t.Error(err)
			}
		}},
		{"with its role", func(s *admin.Server, _ http.Handler, _ string) {
			if err := setTokens(s, "", []admin.Token{{Name: "grafana", Role: admin.RoleOperate, Secret: "v"}}); err != nil {
				t.Error(err)
			}
		}},
		{"after its time", func(*admin.Server, http.Handler, string) { time.Sleep(time.Hour) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, h := handlerOf(t, admin.Config{Tokens: people, Session: time.Hour})
				id := sessionOf(t, ask(h, http.MethodPost, "/api/v1/session", "v")).Session
				other := sessionOf(t, ask(h, http.MethodPost, "/api/v1/session", "o")).Session
				streaming := make(chan struct{})
				go func() {
					defer close(streaming)
					ask(h, http.MethodGet, "/api/v1/events", id)
				}()
				synctest.Wait()
				c.end(s, h, id)
				<-streaming // what was served to it ends with it
				if w := ask(h, http.MethodGet, "/api/v1/status", id); w.Code != http.StatusUnauthorized {
					t.Errorf("it goes on: %d", w.Code)
				}
				if w := ask(h, http.MethodGet, "/api/v1/status", other); c.name == "by its hand" && w.Code != http.StatusOK {
					t.Errorf("another has ended, too: %d", w.Code)
				}
			})
		})
	}
}

// What is served to a token ends when the token is taken away, and nobody else's.
func TestTokensAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := handlerOf(t, admin.Config{Token: "top", Tokens: people})
		gone, stays := make(chan struct{}), make(chan struct{})
		go func() { defer close(gone); ask(h, http.MethodGet, "/api/v1/events", "v") }()
		go func() { defer close(stays); ask(h, http.MethodGet, "/api/v1/events", "o") }()
		synctest.Wait()
		if err := setTokens(s, "new", people[1:]); err != nil {
			t.Fatal(err)
		}
		<-gone
		select {
		case <-stays:
			t.Error("the stream of a token that stays has ended")
		default:
		}
		for token, want := range map[string]int{"top": http.StatusUnauthorized, "v": http.StatusUnauthorized, "new": http.StatusOK, "o": http.StatusOK} {
			if w := ask(h, http.MethodGet, "/api/v1/status", token); w.Code != want {
				t.Errorf("token %q: %d", token, w.Code)
			}
		}
		if err := setTokens(s, "x", []admin.Token{{Name: "y", Role: admin.RoleView, Secret: "x"}}); err == nil {
			t.Error("two tokens of one value are taken")
		}
		if err := setTokens(s, "", people[:1]); err != nil {
			t.Fatal(err)
		}
		<-stays
	})
	s, _ := handlerOf(t, admin.Config{Listen: "0.0.0.0:0", Token: "top"})
	if err := setTokens(s, "", nil); err == nil || !strings.Contains(err.Error(), "reachable from other machines") {
		t.Errorf("off loopback the last token is taken away: %v", err)
	}
}

func TestWithoutTokensThereAreNoSessions(t *testing.T) {
	_, h := handlerOf(t, admin.Config{})
	if who := sessionOf(t, ask(h, http.MethodGet, "/api/v1/session", "")); who.Name != admin.Anonymous || who.Role != "" || who.Expires != nil {
		t.Errorf("it is %+v", who)
	}
	if w := ask(h, http.MethodPost, "/api/v1/session", "anything"); w.Code != http.StatusConflict {
		t.Errorf("a session begins: %d %s", w.Code, w.Body)
	}
}

// Who presents one wrong token after the other is told to stop; a right one passes.
func TestWrongTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := handlerOf(t, admin.Config{Tokens: people})
		session := sessionOf(t, ask(h, http.MethodPost, "/api/v1/session", "o")).Session
		var w *httptest.ResponseRecorder
		for range 100 {
			w = ask(h, http.MethodGet, "/api/v1/status", "guess")
		}
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "6" || !strings.Contains(w.Body.String(), "too_many_attempts") {
			t.Errorf("the hundredth guess: %d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w := ask(h, http.MethodGet, "/api/v1/status", "v"); w.Code != http.StatusOK {
			t.Errorf("a right token is locked out by wrong ones: %d", w.Code)
		}
		for path, want := range map[string]int{"/healthz": http.StatusOK, "/": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/api/v1/status": http.StatusUnauthorized} {
			if w := ask(h, http.MethodGet, path, ""); w.Code != want {
				t.Errorf("%s without a token: %d", path, w.Code)
			}
		}
		if w := ask(h, http.MethodGet, "/api/v1/status", session); w.Code != http.StatusOK {
			t.Errorf("who is signed in has to wait, too: %d", w.Code)
		}
		time.Sleep(6 * time.Second)
		if w := ask(h, http.MethodGet, "/api/v1/status", "guess"); w.Code != http.StatusUnauthorized {
			t.Errorf("after the wait: %d %s", w.Code, w.Body)
		}
	})
}

// The client says how long to wait.
func TestClientIsToldToWait(t *testing.T) {
	s := open(t, &fake{status: status.Status{}}, admin.Config{Tokens: people})
	c := client(t, s, "guess")
	var e *admin.Error
	for range 11 {
		if _, err := c.Status(t.Context()); !errors.As(err, &e) {
			t.Fatal(err)
		}
	}
	if e.Status != http.StatusTooManyRequests || !strings.Contains(e.Message, "try no other in the next") {
		t.Errorf("got %d %s", e.Status, e.Message)
	}
	res, err := http.Get(s.URL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("health: %s, %v", res.Status, err)
	}
}
