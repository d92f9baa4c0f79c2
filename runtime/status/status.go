// Package status holds what a running Wasmill says of itself: the JSON that
// the engine fills, the admin endpoint serves and the command line prints.
// Everything here is data; fields are added, never renamed or removed.
package status

import "time"

// States of a pipeline.
const (
	StateStarting = "starting" // preparing, or resetting its consumer
	StateStandby  = "standby"  // another process owns the pipeline
	StateRunning  = "running"
	StatePaused   = "paused"  // by an operator
	StateStalled  = "stalled" // running, has lag, and nothing has finished for a while
	StateBackoff  = "backoff" // failed, waits to start again
	// StateQuarantined: it fails on nearly every event and rests; a changed plugin,
	// an operator or time starts it again.
	StateQuarantined = "quarantined"

	StateHalted   = "halted" // failed for good until an operator acts (on_failure = "halt")
	StateDraining = "draining"
	StateStopped  = "stopped"
)

// Status is the whole picture.
type Status struct {
	Version   string     `json:"version"`
	State     string     `json:"state"` // "running" or "draining"
	Ready     bool       `json:"ready"`
	Started   time.Time  `json:"started"`
	Config    string     `json:"config"` // path of the TOML file
	Server    Server     `json:"server"`
	Topics    []Topic    `json:"topics"`
	Plugins   []Plugin   `json:"plugins"`
	Pipelines []Pipeline `json:"pipelines"`
	Problems  []string   `json:"problems,omitempty"` // what keeps it from being ready, one line each
	// ConfigErrors is what is wrong with the TOML file as it is now, one line each:
	// what runs is from before, and a new start would fail.
	ConfigErrors []string `json:"config_errors,omitempty"`
}

// Server is the NATS server behind the topics.
type Server struct {
	Mode       string `json:"mode"` // "embedded" or "external"
	URL        string `json:"url"`  // without credentials; "" when only in-process
	StoreDir   string `json:"store_dir,omitempty"`
	StoreBytes uint64 `json:"store_bytes"`
	MaxStore   int64  `json:"max_store,omitempty"`
	Durability string `json:"durability"`  // "os", "fsync", "async", or "external"
	LossWindow string `json:"loss_window"` // what a crash and a power loss may lose, in words
	Version    string `json:"version"`     // of nats-server
	// Repairs is what was mended in the store at the start, one line each.
	Repairs []string `json:"repairs,omitempty"`

	// Of the embedded server. While it is not storing, it refuses messages, says
	// why in StorageTrouble, and takes them again by itself when it can.
	Storing        bool   `json:"storing"`
	StorageTrouble string `json:"storage_trouble,omitempty"`
	StoreFree      uint64 `json:"store_free,omitempty"` // bytes left on the disk of the store
	StoreRestarts  int    `json:"store_restarts"`       // of the server, after its store had failed
}

// Topic is one durable log.
type Topic struct {
	Name      string    `json:"name"`
	Subjects  []string  `json:"subjects"`
	Messages  uint64    `json:"messages"`
	Bytes     uint64    `json:"bytes"`
	FirstSeq  uint64    `json:"first_seq"`
	LastSeq   uint64    `json:"last_seq"`
	LastTime  time.Time `json:"last_time"`
	MaxAge    string    `json:"max_age,omitempty"`
	MaxBytes  int64     `json:"max_bytes,omitempty"`
	Replicas  int       `json:"replicas"`
	Consumers int       `json:"consumers"`
	// Lost counts messages that were stored and are gone, though neither a limit
	// nor an operator has removed them.
	Lost       uint64      `json:"lost"`
	LostRanges []LostRange `json:"lost_ranges,omitempty"`
	// Rate is how many messages a second were stored lately; absent when the
	// status was not asked for in the last half minute.
	Rate *float64 `json:"rate,omitempty"`
}

// LostRange is a range of sequences that a topic has lost.
type LostRange struct {
	First    uint64    `json:"first"`
	Last     uint64    `json:"last"`
	Cause    string    `json:"cause"`
	Found    time.Time `json:"found"`
	Accepted bool      `json:"accepted"` // an operator has said --accept-loss
}

// Pipeline is one pipeline and what it did since it started.
type Pipeline struct {
	Name          string             `json:"name"`
	State         string             `json:"state"`
	Reason        string             `json:"reason,omitempty"` // why it is not running
	From          string             `json:"from"`
	Stages        []string           `json:"stages"`
	Outputs       map[string]string  `json:"outputs"` // output name → topic
	Delivery      string             `json:"delivery"`
	Partitions    int                `json:"partitions"`
	Lag           uint64             `json:"lag"` // events of the topic not yet finished
	In            uint64             `json:"events_in"`
	Out           uint64             `json:"events_out"`
	Dropped       uint64             `json:"dropped"`
	Retried       uint64             `json:"retried"`
	DeadLettered  uint64             `json:"dead_lettered"`
	Lost          uint64             `json:"lost"`   // events that its topic lost before it had finished them
	Faults        map[string]uint64  `json:"faults"` // by kind
	LastFault     *Fault             `json:"last_fault,omitempty"`
	InFlight      int                `json:"in_flight"`
	InFlightBytes int                `json:"in_flight_bytes"`
	Backpressure  map[string]float64 `json:"backpressure_seconds"` // by reason
	AckedSeq      uint64             `json:"acked_seq"`            // every event up to here is finished
	Restarts      int                `json:"restarts"`
	Quarantines   int                `json:"quarantines"` // times it was set aside since the start of the process
	LastError     string             `json:"last_error,omitempty"`

	// Lately: over the last seconds.
	Rates       Rates     `json:"rates"`
	EndToEnd    Quantiles `json:"end_to_end"`    // from stored to finished, of the oldest event of each batch
	StageStats  []Stage   `json:"stage_stats"`   // in the order of Stages
	MaxInFlight int       `json:"max_in_flight"` // the smallest limit that applies, of its own and its plugins'
	// Blocked is the part of the last seconds, 0 to 1, in which it did not fetch
	// or publish, by reason: where the backpressure is now.
	Blocked map[string]float64 `json:"blocked"`
}

// Rates are events a second over the last two seconds.
type Rates struct {
	In           float64 `json:"in"`
	Done         float64 `json:"done"`
	Out          float64 `json:"out"`
	Dropped      float64 `json:"dropped"`
	Retried      float64 `json:"retried"`
	DeadLettered float64 `json:"dead_lettered"`
}

// Quantiles of durations in seconds over the last five to ten seconds; all zero
// when there were none.
type Quantiles struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// Stage is one plugin at one place of a pipeline: what it did since the pipeline
// was configured, and lately.
type Stage struct {
	Name         string            `json:"name"`
	Plugin       string            `json:"plugin"`
	In           uint64            `json:"events_in"`
	Out          uint64            `json:"events_out"`
	Dropped      uint64            `json:"dropped"`
	Retried      uint64            `json:"retried"`
	DeadLettered uint64            `json:"dead_lettered"`
	Faults       map[string]uint64 `json:"faults,omitempty"`
	RateIn       float64           `json:"rate_in"` // events/s
	RateOut      float64           `json:"rate_out"`
	Batch        float64           `json:"batch"` // events a call
	Call         Quantiles         `json:"call"`  // of one call with a batch
	Busy         float64           `json:"busy"`  // calls at work at a time, on average
}

// Fault is one failure of a plugin.
type Fault struct {
	Kind    string    `json:"kind"`
	Stage   string    `json:"stage"`
	Plugin  string    `json:"plugin"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

// Plugin is one plugin and its generation in use.
type Plugin struct {
	Name       string       `json:"name"`
	Source     string       `json:"source"` // path or "builtin:NAME"
	Pipelines  []string     `json:"pipelines"`
	Generation Generation   `json:"generation"`
	History    []Generation `json:"history,omitempty"` // newest first

	// What all pipelines hold for it now, and its limits.
	InFlight         int     `json:"in_flight"`
	InFlightBytes    int64   `json:"in_flight_bytes"`
	MaxInFlight      int     `json:"max_in_flight"`
	MaxInFlightBytes int64   `json:"max_in_flight_bytes"`
	MaxRate          float64 `json:"max_rate,omitempty"` // events/s
}

// Generation is one loaded version of a plugin.
type Generation struct {
	Number int       `json:"number"`
	Digest string    `json:"digest"` // sha256, hex
	Size   int       `json:"size"`   // bytes of the module
	Loaded time.Time `json:"loaded"`
	Origin string    `json:"origin"`           // "start", "file", "config", "rollback"
	State  string    `json:"state"`            // "active", "retired", "refused", "rolled back"
	Reason string    `json:"reason,omitempty"` // why refused or rolled back
	// A generation that replaced another is on trial for its first minute: a batch
	// that it fails on is tried on the last generation that has proven itself.
	OnTrial     bool      `json:"on_trial,omitempty"`
	WayBack     int       `json:"way_back,omitempty"` // number of that generation
	Rescued     int       `json:"rescued,omitempty"`  // batches that only that generation could process
	LastFault   string    `json:"last_fault,omitempty"`
	LastFaultAt time.Time `json:"last_fault_at,omitzero"`
	Memory      int64     `json:"memory"` // bytes of all its instances
	Compile     float64   `json:"load_seconds"`

	// What the module says of itself, "" and nil when it has no manifest.
	Module   string   `json:"module,omitempty"`   // its name
	Version  string   `json:"version,omitempty"`  // as its author counts
	Warnings []string `json:"warnings,omitempty"` // what of it is not true
}

// Message is one stored message of a topic.
type Message struct {
	Topic   string              `json:"topic"`
	Seq     uint64              `json:"seq"`
	Time    time.Time           `json:"time"`
	Subject string              `json:"subject"`
	Headers map[string][]string `json:"headers,omitempty"`
	// Payload is the payload when it is valid UTF-8, otherwise Base64 holds it.
	Payload string `json:"payload"`
	Base64  []byte `json:"payload_base64,omitempty"`
}

// DeadLetter is one record of the dead-letter topic.
type DeadLetter struct {
	ID            uint64              `json:"id"` // sequence in the dead-letter topic
	Time          time.Time           `json:"time"`
	Pipeline      string              `json:"pipeline"`
	Stage         string              `json:"stage"`
	Plugin        string              `json:"plugin"`
	Digest        string              `json:"digest"`
	Fault         string              `json:"fault"`
	Cause         string              `json:"cause"`
	Detail        string              `json:"detail,omitempty"` // the guest's stack and last words, lines joined by " | "
	Attempts      int                 `json:"attempts"`
	SourceTopic   string              `json:"source_topic"`
	SourceSeq     uint64              `json:"source_seq"`
	SourceSubject string              `json:"source_subject"`
	Quarantine    string              `json:"quarantine,omitempty"` // why the pipeline was set aside after this event
	Headers       map[string][]string `json:"headers,omitempty"`    // the original ones
	Payload       string              `json:"payload"`
	Base64        []byte              `json:"payload_base64,omitempty"`
}

// DeadLetterFilter chooses dead letters; a zero field chooses all.
type DeadLetterFilter struct {
	Pipeline string
	Stage    string
	Plugin   string
	Fault    string
	Subject  string    // pattern that the original's subject matches
	Reason   string    // part of the cause, in whatever case
	Since    time.Time // only those of then or later
	Until    time.Time // only those before then
	After    uint64    // only ids above this one
	Before   uint64    // only ids below this one; newest first, so the last id of a page gives the next
	Limit    int       // at the most; 0 = 100 for listing, no limit for redriving and purging
}

// Edit is what a dead letter is changed to before it goes through its pipeline
// again. What is nil stays as it was.
type Edit struct {
	Subject *string             `json:"subject,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"` // all of them
	Payload *string             `json:"payload,omitempty"`
	Base64  []byte              `json:"payload_base64,omitempty"` // instead of Payload
}

// Configuration is what is in effect, and what the file says now.
type Configuration struct {
	File string `json:"file"`
	Hash string `json:"hash"` // of what is in effect
	// FileHash is the hash of what the file says now; "" when it is not valid.
	FileHash string    `json:"file_hash"`
	Sections []Section `json:"sections"` // in effect
	Findings []Finding `json:"findings"` // in the file as it is now
}

// Section is one table of a configuration.
type Section struct {
	Name string    `json:"name"`
	Keys []Setting `json:"keys"`
}

// Setting is one key of a table, its value in TOML.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default bool   `json:"default"`
	Doc     string `json:"doc,omitempty"`
}

// Finding is something wrong, or worth saying, about a configuration.
type Finding struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Col        int    `json:"col"`
	Severity   string `json:"severity"` // "error" or "warning"
	Code       string `json:"code"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
}
