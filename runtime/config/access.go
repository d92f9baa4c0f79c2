package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/event"
)

// tokenHolder is by what name who has the token in [admin] token goes, and so
// one that no other token can have beside it.
const tokenHolder = "token"

func (v *validator) admin() {
	a, p := v.c.Admin, path{"admin"}
	v.listen(p.of("listen"), a.Listen)
	v.pair(p, a.TLSCert, a.TLSKey)
	for _, name := range slices.Sorted(maps.Keys(a.Tokens)) {
		v.adminToken(p.of("tokens", name), name, a.Tokens[name])
	}
	if a.Listen == nil || *a.Listen == "" || v.bad(p.of("listen")) {
		return
	}
	if a.Token == "" && len(a.Tokens) == 0 && !loopback(*a.Listen) && !v.bad(p.of("token"), p.of("tokens")) {
		v.add(p.of("listen"), CodeConflict, `admin.listen %q is open to the network, so admin.token is required: token = "env:WASMILL_ADMIN_TOKEN"`, *a.Listen)
	}
	if (a.Token != "" || len(a.Tokens) > 0) && !loopback(*a.Listen) && a.TLSCert == "" {
		v.warn(p.of("listen"), CodeExposed, "tokens travel through the network as they are; set admin.tls_cert and admin.tls_key")
	}
	if l := v.c.Server.Listen; v.c.Server.URL == "" && l != nil && *l == *a.Listen && !strings.HasSuffix(*l, ":0") {
		v.add(p.of("listen"), CodeConflict, "admin.listen and server.listen are both %q", *l)
	}
}

func (v *validator) adminToken(p path, name string, t AdminToken) {
	v.name(p, "a token")
	if name == tokenHolder && v.c.Admin.Token != "" {
		v.addKey(p, CodeConflict, "%q is the name of admin.token; give this token another", name)
	}
	if t.Token == "" && v.missing(p.of("token")) {
		v.addKey(p.of("token"), CodeMissing, `the token %q has no value: token = "env:NAME" or "file:PATH"`, name)
	}
	if t.Role == "" && v.missing(p.of("role")) {
		v.addKey(p.of("role"), CodeMissing, `the token %q has no role: role = "view", "operate" or "admin"`, name)
	}
}

// pair checks that a certificate and its key are given together.
func (v *validator) pair(p path, cert, key string) {
	if (cert == "") != (key == "") {
		v.addKey(p, CodeConflict, "tls_cert and tls_key belong together")
	}
}

// listener checks where and from whom the embedded server takes clients.
func (v *validator) listener() {
	s, p := v.c.Server, path{"server"}
	v.listen(p.of("listen"), s.Listen)
	v.pair(p, s.TLSCert, s.TLSKey)
	keys := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		u, at := s.Users[name], p.of("users", name)
		v.user(at, name, u)
		if other := keys[u.NKey]; u.NKey != "" && other != "" {
			v.add(at.of("nkey"), CodeConflict, "the users %q and %q have the same nkey", other, name)
		}
		keys[u.NKey] = name
	}
	if s.Listen == nil || *s.Listen == "" || loopback(*s.Listen) || v.bad(p.of("listen")) {
		return
	}
	switch {
	case len(s.Users) == 0:
		v.warn(p.of("listen"), CodeExposed, "the server takes clients from the network without authentication")
	case s.TLSCert == "":
		v.warn(p.of("listen"), CodeExposed, "passwords of users travel through the network as they are; set server.tls_cert and server.tls_key")
	}
}

func (v *validator) user(p path, name string, u ServerUser) {
	v.name(p, "a user")
	switch {
	case u.Password != "" && u.NKey != "":
		v.addKey(p.of("nkey"), CodeConflict, "the user %q has both a password and an nkey; give one", name)
	case u.Password == "" && u.NKey == "" && !v.bad(p.of("password"), p.of("nkey")):
		v.addKey(p, CodeMissing, `the user %q has neither password nor nkey: password = "env:NAME" or "file:PATH"`, name)
	}
	for i, s := range u.Publish {
		v.userSubject(p.of("publish", element(i)), s, "publish to")
	}
	for i, s := range u.Subscribe {
		v.userSubject(p.of("subscribe", element(i)), s, "subscribe to")
	}
	for i, topic := range u.Consume {
		if _, ok := v.c.Topics[topic]; !ok && !v.bad(p.of("consume", element(i))) {
			v.add(p.of("consume", element(i)), CodeDangling, "there is no topic %q", topic).
				suggest(topic, slices.Sorted(maps.Keys(v.c.Topics)))
		}
	}
}

// userSubject refuses what is the runtime's own: it would be forbidden all the same.
func (v *validator) userSubject(p path, s, what string) {
	if v.bad(p) {
		return
	}
	if err := event.CheckFilter(s); err != nil {
		code := CodeBadSubject
		if strings.HasPrefix(s, "$") {
			code = CodeReserved
		}
		v.add(p, code, "%v", err)
		return
	}
	if what != "publish to" {
		return
	}
	switch first, _, _ := strings.Cut(s, "."); first {
	case "wasmill":
		v.add(p, CodeReserved, `nobody may %s %q: subjects under "wasmill." are reserved`, what, s)
	case "*", ">":
		v.add(p, CodeReserved, `%q takes in the requests under "$" by which every topic can be read; begin it with a word`, s)
	}
}
