package sdk

import (
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Message is an event that a handler emits. It is read during the call it is
// passed to, and not kept.
type Message struct {
	Output      string   // name of an output of the pipeline; "" = the default one
	Subject     string   // "" = the subject the output prescribes
	Key         []byte   // for the stages that follow; empty = none
	Headers     []Header // in addition to the source's, where those are kept
	Payload     []byte
	KeepHeaders bool // Emit: put the source event's headers in front
}

// Header is one header of a Message: a name of printable ASCII without spaces
// and colons, and a value without line breaks and NUL.
type Header struct{ Name, Value string }

// Out takes what a handler emits. Nothing is emitted when the handler returns an
// error, and nothing when a call of Out was in error: an unknown output or a
// header that cannot travel fails the event as if the handler had returned that
// error. Out is valid until the handler returns.
type Out struct {
	w       abi.ResponseWriter
	outputs []string
	headers []byte // scratch for the headers of one message
	err     error  // the first error of a call for this event

	source  uint32 // index of the event at hand, or abi.NoSource
	bytes   int    // with records: where the outputs of the event at hand begin
	records uint32
}

// Pass emits the event as it is to the default output. The payload and the
// headers do not travel: the host takes them from the event it holds.
func (o *Out) Pass() {
	if o.hasEvent() {
		o.w.Pass(o.source, 0)
	}
}

// PassTo emits the event as it is to the output of that name.
func (o *Out) PassTo(output string) {
	if id, ok := o.output(output); ok && o.hasEvent() {
		o.w.Pass(o.source, id)
	}
}

// PassAs emits the event's payload and headers, by reference as Pass does, under
// m's output, subject and key and with m's headers added. m.Payload is not used.
func (o *Out) PassAs(m Message) {
	if o.hasEvent() {
		o.emit(&m, abi.FlagPayloadRef|abi.FlagKeepHeaders)
	}
}

// Emit emits m.
func (o *Out) Emit(m Message) {
	var flags uint32
	if m.KeepHeaders {
		if !o.hasEvent() {
			return
		}
		flags = abi.FlagKeepHeaders
	}
	o.emit(&m, flags)
}

func (o *Out) emit(m *Message, flags uint32) {
	id, ok := o.output(m.Output)
	if !ok {
		return
	}
	record := abi.Output{Source: o.source, Flags: flags, ID: id, Subject: view(m.Subject), Key: m.Key, Payload: m.Payload}
	if len(m.Headers) > 0 {
		if len(m.Headers) > 1<<16-1 {
			o.fail(errors.New("a message has " + strconv.Itoa(len(m.Headers)) + " headers; at most 65535 can travel"))
			return
		}
		o.headers = o.headers[:0]
		for i := range m.Headers {
			o.headers = abi.AppendHeader(o.headers, m.Headers[i].Name, m.Headers[i].Value)
		}
		if err := abi.CheckHeaders(o.headers, len(m.Headers)); err != nil {
			o.fail(errors.New("a message has a header that cannot travel: " + err.Error()))
			return
		}
		record.HeaderCount, record.Headers = uint16(len(m.Headers)), o.headers
	}
	o.w.Output(&record)
}

// output returns the number of the output of that name.
func (o *Out) output(name string) (uint16, bool) {
	if name == "" {
		return 0, true
	}
	for i, n := range o.outputs {
		if n == name {
			return uint16(i), true
		}
	}
	o.fail(errors.New(`the pipeline has no output "` + name + `" here; it has ` + strings.Join(o.outputs, ", ")))
	return 0, false
}

func (o *Out) hasEvent() bool {
	if o.source == abi.NoSource {
		o.fail(errors.New("there is no event to pass on when an instance closes; use Emit without KeepHeaders"))
		return false
	}
	return true
}

func (o *Out) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// begin makes room for the outputs of the event at index.
func (o *Out) begin(index uint32) {
	o.source, o.err = index, nil
	o.bytes, o.records = o.w.Mark()
}

// settle takes the outputs of the event at hand back and records err as its outcome.
func (o *Out) settle(err error) {
	code, delay, reason := outcome(err)
	o.w.Rollback(o.bytes, o.records)
	o.w.Outcome(o.source, code, delay, reason)
}

// view returns the bytes of s, which must not be written to.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
