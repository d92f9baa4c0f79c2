package event

// A failpoint is a place between two steps of an event's way at which the
// torture harness ends the process. Each is passed by a call of Failpoint. In a
// binary built without the tag "torture" that call is empty and costs nothing;
// with the tag, WASMILL_FAILPOINT=NAME:COUNT kills the process (SIGKILL, nothing
// is flushed or drained) when it passes the failpoint with that name for the
// COUNT-th time.
const (
	FailFetched  = "pipeline.fetched"  // events were received, none is in a queue
	FailAdmitted = "pipeline.admitted" // some of them are in their queues
	FailCalled   = "pipeline.called"   // a plugin has answered, nothing is published
	FailAdded    = "pipeline.added"    // the outputs of a batch are with the sink
	FailFlushed  = "pipeline.flushed"  // and the sink was asked to have them stored
	FailFinished = "pipeline.finished" // they are confirmed, nothing else has happened
	FailAck      = "pipeline.ack"      // the next position is known and not acknowledged
	FailAcked    = "pipeline.acked"    // it was acknowledged

	FailPublish   = "sink.publish"   // outputs are encoded, about to be written to the connection
	FailConfirmed = "sink.confirmed" // the server has answered, nobody knows yet

	FailPosition = "position.write"  // the next position is about to be stored
	FailStored   = "position.stored" // it is stored, nobody knows yet

	FailExactGathered    = "exact.gathered"     // a commit is gathered, nothing is sent
	FailExactStaging     = "exact.staging"      // all of an atomic batch but its commit is with the server
	FailExactCommit      = "exact.commit"       // its commit is encoded, about to be written
	FailExactAnswered    = "exact.answered"     // the server has answered, nobody knows yet
	FailExactCommitted   = "exact.committed"    // a commit is stored, its journal is not applied
	FailExactApply       = "exact.apply"        // a journal is about to be applied
	FailExactPartApplied = "exact.part-applied" // one topic has (part of) its outputs of a journal
	FailExactApplied     = "exact.applied"      // all have, the positions do not count yet
	FailExactSweep       = "exact.sweep"        // applied journals are about to be removed

	FailExactComplete = "exact.complete" // at a start: the journal of a former run is about to be applied
	FailExactClaim    = "exact.claim"    // at a start: all is applied, the claim is not written
	FailExactClaimed  = "exact.claimed"  // at a start: it is, nothing else has happened
)

// Failpoints are the names of all failpoints, in the order of an event's way.
func Failpoints() []string {
	return []string{
		FailFetched, FailAdmitted, FailCalled, FailAdded, FailFlushed, FailPublish, FailConfirmed,
		FailExactGathered, FailExactStaging, FailExactCommit, FailExactAnswered, FailExactCommitted,
		FailExactApply, FailExactPartApplied, FailExactApplied, FailExactSweep,
		FailExactComplete, FailExactClaim, FailExactClaimed,
		FailFinished, FailAck, FailAcked, FailPosition, FailStored,
	}
}
