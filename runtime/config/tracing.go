package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Tracing is the table [tracing].
type Tracing struct {
	Endpoint    string            `toml:"endpoint" doc:"URL of a receiver that takes OTLP over HTTP, such as \"http://127.0.0.1:4318\"; /v1/traces is added when it has no path. None = no traces."`
	Headers     map[string]Secret `toml:"headers" doc:"Headers of the requests to endpoint, such as Authorization, each as \"env:NAME\" or \"file:PATH\"."`
	SampleRatio *Ratio            `toml:"sample_ratio" default:"0.01" min:"0" max:"1" doc:"Share of the events that are traced, from 0 to 1, of those that come without a trace context. An event whose traceparent says that its trace is sampled is always traced, one whose traceparent says that it is not, never."`
	ServiceName string            `toml:"service_name" default:"wasmill" doc:"The name under which the traces appear."`
	Timeout     Duration          `toml:"timeout" default:"10s" min:"100ms" max:"1m" doc:"Time that one request may take, repeats included. What comes meanwhile waits as far as there is room; what finds none is dropped. Events never wait."`
}

func (v *validator) tracing() {
	t, p := v.c.Tracing, path{"tracing"}
	if t.Endpoint == "" {
		for _, key := range []string{"endpoint", "headers", "sample_ratio", "service_name", "timeout"} {
			if v.index.has(append(p, key)...) {
				v.addKey(p.of(key), CodeMissing, `tracing.endpoint is missing, so nothing is traced: endpoint = "http://127.0.0.1:4318"`)
				break
			}
		}
		return
	}
	at := p.of("endpoint")
	u, err := url.Parse(t.Endpoint)
	switch {
	case v.bad(at):
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		// The text is not quoted: a part of it may be a password.
		v.add(at, CodeBadValue, `tracing.endpoint: write the URL of a receiver, as in "http://127.0.0.1:4318"`)
	case u.User != nil:
		v.add(at, CodeBadValue, `tracing.endpoint holds a user name or password; use tracing.headers: { Authorization = "env:NAME" }`)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		at := p.of("headers", name)
		if v.bad(at) {
			continue
		}
		if err := t.Headers[name].Check(); err != nil {
			v.add(at, CodeBadValue, "%s: %v", at, err)
		} else if !httpToken(name) {
			v.addKey(at, CodeBadName, "%q cannot be the name of a header", name)
		}
	}
}

// httpToken reports whether s can be the name of an HTTP header.
func httpToken(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c) {
			return false
		}
	}
	return s != ""
}
