package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// stateStream holds what the runtime itself must not forget: how far each
	// pipeline has come, and which of several processes runs it.
	stateStream  = "wasmill-state"
	statePrefix  = "wasmill.state."
	leaseSubject = "wasmill.lease."
	metaState    = "state"

	// stateBytes bounds the stream on an external server, where some accounts
	// demand a limit.
	stateBytes = 64 << 20
)

// stateStore reads and writes single records of the state stream. A record is
// the last message on a subject of its own and is written by compare and set:
// the writer says which sequence the last message on that subject has (its
// revision, 0 = there is none), and the server refuses it when that has changed.
type stateStore struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	log      *slog.Logger
	owner    string // this process
	replicas int    // of a new stream, as far as the server can keep them
	maxBytes int64  // of a new stream, -1 = no limit
}

// errRevision says that a record is not at the revision that its writer expected.
var errRevision = errors.New("the record has been written by somebody else")

// errNoState says that the state stream is not there.
var errNoState = fmt.Errorf("stream %s is gone", stateStream)

// positionSubject is where the record of a pipeline's place in a topic lives.
func positionSubject(pipeline, topic string) string {
	return statePrefix + pipeline + "." + topic + ".position"
}

// ensure makes the state stream, or brings it up to date. On a cluster it wants
// three replicas, so that losing one server does not stop every pipeline.
func (s *stateStore) ensure(ctx context.Context) error {
	stream, err := s.js.Stream(ctx, stateStream)
	if err == nil {
		return s.update(ctx, stream.CachedInfo().Config)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("look up stream %s: %w", stateStream, err)
	}
	cfg := jetstream.StreamConfig{
		Name:        stateStream,
		Description: "where the Wasmill pipelines are in their topics, and which process runs them",
		Storage:     jetstream.FileStorage,
		MaxBytes:    s.maxBytes,
		Replicas:    s.replicas,
		Metadata:    map[string]string{metaKey: metaState},
	}
	demandState(&cfg)
	_, err = s.js.CreateStream(ctx, cfg)
	var api *jetstream.APIError
	if cfg.Replicas > 1 && errors.As(err, &api) && (api.ErrorCode == codeReplicas || api.ErrorCode == codeNoPeers) {
		cfg.Replicas = 1
		_, err = s.js.CreateStream(ctx, cfg)
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
		return fmt.Errorf("create stream %s: %w", stateStream, err)
	}
	return nil
}

// demandState sets what the records rely on. Replicas and size are the operator's.
func demandState(c *jetstream.StreamConfig) {
	c.Subjects = []string{leaseSubject + "*", statePrefix + ">"}
	c.MaxMsgsPerSubject = 1
	c.Discard = jetstream.DiscardNew // a record is never dropped for want of space
	c.AllowDirect, c.AllowRollup, c.AllowAtomicPublish = true, true, true
}

func (s *stateStore) update(ctx context.Context, have jetstream.StreamConfig) error {
	want := have
	demandState(&want)
	if slices.Equal(have.Subjects, want.Subjects) && have.MaxMsgsPerSubject == want.MaxMsgsPerSubject && have.Discard == want.Discard &&
		have.AllowDirect && have.AllowRollup && have.AllowAtomicPublish {
		return nil
	}
	if _, err := s.js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("update stream %s: %w", stateStream, err)
	}
	return nil
}

// get returns a record and its revision; ErrNotFound when there is none. It asks
// the leader of the stream: what it returns is what compare and set compares with.
func (s *stateStore) get(ctx context.Context, subject string) (data []byte, revision uint64, err error) {
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, 0, fmt.Errorf("encode request: %w", err)
	}
	m, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stateStream, req)
	if err != nil {
		return nil, 0, fmt.Errorf("read record %s: %w", subject, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return nil, 0, fmt.Errorf("read record %s: the server's answer: %w", subject, err)
	}
	switch {
	case resp.Error == nil:
		return resp.Message.Data, resp.Message.Seq, nil
	case resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, 0, fmt.Errorf("record %s: %w", subject, ErrNotFound)
	case resp.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return nil, 0, fmt.Errorf("read record %s: %w", subject, errNoState)
	default:
		return nil, 0, fmt.Errorf("read record %s: %w", subject, resp.Error)
	}
}

// put writes a record whose revision is still the given one, and returns the
// next; errRevision when it is not. Any other error leaves open whether the
// record was written.
func (s *stateStore) put(ctx context.Context, subject string, data []byte, revision uint64) (uint64, error) {
	ack, err := s.js.Publish(ctx, subject, data, jetstream.WithExpectLastSequencePerSubject(revision))
	var api *jetstream.APIError
	switch {
	case err == nil:
		return ack.Sequence, nil
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, errRevision
	default:
		return 0, fmt.Errorf("write record %s: %w", subject, err)
	}
}
