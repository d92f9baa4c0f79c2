package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// Client speaks to the admin endpoint of a running Wasmill. It is safe for
// concurrent use.
type Client struct {
	base    string
	token   string
	http    *http.Client
	patient *http.Client // for what may take minutes until it answers
	warn    func(string)
	asks    bool // its requests change nothing, whatever their method
}

// NewClient returns a client of the endpoint at base, such as
// "http://127.0.0.1:7422"; without a scheme, http is meant.
func NewClient(base, token string) *Client {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		ResponseHeaderTimeout: time.Minute,
		TLSHandshakeTimeout:   5 * time.Second,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       30 * time.Second,
	}
	patient := transport.Clone()
	patient.ResponseHeaderTimeout = actionTimeout
	return &Client{
		base:  strings.TrimRight(base, "/"),
		token: token,
		http:  &http.Client{Transport: transport}, patient: &http.Client{Transport: patient},
	}
}

// OnWarning has f called with what is not quite as it should be about something
// that was done.
func (c *Client) OnWarning(f func(string)) { c.warn = f }

// URL is the endpoint's address.
func (c *Client) URL() string { return c.base }

// Close drops idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.patient.CloseIdleConnections()
}

// UnreachableError says that nothing answers at the endpoint's address.
type UnreachableError struct {
	URL string
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no Wasmill answers at %s (%v): start one with \"wasmill run\", or name another with --admin", e.URL, rootCause(e.Err))
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// BrokenOffError says that a request which changes something was on its way when
// the connection ended, or no answer came in time: nobody here knows what came of it.
type BrokenOffError struct {
	URL string
	Err error
}

func (e *BrokenOffError) Error() string {
	return fmt.Sprintf("the Wasmill at %s has not answered (%v): what was asked for may have been done: look before you repeat it, \"wasmill audit list\" says what was begun",
		e.URL, rootCause(e.Err))
}

// Unwrap returns the cause.
func (e *BrokenOffError) Unwrap() error { return e.Err }

// NotWasmillError says that something else answers there.
type NotWasmillError struct{ URL, Detail string }

func (e *NotWasmillError) Error() string {
	return fmt.Sprintf("what answers at %s is not a Wasmill (%s): name the right address with --admin", e.URL, e.Detail)
}

// Error is an error that the endpoint answered with.
type Error struct {
	Status  int    // HTTP status
	Code    string // the word for it, such as "not_found"
	Message string
}

func (e *Error) Error() string { return e.Message }

// Status asks for the whole picture.
func (c *Client) Status(ctx context.Context) (status.Status, error) {
	return call[status.Status](ctx, c, http.MethodGet, "/api/v1/status", nil, nil)
}

// Healthy asks /healthz: an error says that the instance does not live.
func (c *Client) Healthy(ctx context.Context) error {
	_, err := call[map[string]string](ctx, c, http.MethodGet, "/healthz", nil, nil)
	return err
}

// Ready asks /readyz; it is no error when the answer is "not ready".
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	out, err := call[Readiness](ctx, c, http.MethodGet, "/readyz", nil, nil)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusServiceUnavailable {
		return out, nil
	}
	return out, err
}

// Config asks for what is in effect, and what would be said of its file now.
func (c *Client) Config(ctx context.Context) (status.Configuration, error) {
	return call[status.Configuration](ctx, c, http.MethodGet, "/api/v1/config", nil, nil)
}

// Reload makes the instance read its configuration again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return call[Reloaded](ctx, c, http.MethodPost, "/api/v1/reload", nil, struct{}{})
}

// Plan asks what taking a configuration would change; nil is what the
// instance's own file says now. One that is not valid is no error.
func (c *Client) Plan(ctx context.Context, config *string) (status.Plan, error) {
	return call[status.Plan](ctx, c.asking().waiting(), http.MethodPost, "/api/v1/plan", nil, PlanRequest{Config: config})
}

// Apply makes the instance take its file under the request's conditions. With
// an *Error come the plan and the findings that it is about, if there are any.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (status.Applied, error) {
	return call[status.Applied](ctx, c.waiting(), http.MethodPost, "/api/v1/apply", nil, r)
}

// waiting is a client that waits for minutes for the head of an answer.
func (c *Client) waiting() *Client {
	return &Client{base: c.base, token: c.token, http: c.patient, patient: c.patient, warn: c.warn, asks: c.asks}
}

// asking is a client of requests that change nothing.
func (c *Client) asking() *Client {
	out := *c
	out.asks = true
	return &out
}

// Topics lists the topics.
func (c *Client) Topics(ctx context.Context) ([]status.Topic, error) {
	return call[[]status.Topic](ctx, c, http.MethodGet, "/api/v1/topics", nil, nil)
}

// Topic shows one.
func (c *Client) Topic(ctx context.Context, name string) (status.Topic, error) {
	return call[status.Topic](ctx, c, http.MethodGet, "/api/v1/topics/"+url.PathEscape(name), nil, nil)
}

// PublishRequest is one bounded lot of messages.
type PublishRequest struct {
	Topic   string
	Subject string   // literal or template, see the endpoint; "" = the topic's only one
	Headers []string // "Name: value"
	Body    []byte   // one message a line, or one message when Whole
	Whole   bool
}

// Publish stores the messages and returns when all are confirmed.
func (c *Client) Publish(ctx context.Context, p PublishRequest) (Published, error) {
	q := url.Values{}
	if p.Subject != "" {
		q.Set("subject", p.Subject)
	}
	if len(p.Headers) > 0 {
		q["header"] = p.Headers
	}
	mt := "application/x-ndjson"
	if p.Whole {
		mt = "application/octet-stream"
	}
	var out Published
	err := c.do(ctx, http.MethodPost, "/api/v1/topics/"+url.PathEscape(p.Topic)+"/publish", q, bytes.NewReader(p.Body), mt, &out)
	return out, err
}

// TailRequest says which messages of a topic to stream.
type TailRequest struct {
	Topic   string
	From    string // "new", "all", a sequence, "-N" for the last N, or an RFC 3339 time
	Subject string // filter, "" = all
	Limit   int    // 0 = no limit
	Follow  bool   // wait for more
}

// Tail calls f with each message until the stream ends, f fails or ctx is done.
func (c *Client) Tail(ctx context.Context, t TailRequest, f func(status.Message) error) error {
	q := url.Values{"from": {t.From}, "follow": {strconv.FormatBool(t.Follow)}}
	if t.Subject != "" {
		q.Set("subject", t.Subject)
	}
	if t.Limit > 0 {
		q.Set("limit", strconv.Itoa(t.Limit))
	}
	path := "/api/v1/topics/" + url.PathEscape(t.Topic) + "/tail"
	return c.send(ctx, http.MethodGet, path, q, nil, "", func(res *http.Response) error {
		if res.StatusCode >= http.StatusBadRequest {
			return c.read(res, &struct{}{})
		}
		return readLines(ctx, c, res.Body, func(m *messageLine) error { return f(m.Message) })
	})
}

// lineOf is a line of a stream: a value, or the error that ends the stream.
type lineOf interface{ failed() errorBody }

type messageLine struct {
	status.Message
	errorBody
}

func (l *messageLine) failed() errorBody { return l.errorBody }

// readLines calls f with each line of a body.
func readLines[T any, P interface {
	*T
	lineOf
}](ctx context.Context, c *Client, body io.Reader, f func(P) error) error {
	dec := json.NewDecoder(body)
	for {
		m := P(new(T))
		switch err := dec.Decode(m); {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the stream from %s broke off: %w", c.base, rootCause(err))
		case m.failed().Code != "":
			return &Error{Status: http.StatusInternalServerError, Code: m.failed().Code, Message: m.failed().Error}
		}
		if err := f(m); err != nil {
			return err
		}
	}
}

// Pipelines lists the pipelines.
func (c *Client) Pipelines(ctx context.Context) ([]status.Pipeline, error) {
	return call[[]status.Pipeline](ctx, c, http.MethodGet, "/api/v1/pipelines", nil, nil)
}

// Pipeline shows one.
func (c *Client) Pipeline(ctx context.Context, name string) (status.Pipeline, error) {
	return call[status.Pipeline](ctx, c, http.MethodGet, "/api/v1/pipelines/"+url.PathEscape(name), nil, nil)
}

// Pause stops a pipeline from fetching.
func (c *Client) Pause(ctx context.Context, name string) (status.Pipeline, error) {
	return call[status.Pipeline](ctx, c, http.MethodPost, "/api/v1/pipelines/"+url.PathEscape(name)+"/pause", nil, struct{}{})
}

// Resume lets it fetch again.
func (c *Client) Resume(ctx context.Context, name string) (status.Pipeline, error) {
	return call[status.Pipeline](ctx, c, http.MethodPost, "/api/v1/pipelines/"+url.PathEscape(name)+"/resume", nil, struct{}{})
}

// DrainPipeline pauses a pipeline and waits until nothing of it is in flight.
func (c *Client) DrainPipeline(ctx context.Context, name string, patience time.Duration) (status.Pipeline, error) {
	return callSlow[status.Pipeline](ctx, c, "/api/v1/pipelines/"+url.PathEscape(name)+"/drain", drainRequest{Seconds: patience.Seconds()})
}

// Drain has the instance finish what is in flight and end. It returns at once.
func (c *Client) Drain(ctx context.Context) (Draining, error) {
	return call[Draining](ctx, c, http.MethodPost, "/api/v1/drain", nil, struct{}{})
}

// Reset makes a pipeline go on at another place of its topic. seen, when it is
// not nil, is what PreviewReset has returned: a pipeline that was reset since is
// left alone.
func (c *Client) Reset(ctx context.Context, name, to string, seen *status.Reset) (status.Reset, error) {
	req := resetRequest{To: to}
	if seen != nil {
		req.Epoch = &seen.Epoch
	}
	return c.reset(ctx, name, req)
}

// PreviewReset says what Reset would do.
func (c *Client) PreviewReset(ctx context.Context, name, to string) (status.Reset, error) {
	return c.asking().reset(ctx, name, resetRequest{To: to, DryRun: true})
}

func (c *Client) reset(ctx context.Context, name string, req resetRequest) (status.Reset, error) {
	return callSlow[status.Reset](ctx, c, "/api/v1/pipelines/"+url.PathEscape(name)+"/reset", req)
}

// Plugins lists the plugins.
func (c *Client) Plugins(ctx context.Context) ([]status.Plugin, error) {
	return call[[]status.Plugin](ctx, c, http.MethodGet, "/api/v1/plugins", nil, nil)
}

// Plugin shows one.
func (c *Client) Plugin(ctx context.Context, name string) (status.Plugin, error) {
	return call[status.Plugin](ctx, c, http.MethodGet, "/api/v1/plugins/"+url.PathEscape(name), nil, nil)
}

// Rollback puts the previous generation of a plugin back.
func (c *Client) Rollback(ctx context.Context, name string) (status.Generation, error) {
	return call[status.Generation](ctx, c, http.MethodPost, "/api/v1/plugins/"+url.PathEscape(name)+"/rollback", nil, struct{}{})
}

// DeadLetter shows one.
func (c *Client) DeadLetter(ctx context.Context, id uint64) (status.DeadLetter, error) {
	return call[status.DeadLetter](ctx, c, http.MethodGet, "/api/v1/dead-letters/"+strconv.FormatUint(id, 10), nil, nil)
}

// Purge removes dead letters for good.
func (c *Client) Purge(ctx context.Context, sel Selection) (int, error) {
	n, err := call[Count](ctx, c, http.MethodPost, "/api/v1/dead-letters/purge", nil, sel)
	return n.Count, err
}

// callSlow is call for an answer that may take as long as an action may.
func callSlow[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	slow := *c
	if tr, ok := c.http.Transport.(*http.Transport); ok {
		tr = tr.Clone()
		tr.ResponseHeaderTimeout = 0 // it ends with ctx, or when the instance does
		slow.http = &http.Client{Transport: tr}
		defer tr.CloseIdleConnections()
	}
	return call[T](ctx, &slow, http.MethodPost, path, nil, body)
}

func call[T any](ctx context.Context, c *Client, method, path string, q url.Values, body any) (T, error) {
	var out T
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("encode the request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	err := c.do(ctx, method, path, q, r, "application/json", &out)
	return out, err
}

// do sends a request and decodes the answer into out, see read.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body io.Reader, mt string, out any) error {
	return c.send(ctx, method, path, q, body, mt, func(res *http.Response) error { return c.read(res, out) })
}

// send sends a request and hands the answer to use when it is a Wasmill's; it
// may be an error of 400 and above.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, body io.Reader, mt string, use func(*http.Response) error) error {
	u := c.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return &NotWasmillError{URL: c.base, Detail: "it is not a URL"}
	}
	req.Header.Set(RequestHeader, "1")
	if mt != "" {
		req.Header.Set("Content-Type", mt)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	var sent atomic.Bool
	if method != http.MethodGet {
		req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteHeaders: func() { sent.Store(true) },
		}))
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if wrong := tlsProblem(c.base, err); wrong != nil {
			return wrong
		}
		if sent.Load() && !c.asks {
			return &BrokenOffError{URL: c.base, Err: err}
		}
		return &UnreachableError{URL: c.base, Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	if res.Header.Get(VersionHeader) == "" {
		if b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)); res.StatusCode == http.StatusBadRequest && bytes.Contains(b, []byte(plainToTLS)) {
			return &TLSError{URL: c.base, Detail: "it speaks TLS: write https:// in its address"}
		}
		return &NotWasmillError{URL: c.base, Detail: "it answered " + res.Status + " without the header " + VersionHeader}
	}
	if w := res.Header.Get(WarningHeader); w != "" && c.warn != nil {
		c.warn(w)
	}
	return use(res)
}

// read decodes the answer into out. Of an error it makes an *Error; Ready and
// Apply want both, so the body is decoded into out as well.
func (c *Client) read(res *http.Response, out any) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, rootCause(err))
	}
	if res.StatusCode >= http.StatusBadRequest {
		var e errorBody
		_ = json.Unmarshal(body, out) // as far as it is one
		if json.Unmarshal(body, &e) != nil || e.Error == "" {
			e.Error = res.Status // a readiness answer has no error in it
		}
		return &Error{Status: res.StatusCode, Code: e.Code, Message: e.Error}
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &NotWasmillError{URL: c.base, Detail: "its answer is not what a Wasmill says"}
	}
	return nil
}
