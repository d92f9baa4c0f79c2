package plan

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
)

// Operations of a Change.
const (
	Add    = "add"
	Remove = "remove"
	Modify = "change"
)

// Change is one difference between two plans.
type Change struct {
	Op      string   // Add, Remove or Modify
	What    string   // "server", "admin", "tracing", "topic", "plugin" or "pipeline"
	Name    string   // "" for server, admin and tracing
	Fields  []string // of a Modify: the keys that changed, as TOML paths below the thing, sorted
	Restart bool     // takes effect only when the process starts again: tracing, most of server and admin
}

// Diff returns what leads from the plan before to the plan after: the server,
// the admin endpoint, tracing, then topics, plugins and pipelines, each kind by name. It
// compares the plans alone; that a module's file has new content, or a secret
// a new value, is not seen. With before nil everything is added, with after nil
// removed; the server, the admin endpoint and tracing are then not listed.
func Diff(before, after *Plan) []Change {
	var out []Change
	both := before != nil && after != nil
	if before == nil {
		before = &Plan{}
	}
	if after == nil {
		after = &Plan{}
	}
	if both {
		for _, c := range []Change{
			{What: "server", Fields: serverFields(&before.Server, &after.Server), Restart: true},
			{What: "server", Fields: userFields(&before.Server, &after.Server)},
			{What: "admin", Fields: adminFields(&before.Admin, &after.Admin), Restart: true},
			{What: "admin", Fields: tokenFields(&before.Admin, &after.Admin)},
			{What: "tracing", Fields: tracingFields(&before.Tracing, &after.Tracing), Restart: true},
		} {
			if c.Op = Modify; len(c.Fields) > 0 {
				out = append(out, c)
			}
		}
	}
	out = append(out, diffNamed("topic", before.Topics, after.Topics, func(t *Topic) string { return t.Name }, topicFields)...)
	out = append(out, diffNamed("plugin", before.Plugins, after.Plugins, func(p *Plugin) string { return p.Name }, pluginFields)...)
	return append(out, diffNamed("pipeline", before.Pipelines, after.Pipelines, func(p *Pipeline) string { return p.Name }, pipelineFields)...)
}

// diffNamed walks two lists that are sorted by name.
func diffNamed[T any](what string, before, after []T, name func(*T) string, fields func(a, b *T) []string) []Change {
	var out []Change
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case j == len(after) || i < len(before) && name(&before[i]) < name(&after[j]):
			out = append(out, Change{Op: Remove, What: what, Name: name(&before[i])})
			i++
		case i == len(before) || name(&before[i]) > name(&after[j]):
			out = append(out, Change{Op: Add, What: what, Name: name(&after[j])})
			j++
		default:
			if f := fields(&before[i], &after[j]); len(f) > 0 {
				out = append(out, Change{Op: Modify, What: what, Name: name(&after[j]), Fields: f})
			}
			i++
			j++
		}
	}
	return out
}

// changed collects the keys whose values differ.
type changed []string

func (c *changed) when(key string, differs bool) {
	if differs {
		*c = append(*c, key)
	}
}

func (c *changed) sorted() []string {
	slices.Sort(*c)
	return *c
}

func serverFields(a, b *Server) []string {
	var c changed
	c.when("store_dir", a.StoreDir != b.StoreDir)
	c.when("listen", a.Listen != b.Listen)
	c.when("durability", a.Durability != b.Durability)
	c.when("max_store", a.MaxStore != b.MaxStore)
	c.when("url", a.URL != b.URL)
	c.when("user", a.User != b.User)
	c.when("password", a.Password != b.Password)
	c.when("token", a.Token != b.Token)
	c.when("credentials", a.Credentials != b.Credentials)
	c.when("tls_cert", a.TLSCert != b.TLSCert)
	c.when("tls_key", a.TLSKey != b.TLSKey)
	c.when("tls.ca", a.TLS.CA != b.TLS.CA)
	c.when("tls.cert", a.TLS.Cert != b.TLS.Cert)
	c.when("tls.key", a.TLS.Key != b.TLS.Key)
	return c.sorted()
}

// userFields are those of the server that change while it runs.
func userFields(a, b *Server) []string {
	var c changed
	c.when("users", !reflect.DeepEqual(a.Users, b.Users))
	return c.sorted()
}

func adminFields(a, b *Admin) []string {
	var c changed
	c.when("listen", a.Listen != b.Listen)
	c.when("tls_cert", a.TLSCert != b.TLSCert)
	c.when("tls_key", a.TLSKey != b.TLSKey)
	c.when("hosts", !slices.Equal(a.Hosts, b.Hosts))
	c.when("session", a.Session != b.Session)
	return c.sorted()
}

// tokenFields are those of the admin endpoint that change while it runs.
func tokenFields(a, b *Admin) []string {
	var c changed
	c.when("token", a.Token != b.Token)
	c.when("tokens", !slices.Equal(a.Tokens, b.Tokens))
	return c.sorted()
}

func tracingFields(a, b *Tracing) []string {
	var c changed
	c.when("endpoint", a.Endpoint != b.Endpoint)
	c.when("headers", !maps.Equal(a.Headers, b.Headers))
	c.when("sample_ratio", a.SampleRatio != b.SampleRatio)
	c.when("service_name", a.ServiceName != b.ServiceName)
	c.when("timeout", a.Timeout != b.Timeout)
	return c.sorted()
}

func topicFields(a, b *Topic) []string {
	var c changed
	c.when("subjects", !slices.Equal(a.Subjects, b.Subjects))
	c.when("max_age", a.MaxAge != b.MaxAge)
	c.when("max_bytes", a.MaxBytes != b.MaxBytes)
	c.when("max_messages", a.MaxMessages != b.MaxMessages)
	c.when("full", a.Full != b.Full)
	c.when("replicas", a.Replicas != b.Replicas)
	return c.sorted()
}

func pluginFields(a, b *Plugin) []string {
	var c changed
	c.when("path", a.Path != b.Path)
	c.when("builtin", a.Builtin != b.Builtin)
	c.when("sha256", a.SHA256 != b.SHA256)
	c.when("grants", !slices.Equal(a.Grants, b.Grants))
	c.when("secrets", !maps.Equal(a.Secrets, b.Secrets))
	c.when("config", !bytes.Equal(a.Config, b.Config))
	c.when("limits.memory", a.Limits.Memory != b.Limits.Memory)
	c.when("limits.deadline", a.Limits.Deadline != b.Limits.Deadline)
	c.when("limits.max_in_flight", a.Limits.MaxInFlight != b.Limits.MaxInFlight)
	c.when("limits.max_in_flight_bytes", a.Limits.MaxInFlightBytes != b.Limits.MaxInFlightBytes)
	c.when("limits.rate", a.Limits.Rate != b.Limits.Rate)
	c.when("limits.max_output_bytes", a.Limits.MaxOutputBytes != b.Limits.MaxOutputBytes)
	c.when("limits.max_outputs", a.Limits.MaxOutputs != b.Limits.MaxOutputs)
	return c.sorted()
}

func pipelineFields(a, b *Pipeline) []string {
	var c changed
	c.when("from", a.From != b.From)
	c.when("filter", !slices.Equal(a.Filter, b.Filter))
	c.when("stages", !slices.Equal(a.Stages, b.Stages))
	c.when("key", a.Key != b.Key)
	c.when("partitions", a.Partitions != b.Partitions)
	c.when("delivery", a.Delivery != b.Delivery)
	c.when("on_failure", a.OnFailure != b.OnFailure)
	c.when("start", a.Start != b.Start)
	c.when("batch.max_events", a.Batch.MaxEvents != b.Batch.MaxEvents)
	c.when("batch.max_bytes", a.Batch.MaxBytes != b.Batch.MaxBytes)
	c.when("batch.max_wait", a.Batch.MaxWait != b.Batch.MaxWait)
	c.when("retry.attempts", a.Retry.Attempts != b.Retry.Attempts)
	c.when("retry.backoff", a.Retry.Backoff != b.Retry.Backoff)
	c.when("retry.max_backoff", a.Retry.MaxBackoff != b.Retry.MaxBackoff)
	c.when("loop", a.Loop != b.Loop)
	outputFields(&c, a.Outputs, b.Outputs)
	return c.sorted()
}

// outputFields names the default output by the keys to and subject, another by
// outputs.NAME, whichever of its fields changed.
func outputFields(c *changed, a, b []Output) {
	before, after := map[string]Output{}, map[string]Output{}
	for _, o := range a {
		before[o.Name] = o
	}
	for _, o := range b {
		after[o.Name] = o
	}
	names := map[string]bool{}
	for _, o := range slices.Concat(a, b) {
		names[o.Name] = true
	}
	for name := range names {
		x, y := before[name], after[name]
		if name == DefaultOutput {
			c.when("to", x.Topic != y.Topic)
			c.when("subject", x.Subject != y.Subject)
			continue
		}
		c.when("outputs."+name, x != y)
	}
}
