// Package cases runs plugins and pipelines on events from files, in the host
// that runs them in production, and compares what comes out with what the files
// expect. No server is started and no socket is opened; clock and randomness are
// fixed.
//
// A case is a file of JSON values, each beginning on a line of its own, most of
// them one line long: a script of what goes in, and directly below each event
// what comes out. Lines that begin with "#" are comments.
//
//	{"case": "strong quakes pass, weak ones are dropped", "plugin": "strong", "config": {"min_magnitude": 4.5}}
//
//	{"subject": "quakes.raw.us", "payload": {"mag": 5.3}}
//	{"output": "default", "payload": {"mag": 5.3}}
//
//	{"subject": "quakes.raw.us", "payload": {"mag": 0.3}}
//	{"outcome": "drop"}
//
// What a line is shows by its keys:
//
//	case      the head, first in the file if at all: a sentence on what the case shows. Also plugin,
//	          pipeline or module (what is run; else it follows from where the file lies), config,
//	          secrets, grants and outputs (of the plugin, in place of what wasmill.toml says), now
//	          (the time on the clock), and in the case of a pipeline plugins: {NAME: {config, secrets}}
//	output    an output of the event above: its name, subject, key, headers, payload
//	outcome   "drop", "retry" (delay, reason), "dead-letter" (reason); "refused" (reason) below the head,
//	          when the plugin refuses its configuration
//	fault     the call failed: "trap", "deadline" and so on; reason is part of its message
//	log       a line that the plugin logged, with its level. Log lines are compared for those events
//	          that have one below them
//	close     the end of the instance; what it still emits then stands below
//	(none)    an event: subject, key, headers, payload; time (when it was stored), now (moves the clock),
//	          seq, attempt
//
// A payload that is not JSON is text or base64 instead of payload. JSON is
// compared by value; headers and fields that are left out are expected to be
// absent. The lines of outputs and outcomes are those of the golden files of
// sdk/sdktest, without the number of the event.
package cases

import (
	"encoding/json"
	"time"
)

// Case is one case file.
type Case struct {
	File string
	Head
	Steps []Step // the first is the opening of the instance

	src    []byte
	places map[string]int // offsets of the values in the head, by key
}

// Head is what a case says of itself. What is not given is nil or empty.
type Head struct {
	About    string
	Plugin   string
	Pipeline string
	Module   string // relative to the file
	Setting
	Grants  []string
	Outputs []string           // the named ones, beside "default"
	Plugins map[string]Setting // of a pipeline's plugins
	Now     time.Time
}

// Setting is what a case gives a plugin in place of its table in wasmill.toml.
type Setting struct {
	Config  json.RawMessage
	Secrets map[string]string
}

// StepKind says what happens in a step.
type StepKind int

// The kinds of steps.
const (
	StepOpen StepKind = iota
	StepEvent
	StepClose
)

// Step is something that happens to a plugin, and what is expected of it.
type Step struct {
	Kind   StepKind
	Event  Event // of StepEvent
	Expect []Line

	line int  // in the file
	at   span // of its value in the file; empty when there is none
	want []span
}

// Event is an event that goes in.
type Event struct {
	Subject string
	Key     string
	Headers []Header
	Payload []byte
	Time    time.Time // zero = what the clock says
	Now     time.Time // zero = the clock stays
	Seq     uint64    // 0 = one more than the event before
	Attempt int       // 0 = 1
}

// Header is one header.
type Header struct{ Name, Value string }

// Line is something that came of a step: an output, an outcome, a fault or a
// line of the log.
type Line struct {
	Kind LineKind

	// Of an output.
	Output  string
	Subject string
	Key     string
	Headers []Header
	Payload []byte

	Outcome string // of an outcome: "drop", "retry", "dead-letter", "refused"
	Delay   time.Duration
	Stage   string // of a pipeline that dead-lettered it
	Fault   string // of a fault, and of a dead letter in the case of a pipeline
	Reason  string

	Log   string
	Level string

	line int // in the file
}

// LineKind says what a Line is.
type LineKind int

// The kinds of lines, in the order in which they are compared.
const (
	LineLog LineKind = iota
	LineOutput
	LineOutcome
	LineFault
)

// Dir is the name of the directories in which case files are looked for, and
// Ext how their names end.
const (
	Dir = "cases"
	Ext = ".ndjson"
)
