package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"time"
)

// A session stands for a token in a browser, so that this one keeps nothing that
// is good for ever: the dashboard sends the token once and travels with the
// session from then on. It is a bearer token like others and no cookie, which a
// browser would send along with requests that another page makes, and to every
// port of the machine.
const (
	sessionPrefix  = "wms-"
	mostSessions   = 1000
	defaultSession = 12 * time.Hour
)

// session is one that goes on.
type session struct {
	who  Identity
	key  [sha256.Size]byte // of the token that it began with
	ends time.Time
}

// Session is who makes requests with a token or a session, and until when.
type Session struct {
	Session string     `json:"session,omitempty"` // the bearer token, where one has just begun
	Name    string     `json:"name"`
	Role    string     `json:"role,omitempty"`    // "" when no token is needed
	Expires *time.Time `json:"expires,omitempty"` // of a session
}

// isSession reports whether a bearer token is a session's.
func isSession(token string) bool { return strings.HasPrefix(token, sessionPrefix) }

// beginSession answers a token with a session of the same name and role.
func (s *Server) beginSession(r *http.Request) (any, error) {
	token, who := bearer(r), Actor(r.Context())
	switch {
	case isSession(token):
		return nil, &apiError{status: http.StatusForbidden, code: codeRole, msg: "a session begins with a token, not with another session"}
	case who.Name == Anonymous:
		return nil, failure(http.StatusConflict, "this instance wants no token, so there is nothing to begin a session with")
	}
	id, ends := s.access.begin(who, token, time.Now())
	return Session{Session: id, Name: who.Name, Role: who.Role, Expires: &ends}, nil
}

// whoami answers with who makes the request.
func (s *Server) whoami(r *http.Request) (any, error) {
	who := Actor(r.Context())
	out := Session{Name: who.Name, Role: who.Role}
	if ends, ok := r.Context().Deadline(); ok && isSession(bearer(r)) {
		out.Expires = &ends
	}
	return out, nil
}

// endSession ends the session that makes the request, and everything that is
// being served to it.
func (s *Server) endSession(r *http.Request) (any, error) {
	s.access.end(bearer(r))
	return struct{}{}, nil
}

// begin begins a session of who has the token.
func (a *access) begin(who Identity, token string, now time.Time) (id string, ends time.Time) {
	id, ends = sessionPrefix+rand.Text(), now.Add(a.sessionAge).Round(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.mu.sessions) >= mostSessions {
		a.dropSessionLocked(now)
	}
	a.mu.sessions[sha256.Sum256([]byte(id))] = session{who: who, key: sha256.Sum256([]byte(token)), ends: ends}
	return id, ends
}

// end ends a session, if it is one.
func (a *access) end(id string) {
	sum := sha256.Sum256([]byte(id))
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.mu.sessions[sum]; ok {
		delete(a.mu.sessions, sum)
		a.endServingLocked()
	}
}

// dropSessionLocked makes room: of the sessions that have ended, or else of the
// one that ends next.
func (a *access) dropSessionLocked(now time.Time) {
	var next [sha256.Size]byte
	for sum, s := range a.mu.sessions {
		if !s.ends.After(now) {
			delete(a.mu.sessions, sum)
		} else if best, ok := a.mu.sessions[next]; !ok || s.ends.Before(best.ends) {
			next = sum
		}
	}
	if len(a.mu.sessions) >= mostSessions {
		delete(a.mu.sessions, next)
		a.endServingLocked()
	}
}
