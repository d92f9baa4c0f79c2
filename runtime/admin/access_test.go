package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// leastRoles says of every route who may use it. A route that is not in it
// fails the test: decide who may.
var leastRoles = map[string]admin.Role{
	"/":                   admin.RoleView, // whatever is not there
	"GET /{$}":            "open",
	"GET /assets/{name}":  "open",
	"GET /healthz":        "open",
	"GET /readyz":         "open",
	"GET /metrics":        admin.RoleView,
	"GET /api/v1/status":  admin.RoleView,
	"GET /api/v1/events":  admin.RoleView,
	"GET /api/v1/config":  admin.RoleView,
	"POST /api/v1/reload": admin.RoleOperate,

	// Everybody with a token may begin a session, which has the same role.
	"POST /api/v1/session":   admin.RoleView,
	"GET /api/v1/session":    admin.RoleView,
	"DELETE /api/v1/session": admin.RoleView,

	"POST /api/v1/plan":  admin.RoleOperate,
	"POST /api/v1/apply": admin.RoleOperate,
	"GET /api/v1/backup": admin.RoleAdmin,

	"GET /api/v1/topics":                       admin.RoleView,
	"GET /api/v1/topics/{name}":                admin.RoleView,
	"GET /api/v1/topics/{name}/tail":           admin.RoleView,
	"GET /api/v1/topics/{name}/watch":          admin.RoleView,
	"GET /api/v1/topics/{name}/messages/{seq}": admin.RoleView,
	"POST /api/v1/topics/{name}/publish":       admin.RoleAdmin,

	"GET /api/v1/pipelines":                admin.RoleView,
	"GET /api/v1/pipelines/{name}":         admin.RoleView,
	"GET /api/v1/pipelines/{name}/watch":   admin.RoleView,
	"POST /api/v1/pipelines/{name}/pause":  admin.RoleOperate,
	"POST /api/v1/pipelines/{name}/resume": admin.RoleOperate,
	"POST /api/v1/pipelines/{name}/reset":  admin.RoleOperate,
	"POST /api/v1/pipelines/{name}/drain":  admin.RoleOperate,
	"POST /api/v1/drain":                   admin.RoleOperate,
	"POST /api/v1/pipelines/{name}/replay": admin.RoleAdmin,
	"GET /api/v1/plugins/{name}/module":    admin.RoleAdmin,

	"GET /api/v1/plugins":                  admin.RoleView,
	"GET /api/v1/plugins/{name}":           admin.RoleView,
	"POST /api/v1/plugins/{name}/rollback": admin.RoleOperate,

	"GET /api/v1/dead-letters":               admin.RoleView,
	"GET /api/v1/dead-letters/{id}":          admin.RoleView,
	"POST /api/v1/dead-letters/redrive":      admin.RoleOperate,
	"POST /api/v1/dead-letters/{id}/redrive": admin.RoleAdmin,
	"POST /api/v1/dead-letters/purge":        admin.RoleAdmin,

	"GET /api/v1/audit":      admin.RoleView,
	"GET /api/v1/audit/tail": admin.RoleView,
}

// Every route asks for exactly the role that the table has, of everybody.
func TestEveryRouteHasItsRole(t *testing.T) {
	f := &fake{backup: func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "archive")
		return err
	}}
	s := open(t, f, admin.Config{Tokens: []admin.Token{
		{Name: "grafana", Role: admin.RoleView, Secret: "v"},
		{Name: "oncall", Role: admin.RoleOperate, Secret: "o"},
		{Name: "root", Role: admin.RoleAdmin, Secret: "a"},
	}})
	routes := admin.Routes(s)
	for pattern := range leastRoles {
		if _, ok := routes[pattern]; !ok {
			t.Errorf("there is no route %s any more", pattern)
		}
	}
	rank := map[admin.Role]int{"open": 0, admin.RoleView: 1, admin.RoleOperate: 2, admin.RoleAdmin: 3}
	for pattern, got := range routes {
		least, ok := leastRoles[pattern]
		if !ok || got != least {
			t.Errorf("the route %s takes the role %q; the test's table has %q", pattern, got, least)
			continue
		}
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, "/nothing"
		}
		path = strings.NewReplacer("{$}", "", "{name}", "alerts", "{seq}", "1", "{id}", "4").Replace(path)
		for _, c := range []struct {
			token string
			rank  int
		}{{"", 0}, {"v", 1}, {"o", 2}, {"a", 3}} {
			t.Run(fmt.Sprintf("%s with %q", pattern, c.token), func(t *testing.T) {
				code := statusOf(t, s, method, path, c.token)
				refused := code == http.StatusUnauthorized || code == http.StatusForbidden
				switch {
				case c.rank >= rank[least] && refused:
					t.Errorf("is refused with %d", code)
				case c.rank < rank[least] && c.rank == 0 && code != http.StatusUnauthorized:
					t.Errorf("answers %d, want 401", code)
				case c.rank < rank[least] && c.rank > 0 && code != http.StatusForbidden:
					t.Errorf("answers %d, want 403", code)
				}
			})
		}
	}
}

// statusOf returns what a request is answered with, without reading a stream to its end.
func statusOf(t *testing.T, s *admin.Server, method, path, token string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(admin.RequestHeader, "1")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// A route that is registered past the table would need no role.
func TestRoutesAreRegisteredInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(string(src), "mux.Handle") + strings.Count(string(src), ".HandleFunc(")
	}
	if n != 1 {
		t.Errorf("routes are registered in %d places; the table in routes.go is the only one", n)
	}
}

func TestRefusalsSayWhatIsNeeded(t *testing.T) {
	s := open(t, &fake{}, admin.Config{Token: "top", Tokens: []admin.Token{{Name: "grafana", Role: admin.RoleView, Secret: "v"}}})
	for _, c := range []struct {
		name, token string
		status      int
		code        string
		says        []string
	}{
		{"without a token", "", http.StatusUnauthorized, "unauthorized", []string{"a bearer token is needed, of the role operate or admin", "--token"}},
		{"with a wrong one", "w", http.StatusUnauthorized, "unauthorized", []string{"the token is not one of this instance", "operate or admin"}},
		{"with too small a role", "v", http.StatusForbidden, "role", []string{"/pause needs the role operate", `the token of "grafana" has the role view`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client(t, s, c.token).Pause(t.Context(), "alerts")
			var e *admin.Error
			if !errors.As(err, &e) || e.Status != c.status || e.Code != c.code {
				t.Fatalf("got %v (%+v)", err, e)
			}
			for _, want := range c.says {
				if !strings.Contains(e.Message, want) {
					t.Errorf("%q does not say %q", e.Message, want)
				}
			}
		})
	}
	if _, err := client(t, s, "top").Pause(t.Context(), "alerts"); err != nil {
		t.Errorf("the token of [admin] is an administrator's: %v", err)
	}
}

// Who makes a request is known to what it asks for.
func TestActor(t *testing.T) {
	var who admin.Identity
	f := &fake{metrics: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who = admin.Actor(r.Context()) })}
	s := open(t, f, admin.Config{Token: "top", Tokens: []admin.Token{{Name: "grafana", Role: admin.RoleView, Secret: "v"}}})
	for token, want := range map[string]admin.Identity{
		"v": {Name: "grafana", Role: "view"}, "top": {Name: admin.TokenHolder, Role: "admin"},
	} {
		if statusOf(t, s, http.MethodGet, "/metrics", token); who != want {
			t.Errorf("got %+v, want %+v", who, want)
		}
	}
	s = open(t, f, admin.Config{})
	if statusOf(t, s, http.MethodGet, "/metrics", ""); who != (admin.Identity{Name: admin.Anonymous}) {
		t.Errorf("without tokens it is %+v", who)
	}
}

func TestTokensAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens []admin.Token
		want   string
	}{
		{"a role that there is not", []admin.Token{{Name: "x", Role: "root", Secret: "1"}}, `role "root" is none of`},
		{"no role", []admin.Token{{Name: "x", Secret: "1"}}, "is none of"},
		{"an empty token would let everybody in", []admin.Token{{Name: "x", Role: admin.RoleView}}, "token is empty"},
		{"two of the same value", []admin.Token{{Name: "x", Role: admin.RoleView, Secret: "1"}, {Name: "y", Role: admin.RoleAdmin, Secret: "1"}}, `"x" and "y" have the same value`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := admin.New(admin.Config{Listen: "127.0.0.1:0", Tokens: c.tokens}, admin.Deps{Status: func(context.Context) status.Status { return status.Status{} }})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
