package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
)

// From makes the plan of a configuration. file is the path of its TOML file,
// which relative paths start from. cfg may lack its defaults, as one that a
// program made does; it is not changed. The error is config.Findings when cfg
// is not valid (invariant A8).
func From(cfg *config.Config, file string) (*Plan, error) {
	if err := cfg.Validate().Err(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find the directory of %q: %w", file, err)
	}
	c, dir := cfg.WithDefaults(), filepath.Dir(abs)
	hash, err := hashOf(c)
	if err != nil {
		return nil, err
	}
	p, err := build(c, dir)
	if err != nil {
		return nil, err
	}
	p.File, p.Dir, p.Hash, p.Config = abs, dir, hash, c
	return p, nil
}

// build makes the plan of c with relative paths below dir; "" leaves them as
// they are written.
func build(c *config.Config, dir string) (*Plan, error) {
	p := &Plan{Server: serverOf(&c.Server, dir), Admin: adminOf(&c.Admin, dir), Tracing: tracingOf(&c.Tracing)}
	for _, name := range slices.Sorted(maps.Keys(c.Topics)) {
		p.Topics = append(p.Topics, topicOf(name, c.Topics[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		one, err := pluginOf(name, c.Plugins[name], dir)
		if err != nil {
			return nil, err
		}
		p.Plugins = append(p.Plugins, one)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Pipelines)) {
		p.Pipelines = append(p.Pipelines, pipelineOf(name, c.Pipelines[name]))
	}
	return p, nil
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// within puts a relative path below dir; "" stays "".
func within(dir, path string) string {
	switch {
	case path == "":
		return ""
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func serverOf(s *config.Server, dir string) Server {
	if s.URL == "" {
		return Server{
			StoreDir: within(dir, s.StoreDir), Listen: deref(s.Listen), Durability: s.Durability, MaxStore: int64(s.MaxStore),
			TLSCert: within(dir, s.TLSCert), TLSKey: within(dir, s.TLSKey), Users: usersOf(s.Users),
		}
	}
	var urls []string
	for u := range strings.SplitSeq(s.URL, ",") {
		urls = append(urls, strings.TrimSpace(u))
	}
	return Server{
		URL: strings.Join(urls, ","), User: s.User, Password: s.Password, Token: s.Token,
		Credentials: within(dir, s.Credentials),
		TLS:         TLS{CA: within(dir, s.TLS.CA), Cert: within(dir, s.TLS.Cert), Key: within(dir, s.TLS.Key)},
	}
}

func usersOf(users map[string]config.ServerUser) []ServerUser {
	var out []ServerUser
	for _, name := range slices.Sorted(maps.Keys(users)) {
		u := users[name]
		out = append(out, ServerUser{
			Name: name, Password: u.Password, NKey: u.NKey, Publish: slices.Sorted(slices.Values(u.Publish)),
			Subscribe: slices.Sorted(slices.Values(u.Subscribe)), Consume: slices.Sorted(slices.Values(u.Consume)),
		})
	}
	return out
}

func adminOf(a *config.Admin, dir string) Admin {
	out := Admin{
		Listen: deref(a.Listen), Token: a.Token, Session: time.Duration(a.Session),
		Hosts: slices.Sorted(slices.Values(a.Hosts)), TLSCert: within(dir, a.TLSCert), TLSKey: within(dir, a.TLSKey),
	}
	for _, name := range slices.Sorted(maps.Keys(a.Tokens)) {
		out.Tokens = append(out.Tokens, AdminToken{Name: name, Role: a.Tokens[name].Role, Token: a.Tokens[name].Token})
	}
	return out
}

func tracingOf(t *config.Tracing) Tracing {
	if t.Endpoint == "" {
		return Tracing{}
	}
	return Tracing{
		Endpoint: t.Endpoint, Headers: maps.Clone(t.Headers), SampleRatio: float64(deref(t.SampleRatio)),
		ServiceName: t.ServiceName, Timeout: time.Duration(t.Timeout),
	}
}

func topicOf(name string, t config.Topic) Topic {
	return Topic{
		Name: name, Subjects: slices.Sorted(slices.Values(t.Subjects)), MaxAge: time.Duration(t.MaxAge),
		MaxBytes: int64(t.MaxBytes), MaxMessages: t.MaxMessages, Full: t.Full, Replicas: t.Replicas,
	}
}

func pluginOf(name string, g config.Plugin, dir string) (Plugin, error) {
	settings := []byte("{}")
	if len(g.Config) > 0 {
		var err error
		if settings, err = json.Marshal(g.Config); err != nil { // sorts the keys
			return Plugin{}, fmt.Errorf("write the configuration of plugin %q as JSON: %w", name, err)
		}
	}
	l := g.Limits
	return Plugin{
		Name: name, Path: within(dir, g.Path), Builtin: g.Builtin, SHA256: strings.ToLower(g.SHA256),
		Grants: slices.Sorted(slices.Values(g.Grants)), Secrets: maps.Clone(g.Secrets),
		Limits: Limits{
			Memory: int64(l.Memory), Deadline: time.Duration(l.Deadline), MaxInFlight: l.MaxInFlight,
			MaxInFlightBytes: int64(l.MaxInFlightBytes), Rate: float64(l.Rate),
			MaxOutputBytes: int64(l.MaxOutputBytes), MaxOutputs: l.MaxOutputs,
		},
		Config: settings,
	}, nil
}

func pipelineOf(name string, l config.Pipeline) Pipeline {
	outputs := []Output{{Name: DefaultOutput, Topic: l.To, Subject: l.Subject}}
	for _, out := range slices.Sorted(maps.Keys(l.Outputs)) {
		outputs = append(outputs, Output{Name: out, Topic: l.Outputs[out].Topic, Subject: l.Outputs[out].Subject})
	}
	return Pipeline{
		Name: name, From: l.From, Filter: slices.Sorted(slices.Values(l.Filter)), Stages: slices.Clone(l.Stages),
		Outputs: outputs, Key: l.Key, Partitions: l.Partitions, Delivery: l.Delivery, OnFailure: l.OnFailure,
		Start: string(l.Start),
		Batch: Batch{MaxEvents: l.Batch.MaxEvents, MaxBytes: int64(l.Batch.MaxBytes), MaxWait: time.Duration(deref(l.Batch.MaxWait))},
		Retry: Retry{Attempts: l.Retry.Attempts, Backoff: time.Duration(l.Retry.Backoff), MaxBackoff: time.Duration(l.Retry.MaxBackoff)},
		Loop:  l.Loop,
	}
}

// StageNames returns the name of each stage: its plugin's, with "-2", "-3" and
// so on behind it when the plugin stands in the pipeline more than once.
func (l *Pipeline) StageNames() []string {
	names := make([]string, len(l.Stages))
	taken := map[string]bool{}
	for _, plugin := range l.Stages {
		taken[plugin] = true
	}
	first := map[string]bool{}
	for i, plugin := range l.Stages {
		names[i] = plugin
		if !first[plugin] {
			first[plugin] = true
			continue
		}
		for n := 2; taken[names[i]]; n++ {
			names[i] = plugin + "-" + strconv.Itoa(n)
		}
		taken[names[i]] = true
	}
	return names
}

// hashOf is over the plan as JSON with its paths as they are written, so that it
// does not depend on where the file lies. Everything that can differ in order
// is sorted.
func hashOf(c *config.Config) (string, error) {
	p, err := build(c, "")
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("hash the plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
