package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Published says what one publish request has stored. Line and Error are set
// when a line was refused: everything before it is stored, nothing behind it.
type Published struct {
	Published int    `json:"published"`
	Bytes     int    `json:"bytes"`
	Line      int    `json:"line,omitempty"` // 1 is the first line of the request
	Error     string `json:"error,omitempty"`
}

// publish stores the lines of the body as one message each, in order, and
// answers when all are confirmed. Empty lines are skipped. With Content-Type
// application/octet-stream (and the request header) the body is one message.
//
// Query: subject, a literal or a template of {json:/pointer} into the line;
// header, any number of "Name: value".
func (s *Server) publish(r *http.Request) (any, error) {
	ctx, topic := r.Context(), r.PathValue("name")
	t, err := s.deps.Topics.Topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.Subjects, func(s string) bool { return strings.HasPrefix(s, "wasmill.") }) {
		return nil, &apiError{
			status: http.StatusForbidden, code: codeReserved,
			msg: fmt.Sprintf("only the runtime writes to the topic %s: publish to one of your own", topic),
		}
	}
	subject, err := subjectFor(r.URL.Query().Get("subject"), topic, t.Subjects)
	if err != nil {
		return nil, err
	}
	m := event.Output{}
	if m.Headers, m.HeaderCount, err = headersOf(r.URL.Query()["header"]); err != nil {
		return nil, err
	}
	pub, err := s.deps.Publisher(ctx, topic)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pub.Close() }() // Flush has confirmed everything, or reported why not

	var done Published
	act := actionOf(ctx)
	act.counts = map[string]int64{} // one of many requests, often
	defer func() {
		act.counts["messages"], act.counts["bytes"] = int64(done.Published), int64(done.Bytes)
		if done.Error != "" {
			act.detail("refused", done.Error)
		}
	}()
	add := func(payload []byte) error {
		var err error
		if m.Subject, err = subject.render(payload, t.Subjects); err != nil {
			return err
		}
		m.Payload = payload
		if _, err = pub.Add(ctx, &m); err != nil {
			return err
		}
		done.Published++
		done.Bytes += len(payload)
		return nil
	}
	err = forEachMessage(r, func(line int, payload []byte) error {
		err := add(payload)
		if refused := refusal(err); refused != nil {
			done.Line, done.Error = line, refused.Error()
			return errStop
		}
		return err
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, errors.Join(err, flushed(ctx, pub, done.Published))
	}
	if err := pub.Flush(ctx); err != nil {
		return nil, fmt.Errorf("publish to topic %q: %w", topic, err)
	}
	return done, nil
}

// errStop ends the walk over the lines without being a failure of the request.
var errStop = errors.New("stop")

// refusal returns err when it is about this one message, nil otherwise.
func refusal(err error) error {
	var refused *event.RefusedError
	var own *apiError
	var subject *event.SubjectError
	if errors.As(err, &refused) || errors.As(err, &own) || errors.As(err, &subject) {
		return err
	}
	return nil
}

// flushed confirms what a failing request has added so far, so that the answer
// can say how much is stored for certain.
func flushed(ctx context.Context, pub Publisher, n int) error {
	if err := pub.Flush(ctx); err != nil || n == 0 {
		return err
	}
	return fmt.Errorf("the first %d messages of the request are stored", n)
}

// forEachMessage calls f with each message of the body and its line, from 1.
// The payload is valid during the call.
func forEachMessage(r *http.Request, f func(line int, payload []byte) error) error {
	mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mt == "application/octet-stream" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return fmt.Errorf("read the request: %w", err)
		}
		return f(1, body)
	}
	br := bufio.NewReaderSize(r.Body, 64<<10)
	var long []byte
	for line := 1; ; line++ {
		b, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], b...)
			for errors.Is(err, bufio.ErrBufferFull) { // the body is bounded, so is a line
				b, err = br.ReadSlice('\n')
				long = append(long, b...)
			}
			b = long
		}
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("read the request: %w", err)
		}
		if payload := bytes.TrimRight(b, "\r\n"); len(payload) > 0 {
			if err := f(line, payload); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// publishSubject is a literal subject, or one with {json:/pointer} placeholders
// that are filled from each message.
type publishSubject struct {
	literals []string // one more than pointers
	pointers []string
}

// subjectFor reads the subject of a request; without one, the topic must have
// exactly one literal subject.
func subjectFor(s, topic string, subjects []string) (publishSubject, error) {
	if s == "" {
		if len(subjects) == 1 && event.CheckSubject(subjects[0]) == nil {
			return publishSubject{literals: subjects}, nil
		}
		return publishSubject{}, failure(http.StatusBadRequest,
			"topic %s stores %s: say which subject (--subject, or the parameter subject)", topic, strings.Join(subjects, " "))
	}
	var p publishSubject
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "{")
		p.literals = append(p.literals, before)
		if !found {
			break
		}
		expr, tail, closed := strings.Cut(after, "}")
		pointer, isJSON := strings.CutPrefix(expr, "json:")
		if !closed || !isJSON || !strings.HasPrefix(pointer, "/") {
			return p, failure(http.StatusBadRequest, "subject %q: a placeholder is {json:/pointer}, such as {json:/properties/net}", s)
		}
		p.pointers = append(p.pointers, pointer)
		rest = tail
	}
	if len(p.pointers) == 0 {
		if err := inTopic(s, subjects); err != nil {
			return p, err
		}
	}
	return p, nil
}

// render returns the subject of one message. Every subject is checked here,
// whoever sent it: a wildcard or a foreign subject must not reach the broker.
func (p publishSubject) render(payload []byte, subjects []string) (string, error) {
	if len(p.pointers) == 0 {
		return p.literals[0], nil // checked by subjectFor
	}
	var b strings.Builder
	b.WriteString(p.literals[0])
	for i, pointer := range p.pointers {
		v, ok := jsonptr.Find(payload, pointer)
		if !ok {
			return "", failure(http.StatusUnprocessableEntity, "the subject needs %s, which this line does not have", pointer)
		}
		token := v.String()
		if v.Kind() == jsonptr.Number {
			token = string(v.Raw())
		}
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n") {
			return "", failure(http.StatusUnprocessableEntity, "%s is %q, which cannot be a token of a subject", pointer, clip(token))
		}
		b.WriteString(token)
		b.WriteString(p.literals[i+1])
	}
	subject := b.String()
	return subject, inTopic(subject, subjects)
}

func inTopic(subject string, subjects []string) error {
	if err := event.CheckSubject(subject); err != nil {
		return failure(http.StatusBadRequest, "%v", err)
	}
	if !slices.ContainsFunc(subjects, func(p string) bool { return event.Match(p, subject) }) {
		return failure(http.StatusBadRequest, "subject %q is not one of the topic's: %s", subject, strings.Join(subjects, " "))
	}
	return nil
}

// headersOf turns "Name: value" lines into a block of header entries.
func headersOf(lines []string) ([]byte, int, error) {
	var block []byte
	for _, line := range lines {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			return nil, 0, failure(http.StatusBadRequest, "header %q is not \"Name: value\"", clip(line))
		}
		block = abi.AppendHeader(block, strings.TrimSpace(k), strings.TrimSpace(v))
	}
	if err := abi.CheckHeaders(block, len(lines)); err != nil {
		return nil, 0, failure(http.StatusBadRequest, "headers: %v", err)
	}
	return block, len(lines), nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
