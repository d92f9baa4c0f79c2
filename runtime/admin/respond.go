package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// apiError is an error with the HTTP status it is answered with.
type apiError struct {
	status int
	code   string // the word for it; "" is that of the status
	msg    string

	retryAfter int // seconds, of http.StatusTooManyRequests
}

func (e *apiError) Error() string { return e.msg }

func failure(status int, format string, args ...any) *apiError {
	return &apiError{status: status, msg: fmt.Sprintf(format, args...)}
}

// errorBody is the JSON of every error.
type errorBody struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// codeOf gives each HTTP status in use a word that scripts can match.
func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "invalid"
	case http.StatusUnauthorized:
		return "unauthorized"
	case http.StatusForbidden:
		return "cross_site"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusConflict:
		return "conflict"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "media_type"
	case http.StatusTooManyRequests:
		return "too_many_attempts"
	case http.StatusMisdirectedRequest:
		return "wrong_host"
	case http.StatusServiceUnavailable:
		return "unavailable"
	default:
		return "internal"
	}
}

// handler answers with a JSON value or an error.
type handler func(r *http.Request) (any, error)

func (s *Server) serve(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if r.Method == http.MethodPost {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(actionTimeout)); err != nil {
				s.fail(w, err)
				return
			}
		}
		v, err := h(r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
		if err != nil {
			s.fail(w, err)
			return
		}
		s.writeJSON(w, http.StatusOK, v)
	}
}

type writerKey struct{}

// endless takes the time limit off the answer of the request of ctx, which then
// ends when its client does.
func endless(ctx context.Context) error {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok {
		return http.NewResponseController(w).SetWriteDeadline(time.Time{})
	}
	return nil
}

// warn puts a warning beside the answer of the request of ctx.
func warn(ctx context.Context, text string) {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok {
		w.Header().Set(WarningHeader, text)
	}
}

// fail answers with err: its own status, the status the rooms behind the
// endpoint give it, or 500.
func (s *Server) fail(w http.ResponseWriter, err error) {
	code := s.statusOf(err)
	if code == http.StatusInternalServerError {
		s.log.Warn("an admin request failed", "err", err)
	}
	word := codeOf(code)
	var own *apiError
	if errors.As(err, &own) && own.code != "" {
		word = own.code
	}
	body := errorBody{Error: err.Error(), Code: word}
	if refused := (*applyError)(nil); errors.As(err, &refused) {
		s.writeJSON(w, code, struct {
			status.Applied
			errorBody
		}{refused.plan, body})
		return
	}
	s.writeJSON(w, code, body)
}

func (s *Server) statusOf(err error) int {
	var own *apiError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	if code := s.deps.StatusOf(err); code != 0 {
		return code
	}
	return http.StatusInternalServerError
}

func (s *Server) writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.log.Error("an answer cannot be encoded", "err", err)
		code, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded","code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // the client may be gone, which is its affair
}

// decode reads a small JSON body into v. An empty body leaves v as it is;
// unknown fields are refused, so that a misspelled filter never means "all".
func decode(r *http.Request, v any) error { return decodeUpTo(r, v, maxJSONBody) }

// decodeLarge is decode for a body that may hold a whole payload.
func decodeLarge(r *http.Request, v any) error { return decodeUpTo(r, v, maxBody) }

func decodeUpTo(r *http.Request, v any, most int64) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, most))
	dec.DisallowUnknownFields()
	if r.ContentLength == 0 {
		return nil
	}
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = cmp.Or(more, errors.New("something follows the JSON value"))
		}
	}
	if err != nil {
		return badBody(err, most)
	}
	// The body has been read: the time for it must not end what may take longer. A
	// writer that has no such time is as good.
	if w, ok := r.Context().Value(writerKey{}).(http.ResponseWriter); ok {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	return nil
}

// badBody says what is wrong with a body in the words of JSON, not of Go.
func badBody(err error, most int64) error {
	var tooLarge *http.MaxBytesError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooLarge):
		return failure(http.StatusRequestEntityTooLarge, "the request body has more than %d bytes", most)
	case errors.As(err, &wrong) && wrong.Field == "":
		return failure(http.StatusBadRequest, "the request body is a JSON %s: an object is expected", wrong.Value)
	case errors.As(err, &wrong):
		return failure(http.StatusBadRequest, "the request body is not what is expected: %q cannot be a %s", wrong.Field, wrong.Value)
	}
	return failure(http.StatusBadRequest, "the request body is not what is expected: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// bodyless is h for a request that has nothing to say but its path: no body, or
// an empty object.
func bodyless(h handler) handler {
	return func(r *http.Request) (any, error) {
		if err := decode(r, &struct{}{}); err != nil {
			return nil, err
		}
		return h(r)
	}
}

// Bounds of request bodies, in bytes.
const (
	maxBody     = 64 << 20 // one publish request
	maxJSONBody = 1 << 20
)
