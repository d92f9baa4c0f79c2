package admin

import (
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
)

// VersionHeader is in every answer; the client knows a Wasmill by it.
const VersionHeader = "Wasmill-Version"

// RequestHeader marks a request as made by a program. A page of another site
// cannot set it without a preflight, which is never granted.
const RequestHeader = "Wasmill-Request"

// guard runs before every route: who is asked, and from where. By whom is what
// allow finds out, which knows the route.
func (s *Server) guard(next http.Handler) http.Handler {
	listen, _, _ := net.SplitHostPort(s.cfg.Listen)
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(VersionHeader, s.deps.Version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", contentPolicy)

		if !s.hostAllowed(listen, r.Host) {
			s.fail(w, failure(http.StatusMisdirectedRequest,
				"the host %q is not one this endpoint answers to: use its address, or add the name to [admin] hosts", r.Host))
			return
		}
		if crossSite(protection, r) && !visit(r) {
			s.fail(w, failure(http.StatusForbidden, "requests from other web sites are refused"))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !programmatic(r) {
			s.fail(w, failure(http.StatusUnsupportedMediaType,
				"send Content-Type: application/json or application/x-ndjson, or the header %s: 1", RequestHeader))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed reports whether the request names this endpoint: a loopback name,
// the host of [admin] listen or one of [admin] hosts. An endpoint on all
// addresses cannot know its names: it takes every address, which no page can
// make a name lead to, and without [admin] hosts every name; there the token,
// which no page of another site has, is what protects it.
func (s *Server) hostAllowed(listen, host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	same := func(one string) bool { return strings.EqualFold(one, name) }
	if isLoopback(name) || same(listen) || slices.ContainsFunc(s.cfg.Hosts, same) {
		return true
	}
	ip := net.ParseIP(listen)
	everywhere := s.access.wanted() && (listen == "" || ip != nil && ip.IsUnspecified())
	return everywhere && (len(s.cfg.Hosts) == 0 || net.ParseIP(name) != nil)
}

// crossSite reports whether a browser made the request on behalf of a page that
// did not come from this endpoint, whatever the method: what is read is worth as
// much as what is changed.
func crossSite(p *http.CrossOriginProtection, r *http.Request) bool {
	unsafe := *r
	unsafe.Method = http.MethodPost
	return p.Check(&unsafe) != nil
}

// visit reports whether somebody follows a link of another site to the
// dashboard, which is no more than typing its address.
func visit(r *http.Request) bool {
	return r.URL.Path == "/" && r.Method == http.MethodGet && r.Header.Get("Origin") == "" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// programmatic reports whether the request is one that an HTML form or a
// simple fetch of another site cannot make.
func programmatic(r *http.Request) bool {
	if r.Header.Get(RequestHeader) != "" {
		return true
	}
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (mt == "application/json" || mt == "application/x-ndjson")
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
