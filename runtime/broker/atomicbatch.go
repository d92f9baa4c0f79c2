package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/runtime/event"
)

// atomicBatch publishes messages to one stream, all or none (ADR-50): each
// carries the headers Nats-Batch-Id and Nats-Batch-Sequence, the last one
// Nats-Batch-Commit. One batch is under way at a time. Facts of the server that
// shape this code:
//
//   - A batch has at most 1000 messages. On one replica it is staged in a store
//     of its own, with fsyncs: some milliseconds, whatever its size, and about
//     ten microseconds a message.
//   - The first message may demand a sequence that the last message on its subject
//     must have (compare and set). The server checks it when it commits.
//   - Messages without a reply subject are staged in silence. The first and the
//     last ask for an answer; only that to the last says what became of the batch.
//   - What was staged is forgotten with the server, or after ten idle seconds.
//     A commit that a crash interrupts is completed at the next start.
//   - All or none is a promise that the server does not always keep: see exactBatch.
type atomicBatch struct {
	wire  *wire
	inbox []byte
	id    []byte // starts the ids of its batches

	mu struct {
		sync.Mutex
		epoch  uint64 // of the connection
		count  uint64 // batches begun
		batch  []byte // id of the one under way
		out    []atomicMessage
		expect uint64
		next   int    // message to encode
		begun  uint64 // epoch in which it was begun
		why    string // answer to its first message, if that was a refusal
		answer chan atomicAnswer
	}
}

// atomicMessage is one message: header lines end with CRLF each and leave out the
// first line of a NATS header block. The slices are not kept.
type atomicMessage struct {
	subject, header, payload []byte
}

type atomicAnswer struct {
	seq uint64
	err error
}

const (
	maxAtomic = 1000 // messages of a batch
	// atomicHeader is more than the headers that publish adds to a message.
	atomicHeader = 256
)

// errUnanswered says that a batch may have been stored or not.
var errUnanswered = errors.New("the server has not answered")

// batchRefused says that the server has not stored a batch. It may have stored a
// part of it: a limit can be reached at its last message.
type batchRefused struct{ text string }

func (e *batchRefused) Error() string { return e.text }

func newAtomicBatch(w *wire) *atomicBatch {
	inbox := w.nc.NewInbox()
	a := &atomicBatch{
		wire: w, id: []byte(rand.Text()[:8]),
		inbox: []byte(inbox[:strings.LastIndexByte(inbox, '.')+1] + rand.Text()[:8]),
	}
	w.subscribe(string(a.inbox)+".>", a)
	w.join(a)
	return a
}

// publish stores out if the last message on the subject of the first one has the
// sequence expect (0 = there is none), and returns the sequence that the last one
// got. It waits that long for an answer. After an error it is not known what is
// stored. Not for concurrent use.
func (a *atomicBatch) publish(ctx context.Context, out []atomicMessage, expect uint64, limit time.Duration) (uint64, error) {
	if err := a.wire.waitUp(ctx); err != nil {
		return 0, err
	}
	answer := make(chan atomicAnswer, 1)
	a.mu.Lock()
	a.mu.count++
	a.mu.batch = strconv.AppendUint(append(a.mu.batch[:0], a.id...), a.mu.count, 36)
	a.mu.out, a.mu.expect, a.mu.next, a.mu.begun, a.mu.why, a.mu.answer = out, expect, 0, a.mu.epoch, "", answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.mu.out, a.mu.answer = nil, nil
		a.mu.Unlock()
	}()
	a.wire.want(a)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-answer:
		return r.seq, r.err
	case <-timer.C:
		return 0, fmt.Errorf("%w for %s", errUnanswered, limit)
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-a.wire.quit:
		return 0, ErrClosed
	}
}

// abandon has the server forget a batch that it has stored in part. Otherwise it
// holds what was staged until it is restarted, and takes fifty such batches a stream.
func (a *atomicBatch) abandon(batch, subject string) {
	m := nats.NewMsg(subject)
	m.Header.Set("Nats-Batch-Id", batch)
	m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(maxAtomic+1)) // comes out of order, and begins no batch
	_ = a.wire.nc.PublishMsg(m)                                    // not connected: the next server knows of no batch
}

// fill implements feeder. It encodes under the lock, so that publish can let go
// of the messages when it returns. The commit goes in a write of its own, behind
// what it commits.
func (a *atomicBatch) fill(buf []byte, limit int, epoch uint64) (_ []byte, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.out == nil || a.mu.begun != epoch || a.mu.epoch != epoch {
		return buf, false
	}
	last := len(a.mu.out) - 1
	if a.mu.next == last {
		if last > 0 {
			event.Failpoint(event.FailExactStaging)
		}
		buf = a.encodeLocked(buf, last)
		a.mu.next++
		event.Failpoint(event.FailExactCommit)
	}
	for a.mu.next < last && len(buf) < limit {
		buf = a.encodeLocked(buf, a.mu.next)
		a.mu.next++
	}
	return buf, a.mu.next <= last
}

// encodeLocked appends message i as a protocol operation.
func (a *atomicBatch) encodeLocked(b []byte, i int) []byte {
	m := &a.mu.out[i]
	last := i == len(a.mu.out)-1
	var lines [atomicHeader]byte
	h := append(lines[:0], natsHeader...)
	if len(a.mu.out) > 1 {
		h = append(append(append(h, "Nats-Batch-Id: "...), a.mu.batch...), "\r\nNats-Batch-Sequence: "...)
		h = append(strconv.AppendInt(h, int64(i+1), 10), "\r\n"...)
		if last {
			h = append(h, "Nats-Batch-Commit: 1\r\n"...)
		}
	}
	if i == 0 {
		h = append(h, "Nats-Expected-Last-Subject-Sequence: "...)
		h = append(strconv.AppendUint(h, a.mu.expect, 10), "\r\n"...)
	}
	header := len(h) + len(m.header) + len("\r\n")
	b = append(append(append(b, "HPUB "...), m.subject...), ' ')
	if i == 0 || last {
		b = append(append(append(b, a.inbox...), '.'), a.mu.batch...)
		if last {
			b = append(b, ".commit "...)
		} else {
			b = append(b, ".first "...)
		}
	}
	b = append(strconv.AppendInt(b, int64(header), 10), ' ')
	b = append(strconv.AppendInt(b, int64(header+len(m.payload)), 10), "\r\n"...)
	b = append(append(append(b, h...), m.header...), "\r\n"...)
	return append(append(b, m.payload...), "\r\n"...)
}

// connected implements wireClient: the answer to what went to an earlier
// connection will never come.
func (a *atomicBatch) connected(epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.epoch != epoch {
		a.mu.epoch = epoch
		a.answerLocked(atomicAnswer{err: fmt.Errorf("%w: %w", errUnanswered, errDisconnected)})
	}
}

func (a *atomicBatch) answerLocked(r atomicAnswer) {
	if a.mu.answer != nil {
		a.mu.answer <- r // it has room for one
		a.mu.answer = nil
	}
}

// begin, deliver and end implement wireSub.
func (a *atomicBatch) begin() { a.mu.Lock() }
func (a *atomicBatch) end()   { a.mu.Unlock() }

func (a *atomicBatch) deliver(m *wireMsg) {
	if len(m.subject) <= len(a.inbox) {
		return
	}
	batch, step, _ := bytes.Cut(m.subject[len(a.inbox)+1:], []byte("."))
	if !bytes.Equal(batch, a.mu.batch) || a.mu.answer == nil {
		return // of a batch that nobody waits for any more
	}
	if string(step) == "first" {
		if len(m.payload) > 0 || len(m.header) > 0 {
			a.mu.why = answerError(m.header, m.payload)
		}
		return
	}
	event.Failpoint(event.FailExactAnswered)
	var doc struct {
		Seq   uint64   `json:"seq"`
		Count int      `json:"count"`
		Error apiError `json:"error"`
	}
	err := json.Unmarshal(m.payload, &doc)
	switch {
	case err == nil && doc.Error.ErrCode == 0 && doc.Seq > 0 && (doc.Count == len(a.mu.out) || len(a.mu.out) == 1):
		a.answerLocked(atomicAnswer{seq: doc.Seq})
	case a.mu.why != "": // says more than that the batch is not whole
		a.answerLocked(atomicAnswer{err: &batchRefused{a.mu.why}})
	default:
		a.answerLocked(atomicAnswer{err: &batchRefused{answerError(m.header, m.payload)}})
	}
}
