package sdk

import (
	"errors"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Errors a handler returns to say what becomes of its event. Compare with
// errors.Is; the errors that the functions of this file make are told apart the
// same way. An error that wraps one of them has the same effect, with its own
// text as the reason.
var (
	// Drop ends the event without an output. It counts as dropped, not as failed.
	Drop error = &verdict{code: abi.CodeDrop}
	// Retry has the event processed again after the pipeline's backoff. When
	// the attempts are spent, the pipeline's on_failure applies.
	Retry error = &verdict{code: abi.CodeRetry}
	// DeadLetter sends the event to the dead-letter topic without a retry.
	DeadLetter error = &verdict{code: abi.CodeDeadLetter}
)

// DropBecause is Drop with a reason. Making an error for each event costs an
// allocation: keep it in a variable where that matters.
func DropBecause(reason string) error { return &verdict{code: abi.CodeDrop, reason: reason} }

// DeadLetterBecause is DeadLetter with a reason, which travels with the event.
func DeadLetterBecause(reason string) error {
	return &verdict{code: abi.CodeDeadLetter, reason: reason}
}

// RetryAfter is Retry after a delay of its own, with a reason. The delay is
// rounded up to milliseconds; 0 is the pipeline's backoff.
func RetryAfter(delay time.Duration, reason string) error {
	return &verdict{code: abi.CodeRetry, delay: delay, reason: reason}
}

type verdict struct {
	code   abi.Code
	delay  time.Duration
	reason string
}

// Error reads "drop: <reason>", and in the same way for the others.
func (v *verdict) Error() string {
	text := [...]string{abi.CodeDrop: "drop", abi.CodeRetry: "retry", abi.CodeDeadLetter: "dead-letter"}[v.code]
	if v.reason != "" {
		text += ": " + v.reason
	}
	return text
}

// Is makes any drop a Drop, and in the same way for the others.
func (v *verdict) Is(target error) bool {
	t, ok := target.(*verdict)
	return ok && t.code == v.code && t.reason == "" && t.delay == 0
}

// outcome says what err means for the event: code, delay in ms, reason.
func outcome(err error) (abi.Code, uint32, string) {
	if v, ok := err.(*verdict); ok { //nolint:errorlint // the usual case, without an allocation; wrapped ones follow
		return v.code, v.milliseconds(), v.reason
	}
	if v := (*verdict)(nil); errors.As(err, &v) {
		return v.code, v.milliseconds(), err.Error()
	}
	return abi.CodeRetry, 0, err.Error()
}

func (v *verdict) milliseconds() uint32 {
	ms := (v.delay + time.Millisecond - 1) / time.Millisecond
	return uint32(max(0, min(ms, 1<<32-1)))
}
