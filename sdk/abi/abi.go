// Package abi is the contract between a Wasmill host and a plugin: the names a
// module exports and imports, the codes both sides use, and the codec of the
// two frames that cross the boundary, the batch (host to guest) and the
// response (guest to host).
//
// The codec allocates nothing on the way in and only grows its own buffers on
// the way out. Every decoder checks each length and count against the bytes at
// hand before it uses it: a frame comes from the other side of a sandbox and
// is never trusted (invariant A6). The package imports neither fmt nor
// encoding/json, so that a guest stays small.
//
// All integers are little-endian. Linear memory stays below 2 GiB.
package abi

// Version of the ABI as wasmill_abi_v1 returns it: major<<16 | minor. A host
// accepts any minor of its own major.
const (
	Major   = 1
	Minor   = 0
	Version = Major<<16 | Minor
)

// Exports of a plugin module. Initialize, Open, Close, Snapshot and Restore are
// optional, the others are required. ExportStart marks a command module, which
// is refused.
const (
	ExportMemory     = "memory"
	ExportInitialize = "_initialize"
	ExportStart      = "_start"
	ExportABI        = "wasmill_abi_v1"
	ExportBuffer     = "wasmill_buffer"
	ExportOpen       = "wasmill_open"
	ExportProcess    = "wasmill_process"
	ExportClose      = "wasmill_close"
	ExportSnapshot   = "wasmill_snapshot"
	ExportRestore    = "wasmill_restore"
)

// Imports that a host offers in module ImportModule. The first four are always
// there, each of the others under the grant of the same line.
const (
	ImportModule = "wasmill_v1"

	ImportLog           = "log"
	ImportMetricDefine  = "metric_define"
	ImportMetricAdd     = "metric_add"
	ImportMetricObserve = "metric_observe"

	ImportNow       = "now"        // GrantClock
	ImportRandom    = "random"     // GrantRandom
	ImportSecretGet = "secret_get" // GrantSecret
)

// Grants that a configuration can give a plugin. Nothing is granted by default.
const (
	GrantClock  = "clock"
	GrantRandom = "random"
	GrantSecret = "secret"
)

// Levels of the log import; the values are those of log/slog.
const (
	LevelDebug = -4
	LevelInfo  = 0
	LevelWarn  = 4
	LevelError = 8
)

// Kinds of metric_define.
const (
	MetricCounter   = 0
	MetricGauge     = 1
	MetricHistogram = 2
)

// Kind says why the host calls wasmill_process.
type Kind uint16

// Kinds of batch.
const (
	KindData  Kind = 0
	KindTimer Kind = 1
	KindDrain Kind = 2
)

// Code is what a plugin decided about one event. An event that the response
// does not list is done: its outputs, if any, are all it caused.
type Code uint8

// Codes of an Outcome.
const (
	CodeDrop       Code = 1
	CodeRetry      Code = 2
	CodeDeadLetter Code = 3
)

// PanicReason begins the reason of a CodeRetry outcome when the handler did not
// ask for it but panicked: an SDK that goes on with the next event says so.
const PanicReason = "panic: "

// Flags of an output record.
const (
	// FlagPayloadRef: the payload is the source event's, by reference; the
	// record carries none.
	FlagPayloadRef uint32 = 1
	// FlagKeepHeaders: the source event's headers precede those of the record.
	FlagKeepHeaders uint32 = 2

	knownOutputFlags = FlagPayloadRef | FlagKeepHeaders
)

// NoSource is the source index of an output that no input event caused.
const NoSource uint32 = ^uint32(0)

// Kinds of fault, as metrics, dead letters and the JSON API name them.
const (
	FaultGuestError     = "guest_error"     // wasmill_process or wasmill_open returned an error
	FaultTrap           = "trap"            // the module trapped
	FaultDeadline       = "deadline"        // the call ran past its deadline
	FaultOutOfMemory    = "out_of_memory"   // wasmill_buffer returned 0, or memory could not grow
	FaultBadResponse    = "bad_response"    // the response frame is malformed or breaks a limit
	FaultRefusedSubject = "refused_subject" // an output's subject is not allowed where it should go
	FaultHandlerError   = "handler_error"   // the plugin itself gave the event up (retries spent, dead-letter)
	FaultPanic          = "panic"           // the handler panicked on the event, see PanicReason
)

// Sizes of the fixed parts of the frames, in bytes.
const (
	BatchHeaderSize    = 32
	EventHeaderSize    = 48
	ResponseHeaderSize = 24
	OutputHeaderSize   = 32
	OutcomeSize        = 16
	HeaderEntrySize    = 8

	// MaxFrame bounds a frame in either direction: linear memory stays below 2 GiB.
	MaxFrame = 1<<31 - 1
)

const (
	batchMagic    = "WMB1"
	responseMagic = "WMR1"
)
