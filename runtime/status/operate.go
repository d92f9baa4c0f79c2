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
