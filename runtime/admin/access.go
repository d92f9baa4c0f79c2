package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Role is what a token is good for. Each role includes those before it.
type Role string

// The roles, the least first.
const (
	RoleView    Role = "view"    // reads everything
	RoleOperate Role = "operate" // steers what runs: pause, resume, reset, redrive, rollback, reload, plan, apply
	RoleAdmin   Role = "admin"   // makes, changes, removes and carries away events, too

	roleOpen Role = "open" // needs no token at all
)

// rank orders the roles; one that does not exist is worth nothing, and reaches nothing.
func (r Role) rank() int { return slices.Index([]Role{RoleView, RoleOperate, RoleAdmin}, r) + 1 }

// includes reports whether who has r may do what wants the role least.
func (r Role) includes(least Role) bool {
	return least == roleOpen || least.rank() > 0 && r.rank() >= least.rank()
}

// Token is a bearer token of one person or program.
type Token struct {
	Name   string // by which the log calls who uses it
	Role   Role
	Secret string
}

// keys are the tokens of an endpoint. They are never changed.
type keys struct {
	tokens []Token
	sums   [][sha256.Size]byte
}

func newKeys(cfg *Config) (*keys, error) {
	k := &keys{tokens: slices.Clone(cfg.Tokens)}
	if cfg.Token != "" {
		k.tokens = append(k.tokens, Token{Name: TokenHolder, Role: RoleAdmin, Secret: cfg.Token})
	}
	var errs []error
	for i, t := range k.tokens {
		switch {
		case t.Role.rank() == 0:
			errs = append(errs, fmt.Errorf("[admin.tokens.%s] role %q is none of view, operate, admin", t.Name, t.Role))
		case t.Secret == "":
			errs = append(errs, fmt.Errorf("[admin.tokens.%s] token is empty", t.Name))
		}
		for _, earlier := range k.tokens[:i] {
			if t.Secret == earlier.Secret {
				errs = append(errs, fmt.Errorf("the admin tokens of %q and %q have the same value: give each its own", earlier.Name, t.Name))
			}
		}
		k.sums = append(k.sums, sha256.Sum256([]byte(t.Secret)))
	}
	return k, errors.Join(errs...)
}

// wanted reports whether requests need a token.
func (k *keys) wanted() bool { return len(k.tokens) > 0 }

// find returns who has a token. It takes the same time for every token that is
// presented: all are compared, in constant time, and hashing hides the length.
func (k *keys) find(secret string) (Identity, bool) {
	sum, at := sha256.Sum256([]byte(secret)), -1
	for i := range k.sums {
		if subtle.ConstantTimeCompare(sum[:], k.sums[i][:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return Identity{}, false
	}
	return Identity{Name: k.tokens[at].Name, Role: string(k.tokens[at].Role)}, true
}

// bearer returns the token of a request, "" when it has none.
func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// allow lets a request through to next when who makes it has the role that is
// needed, and tells next who it is.
func (s *Server) allow(least Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.identify(r, least)
		if err == nil && !Role(who.Role).includes(least) {
			err = &apiError{
				status: http.StatusForbidden, code: codeRole,
				msg: fmt.Sprintf("%s %s needs the role %s; the token of %q has the role %s", r.Method, r.URL.Path, least, who.Name, who.Role),
			}
		}
		if err != nil {
			s.auditRefused(r, who, err)
			if s.statusOf(err) == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="wasmill"`)
			}
			s.fail(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithActor(r.Context(), who)))
	})
}

// identify finds out who makes a request, for something that wants the role least.
func (s *Server) identify(r *http.Request, least Role) (Identity, error) {
	switch token := bearer(r); {
	case least == roleOpen:
		return Identity{Name: Anonymous}, nil
	case !s.keys.wanted():
		return Identity{Name: Anonymous, Role: string(RoleAdmin)}, nil
	case token == "":
		return Identity{}, failure(http.StatusUnauthorized, "a bearer token is needed, of the role %s: --token or WASMILL_ADMIN_TOKEN", orMore(least))
	default:
		who, ok := s.keys.find(token)
		if !ok {
			return who, failure(http.StatusUnauthorized, "the token is not one of this instance: a bearer token is needed, of the role %s: --token or WASMILL_ADMIN_TOKEN", orMore(least))
		}
		return who, nil
	}
}

// orMore reads "operate or admin".
func orMore(least Role) string {
	var names []string
	for _, r := range []Role{RoleView, RoleOperate, RoleAdmin} {
		if r.includes(least) {
			names = append(names, string(r))
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
