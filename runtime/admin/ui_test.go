package admin_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/admin"
)

// answer is one without its body.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// fetchRaw returns an answer as it came over the wire.
func fetchRaw(t *testing.T, s *admin.Server, path string, edit func(*http.Request)) (answer, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Status, res.Header}, body
}

var assetNames = regexp.MustCompile(`/assets/[A-Za-z0-9_.-]+`)

// The dashboard is small, needs nobody else, and allows nothing that an event
// could smuggle in.
func TestDashboardFiles(t *testing.T) {
	s := open(t, &fake{}, admin.Config{Token: "secret"}) // the page needs none
	res, page := fetchRaw(t, s, "/", nil)
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("the page: %s", res.Status)
	}
	policy := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, want+";") && !strings.HasSuffix(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "data:") {
		t.Errorf("the policy is loose: %s", policy)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|style=|\son[a-z]+=`).Match(page) {
		t.Errorf("the page has inline code or style:\n%s", page)
	}
	names := assetNames.FindAllString(string(page), -1)
	if len(names) < 2 {
		t.Fatalf("the page has no files: %s", page)
	}
	total := 0
	foreign := regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+`)
	for _, path := range append([]string{"/"}, names...) {
		res, packed := fetchRaw(t, s, path, header("Accept-Encoding", "gzip"))
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %s", path, res.Status)
		}
		total += len(packed)
		zr, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		if _, same := fetchRaw(t, s, path, nil); !bytes.Equal(same, plain) {
			t.Errorf("%s is not the same without compression", path)
		}
		for _, url := range foreign.FindAllString(string(plain), -1) {
			if url != "http://www.w3.org" { // names of XML namespaces, which nobody fetches
				t.Errorf("%s speaks of %s", path, url)
			}
		}
		if path == "/" {
			continue
		}
		if cache := res.Header.Get("Cache-Control"); !strings.Contains(cache, "immutable") {
			t.Errorf("%s: Cache-Control is %q", path, cache)
		}
		if res, _ := fetchRaw(t, s, path, header("If-None-Match", res.Header.Get("ETag"))); res.StatusCode != http.StatusNotModified {
			t.Errorf("%s is sent again: %s", path, res.Status)
		}
	}
	t.Logf("the dashboard has %d bytes, compressed", total)
	if most := 150_000; total > most {
		t.Errorf("the dashboard has %d bytes, compressed; at most %d are allowed", total, most)
	}
	if res, _ := fetchRaw(t, s, "/assets/nope.js", nil); res.StatusCode != http.StatusNotFound || strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("a file that is not there: %s", res.Status)
	}
	if res, _ := fetchRaw(t, s, "/api/v1/events", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the events without a token: %s", res.Status)
	}
}

// A link of another site may lead to the dashboard, as typing its address does;
// it reaches nothing else.
func TestALinkToTheDashboard(t *testing.T) {
	s := open(t, &fake{}, admin.Config{})
	visit := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
	}
	if res, _ := fetchRaw(t, s, "/", visit); res.StatusCode != http.StatusOK {
		t.Errorf("the dashboard: %s", res.Status)
	}
	for _, path := range []string{"/api/v1/status", "/api/v1/events", "/metrics"} {
		if res, _ := fetchRaw(t, s, path, visit); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	framed := func(r *http.Request) {
		visit(r)
		r.Header.Set("Sec-Fetch-Dest", "iframe")
	}
	if res, _ := fetchRaw(t, s, "/", framed); res.StatusCode != http.StatusForbidden {
		t.Errorf("in a frame: %s", res.Status)
	}
}

// The lock file pins what is built with, and names no registry.
func TestDashboardIsPinned(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join("ui", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lock, []byte(`"resolved"`)) {
		t.Error("the lock file names a registry: runtime/admin/ui/.npmrc keeps them out")
	}
	manifest, err := os.ReadFile(filepath.Join("ui", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	if loose := regexp.MustCompile(`": "[~^>*][^"]*"`).FindAll(manifest, -1); len(loose) > 1 { // engines
		t.Errorf("versions are not pinned: %s", bytes.Join(loose, []byte(", ")))
	}
}
