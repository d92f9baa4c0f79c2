package config

import (
	"maps"
	"slices"
	"strings"
)

// tokenHolder is by what name who has the token in [admin] token goes, and so
// one that no other token can have beside it.
const tokenHolder = "token"

func (v *validator) admin() {
	a, p := v.c.Admin, path{"admin"}
	v.listen(p.of("listen"), a.Listen)
	for _, name := range slices.Sorted(maps.Keys(a.Tokens)) {
		v.adminToken(p.of("tokens", name), name, a.Tokens[name])
	}
	if a.Listen == nil || *a.Listen == "" || v.bad(p.of("listen")) {
		return
	}
	if a.Token == "" && len(a.Tokens) == 0 && !loopback(*a.Listen) && !v.bad(p.of("token"), p.of("tokens")) {
		v.add(p.of("listen"), CodeConflict, `admin.listen %q is open to the network, so admin.token is required: token = "env:WASMILL_ADMIN_TOKEN"`, *a.Listen)
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
