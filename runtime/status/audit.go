package status

import "time"

// Outcomes of an audited action.
const (
	AuditBegun  = "begun" // of an action that takes a while; a record with its outcome follows
	AuditOK     = "ok"
	AuditFailed = "failed" // Error says why, and Details what was done all the same
)

// AuditRecord is one line of the audit log: somebody has changed, or tried to
// change, the state of an instance.
type AuditRecord struct {
	// Seq is the record's place in the topic wasmill-audit; absent as long as it could
	// not be stored and only the process has it.
	Seq      uint64            `json:"seq,omitempty"`
	Time     time.Time         `json:"time"` // when the action ended, or began
	Actor    string            `json:"actor"`
	Role     string            `json:"role,omitempty"`
	Remote   string            `json:"remote,omitempty"` // address it came from; "" when it came from this process
	Instance string            `json:"instance"`         // host name of the process that did it
	Action   string            `json:"action"`           // the verb: "pipelines.pause", "dlq.redrive"
	Target   string            `json:"target,omitempty"` // name of the pipeline, plugin or topic
	Details  map[string]string `json:"details,omitempty"`
	Outcome  string            `json:"outcome"`
	Error    string            `json:"error,omitempty"`
	Seconds  float64           `json:"seconds,omitempty"` // that the action took
	// Requests is how many requests of the same kind the record sums up, when
	// there is more than one.
	Requests int `json:"requests,omitempty"`
}

// AuditFilter chooses records; a zero field chooses all.
type AuditFilter struct {
	Action  string // a verb, or its first word: "pipelines"
	Actor   string
	Target  string
	Outcome string
	Since   time.Time
	Before  uint64 // only records before this Seq; newest first, so the last Seq of a page gives the next
	Limit   int    // at the most; 0 = 100
}

// Match says whether the filter chooses a record.
func (f *AuditFilter) Match(r *AuditRecord) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	n := len(f.Action)
	verb := same(f.Action, r.Action) || len(r.Action) > n && r.Action[:n] == f.Action && r.Action[n] == '.'
	return verb && same(f.Actor, r.Actor) && same(f.Target, r.Target) && same(f.Outcome, r.Outcome) && !r.Time.Before(f.Since)
}
