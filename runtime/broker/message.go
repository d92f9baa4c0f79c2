package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Reading single messages never goes through a consumer: reading a topic
// through one deletes under some retention policies, and leaves something
// behind in the server in all.

// getRequest is the request of $JS.API.DIRECT.GET and $JS.API.STREAM.MSG.GET.
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// Get returns the message of a topic with that sequence; ErrNotFound when there
// is none, or no longer.
func (b *Broker) Get(ctx context.Context, topic string, seq uint64) (status.Message, error) {
	m, err := b.get(ctx, topic, getRequest{Seq: seq})
	if err != nil {
		return m, fmt.Errorf("get message %d of topic %q: %w", seq, topic, err)
	}
	return m, nil
}

// Next returns the first message of a topic with a sequence of at least fromSeq
// whose subject matches the pattern ("" is every subject); ErrNotFound when
// there is none.
func (b *Broker) Next(ctx context.Context, topic string, fromSeq uint64, subject string) (status.Message, error) {
	if subject == "" {
		subject = ">"
	}
	for {
		m, err := b.get(ctx, topic, getRequest{Seq: fromSeq, NextFor: subject})
		if err != nil {
			return m, fmt.Errorf("get the message after %d of topic %q: %w", fromSeq, topic, err)
		}
		if !isExactSubjects(m.Subject) { // the runtime's own records are no events
			return m, nil
		}
		fromSeq = m.Seq + 1
	}
}

// SeqAt returns the sequence of the first message stored at t or later; one
// more than the last sequence when there is none yet.
func (b *Broker) SeqAt(ctx context.Context, topic string, t time.Time) (uint64, error) {
	info, err := b.info(ctx, topic)
	if err != nil {
		return 0, err
	}
	if !info.Config.AllowDirect {
		return b.searchTime(ctx, topic, t, info.State.FirstSeq, info.State.LastSeq)
	}
	m, err := b.get(ctx, topic, getRequest{StartTime: &t, NextFor: ">"})
	switch {
	case errors.Is(err, ErrNotFound):
		return info.State.LastSeq + 1, nil
	case err != nil:
		return 0, fmt.Errorf("find %s in topic %q: %w", t.Format(time.RFC3339), topic, err)
	}
	return m.Seq, nil
}

// searchTime is SeqAt for a stream of another owner without direct access,
// where the server cannot look for a time: bisection between first and last.
func (b *Broker) searchTime(ctx context.Context, topic string, t time.Time, first, last uint64) (uint64, error) {
	lo, hi := first, last+1 // all before lo are older than t, hi and all after it are not
	for lo < hi {
		mid := lo + (hi-lo)/2
		m, err := b.get(ctx, topic, getRequest{Seq: mid, NextFor: ">"})
		switch {
		case errors.Is(err, ErrNotFound):
			hi = mid
		case err != nil:
			return 0, fmt.Errorf("find %s in topic %q: %w", t.Format(time.RFC3339), topic, err)
		case m.Time.Before(t):
			lo = m.Seq + 1
		default: // from mid to m there is a gap at most
			hi = mid
		}
	}
	m, err := b.get(ctx, topic, getRequest{Seq: lo, NextFor: ">"})
	switch {
	case errors.Is(err, ErrNotFound):
		return last + 1, nil
	case err != nil:
		return 0, fmt.Errorf("find %s in topic %q: %w", t.Format(time.RFC3339), topic, err)
	}
	return m.Seq, nil
}

// get asks for one message directly, or the stream's leader when the stream (of
// another owner) does not allow that.
func (b *Broker) get(ctx context.Context, topic string, req getRequest) (status.Message, error) {
	if err := b.usable(); err != nil {
		return status.Message{}, err
	}
	if req.Seq == 0 && req.NextFor == "" {
		return status.Message{}, fmt.Errorf("message: %w", ErrNotFound)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return status.Message{}, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+topic, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return b.leaderGet(ctx, topic, body)
	case err != nil:
		return status.Message{}, err
	}
	out, err := directMessage(topic, m)
	if errors.Is(err, errNoMessage) {
		// An application may store a header block that breaks the server's answer.
		return b.leaderGet(ctx, topic, body)
	}
	return out, err
}

// bound gives ctx a deadline when it has none.
func (b *Broker) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, b.cfg.timing.connect)
}

// errNoMessage says that an answer of the server holds neither a message nor a
// status that explains it.
var errNoMessage = errors.New("the server's answer holds no message")

// directMessage reads the answer of a direct get: the stored message, whose
// headers the server has extended. A stored header of the same name comes
// before the server's.
func directMessage(topic string, m *nats.Msg) (status.Message, error) {
	last := func(key string) string {
		v := m.Header[key]
		if len(v) == 0 {
			return ""
		}
		if m.Header[key] = v[:len(v)-1]; len(v) == 1 {
			delete(m.Header, key)
		}
		return v[len(v)-1]
	}
	seq := last(jetstream.SequenceHeader)
	if seq == "" { // not a message: the stored one may hold a Status header, but this one the server adds
		if m.Header.Get("Status") == "404" {
			return status.Message{}, fmt.Errorf("message: %w", ErrNotFound)
		}
		if m.Header.Get("Status") == "" {
			return status.Message{}, errNoMessage
		}
		return status.Message{}, fmt.Errorf("the server answers %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
	}
	out := status.Message{Topic: topic, Subject: last(jetstream.SubjectHeader)}
	last(jetstream.StreamHeader)
	var err error
	if out.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return out, fmt.Errorf("read sequence %q: %w", seq, err)
	}
	if out.Time, err = time.Parse(time.RFC3339Nano, last(jetstream.TimeStampHeaer)); err != nil {
		return out, fmt.Errorf("read timestamp: %w", err)
	}
	setContent(&out, m.Header, m.Data)
	return out, nil
}

func (b *Broker) leaderGet(ctx context.Context, topic string, body []byte) (status.Message, error) {
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+topic, body)
	if err != nil {
		return status.Message{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return status.Message{}, fmt.Errorf("read the server's answer: %w", err)
	}
	switch {
	case resp.Error != nil && resp.Error.Code == 404:
		return status.Message{}, fmt.Errorf("%s: %w", resp.Error.Description, ErrNotFound)
	case resp.Error != nil:
		return status.Message{}, resp.Error
	case resp.Message == nil:
		return status.Message{}, errNoMessage
	}
	out := status.Message{Topic: topic, Seq: resp.Message.Seq, Subject: resp.Message.Subject, Time: resp.Message.Time}
	header := nats.Header{} // what is sound of it, as a pipeline gets it
	for line := range headerLines(resp.Message.Header) {
		if key, value, ok := cutHeader(line); ok {
			header[string(key)] = append(header[string(key)], string(value))
		}
	}
	setContent(&out, header, resp.Message.Data)
	return out, nil
}

func setContent(m *status.Message, header nats.Header, payload []byte) {
	if len(header) > 0 {
		m.Headers = header
	}
	if utf8.Valid(payload) {
		m.Payload = string(payload)
	} else {
		m.Base64 = payload
	}
}

// Publish stores one message in a topic and returns its sequence once the
// server has confirmed it. A message that can never be stored (its subject is
// not the topic's, it is too large) is an *event.RefusedError. Headers that
// would steer the server ("Nats-…") are left out.
func (b *Broker) Publish(ctx context.Context, topic string, out event.Output) (uint64, error) {
	info, err := b.info(ctx, topic)
	if err != nil {
		return 0, err
	}
	if err := event.CheckSubject(out.Subject); err != nil {
		return 0, &event.RefusedError{Topic: topic, Reason: err.Error()}
	}
	if subjects := visible(info.Config.Subjects); !matchAny(subjects, out.Subject) {
		return 0, &event.RefusedError{Topic: topic, Reason: fmt.Sprintf("subject %q is none of the topic's (%s)", out.Subject, strings.Join(subjects, ", "))}
	}
	m := nats.NewMsg(out.Subject)
	m.Data = out.Payload
	for rest := out.Headers; len(rest) > 0; {
		k, v, next, ok := abi.NextHeader(rest)
		if !ok {
			return 0, &event.RefusedError{Topic: topic, Reason: "its headers are malformed"}
		}
		if rest = next; !strings.HasPrefix(string(k), "Nats-") {
			m.Header[string(k)] = append(m.Header[string(k)], string(v))
		}
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, m)
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return 0, &event.RefusedError{Topic: topic, Reason: fmt.Sprintf("%d bytes exceed the server's max_payload of %d", m.Size(), b.nc.MaxPayload())}
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum || api.ErrorCode == codeHeaderTooLarge):
		return 0, &event.RefusedError{Topic: topic, Reason: api.Description}
	case err != nil:
		return 0, fmt.Errorf("publish to topic %q: %w", topic, err)
	case ack.Stream != topic:
		return 0, fmt.Errorf("publish to topic %q: stream %q took the message", topic, ack.Stream)
	}
	return ack.Sequence, nil
}

func matchAny(patterns []string, subject string) bool {
	for _, p := range patterns {
		if event.Match(p, subject) {
			return true
		}
	}
	return false
}

// DeleteMessage removes one message of a topic; ErrNotFound when there is none
// with that sequence.
func (b *Broker) DeleteMessage(ctx context.Context, topic string, seq uint64) error {
	if err := b.usable(); err != nil {
		return err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Without no_erase the server overwrites the message with random bytes on
	// disk; a dead letter is not worth that.
	var resp struct{}
	err := b.request(ctx, "$JS.API.STREAM.MSG.DELETE."+topic, map[string]any{"seq": seq, "no_erase": true}, &resp)
	if err != nil {
		return fmt.Errorf("delete message %d of topic %q: %w", seq, topic, err)
	}
	return nil
}

// Purge removes all messages of a topic whose subject matches the pattern (""
// is every subject) and returns how many they were.
func (b *Broker) Purge(ctx context.Context, topic, subject string) (uint64, error) {
	if err := b.usable(); err != nil {
		return 0, err
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	req := map[string]any{}
	if subject != "" {
		req["filter"] = subject
	}
	var resp struct {
		Purged uint64 `json:"purged"`
	}
	if err := b.request(ctx, "$JS.API.STREAM.PURGE."+topic, req, &resp); err != nil {
		return 0, fmt.Errorf("purge topic %q: %w", topic, err)
	}
	return resp.Purged, nil
}

// request calls the JetStream API where nats.go has no function for what is
// wanted. The error is an *jetstream.APIError or wraps ErrNotFound.
func (b *Broker) request(ctx context.Context, subject string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	m, err := b.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return err
	}
	var head struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &head); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if head.Error != nil {
		if head.Error.Code == 404 || head.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound || strings.Contains(head.Error.Description, "no message found") {
			return fmt.Errorf("%s: %w", head.Error.Description, ErrNotFound)
		}
		return head.Error
	}
	if err := json.Unmarshal(m.Data, resp); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
