package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// ingest publishes the outputs of one sink to one topic by JetStream's fast
// ingest (ADR-50). A batch is a run of messages whose reply subjects carry
//
//	<inbox>.<number of the topic>.<batch id>.<flow>.fail.<sequence>.<operation>.$FI
//
// and the server answers there: a flow acknowledgement every so many messages,
// and a publish acknowledgement with the number of stored messages when the
// batch is committed. Facts of the server that shape this code:
//
//   - Only a commit confirms the tail; a ping repeats the last flow position.
//     So the newest output is held back until the next one or a flush is there,
//     and on a flush it carries the commit itself. A batch of one message that
//     is its own commit costs one acknowledgement, like a plain publish.
//   - On an error the server commits what it has and forgets the batch; later
//     messages of it are refused, those of a next batch are not. To keep the
//     order (invariant A2) a batch is begun only when the one before it has been
//     answered. What is added meanwhile goes out together then.
//   - A batch dies unanswered after ten idle seconds and with the connection.
//     Everything that was not confirmed is then sent again in a new one: this
//     is where duplicates can come from, and the only place.
//
// All positions count from 1. confirmed ≤ sent < ring.next always holds;
// outputs in (confirmed, sent] are in the current batch.
type ingest struct {
	intake
	index []byte // number of the topic among the sink's, as it is in the reply subject

	ring      ring
	confirmed uint64 // stored by the server
	sent      uint64 // handed to the connection
	flushTo   uint64 // to be confirmed without waiting for more

	batch   batch
	probe   bool          // the last batch failed: try one message
	retryAt time.Time     // nothing is sent before
	backoff time.Duration // before the next retry
	err     string        // why the last batch failed; "" since the last success

	seen struct { // at the last tick
		next, confirmed, batches uint64
		since                    time.Time // an answer is due and there was no progress
	}
}

type batch struct {
	id       []byte
	base     uint64 // position before the first message
	seq      uint64 // messages sent
	reply    []byte // reply subject up to the sequence
	open     bool
	commit   bool   // the last message sent committed it
	failedAt uint64 // sequence of the message that the server refused, 0 = none
	asked    bool   // for its commit after that
}

// Operations of a message in a batch.
const (
	opStart = iota
	opAppend
	opCommit
	opCommitEnd // commits what came before, carries no message
)

const (
	// maxUnanswered is how many messages may be with the server unconfirmed. The
	// server's own queue drops above 100,000, shared by all publishers of a topic.
	maxUnanswered = 8192
	maxFlow       = 500 // more than the server ever allows between two acknowledgements
)

// run is a range of messages that the write loop may encode without the lock:
// they are sent and not confirmed, so nobody frees them, and entries are
// replaced as a whole when the ring grows.
type run struct {
	entries  []entry
	from, to uint64
	reply    []byte
	seq      uint64 // of from
	commit   bool   // to commits
}

// runLocked takes what may be sent now, about limit bytes of it. It reports
// whether there is more behind it.
func (g *ingest) runLocked(s *Sink, limit int, now time.Time) (r run, more bool) {
	if limit <= 0 || !g.sendable(now) {
		return run{}, false
	}
	newest := g.ring.next - 1
	flush := g.flushTo > g.sent
	last := newest
	if !flush {
		last = max(newest, 1) - 1 // the newest is held back
	}
	last = min(last, g.confirmed+maxUnanswered)
	if g.probe {
		last = min(last, g.sent+1)
	}
	if last <= g.sent {
		return run{}, false
	}
	to := g.sent
	for size := 0; to < last && size < limit; to++ {
		size += len(g.ring.at(to+1).data) + 128
	}
	if !g.batch.open {
		g.beginLocked(s)
	}
	r = run{
		entries: g.ring.entries, from: g.sent + 1, to: to, reply: g.batch.reply, seq: g.batch.seq + 1,
		commit: to == last && (flush || g.probe),
	}
	g.batch.seq += to - g.sent
	g.batch.commit = r.commit
	g.sent = to
	return r, to < last
}

// sendable reports whether runLocked would give something.
func (g *ingest) sendable(now time.Time) bool {
	if g.batch.open && (g.batch.commit || g.batch.failedAt > 0) || now.Before(g.retryAt) {
		return false
	}
	newest := g.ring.next - 1
	return newest > g.sent+1 || newest > g.sent && g.flushTo > g.sent
}

func (g *ingest) beginLocked(s *Sink) {
	s.mu.batches++
	id := append([]byte(nil), s.id...)
	id = strconv.AppendUint(id, s.mu.batches, 36)
	reply := append([]byte(nil), s.inbox...)
	reply = append(append(reply, '.'), g.index...)
	reply = append(append(reply, '.'), id...)
	reply = append(reply, '.')
	reply = strconv.AppendInt(reply, int64(s.flow), 10)
	reply = append(reply, ".fail."...)
	g.batch = batch{id: id, base: g.sent, reply: reply, open: true}
}

// encode appends the protocol operations of r.
func (r *run) encode(b []byte) []byte {
	if len(r.entries) == 0 {
		return b // nothing to send
	}
	mask := uint64(len(r.entries) - 1)
	for p, seq := r.from, r.seq; p <= r.to; p, seq = p+1, seq+1 {
		e := &r.entries[p&mask]
		op := opAppend
		switch {
		case r.commit && p == r.to:
			op = opCommit
		case seq == 1:
			op = opStart
		}
		body := len(e.data) - e.subject
		if e.header > 0 {
			b = append(b, "HPUB "...)
		} else {
			b = append(b, "PUB "...)
		}
		b = append(b, e.data[:e.subject]...)
		b = append(b, ' ')
		b = appendFastReply(b, r.reply, seq, op)
		b = append(b, ' ')
		if e.header > 0 {
			b = strconv.AppendInt(b, int64(e.header), 10)
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(body), 10)
		b = append(b, '\r', '\n')
		b = append(b, e.data[e.subject:]...)
		b = append(b, '\r', '\n')
	}
	return b
}

func appendFastReply(b, reply []byte, seq uint64, op int) []byte {
	b = append(b, reply...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, '.', byte('0'+op))
	return append(b, ".$FI"...)
}

// fastReply is what the reply subject of an answer says: whose it is.
type fastReply struct {
	topic int
	batch []byte
	seq   uint64
}

// parseFastReply parses a reply subject behind "<inbox>.".
func parseFastReply(b []byte) (r fastReply, ok bool) {
	var f [4][]byte // topic, batch id, flow, gap mode
	for i := range f {
		at := bytes.IndexByte(b, '.')
		if at <= 0 {
			return r, false
		}
		f[i], b = b[:at], b[at+1:]
	}
	at := bytes.IndexByte(b, '.')
	if at <= 0 {
		return r, false
	}
	topic, ok := parseUint(f[0])
	if !ok || topic > 1<<16 {
		return r, false
	}
	seq, ok := parseUint(b[:at])
	return fastReply{topic: int(topic), batch: f[1], seq: seq}, ok
}

// answerLocked takes what the server says of message seq of the current batch
// and reports whether something may be sent now that could not before.
func (g *ingest) answerLocked(s *Sink, seq uint64, header, payload []byte) {
	if n, ok := flowSeq(payload); ok {
		// After a refused message the server may count on.
		if g.batch.failedAt == 0 || n < g.batch.failedAt {
			g.confirmLocked(s, g.batch.base+n)
		}
		return
	}
	if count, ok := jsonNumber(payload, `"count":`); ok && !bytes.Contains(payload, errorKey) {
		g.confirmLocked(s, g.batch.base+count)
		if g.confirmed < g.sent && g.err == "" {
			g.err = fmt.Sprintf("the server stored %d of %d messages", count, g.batch.seq)
		}
		g.endLocked(g.confirmed < g.sent)
		return
	}
	if bytes.Contains(payload, []byte(`"type":"gap"`)) {
		// A message was lost on the way to the stream; its acknowledgement of
		// what came before follows.
		g.batch.failedAt = max(g.batch.seq, 1)
		return
	}
	g.err = answerError(header, payload)
	switch {
	case bytes.Contains(payload, []byte(`"type":"err"`)):
		g.batch.failedAt = max(seq, 1) // the acknowledgement of what came before follows
	case seq <= 1:
		g.endLocked(true) // the server has no such batch
	case isUnknownBatch(payload):
		// The batch died, or its acknowledgement was lost: nothing is known of
		// what was not confirmed.
		g.endLocked(true)
		g.probe = false
	default:
		// Refused before the batch saw it. If the server takes a later message, it
		// finds the gap and commits what it has; else it has to be asked.
		if g.batch.failedAt == 0 {
			g.batch.failedAt = seq
		}
		if seq == g.batch.seq && !g.batch.asked {
			g.sendEnd(s)
		}
	}
}

// sendEnd asks for the acknowledgement of what came before the last message sent.
func (g *ingest) sendEnd(s *Sink) {
	g.batch.asked = true
	reply := appendFastReply(nil, g.batch.reply, g.batch.seq, opCommitEnd)
	subject := g.ring.at(g.sent)
	_ = s.wire.publish(string(subject.data[:subject.subject]), asString(reply), nil) // else the timeout acts
}

// confirmLocked frees everything up to pos.
func (g *ingest) confirmLocked(s *Sink, pos uint64) {
	pos = min(pos, g.sent)
	if pos <= g.confirmed {
		return
	}
	for p := g.confirmed; p < pos; p++ {
		s.mu.bytes -= g.ring.pop()
		s.mu.events--
	}
	g.confirmed = pos
	s.mu.moved = true
	if g.batch.failedAt == 0 {
		g.err, g.backoff = "", 0
		g.probe = false
	}
}

// endLocked closes the batch. After a failure what was not confirmed goes out
// again, after a pause: first one message, to see whether the server takes any.
func (g *ingest) endLocked(failed bool) {
	g.batch.open = false
	g.sent = g.confirmed
	if !failed {
		g.probe, g.backoff, g.err, g.retryAt = false, 0, "", time.Time{}
		return
	}
	g.probe = true
	g.backoff = min(max(2*g.backoff, minBackoff), maxBackoff)
	g.retryAt = time.Now().Add(g.backoff)
	g.flushTo = max(g.flushTo, g.confirmed+1)
}

const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// tickLocked does what only time brings about and reports whether something may
// be sent.
func (g *ingest) tickLocked(s *Sink, now time.Time) {
	newest := g.ring.next - 1
	if g.ring.next == g.seen.next && g.flushTo < newest {
		g.flushTo = newest // nobody flushed: the held back output has waited long enough
	}
	due := g.batch.open && (g.batch.commit || g.batch.failedAt > 0)
	if !due || g.confirmed != g.seen.confirmed || s.mu.batches != g.seen.batches {
		g.seen.since = now
	}
	g.seen.next, g.seen.confirmed, g.seen.batches = g.ring.next, g.confirmed, s.mu.batches
	switch waited := now.Sub(g.seen.since); {
	case !due:
	case waited > s.timing.answer:
		if g.err == "" {
			g.err = fmt.Sprintf("the server has not answered for %s", waited.Round(time.Millisecond))
		}
		g.restartLocked()
	case g.batch.failedAt == 0 && waited > s.timing.ask && g.confirmed == g.sent:
		g.endLocked(false) // all is stored, only that the batch is committed was not heard
	case g.batch.failedAt == 0 && waited > s.timing.ask && now.After(g.retryAt):
		// A stream that has got another leader says that it knows of no such batch,
		// or how much it has of it; one that is slow says nothing.
		g.retryAt = now.Add(s.timing.ask)
		g.sendEnd(s)
	case g.batch.failedAt > 0 && now.After(g.retryAt):
		g.backoff = min(max(2*g.backoff, minBackoff), maxBackoff)
		g.retryAt = now.Add(g.backoff)
		g.sendEnd(s)
	}
}

// restartLocked forgets the batch and sends everything unconfirmed anew.
func (g *ingest) restartLocked() {
	g.batch.open = false
	g.sent = g.confirmed
	g.retryAt, g.probe = time.Time{}, false
	if g.ring.len() > 0 {
		g.flushTo = g.ring.next - 1
	}
}

var errorKey = []byte(`"error":`) // read-only

// flowSeq parses {"type":"ack","seq":N,"msgs":M}.
func flowSeq(b []byte) (uint64, bool) {
	const head = `{"type":"ack","seq":`
	if len(b) <= len(head) || string(b[:len(head)]) != head {
		return 0, false
	}
	b = b[len(head):]
	i := bytes.IndexByte(b, ',')
	if i < 0 {
		return 0, false
	}
	return parseUint(b[:i])
}

// jsonNumber returns the number behind key.
func jsonNumber(b []byte, key string) (uint64, bool) {
	i := bytes.Index(b, asBytes(key))
	if i < 0 {
		return 0, false
	}
	b = b[i+len(key):]
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return parseUint(b[:n])
}

const errUnknownBatch = 10208 // the server's JSBatchPublishUnknownBatchIDErr

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func isUnknownBatch(payload []byte) bool {
	code, _ := jsonNumber(payload, `"err_code":`)
	return code == errUnknownBatch
}

// answerError is the server's refusal in words.
func answerError(header, payload []byte) string {
	var doc struct {
		Error apiError `json:"error"`
	}
	if err := json.Unmarshal(payload, &doc); err == nil && doc.Error.Description != "" {
		return fmt.Sprintf("%s (%d)", doc.Error.Description, doc.Error.ErrCode)
	}
	code, text := headerStatus(header)
	switch {
	case code == 503:
		return "no stream takes this subject (503)"
	case code != 0:
		return fmt.Sprintf("%s (%d)", text, code)
	default:
		return fmt.Sprintf("the server answered %.100q", payload)
	}
}
