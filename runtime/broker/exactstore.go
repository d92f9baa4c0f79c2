package broker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// exactBatch is what store has to store, whatever happens meanwhile. Its last message
// is a record, and so is its first, on the same subject: that one says how things
// are without the batch, and that a batch begins.
//
// The server does not keep its promise to store all of a batch or nothing. On one
// replica it checks the limits of the account and of its memory and disk again
// before each message of a batch that it is committing, and leaves off in the
// middle, without an answer, when one is reached; it also does when a write fails,
// and then tries to complete the batch when it is started again, and does not look
// whether that succeeds (nats-server 2.15, processJetStreamAtomicBatchMsg and
// enableJetStream). So whenever it is not known that a batch is stored whole, its
// records are read. If the last one is the first of a batch, that one is torn. A
// record is written behind it, after which the server touches it no more; then what
// there is of it is counted, and only the rest is stored.
type exactBatch struct {
	to *exactStream
	// out are the messages. The first is left empty for the record that open makes.
	out []atomicMessage
	// open makes a record of how things are as long as the batch is not stored:
	// done messages of it are, in torn pieces. begun says that more of it follows.
	open func(torn []piece, begun bool, done int) ([]byte, error)
	// stored reports whether a record that is not of this batch says that what the
	// batch is about is stored; nil: none does.
	stored func(record []byte) (bool, error)
}

// piece is what the server has stored of a torn batch, from the sequence First on.
type piece struct {
	Topic string `json:"topic"`
	First uint64 `json:"first"`
	Batch string `json:"batch"` // Nats-Batch-Id
}

// store stores b if the record before it has the sequence expect, and returns that
// of its last message. It tries until it succeeds, ctx ends or somebody else has
// written a record.
func (e *Exact) store(ctx context.Context, a *atomicBatch, b *exactBatch, expect uint64) (uint64, error) {
	var torn []piece
	for done := 0; ; {
		msgs := b.out[done:] // with room for the record in front
		if len(msgs) > 2 {
			record, err := b.open(torn, true, done)
			if err != nil {
				return 0, err
			}
			msgs[0] = atomicMessage{subject: msgs[len(msgs)-1].subject, payload: record}
		} else {
			msgs = msgs[1:]
		}
		seq, id, err := e.attempt(ctx, a, b.to, msgs, expect, b.stored)
		if err != nil {
			return 0, err
		}
		subject := string(msgs[len(msgs)-1].subject)
		if id == "" && len(torn) == 0 {
			e.replaced(ctx, b.to, subject, expect, seq, len(msgs))
			return seq, nil
		}
		whole := id == ""
		if !whole {
			p := piece{Topic: b.to.topic, First: seq + 1, Batch: id}
			torn = append(torn, p)
			record, err := b.open(torn, false, done)
			if err != nil {
				return 0, err
			}
			fence := []atomicMessage{{subject: asBytes(subject), payload: record}}
			// Until that is stored, a server that starts may complete the batch.
			expect, _, err = e.attempt(ctx, a, b.to, fence, seq, func(record []byte) (bool, error) {
				whole = bytes.Equal(record, b.out[len(b.out)-1].payload)
				return whole, nil
			})
			if err != nil {
				return 0, err
			}
			seq = expect
		}
		if whole {
			for _, p := range torn {
				a.abandon(p.Batch, subject)
			}
			if err := e.purge(ctx, b.to.topic, subject, seq); err != nil {
				e.log.Debug("the records of a torn batch could not be removed", "pipeline", e.cfg.Pipeline, "topic", b.to.topic, "error", err)
			}
			return seq, nil
		}
		n, err := e.countPiece(ctx, torn[len(torn)-1])
		if err != nil {
			return 0, err
		}
		e.log.Warn("the server had stored only a part of a batch; the rest follows", "pipeline", e.cfg.Pipeline, "topic", b.to.topic, "stored", n, "of", len(msgs)-1)
		done += n
	}
}

// attempt publishes messages, until they are stored (it returns the sequence of
// the last one), are stored in part (the sequence of the first one and the id of
// the batch), or must not be.
func (e *Exact) attempt(ctx context.Context, a *atomicBatch, to *exactStream, msgs []atomicMessage, expect uint64, stored func([]byte) (bool, error)) (seq uint64, torn string, err error) {
	first, last := &msgs[0], &msgs[len(msgs)-1]
	known := true // every attempt so far was refused
	limit := firstAnswer
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		seq, err := a.publish(ctx, msgs, expect, limit)
		if err == nil {
			e.setTrouble("")
			return seq, "", nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return 0, "", ErrClosed
		}
		limit = min(2*limit, lastAnswer)
		e.setTrouble(fmt.Sprintf("topic %s: %s", to.topic, err))
		no := new(batchRefused)
		known = known && errors.As(err, &no)
		subject := string(last.subject)
		r, err := e.last(ctx, to.topic, subject)
		switch {
		case errors.Is(err, ErrNotFound) && (expect == 0 || known && subject == to.applied):
			// There was none, or limits of the topic have removed it.
			expect = 0
		case errors.Is(err, ErrNotFound):
			return 0, "", fmt.Errorf("%w: %s", errRecordGone, subject)
		case err != nil:
			e.setTrouble(err.Error())
		case r.seq == expect:
		case bytes.Equal(r.data, last.payload):
			e.setTrouble("")
			return r.seq, "", nil
		case bytes.Equal(r.data, first.payload):
			return r.seq, r.batch, nil
		case stored == nil:
			return 0, "", ErrReplaced
		default:
			if ours, err := stored(r.data); err != nil || !ours {
				return 0, "", errors.Join(ErrReplaced, err)
			}
			e.setTrouble("")
			return r.seq, "", nil
		}
		if err := pause(ctx, wait, nil); err != nil {
			return 0, "", ErrClosed
		}
	}
}

// How long the first attempt to store a batch waits for an answer, and how long
// any does. To try again too early costs the work and does no harm: only one of the
// attempts finds the record before it that it wants.
const (
	firstAnswer = 2 * time.Second
	lastAnswer  = 10 * time.Second
)

// errRecordGone ends a run: it may be that another process has removed the
// checkpoint, so that the position has to be claimed before anything is committed.
var errRecordGone = errors.New("the record of what the pipeline has committed is gone: its topic was made anew or purged, or a limit has removed it")

// countPiece returns how many messages there are of a piece, the first record
// left out.
func (e *Exact) countPiece(ctx context.Context, p piece) (int, error) {
	n := 0
	err := e.readPiece(ctx, p, func(m *storedMessage) { n = int(m.seq - p.First + 1) }) // what is missing in between was removed
	return n, err
}

// readPiece calls each for every message of a piece. Nothing lies between them: the
// server takes nothing else while it stores a batch.
func (e *Exact) readPiece(ctx context.Context, p piece, each func(m *storedMessage)) error {
	for seq := p.First; seq < p.First+maxAtomic; seq++ {
		m, err := getMessage(ctx, e.wire.nc, p.Topic, map[string]any{"seq": seq, "next_by_subj": ">"})
		for err != nil && !errors.Is(err, ErrNotFound) {
			e.setTrouble(err.Error())
			if pause(ctx, maxBackoff, nil) != nil {
				return ErrClosed
			}
			m, err = getMessage(ctx, e.wire.nc, p.Topic, map[string]any{"seq": seq, "next_by_subj": ">"})
		}
		if m == nil || m.batch != p.Batch { // ErrNotFound, or what came behind
			return nil
		}
		each(m)
		seq = m.seq
	}
	return nil
}

// storedMessage is a message of a stream.
type storedMessage struct {
	seq           uint64
	subject       string
	batch         string // Nats-Batch-Id
	headers, data []byte // NATS header block, payload
}

// last returns the last message on a subject as the leader of the stream has it;
// ErrNotFound when there is none.
func (e *Exact) last(ctx context.Context, stream, subject string) (*storedMessage, error) {
	return getMessage(ctx, e.wire.nc, stream, map[string]any{"last_by_subj": subject})
}

// getMessage asks the leader of a stream for a message. The server answers when
// no batch is half stored.
func getMessage(ctx context.Context, nc *nats.Conn, stream string, request map[string]any) (*storedMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, fmt.Errorf("read a record of topic %q: %w", stream, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq     uint64 `json:"seq"`
			Subject string `json:"subject"`
			Headers string `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return nil, fmt.Errorf("read a record of topic %q: the server's answer: %w", stream, err)
	}
	switch {
	case resp.Error == nil:
		got := &storedMessage{seq: resp.Message.Seq, subject: resp.Message.Subject, data: resp.Message.Data}
		if got.headers, err = base64.StdEncoding.DecodeString(resp.Message.Headers); err != nil {
			return nil, fmt.Errorf("read a record of topic %q: the server's answer: %w", stream, err)
		}
		got.batch = headerValue(got.headers, "Nats-Batch-Id")
		return got, nil
	case resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, ErrNotFound
	default:
		return nil, fmt.Errorf("read a record of topic %q: %w", stream, resp.Error)
	}
}

// headerValue is the last value of a header in a NATS header block, "" without one.
func headerValue(block []byte, key string) (value string) {
	for line := range bytes.SplitSeq(block, []byte("\r\n")) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(k) == key {
			value = string(bytes.TrimSpace(v))
		}
	}
	return value
}

// replaced removes the records that the one with the sequence seq has replaced: the
// one before, and the first message of its own batch of n. What is left when that
// fails does no harm. (Rolling the subject up in the batch costs as much as the
// batch itself, and the stream would have to allow every application to purge it.)
func (e *Exact) replaced(ctx context.Context, to *exactStream, subject string, before, seq uint64, n int) {
	e.remove(to.topic, before)
	if n == 1 {
		return
	}
	first := seq - uint64(n) + 1
	if !to.adjacent { // never delete anything else
		m, err := getMessage(ctx, e.wire.nc, to.topic, map[string]any{"seq": first})
		if err != nil || m.subject != subject {
			return
		}
		to.adjacent = true
	}
	e.remove(to.topic, first)
}

func (e *Exact) remove(stream string, seq uint64) {
	if seq == 0 {
		return
	}
	body := strconv.AppendUint([]byte(`{"no_erase":true,"seq":`), seq, 10)
	_ = e.wire.publish("$JS.API.STREAM.MSG.DELETE."+stream, string(e.commits.inbox)+".removed.record", append(body, '}')) // see replaced
}
