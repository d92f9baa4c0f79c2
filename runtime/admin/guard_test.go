package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// request sends a raw request, as something other than our client would.
func request(t *testing.T, s *admin.Server, method, path, body string, edit func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func header(k, v string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(k, v) }
}

func TestConfig(t *testing.T) {
	for _, c := range []struct{ name, listen, token, want string }{
		{"loopback needs no token", "127.0.0.1:7422", "", ""},
		{"nor does its name", "localhost:7422", "", ""},
		{"nor IPv6", "[::1]:7422", "", ""},
		{"other addresses need one", "0.0.0.0:7422", "", "set [admin] token"},
		{"all addresses need one", ":7422", "", "set [admin] token"},
		{"and are fine with one", "0.0.0.0:7422", "secret", ""},
		{"a port is needed", "127.0.0.1", "", "not host:port"},
		{"a number is needed", "127.0.0.1:http", "", "port is not a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := admin.New(admin.Config{Listen: c.listen, Token: c.token}, admin.Deps{})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestToken(t *testing.T) {
	f := &fake{
		metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "m 1\n") }),
		status:  status.Status{State: "running", Problems: []string{"pipeline alerts is halted: poison"}},
	}
	s := open(t, f, admin.Config{Token: "s3cret"})

	for _, c := range []struct {
		name, path, auth string
		want             int
	}{
		{"the API refuses without", "/api/v1/status", "", http.StatusUnauthorized},
		{"and with a wrong one", "/api/v1/status", "Bearer s3cre", http.StatusUnauthorized},
		{"and with another scheme", "/api/v1/status", "Basic s3cret", http.StatusUnauthorized},
		{"the right one is let in", "/api/v1/status", "Bearer s3cret", http.StatusOK},
		{"the scheme has no case", "/api/v1/status", "bearer s3cret", http.StatusOK},
		{"metrics are protected", "/metrics", "", http.StatusUnauthorized},
		{"metrics open to the token", "/metrics", "Bearer s3cret", http.StatusOK},
		{"health is open", "/healthz", "", http.StatusOK},
		{"readiness is open", "/readyz", "", http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := request(t, s, http.MethodGet, c.path, "", func(r *http.Request) {
				if c.auth != "" {
					r.Header.Set("Authorization", c.auth)
				}
			})
			if code != c.want {
				t.Errorf("got %d %s, want %d", code, body, c.want)
			}
		})
	}
	t.Run("readiness keeps its reasons to itself", func(t *testing.T) {
		if _, body := request(t, s, http.MethodGet, "/readyz", "", nil); strings.Contains(body, "poison") {
			t.Errorf("the reasons are told without a token: %s", body)
		}
	})
	t.Run("the client says what to do", func(t *testing.T) {
		_, err := client(t, s, "wrong").Status(t.Context())
		var e *admin.Error
		if !errors.As(err, &e) || e.Status != http.StatusUnauthorized || !strings.Contains(e.Message, "--token") {
			t.Errorf("got %v", err)
		}
	})
}

func TestHost(t *testing.T) {
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	t.Run("on loopback", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		for h, want := range map[string]int{
			"localhost":          http.StatusOK,
			"LOCALHOST:99":       http.StatusOK,
			"127.0.0.1:7422":     http.StatusOK,
			"127.9.9.9":          http.StatusOK,
			"[::1]:7422":         http.StatusOK,
			"evil.example":       http.StatusMisdirectedRequest,
			"evil.example:7422":  http.StatusMisdirectedRequest,
			"localhost.evil.com": http.StatusMisdirectedRequest,
			"10.0.0.1":           http.StatusMisdirectedRequest,
		} {
			if code, body := request(t, s, http.MethodGet, "/healthz", "", host(h)); code != want {
				t.Errorf("Host %s: got %d %s, want %d", h, code, body, want)
			}
		}
	})
	t.Run("further names can be given", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{Hosts: []string{"wasmill.example"}})
		for h, want := range map[string]int{
			"wasmill.example": http.StatusOK, "Wasmill.Example:443": http.StatusOK, "localhost": http.StatusOK,
			"x.wasmill.example": http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest,
		} {
			if code, body := request(t, s, http.MethodGet, "/healthz", "", host(h)); code != want {
				t.Errorf("Host %s: got %d %s, want %d", h, code, body, want)
			}
		}
	})
	t.Run("with names an endpoint on all addresses takes these and addresses", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{Listen: "0.0.0.0:0", Token: "x", Hosts: []string{"wasmill.example"}})
		for h, want := range map[string]int{
			"wasmill.example": http.StatusOK, "10.0.0.1:7422": http.StatusOK, "[2001:db8::1]:7422": http.StatusOK,
			"evil.example": http.StatusMisdirectedRequest,
		} {
			if code, body := request(t, s, http.MethodGet, "/healthz", "", host(h)); code != want {
				t.Errorf("Host %s: got %d %s, want %d", h, code, body, want)
			}
		}
	})
	t.Run("on all addresses any host is fine, the token protects", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{Listen: "0.0.0.0:0", Token: "x"})
		if code, _ := request(t, s, http.MethodGet, "/healthz", "", host("box.example")); code != http.StatusOK {
			t.Errorf("got %d", code)
		}
		if code, _ := request(t, s, http.MethodGet, "/api/v1/status", "", host("box.example")); code != http.StatusUnauthorized {
			t.Errorf("got %d", code)
		}
	})
}

func TestBrowsersOfOtherSites(t *testing.T) {
	f := &fake{}
	s := open(t, f, admin.Config{})
	own := s.URL()
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want int
	}{
		{"a program is fine", header("Content-Type", "application/json"), http.StatusOK},
		{"or with our header", header(admin.RequestHeader, "1"), http.StatusOK},
		{"a form is refused", header("Content-Type", "application/x-www-form-urlencoded"), http.StatusUnsupportedMediaType},
		{"a simple fetch is refused", header("Content-Type", "text/plain"), http.StatusUnsupportedMediaType},
		{"nothing said is refused", nil, http.StatusUnsupportedMediaType},
		{"another origin is refused", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", "https://evil.example")
		}, http.StatusForbidden},
		{"the null origin is refused", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", "null")
		}, http.StatusForbidden},
		{"its own origin is fine", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", own)
		}, http.StatusOK},
		{"a cross-site fetch is refused", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, body := request(t, s, http.MethodPost, "/api/v1/pipelines/alerts/pause", "{}", c.edit); code != c.want {
				t.Errorf("got %d %s, want %d", code, body, c.want)
			}
		})
	}
	t.Run("reading across sites is refused, too", func(t *testing.T) {
		if code, _ := request(t, s, http.MethodGet, "/api/v1/status", "", header("Sec-Fetch-Site", "cross-site")); code != http.StatusForbidden {
			t.Errorf("got %d", code)
		}
	})
	t.Run("exactly the allowed requests came through", func(t *testing.T) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.calls) != 3 {
			t.Errorf("%d requests reached the engine: %v", len(f.calls), f.calls)
		}
	})
}

func TestReadiness(t *testing.T) {
	for _, c := range []struct {
		name string
		st   status.Status
		code int
		want string
	}{
		{"ready", status.Status{Ready: true, State: "running"}, http.StatusOK, `"ready":true`},
		{"the engine's problems", status.Status{State: "running", Problems: []string{"pipeline a is halted: x"}}, http.StatusServiceUnavailable, "pipeline a is halted: x"},
		{"a stalled pipeline", status.Status{State: "running", Pipelines: []status.Pipeline{{Name: "a", State: status.StateStalled, Reason: "r"}}}, http.StatusServiceUnavailable, "pipeline a is stalled: r"},
		{"not started", status.Status{}, http.StatusServiceUnavailable, "not started yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, &fake{status: c.st}, admin.Config{})
			code, body := request(t, s, http.MethodGet, "/readyz", "", nil)
			if code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("got %d %s", code, body)
			}
			r, err := client(t, s, "").Ready(t.Context())
			if err != nil || r.Ready != c.st.Ready || !r.Ready && len(r.Reasons) == 0 {
				t.Errorf("the client says %+v, %v", r, err)
			}
		})
	}
}

func TestOpenAndClose(t *testing.T) {
	t.Run("a busy port is an error of the environment", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		s, err := admin.New(admin.Config{Listen: ln.Addr().String()}, admin.Deps{Metrics: http.NotFoundHandler()})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Open(t.Context())
		var le *admin.ListenError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), ln.Addr().String()) {
			t.Errorf("got %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close what never opened: %v", err)
		}
	})
	t.Run("closing twice is fine", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("closing ends a stream that waits", func(t *testing.T) {
		f := &fake{block: make(chan struct{})}
		s := open(t, f, admin.Config{})
		ended := make(chan error, 1)
		c := client(t, s, "")
		go func() {
			ended <- c.Tail(t.Context(), admin.TailRequest{Topic: "quakes", From: "all", Follow: true}, func(status.Message) error { return nil })
		}()
		f.waitForReader(t)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if errors.Is(err, context.Canceled) {
				t.Error("the stream ended by the reader's hand")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the stream is still open")
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		c := client(t, s, "")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := c.Status(t.Context())
		var ue *admin.UnreachableError
		if !errors.As(err, &ue) || !strings.Contains(err.Error(), "wasmill run") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it ends before it answers", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer srv.Close()
		c := admin.NewClient(srv.URL, "")
		defer c.Close()
		_, err := c.Reset(t.Context(), "alerts", "7", nil)
		var off *admin.BrokenOffError
		if !errors.As(err, &off) || !strings.Contains(err.Error(), "may have been done") {
			t.Errorf("a reset: %v", err)
		}
		_, preview := c.PreviewReset(t.Context(), "alerts", "7")
		_, show := c.Pipeline(t.Context(), "alerts")
		for _, err := range []error{preview, show} {
			var gone *admin.UnreachableError
			if !errors.As(err, &gone) {
				t.Errorf("a question: %v", err)
			}
		}
	})
	t.Run("something else listens", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		c := admin.NewClient(srv.URL, "")
		defer c.Close()
		_, err := c.Status(t.Context())
		var nw *admin.NotWasmillError
		if !errors.As(err, &nw) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a client that gives up gets its own error", func(t *testing.T) {
		s := open(t, &fake{}, admin.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client(t, s, "").Status(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// A server's time to read a request ends the context of its handler as well.
type timedWriter struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (w *timedWriter) SetReadDeadline(t time.Time) error { w.read = append(w.read, t); return nil }
func (w *timedWriter) SetWriteDeadline(time.Time) error  { return nil }

func TestAnActionMayTakeLongerThanItsBody(t *testing.T) {
	t.Parallel()
	f := &fake{}
	w := &timedWriter{ResponseRecorder: httptest.NewRecorder()}
	f.resetting = func(context.Context) {
		if len(w.read) != 1 || !w.read[0].IsZero() {
			t.Errorf("while it is at work the deadlines are %v", w.read)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/api/v1/pipelines/alerts/reset", strings.NewReader(`{"to":"7"}`))
	r.Header.Set(admin.RequestHeader, "1")
	r.Header.Set("Content-Type", "application/json")
	admin.Handler(unopened(t, f, admin.Config{})).ServeHTTP(w, r)
	if w.Code != http.StatusOK || len(f.calls) != 1 {
		t.Errorf("%d %s, called %q", w.Code, w.Body, f.calls)
	}
}

func TestErrorsAreJSON(t *testing.T) {
	s := open(t, &fake{}, admin.Config{})
	for path, want := range map[string]string{
		"/api/v1/pipelines/nope":       "not_found",
		"/api/v1/plugins/nope":         "not_found",
		"/api/v1/topics/nope":          "not_found",
		"/api/v1/dead-letters/x":       "invalid",
		"/api/v1/dead-letters?limit=0": "invalid",
		"/nothing":                     "not_found",
	} {
		_, body := request(t, s, http.MethodGet, path, "", nil)
		var e struct{ Error, Code string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != want || e.Error == "" {
			t.Errorf("%s answers %s", path, body)
		}
	}
}

// A request that has nothing to say but its path takes no other body.
func TestBodies(t *testing.T) {
	f := &fake{}
	s := open(t, f, admin.Config{Token: "s3cret"})
	for _, path := range []string{
		"/api/v1/pipelines/alerts/pause", "/api/v1/pipelines/alerts/resume", "/api/v1/plugins/strong/rollback",
		"/api/v1/session", "/api/v1/reload", "/api/v1/drain",
	} {
		for body, want := range map[string]int{
			"{": http.StatusBadRequest, "[]": http.StatusBadRequest, `{"x":1}`: http.StatusBadRequest, "{}{}": http.StatusBadRequest,
			"{" + strings.Repeat(" ", 2<<20): http.StatusRequestEntityTooLarge, "": http.StatusOK, "{}": http.StatusOK,
		} {
			code, answer := request(t, s, http.MethodPost, path, body, func(r *http.Request) {
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer s3cret")
			})
			if code != want || strings.Contains(answer, "Go ") || strings.Contains(answer, "struct") {
				t.Errorf("POST %s with %.10q: %d %s, want %d", path, body, code, answer, want)
			}
		}
	}
	_, answer := request(t, s, http.MethodPost, "/api/v1/pipelines/alerts/drain", `{"seconds":"x"}`, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer s3cret")
	})
	if !strings.Contains(answer, `\"seconds\" cannot be a string`) {
		t.Errorf("it answers %s", answer)
	}
}
