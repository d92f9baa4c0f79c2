package broker

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// refusalBytes is what the server may hold beyond max_store: it takes the
// account's limit below for a reservation, which must fit even when the topics
// have reserved everything else.
const refusalBytes = 1

// refuse makes the server answer every publish, whoever it comes from and
// however it is published, with an error ("resource limits exceeded for
// account", 10002) and store nothing, by an account that may hold nothing.
// Reading, acknowledging, deleting and purging go on.
//
// The server itself would only stop answering, once a stream cannot write
// (stream.go, processJetStreamMsgWithBatch: "We don't want to respond back to the
// user"); it checks limits before it tries to write.
func (e *embedded) refuse() error {
	e.refusing.Store(true)
	limits := map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: 0, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
		MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}}
	if err := e.current().GlobalAccount().UpdateJetStreamLimits(limits); err != nil {
		return fmt.Errorf("make the embedded NATS server refuse messages: %w", err)
	}
	return nil
}

// accept ends refuse.
func (e *embedded) accept() error {
	e.refusing.Store(false)
	if err := e.current().GlobalAccount().UpdateJetStreamLimits(nil); err != nil { // nil: no limits
		return fmt.Errorf("make the embedded NATS server take messages: %w", err)
	}
	return nil
}
