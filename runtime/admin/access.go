package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// access decides who makes a request: it knows the tokens and the sessions that
// began with them, and who has presented too many wrong ones. It is safe for
// concurrent use.
type access struct {
	sessionAge time.Duration
	attempts   *attempts
	log        *slog.Logger

	mu struct {
		sync.Mutex
		keys     *keys
		sessions map[[sha256.Size]byte]session // by the sum of what is presented
		serving  map[*serving]struct{}
	}
}

// serving is a request that is being served, to somebody with a token.
type serving struct {
	sum  [sha256.Size]byte // of what was presented
	stop context.CancelFunc
}

func newAccess(k *keys, age time.Duration, log *slog.Logger) *access {
	a := &access{sessionAge: age, attempts: newAttempts(), log: log}
	a.mu.keys, a.mu.sessions, a.mu.serving = k, map[[sha256.Size]byte]session{}, map[*serving]struct{}{}
	return a
}

// wanted reports whether requests need a token.
func (a *access) wanted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.keys.wanted()
}

// set replaces the tokens. Who has one that is gone, or has another role by now,
// is known no longer, and what is being served to them ends.
func (a *access) set(k *keys) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.keys = k
	for sum, s := range a.mu.sessions {
		if who, ok := k.find(s.key); !ok || who != s.who {
			delete(a.mu.sessions, sum)
		}
	}
	a.endServingLocked()
}

// endServingLocked ends what is served to those who are not known any more.
func (a *access) endServingLocked() {
	for s := range a.mu.serving {
		_, key := a.mu.keys.find(s.sum)
		if _, going := a.mu.sessions[s.sum]; !key && !going && a.mu.keys.wanted() {
			s.stop()
		}
	}
}

// grant is who may make a request, and until when.
type grant struct {
	who  Identity
	free bool // no token is needed
	sum  [sha256.Size]byte
	ends time.Time // zero: for as long as the token is one
}

// reaches reports whether this is enough for what wants the role least.
func (g *grant) reaches(least Role) bool {
	return g.free || Role(g.who.Role).includes(least)
}

// find returns who has a token or a session.
func (a *access) find(token string, now time.Time) (grant, bool) {
	g := grant{sum: sha256.Sum256([]byte(token))}
	a.mu.Lock()
	defer a.mu.Unlock()
	if isSession(token) {
		s, ok := a.mu.sessions[g.sum]
		if !ok || !s.ends.After(now) {
			delete(a.mu.sessions, g.sum)
			return g, false
		}
		g.who, g.ends = s.who, s.ends
		return g, true
	}
	var ok bool
	g.who, ok = a.mu.keys.find(g.sum)
	return g, ok
}

// serve returns the context of a request that is let through; done must be
// called when it is served.
func (a *access) serve(ctx context.Context, g grant) (_ context.Context, done func()) {
	ctx = WithActor(ctx, g.who)
	if g.free {
		return ctx, func() {}
	}
	s := &serving{sum: g.sum}
	if g.ends.IsZero() {
		ctx, s.stop = context.WithCancel(ctx)
	} else {
		ctx, s.stop = context.WithDeadline(ctx, g.ends)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.serving[s] = struct{}{}
	return ctx, func() {
		a.mu.Lock()
		delete(a.mu.serving, s)
		a.mu.Unlock()
		s.stop()
	}
}

// bearer returns the token of a request, "" when it has none.
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Words of errors that a program may want to tell apart.
const (
	codeRole    = "role"            // the token is good for less than was asked for
	codeSession = "session_expired" // the session has ended: begin another

	codeReserved = "reserved" // what is asked for is the runtime's alone
)

// allow lets a request through to next when who makes it has the role that is
// needed, and tells next who it is.
func (s *Server) allow(least Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g, err := s.access.identify(r, least)
		if err == nil && !g.reaches(least) {
			err = &apiError{
				status: http.StatusForbidden, code: codeRole,
				msg: fmt.Sprintf("%s %s needs the role %s; the token of %q has the role %s", r.Method, r.URL.Path, least, g.who.Name, g.who.Role),
			}
		}
		if err != nil {
			s.auditRefused(r, g.who, err)
			switch err.status {
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", `Bearer realm="wasmill"`)
			case http.StatusTooManyRequests:
				w.Header().Set("Retry-After", strconv.Itoa(err.retryAfter))
			}
			s.fail(w, err)
			return
		}
		ctx, done := s.access.serve(r.Context(), g)
		defer done()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// identify finds out who makes a request, for something that wants the role least.
func (a *access) identify(r *http.Request, least Role) (grant, *apiError) {
	const how = "--token or WASMILL_ADMIN_TOKEN"
	token, now := bearer(r), time.Now()
	switch {
	case least == roleOpen:
		return grant{who: Identity{Name: Anonymous}, free: true}, nil
	case !a.wanted():
		return grant{who: Identity{Name: Anonymous}, free: true}, nil
	case token == "":
		return grant{}, failure(http.StatusUnauthorized, "a bearer token is needed, of the role %s: %s", orMore(least), how)
	case isSession(token):
		// A session is long and random: there is no point in counting attempts.
		g, ok := a.find(token, now)
		if !ok {
			return g, &apiError{status: http.StatusUnauthorized, code: codeSession, msg: "the session has ended: give the token again"}
		}
		return g, nil
	}
	g, ok := a.find(token, now)
	if ok {
		return g, nil
	}
	wait, last := a.attempts.wrong(origin(r.RemoteAddr), now)
	if wait > 0 {
		seconds := int(math.Ceil(wait.Seconds()))
		e := failure(http.StatusTooManyRequests, "the token is not one of this instance, and too many wrong ones came from %s: stop, and try no other in the next %d s", r.RemoteAddr, seconds)
		e.retryAfter = seconds
		return grant{}, e
	}
	if last {
		a.log.Warn("an address presents one wrong token of the admin endpoint after the other", "address", r.RemoteAddr)
	}
	return g, failure(http.StatusUnauthorized, "the token is not one of this instance: a bearer token is needed, of the role %s: %s", orMore(least), how)
}
