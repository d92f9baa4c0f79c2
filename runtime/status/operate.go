package status

// Reset is where a pipeline goes on after a reset, or would.
type Reset struct {
	Pipeline string   `json:"pipeline"`
	Topic    string   `json:"topic"`
	Filter   []string `json:"filter,omitempty"` // subjects of the topic that it reads; none = all
	Delivery string   `json:"delivery"`
	FirstSeq uint64   `json:"first_seq"` // of the topic
	LastSeq  uint64   `json:"last_seq"`
	FromSeq  uint64   `json:"from_seq"` // of the event that it would have read next; 0 = see Unknown
	NextSeq  uint64   `json:"next_seq"` // of the event that it reads next
	Repeated uint64   `json:"repeated"` // events that were finished and are read again
	Skipped  uint64   `json:"skipped"`  // events that are left out
	// Unknown says why it is not known where the pipeline is, and what is repeated
	// or skipped.
	Unknown string `json:"unknown,omitempty"`
	// Epoch tells resets of the pipeline apart: it changes with each.
	Epoch uint64 `json:"epoch"`
	// Meaning is what the reset does to the promise of the pipeline's delivery.
	Meaning string `json:"meaning,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// Redriven is what a redrive has done, or would do.
type Redriven struct {
	Count   int      `json:"count"`             // dead letters that are events again
	Refused int      `json:"refused,omitempty"` // that no topic takes; they stay
	Errors  []string `json:"errors,omitempty"`  // of the first of those, one each
	// Where the next request goes on, when More says that a limit has ended this one:
	// with ids after Last, and before Before, which leaves out those that came since.
	More   bool   `json:"more,omitempty"`
	Last   uint64 `json:"last_id,omitempty"`
	Before uint64 `json:"before,omitempty"`
	// Of a dry run: how many of each kind there are, the most first.
	DryRun bool              `json:"dry_run,omitempty"`
	Kinds  []DeadLetterCount `json:"kinds,omitempty"`
}

// DeadLetterCount is how many dead letters are of one kind.
type DeadLetterCount struct {
	Pipeline string `json:"pipeline"`
	Stage    string `json:"stage"`
	Fault    string `json:"fault"`
	Topic    string `json:"source_topic"`
	Count    int    `json:"count"`
}

// Replayed is what came of events of a topic that went through the stages of a
// pipeline once more, or of how many it would come.
type Replayed struct {
	Pipeline string `json:"pipeline"`
	Topic    string `json:"topic"`
	Into     string `json:"into,omitempty"`
	FromSeq  uint64 `json:"from_seq"`
	ToSeq    uint64 `json:"to_seq"` // the last; below FromSeq there is none
	Events   uint64 `json:"events"` // that the pipeline's filter lets through
	DryRun   bool   `json:"dry_run,omitempty"`

	NextSeq uint64   `json:"next_seq,omitempty"` // behind the last event that went through
	Outputs int      `json:"outputs"`            // stored in Into
	Dropped int      `json:"dropped"`            // events of which nothing came
	Failed  int      `json:"failed"`             // events that would be dead letters
	Refused int      `json:"refused"`            // outputs that Into does not take
	Reasons []string `json:"reasons,omitempty"`  // of the first of those that failed or were refused
}
