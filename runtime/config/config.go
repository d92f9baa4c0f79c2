// Package config reads the TOML file that says what Wasmill runs. Every key is
// a field of Config; the tags of the fields hold, once, what the decoder, the
// validation, the defaults and the JSON Schema need to know of it:
//
//	toml     the key
//	doc      what it means
//	default  the value when the key is absent; a field without one has its zero value
//	min, max the range of a number, size or duration
//	enum     the values of a string, or of the strings in a list, by "|"
//	later    more of them that a later version will have
//	pattern  what a string looks like, and form the same in words
//	hide     not to quote a wrong value, which may be a secret
//
// Load and Parse report everything that is wrong in one run, each finding with
// its place. The package starts nothing and reads no secret.
package config

import "time"

// The topics that every configuration has, and what they store: the events that
// no retry could save, and what operators have done.
const (
	DeadLetters       = "dead-letters"
	DeadLetterSubject = "wasmill.dead.>"
	Audit             = "wasmill-audit"
	AuditSubject      = "wasmill.audit.>"
)

// What the audit log keeps unless its table says otherwise.
const (
	auditAge      = Duration(90 * 24 * time.Hour)
	auditMessages = 100_000
)

// ownTopic returns what a topic of the runtime's own stores, "" for any other topic.
func ownTopic(name string) string {
	switch name {
	case DeadLetters:
		return DeadLetterSubject
	case Audit:
		return AuditSubject
	}
	return ""
}

// Config is one TOML file. In a Config that a program makes, a zero field
// stands for the default in its tag, as an absent key does in TOML.
type Config struct {
	Server    Server              `toml:"server" doc:"The NATS JetStream server that keeps the topics: the embedded one, or an existing one when url is given."`
	Admin     Admin               `toml:"admin" doc:"The HTTP endpoint for health, metrics and the command line."`
	Tracing   Tracing             `toml:"tracing" doc:"Where the traces of events go: an OpenTelemetry receiver. Without endpoint there are none."`
	Topics    map[string]Topic    `toml:"topics" doc:"Durable logs by name. Each is a JetStream stream of the same name. The topics dead-letters and wasmill-audit always exist; their limits can be set here, their subjects cannot. Unless set, wasmill-audit keeps 90d, and 100000 messages."`
	Plugins   map[string]Plugin   `toml:"plugins" doc:"WebAssembly modules by name."`
	Pipelines map[string]Pipeline `toml:"pipelines" doc:"What is read from which topic, run through which plugins, and published where."`

	// Warnings holds what Load found that does not make the file invalid.
	Warnings Findings `toml:"-"`

	names []string // of built-in plugins, when known
}

// Server is the table [server].
type Server struct {
	StoreDir   string  `toml:"store_dir" default:"data" doc:"Where the embedded server keeps topics, relative to this file. Locked against a second process."`
	Listen     *string `toml:"listen" default:"127.0.0.1:4222" doc:"Address on which the embedded server takes NATS clients. \"\" = in-process only; port 0 = any free port."`
	Durability string  `toml:"durability" default:"os" enum:"os|fsync|async" doc:"When a message counts as stored. os: written to the operating system, survives a crash of the process; fsync: on disk, survives power loss, much slower; async: buffered in the process, may lose the last milliseconds in a crash."`
	MaxStore   Size    `toml:"max_store" default:"20GiB" min:"1MiB" doc:"Bytes that all topics together may take on disk. When they are used up, new messages are refused until a topic's limits make room."`

	TLSCert string `toml:"tls_cert" doc:"PEM file of the certificate, with those between it and its authority, that the embedded server shows to clients, relative to this file: they connect by TLS then. Read again when it changes."`
	TLSKey  string `toml:"tls_key" doc:"PEM file of the certificate's key, relative to this file."`

	Users map[string]ServerUser `toml:"users" doc:"Who may connect to the embedded server, by user name. Without any, everybody who reaches it may, and publish to and read every topic."`

	URL         string `toml:"url" doc:"Use this NATS server or cluster instead of the embedded one: one or more nats:// or tls:// URLs, separated by commas."`
	User        string `toml:"user" doc:"User name for url."`
	Password    Secret `toml:"password" doc:"Password for url."`
	Token       Secret `toml:"token" doc:"Token for url."`
	Credentials string `toml:"credentials" doc:"NATS credentials file (.creds) for url, relative to this file."`
	TLS         TLS    `toml:"tls" doc:"TLS for url."`
}

// ServerUser is a table [server.users.NAME]. What a list does not allow is
// forbidden; what is the runtime's own is forbidden whatever the lists say.
type ServerUser struct {
	Password  Secret   `toml:"password" doc:"The password, or its bcrypt hash. Either it or nkey is required."`
	NKey      string   `toml:"nkey" pattern:"^U[A-Z2-7]{55}$" form:"the public nkey of a user, which begins with U" hide:"true" doc:"The public key of a user who proves to have the other one: nothing secret is here then."`
	Publish   []string `toml:"publish" doc:"Subjects to which the user may publish: \"*\" is any one token, \">\" at the end one or more; the first is a word."`
	Subscribe []string `toml:"subscribe" doc:"Subjects to which the user may subscribe, beside replies to _INBOX.NAME: clients are to use that as their inbox prefix."`
	Consume   []string `toml:"consume" doc:"Topics that the user may read, with consumers of its own."`
}

// TLS is the table [server.tls].
type TLS struct {
	CA   string `toml:"ca" doc:"PEM file of the authorities to trust, relative to this file; the system's when absent."`
	Cert string `toml:"cert" doc:"PEM file of the client certificate, relative to this file."`
	Key  string `toml:"key" doc:"PEM file of the client certificate's key, relative to this file."`
}

// Admin is the table [admin].
type Admin struct {
	Listen  *string  `toml:"listen" default:"127.0.0.1:7422" doc:"Address of the endpoint. \"\" = none; port 0 = any free port."`
	Token   Secret   `toml:"token" doc:"Bearer token that requests must carry; it has the role admin. It, or one of tokens, is required when listen is not a loopback address."`
	TLSCert string   `toml:"tls_cert" doc:"PEM file of the endpoint's certificate, with those between it and its authority, relative to this file: the endpoint speaks HTTPS then. Read again when it changes."`
	TLSKey  string   `toml:"tls_key" doc:"PEM file of the certificate's key, relative to this file."`
	Hosts   []string `toml:"hosts" pattern:"^[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?$" form:"a host name without a port" doc:"Further host names that the endpoint is called by, such as that of a proxy in front of it: a request that names another host is refused, so that no web page can reach it under a name of its own. An endpoint on all addresses (0.0.0.0) takes every name when there are none here."`
	// A page left open in a browser does not stay a way in.
	Session Duration `toml:"session" default:"12h" min:"1m" max:"90d" doc:"How long the dashboard, once it was given a token, can be used before it asks again."`
	// Each of Tokens is for one person or program, so that what it does has a name.
	Tokens map[string]AdminToken `toml:"tokens" doc:"Further bearer tokens by the name of whom they are for, each with a role."`
}

// AdminToken is a table [admin.tokens.NAME].
type AdminToken struct {
	Token Secret `toml:"token" doc:"The token. Required."`
	Role  string `toml:"role" enum:"view|operate|admin" doc:"What it is good for. view: reading everything; operate: also pause, resume, reset, redrive, rollback, reload, plan and apply; admin: also publishing, editing and purging events, and backups. Required."`
}

// Topic is a table [topics.NAME]. Nothing is ever deleted from a topic that
// sets no limit: losing data silently would surprise. When the store is full,
// new messages are refused and pipelines wait.
type Topic struct {
	Subjects    []string `toml:"subjects" doc:"Subjects that the topic stores: \"*\" is any one token, \">\" at the end one or more. No other topic may store them. Required, but for dead-letters and wasmill-audit."`
	MaxAge      Duration `toml:"max_age" min:"1s" doc:"Messages older than this are deleted. No limit when absent."`
	MaxBytes    Size     `toml:"max_bytes" min:"1KiB" doc:"Bytes that the topic may take; see full. No limit but the server's max_store when absent."`
	MaxMessages int64    `toml:"max_messages" min:"1" doc:"Messages that the topic may hold; see full. No limit when absent."`
	Full        string   `toml:"full" default:"drop-oldest" enum:"drop-oldest|refuse" doc:"At max_bytes or max_messages: drop-oldest deletes the oldest messages, refuse takes no new ones, so that publishers and pipelines wait."`
	Replicas    int      `toml:"replicas" default:"1" min:"1" max:"5" doc:"Copies in a cluster. More than 1 needs server.url."`
}

// Plugin is a table [plugins.NAME]. Either path or builtin is required.
type Plugin struct {
	Path    string            `toml:"path" doc:"The module (.wasm), relative to this file."`
	Builtin string            `toml:"builtin" doc:"Name of a ready-made plugin instead of path."`
	SHA256  string            `toml:"sha256" pattern:"^[0-9a-fA-F]{64}$" form:"64 hexadecimal digits" doc:"The module's SHA-256 in hex. A module with another one is not loaded."`
	Grants  []string          `toml:"grants" enum:"clock|random|secret" later:"state|timer" doc:"What the plugin may use beyond its input: clock, random, secret. Nothing is granted by default."`
	Secrets map[string]Secret `toml:"secrets" doc:"Secrets that the plugin can ask for by name. Needs the grant secret."`
	Limits  Limits            `toml:"limits" doc:"What the plugin may use up."`
	Config  map[string]any    `toml:"config" doc:"Handed to the plugin as JSON."`
}

// Limits is a table [plugins.NAME.limits].
type Limits struct {
	Memory Size `toml:"memory" default:"64MiB" min:"1MiB" max:"2GiB" doc:"Linear memory of one instance. There is one instance for each stage and partition."`
	// One second, not the tenth that suits a small filter: a Go guest that
	// parses a batch of 512 needs some 15 ms of CPU, and on a busy machine
	// many times that on the clock. It still ends a runaway loop promptly.
	Deadline         Duration `toml:"deadline" default:"1s" min:"1ms" max:"10m" doc:"Time that one call with a batch of events may take."`
	MaxInFlight      int      `toml:"max_in_flight" default:"4096" min:"1" max:"1000000" doc:"Events that pipelines may hold for this plugin at a time, all together. At the limit they stop reading; nothing is dropped."`
	MaxInFlightBytes Size     `toml:"max_in_flight_bytes" default:"16MiB" min:"64KiB" max:"4GiB" doc:"Bytes that pipelines may hold for this plugin at a time, all together."`
	Rate             Rate     `toml:"rate" doc:"Events per second that the plugin is given at most, over all pipelines: \"20000/s\". No limit when absent."`
	MaxOutputBytes   Size     `toml:"max_output_bytes" default:"8MiB" min:"1KiB" max:"1GiB" doc:"Bytes that the plugin may return for one batch."`
	MaxOutputs       int      `toml:"max_outputs" default:"64" min:"1" max:"100000" doc:"Events that the plugin may emit for one input event."`
}

// Pipeline is a table [pipelines.NAME].
type Pipeline struct {
	From       string            `toml:"from" doc:"Topic to read. Required."`
	Filter     []string          `toml:"filter" doc:"Subjects to read, of those that the topic stores; all when absent."`
	Stages     []string          `toml:"stages" doc:"Plugins that events pass through, in order. Required."`
	To         string            `toml:"to" doc:"Topic of the default output. Can be left out when plugins use named outputs only."`
	Subject    string            `toml:"subject" doc:"Subject of the default output, for events to which the plugin gives none: text with {subject.N} (token N of the event's subject, from 1), {header.NAME} and {key}. When absent, events keep their subject."`
	Outputs    map[string]Output `toml:"outputs" doc:"Further outputs, by the name that the plugin uses."`
	Key        string            `toml:"key" doc:"What keeps events in order: events with the same key are processed one after the other. \"json:/pointer\" into the payload, \"subject:N\" or \"header:NAME\"."`
	Partitions int               `toml:"partitions" default:"1" min:"1" max:"256" doc:"Events are processed in so many lines at once, divided by key. More than 1 needs key."`
	Delivery   string            `toml:"delivery" default:"at-least-once" enum:"at-least-once|exactly-once" doc:"at-least-once: no event is lost, some may be processed again after a crash. exactly-once: each event takes effect once, outputs and progress are stored together; it costs some milliseconds a batch."`
	OnFailure  string            `toml:"on_failure" default:"dead-letter" enum:"dead-letter|drop|halt" doc:"When an event has used up its attempts: dead-letter stores it with the cause in the topic dead-letters, drop forgets it, halt stops the pipeline."`
	Start      Start             `toml:"start" default:"all" doc:"Where to begin the first time: all (the topic's first message), new (messages from now on), or an RFC 3339 time."`
	Batch      Batch             `toml:"batch" doc:"When a batch of events is handed to a plugin: at the first limit reached, or at once when nothing more is waiting."`
	Retry      Retry             `toml:"retry" doc:"How an event that fails is tried again."`
	Loop       bool              `toml:"loop" doc:"Allow outputs of this pipeline to reach its own input."`
}

// Output is a value in [pipelines.NAME.outputs]: the name of a topic, or a table.
type Output struct {
	Topic   string `toml:"topic" doc:"Topic of this output. Required."`
	Subject string `toml:"subject" doc:"Subject for events to which the plugin gives none, as subject of the pipeline."`
}

// Batch is the key batch of a pipeline.
type Batch struct {
	MaxEvents int       `toml:"max_events" default:"512" min:"1" max:"65536" doc:"Events in a batch. The default is lower when a plugin's max_in_flight is."`
	MaxBytes  Size      `toml:"max_bytes" default:"1MiB" min:"1KiB" max:"256MiB" doc:"Bytes in a batch; a single larger event is a batch of its own. The default is lower when a plugin's max_in_flight_bytes is."`
	MaxWait   *Duration `toml:"max_wait" default:"2ms" max:"10s" doc:"How long to wait for more events when a batch is not full."`
}

// Retry is the key retry of a pipeline.
type Retry struct {
	Attempts   int      `toml:"attempts" default:"3" min:"1" max:"1000" doc:"Attempts in all, the first one included."`
	Backoff    Duration `toml:"backoff" default:"100ms" min:"1ms" max:"1h" doc:"Wait before the second attempt; doubled before each further one."`
	MaxBackoff Duration `toml:"max_backoff" default:"10s" min:"1ms" max:"24h" doc:"The longest wait between two attempts."`
}

// WithDefaults returns a copy of c with every default in place. It shares the
// lists and maps that need no default with c.
func (c *Config) WithDefaults() *Config {
	out := *c
	setDefaults(&out.Server)
	setDefaults(&out.Admin)
	setDefaults(&out.Tracing)
	out.Topics = make(map[string]Topic, len(c.Topics)+2)
	for name, t := range c.Topics {
		setDefaults(&t)
		out.Topics[name] = t
	}
	for _, name := range []string{DeadLetters, Audit} {
		own := out.Topics[name]
		setDefaults(&own)
		own.Subjects = []string{ownTopic(name)}
		if name == Audit && own.MaxAge == 0 {
			own.MaxAge = auditAge
		}
		if name == Audit && own.MaxBytes == 0 && own.MaxMessages == 0 {
			own.MaxMessages = auditMessages
		}
		out.Topics[name] = own
	}
	out.Plugins = make(map[string]Plugin, len(c.Plugins))
	for name, p := range c.Plugins {
		setDefaults(&p)
		out.Plugins[name] = p
	}
	out.Pipelines = make(map[string]Pipeline, len(c.Pipelines))
	for name, p := range c.Pipelines {
		events, bytes := p.Batch.MaxEvents, p.Batch.MaxBytes
		setDefaults(&p)
		// A default never contradicts a limit that somebody chose.
		for _, stage := range p.Stages {
			limits, ok := out.Plugins[stage]
			if !ok {
				continue
			}
			if events == 0 {
				p.Batch.MaxEvents = min(p.Batch.MaxEvents, limits.Limits.MaxInFlight)
			}
			if bytes == 0 {
				p.Batch.MaxBytes = min(p.Batch.MaxBytes, limits.Limits.MaxInFlightBytes)
			}
		}
		out.Pipelines[name] = p
	}
	return &out
}
