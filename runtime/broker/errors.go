package broker

import (
	"errors"
	"fmt"
)

// ErrNotFound says that a topic, or a message of it, does not exist. It is
// matched with errors.Is; the error that wraps it names what was looked for.
var ErrNotFound = errors.New("not found")

// ErrClosed is returned by calls on a broker that is not open.
var ErrClosed = errors.New("broker is not open")

// EnvError says that the environment, not the configuration, keeps the broker
// from opening: the port is busy, the store is locked or cannot be written, the
// external server does not answer or is too old. Message is one line that says
// what, where and what to do. The command exits with code 3 on it.
type EnvError struct {
	Message string
	Err     error // the cause, may be nil
}

func (e *EnvError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *EnvError) Unwrap() error { return e.Err }

func envErrorf(err error, format string, args ...any) *EnvError {
	return &EnvError{Message: fmt.Sprintf(format, args...), Err: err}
}

// TopicError says that a topic cannot be created or changed as configured.
// Reason says why and what to do.
type TopicError struct {
	Topic  string
	Reason string
	Err    error // the server's answer, may be nil
}

func (e *TopicError) Error() string { return fmt.Sprintf("topic %q: %s", e.Topic, e.Reason) }

// Unwrap returns the server's answer.
func (e *TopicError) Unwrap() error { return e.Err }
