package status

// Operations of a Change.
const (
	OpAdd    = "add"
	OpChange = "change"
	OpRemove = "remove"
)

// Effects: how a Change comes into effect.
const (
	EffectInPlace    = "in-place"         // nothing stops for it
	EffectGeneration = "generation"       // a generation of a plugin beside the old one; pipelines switch between two batches
	EffectPipeline   = "pipeline-restart" // the pipeline is drained and started again
	EffectProcess    = "process-restart"  // only when the process starts again
)

// Plan is what would change if a running instance took a configuration, and
// what applying it did.
type Plan struct {
	File string `json:"file"` // of the instance: what it reads and where relative paths start
	// Valid says that the instance would take it.
	Valid bool `json:"valid"`
	// Hash is over what runs and what is wanted, the modules included: Apply with
	// it refuses when either has moved since. "" when the plan is not valid.
	Hash     string    `json:"hash,omitempty"`
	Changes  []Change  `json:"changes"`  // none: what is wanted runs
	Findings []Finding `json:"findings"` // of the validation, warnings as well
}

// Change is one thing that is added, changed or removed.
type Change struct {
	Op     string  `json:"op"`
	What   string  `json:"what"`           // "server", "admin", "tracing", "topic", "plugin" or "pipeline"
	Name   string  `json:"name,omitempty"` // "" for server, admin and tracing
	Effect string  `json:"effect"`
	Detail string  `json:"detail"` // of the effect, in words
	Fields []Field `json:"fields"`
	// Removes is what smaller limits of a topic take from what is stored.
	Removes *Removal `json:"removes,omitempty"`
}

// Removal is what the limits of a topic remove from it, for good.
type Removal struct {
	Events     uint64       `json:"events"`
	Estimated  bool         `json:"estimated,omitempty"`  // by the mean size of the events
	Unfinished []Unfinished `json:"unfinished,omitempty"` // of those events, by pipeline
	Unknown    []string     `json:"unknown,omitempty"`    // pipelines whose position is not known
}

// Unfinished is how many events a pipeline has not finished.
type Unfinished struct {
	Pipeline string `json:"pipeline"`
	Events   uint64 `json:"events"`
}

// Field is one key of a Change with its values in TOML. Secrets are not shown:
// where both values are the same, they differ in what is not shown. The field
// "module" is no key: it is the digest of a plugin's module.
type Field struct {
	Key    string `json:"key"`
	Before string `json:"before,omitempty"` // "" when there was none
	After  string `json:"after,omitempty"`  // "" when there is none any more
}

// Applied is what an instance did with a plan. All of it that needs no restart
// of the process was done, or nothing.
type Applied struct {
	Plan

	Applied bool     `json:"applied"` // false when there was nothing to do, or it was refused
	Restart []string `json:"restart"` // what is not in effect until the process starts again: "server.listen" and so on
}
