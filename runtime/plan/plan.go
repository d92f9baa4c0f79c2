// Package plan turns a configuration into what the runtime runs: an immutable
// Plan with absolute paths, every default in place and everything sorted, and
// the pure difference between two of them. It does no I/O and starts nothing.
package plan

import (
	"encoding/json"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
)

// Plan is everything that one TOML file asks for. A Plan and all it holds are
// immutable: many goroutines may read one, none may write to it.
type Plan struct {
	File string // absolute path of the TOML file
	Dir  string // its directory, where relative paths of secrets start
	// Hash is the SHA-256, in hex, over a canonical form of all below. It is
	// the same for two files that mean the same, wherever they lie.
	Hash      string
	Server    Server
	Admin     Admin
	Tracing   Tracing    `json:",omitzero"`
	Topics    []Topic    // sorted by name; always with DeadLetters and Audit
	Plugins   []Plugin   // sorted by name
	Pipelines []Pipeline // sorted by name

	// Config is what it was made of, with every default, for showing.
	Config *config.Config `json:"-"`
}

// The topics that every Plan has, and what they store.
const (
	DeadLetters       = config.DeadLetters
	DeadLetterSubject = config.DeadLetterSubject
	Audit             = config.Audit
	AuditSubject      = config.AuditSubject
)

// Values of the fields that are choices.
const (
	DropOldest = "drop-oldest" // Topic.Full: the oldest messages make room
	Refuse     = "refuse"      // Topic.Full: new messages are refused, which holds pipelines back

	AtLeastOnce = "at-least-once" // Pipeline.Delivery
	ExactlyOnce = "exactly-once"

	OnFailureDeadLetter = "dead-letter" // Pipeline.OnFailure
	OnFailureDrop       = "drop"
	OnFailureHalt       = "halt"

	StartAll = "all" // Pipeline.Start; else an RFC 3339 time
	StartNew = "new"

	DefaultOutput = "default" // name of Pipeline.Outputs[0]
)

// Server is the NATS server behind the topics: the embedded one, or with URL
// an existing one. Of the two groups of fields the other one is zero.
type Server struct {
	StoreDir   string // absolute
	Listen     string // host:port; "" = in-process only
	Durability string // "os", "fsync" or "async"
	MaxStore   int64  // bytes

	TLSCert string       `json:",omitempty"` // absolute; "" = no TLS
	TLSKey  string       `json:",omitempty"`
	Users   []ServerUser `json:",omitempty"` // sorted by name; none = everybody

	URL         string // one or more server URLs, between commas
	User        string
	Password    config.Secret
	Token       config.Secret
	Credentials string // absolute path of a NATS credentials file
	TLS         TLS
}

// ServerUser is who may connect to the embedded server. Either Password or NKey
// is set.
type ServerUser struct {
	Name      string
	Password  config.Secret
	NKey      string
	Publish   []string // subjects, sorted
	Subscribe []string // subjects, sorted
	Consume   []string // topics, sorted
}

// TLS is how to trust, and to be known by, an existing server. Absolute paths.
type TLS struct{ CA, Cert, Key string }

// Admin is the HTTP endpoint. Listen "" means there is none.
type Admin struct {
	Listen  string
	TLSCert string        `json:",omitempty"` // absolute; "" = no TLS
	TLSKey  string        `json:",omitempty"`
	Hosts   []string      `json:",omitempty"` // sorted
	Session time.Duration // how long one lasts
	Token   config.Secret // with the role admin; "" = none
	Tokens  []AdminToken  `json:",omitempty"` // sorted by name
}

// AdminToken is one of the endpoint's named tokens.
type AdminToken struct {
	Name  string
	Role  string // "view", "operate" or "admin"
	Token config.Secret
}

// Tracing is where the traces of events go. Endpoint "" means nowhere.
type Tracing struct {
	Endpoint    string
	Headers     map[string]config.Secret
	SampleRatio float64 // of the events that come without a trace context
	ServiceName string
	Timeout     time.Duration
}

// Topic is a named durable log. A limit of 0 is none.
type Topic struct {
	Name        string
	Subjects    []string // sorted
	MaxAge      time.Duration
	MaxBytes    int64
	MaxMessages int64
	Full        string // DropOldest or Refuse: what happens at MaxBytes or MaxMessages
	Replicas    int
}

// Plugin is a module with its configuration, grants and limits. Either Path or
// Builtin is set.
type Plugin struct {
	Name    string
	Path    string // absolute
	Builtin string
	SHA256  string   // lower-case hex; "" = not pinned
	Grants  []string // sorted
	Secrets map[string]config.Secret
	Limits  Limits
	Config  json.RawMessage // an object; "{}" when none is given
}

// Limits bound one plugin over all pipelines that use it.
type Limits struct {
	Memory           int64         // bytes of linear memory, per instance
	Deadline         time.Duration // of one call
	MaxInFlight      int           // events
	MaxInFlightBytes int64
	Rate             float64 // events per second; 0 = no limit
	MaxOutputBytes   int64   // per call
	MaxOutputs       int     // per input event
}

// Pipeline reads one topic and publishes to others.
type Pipeline struct {
	Name       string
	From       string   // topic
	Filter     []string // sorted; empty = all of the topic
	Stages     []string // plugins, in order
	Outputs    []Output // in the order of their ids; [0] is DefaultOutput, the others by name
	Key        string   // as event.ParseKey reads it
	Partitions int
	Delivery   string
	OnFailure  string
	Start      string
	Batch      Batch
	Retry      Retry
	Loop       bool // its outputs may reach its own input
}

// Output is where outputs of one name go. The default output of a pipeline
// without `to` has no topic: an event that reaches it is a fault.
type Output struct {
	Name    string
	Topic   string
	Subject string // as event.ParseTemplate reads it; "" keeps the source's subject
}

// Batch is when a batch of events is handed to a plugin: at the first limit reached.
type Batch struct {
	MaxEvents int
	MaxBytes  int64
	MaxWait   time.Duration
}

// Retry is how often, and how far apart, an event is tried.
type Retry struct {
	Attempts   int // the first one included
	Backoff    time.Duration
	MaxBackoff time.Duration
}

// WithProcessOf returns p with server, admin endpoint and tracing of another
// plan: what is in effect when a process that runs that one has taken p over.
// Tokens and users are p's: they change while it runs.
func (p *Plan) WithProcessOf(running *Plan) *Plan {
	out := *p
	out.Server, out.Admin, out.Tracing = running.Server, running.Admin, running.Tracing
	out.Admin.Token, out.Admin.Tokens = p.Admin.Token, p.Admin.Tokens
	if running.Server.URL == "" {
		out.Server.Users = p.Server.Users
	}
	if p.Config == nil || running.Config == nil {
		return &out
	}
	cfg := *p.Config
	cfg.Server, cfg.Admin, cfg.Tracing = running.Config.Server, running.Config.Admin, running.Config.Tracing
	cfg.Admin.Token, cfg.Admin.Tokens = p.Config.Admin.Token, p.Config.Admin.Tokens
	if running.Server.URL == "" {
		cfg.Server.Users = p.Config.Server.Users
	}
	out.Config = &cfg
	if hash, err := hashOf(&cfg); err == nil { // it was made of p.Config before
		out.Hash = hash
	}
	return &out
}

// Topic returns the topic of that name, or nil.
func (p *Plan) Topic(name string) *Topic {
	for i := range p.Topics {
		if p.Topics[i].Name == name {
			return &p.Topics[i]
		}
	}
	return nil
}

// Plugin returns the plugin of that name, or nil.
func (p *Plan) Plugin(name string) *Plugin {
	for i := range p.Plugins {
		if p.Plugins[i].Name == name {
			return &p.Plugins[i]
		}
	}
	return nil
}

// Pipeline returns the pipeline of that name, or nil.
func (p *Plan) Pipeline(name string) *Pipeline {
	for i := range p.Pipelines {
		if p.Pipelines[i].Name == name {
			return &p.Pipelines[i]
		}
	}
	return nil
}
