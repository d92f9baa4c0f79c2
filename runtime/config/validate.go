package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/runtime/event"
)

// maxName is the longest name of a topic, plugin, pipeline or output.
const maxName = 64

// validator checks a Config with its defaults in place. Its methods report what
// is wrong; what depends on a value that already has a finding is left out.
type validator struct {
	*report
	c *Config
}

// Validate reports everything that is wrong with c, without positions. It
// reads no files, so it does not see whether a plugin's module exists. c may
// lack its defaults.
func (c *Config) Validate() Findings {
	r := newReport("configuration", nil)
	full := c.WithDefaults()
	for _, name := range []string{DeadLetters, Audit} {
		if s := c.Topics[name].Subjects; len(s) > 0 && !slices.Equal(s, full.Topics[name].Subjects) {
			r.ownSubjects(name)
		}
	}
	checkTags(r, nil, reflect.ValueOf(full).Elem())
	validate(r, full)
	r.findings.sort()
	return r.findings
}

// checkTags checks every field that is not zero against its tags.
func checkTags(r *report, p path, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv, at := v.Field(f.index), p.of(f.key)
		switch {
		case fv.IsZero():
		case fv.Kind() == reflect.Struct:
			checkTags(r, at, fv)
		case fv.Kind() == reflect.Map && fv.Type().Elem().Kind() == reflect.Struct:
			for _, name := range fv.MapKeys() {
				checkTags(r, at.of(name.String()), fv.MapIndex(name))
			}
		default:
			f.check(r, at, fv)
		}
	}
}

func validate(r *report, c *Config) {
	v := &validator{report: r, c: c}
	v.server()
	v.admin()
	v.tracing()
	for _, name := range slices.Sorted(maps.Keys(c.Topics)) {
		v.topic(name, c.Topics[name])
	}
	v.overlaps()
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		v.plugin(name, c.Plugins[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Pipelines)) {
		v.pipeline(name, c.Pipelines[name])
	}
	v.loops()
	v.unused()
}

// name checks the name at the end of p.
func (v *validator) name(p path, what string) {
	name := p[len(p)-1]
	if goodName(name) {
		return
	}
	if len(name) > maxName {
		v.addKey(p, CodeBadName, "the name of %s is longer than %d characters", what, maxName)
		return
	}
	f := v.addKey(p, CodeBadName, "%q cannot be the name of %s: use a-z, 0-9 and -, not - first", name, what)
	better := strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			return c
		case c == '_' || c == '.' || c == ' ' || c == '-':
			return '-'
		}
		return -1
	}, name), "-")
	if goodName(better) {
		f.Suggestion = better
	}
}

func goodName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

func (v *validator) server() {
	s, p := v.c.Server, path{"server"}
	if s.URL == "" {
		if v.index.has("server", "url") {
			v.add(p.of("url"), CodeBadValue, "server.url is empty; leave it out to use the embedded server")
		}
		for key, set := range map[string]bool{
			"user": s.User != "", "password": s.Password != "", "token": s.Token != "",
			"credentials": s.Credentials != "", "tls": s.TLS != TLS{},
		} {
			if set {
				v.addKey(p.of(key), CodeConflict, "server.%s needs server.url; the embedded server has none", key)
			}
		}
		v.listener()
		return
	}
	for _, key := range []string{"store_dir", "listen", "durability", "max_store", "tls_cert", "tls_key", "users"} {
		if v.index.has("server", key) {
			v.addKey(p.of(key), CodeConflict, "server.%s is for the embedded server, which server.url replaces", key)
		}
	}
	v.url(p.of("url"), s.URL)
	ways := 0
	for _, set := range []bool{s.User != "" || s.Password != "", s.Token != "", s.Credentials != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		v.addKey(p.of("url"), CodeConflict, "give one of user with password, token, credentials")
	}
	if (s.User == "") != (s.Password == "") && !v.bad(p.of("password"), p.of("user")) {
		v.addKey(p.of("url"), CodeConflict, "user and password belong together")
	}
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		v.addKey(p.of("tls"), CodeConflict, "cert and key belong together")
	}
}

func (v *validator) url(p path, list string) {
	for one := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case err != nil || u.Host == "" || u.Path != "" && u.Path != "/":
			// The text is not quoted: a part of it may be a password.
			v.add(p, CodeBadValue, `server.url: write one or more URLs such as "nats://host:4222,nats://other:4222"`)
		case u.User != nil:
			v.add(p, CodeBadValue, "server.url holds a user name or password; use server.user and server.password, or server.token")
		case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			v.add(p, CodeBadValue, "server.url has the scheme %q; it can be nats, tls, ws or wss", u.Scheme)
		}
	}
}

func (v *validator) listen(p path, addr *string) {
	if addr == nil || *addr == "" || v.bad(p) {
		return
	}
	host, port, err := net.SplitHostPort(*addr)
	if err == nil {
		if _, perr := strconv.ParseUint(port, 10, 16); perr != nil || strings.ContainsAny(host, " \t/") {
			err = fmt.Errorf("bad port or host")
		}
	}
	if err != nil {
		v.add(p, CodeBadValue, `%s is %q; write host:port, as in "127.0.0.1:4222"`, p, *addr)
	}
}

// loopback reports whether only this machine can reach a good address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

func (v *validator) topic(name string, t Topic) {
	p := path{"topics", name}
	v.name(p, "a topic")
	subjects := p.of("subjects")
	if ownTopic(name) != "" {
		if v.index.has(subjects...) {
			v.ownSubjects(name)
		}
	} else {
		if len(t.Subjects) == 0 && v.missing(subjects) {
			v.addKey(subjects, CodeMissing, `the topic %q has no subjects: subjects = ["%s.>"]`, name, name)
		} else if len(t.Subjects) == 0 && !v.bad(subjects) {
			v.add(subjects, CodeBadValue, "%s needs at least one subject", subjects)
		}
		for i, s := range t.Subjects {
			v.topicSubject(subjects.of(element(i)), s)
		}
	}
	if t.Replicas > 1 && v.c.Server.URL == "" && !v.bad(p.of("replicas"), path{"server", "url"}) {
		v.add(p.of("replicas"), CodeConflict, "the embedded server is one machine, so replicas can only be 1; use server.url for a cluster")
	}
}

func (r *report) ownSubjects(topic string) {
	r.addKey(path{"topics", topic, "subjects"}, CodeReserved,
		"the subjects of the topic %s are fixed; its limits can be set", topic)
}

func (v *validator) topicSubject(p path, s string) {
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
	first, _, _ := strings.Cut(s, ".")
	switch first {
	case "wasmill":
		v.add(p, CodeReserved, `subject %q: subjects under "wasmill." are reserved`, s)
	case "*", ">":
		v.add(p, CodeReserved, `subject %q takes in the reserved subjects under "$" and "wasmill."; begin it with a word`, s)
	}
}

// overlaps finds subjects that two topics, or one topic twice, would store;
// JetStream refuses them.
func (v *validator) overlaps() {
	type at struct {
		p       path
		topic   string
		subject string
		line    int
		col     int
	}
	var all []at
	for _, name := range slices.Sorted(maps.Keys(v.c.Topics)) {
		for i, s := range v.c.Topics[name].Subjects {
			p := path{"topics", name, "subjects", element(i)}
			if ownTopic(name) == "" && !v.bad(p) {
				line, col := v.index.at(p)
				all = append(all, at{p, name, s, line, col})
			}
		}
	}
	// In the order of the text, so that the later one is reported.
	slices.SortStableFunc(all, func(a, b at) int {
		if a.line != b.line {
			return a.line - b.line
		}
		return a.col - b.col
	})
	for i, later := range all {
		for _, earlier := range all[:i] {
			if !event.Overlap(earlier.subject, later.subject) {
				continue
			}
			if earlier.topic == later.topic {
				v.add(later.p, CodeOverlap, "subject %q overlaps %q of the same topic", later.subject, earlier.subject)
			} else {
				v.add(later.p, CodeOverlap, "subject %q of topic %q overlaps %q of topic %q; a message can be in one topic only",
					later.subject, later.topic, earlier.subject, earlier.topic)
			}
		}
	}
}

func (v *validator) plugin(name string, g Plugin) {
	p := path{"plugins", name}
	v.name(p, "a plugin")
	switch {
	case g.Path != "" && g.Builtin != "":
		v.addKey(p.of("builtin"), CodeConflict, "the plugin %q has both path and builtin; give one", name)
	case g.Path == "" && g.Builtin == "" && !v.bad(p.of("path"), p.of("builtin"), p):
		v.addKey(p.of("path"), CodeMissing, `the plugin %q has neither path nor builtin: path = "plugins/%s.wasm"`, name, name)
	case g.Builtin != "" && len(v.c.names) > 0 && !slices.Contains(v.c.names, g.Builtin):
		v.add(p.of("builtin"), CodeDangling, "there is no built-in plugin %q; there are %s", g.Builtin, orList(v.c.names)).
			suggest(g.Builtin, v.c.names)
	}
	seen := map[string]bool{}
	for i, grant := range g.Grants {
		at := p.of("grants", element(i))
		if seen[grant] && !v.bad(at) {
			v.add(at, CodeBadValue, "the grant %q stands twice", grant)
		}
		seen[grant] = true
	}
	if len(g.Secrets) > 0 && !seen["secret"] && !v.bad(p.of("grants")) {
		v.addKey(p.of("secrets"), CodeConflict, `the plugin %q has secrets but not the grant: grants = ["secret"]`, name)
	}
	for _, key := range slices.Sorted(maps.Keys(g.Secrets)) {
		if err := g.Secrets[key].Check(); err != nil {
			v.add(p.of("secrets", key), CodeBadValue, "%s: %v", p.of("secrets", key), err)
		}
	}
}

// unused warns of plugins that no pipeline runs.
func (v *validator) unused() {
	used := map[string]bool{}
	for _, p := range v.c.Pipelines {
		for _, s := range p.Stages {
			used[s] = true
			if _, ok := v.c.Plugins[s]; !ok {
				return // a name is mistaken; which plugin was meant is not known
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.c.Plugins)) {
		if p := (path{"plugins", name}); !used[name] && !v.bad(p) {
			line, col := v.index.atKey(p)
			v.record(p, Finding{
				Line: line, Col: col, Severity: SeverityWarning, Code: CodeUnused,
				Message: fmt.Sprintf("no pipeline uses the plugin %q", name),
			})
		}
	}
}
