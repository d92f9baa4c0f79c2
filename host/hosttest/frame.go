package hosttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/sdk/abi"
)

// frame is one batch as it is handed over.
type frame struct {
	kind   abi.Kind
	id     uint64
	events []abi.Event
	flags  uint32 // of the first event
	// What a later minor version of the ABI might append: bytes behind the header
	// of the batch and behind the data of each event. Multiples of 8.
	head, record int
}

func (f *frame) encode() []byte {
	total := abi.BatchHeaderSize + f.head
	for i := range f.events {
		total += abi.EventSize(&f.events[i]) + f.record
	}
	b := make([]byte, total)
	abi.PutBatchHeader(b, abi.BatchHeader{Kind: f.kind, Count: uint32(len(f.events)), ID: f.id}, total)
	binary.LittleEndian.PutUint16(b[4:], uint16(abi.BatchHeaderSize+f.head))
	at := abi.BatchHeaderSize
	fill(b[at : at+f.head])
	at += f.head
	for i := range f.events {
		n := abi.PutEvent(b[at:], &f.events[i])
		if i == 0 && f.flags != 0 {
			binary.LittleEndian.PutUint32(b[at+4:], f.flags)
		}
		fill(b[at+n : at+n+f.record])
		binary.LittleEndian.PutUint32(b[at:], uint32(n+f.record))
		at += n + f.record
	}
	return b
}

// fill puts something in that nobody takes for a zero.
func fill(b []byte) {
	for i := range b {
		b[i] = 0xa5
	}
}

// with returns copies of n of the suite's events, in turn, with sequences from
// first on; change changes each.
func (s *suite) with(n int, first uint64, change func(i int, e *abi.Event)) []abi.Event {
	list := make([]abi.Event, n)
	for i := range list {
		list[i] = s.events[i%len(s.events)]
		e := &list[i]
		e.Flags, e.Attempt, e.Seq, e.Time = 0, 1, first+uint64(i), 1_700_000_000_000_000_000+int64(i)
		if change != nil {
			change(i, e)
		}
	}
	return list
}

// sized returns a change that makes the payload exactly n bytes: JSON stays
// JSON, with blanks behind it, as long as it fits.
func sized(n int) func(int, *abi.Event) {
	return func(_ int, e *abi.Event) {
		p := make([]byte, n)
		for i := copy(p, e.Payload); i < n; i++ {
			p[i] = ' '
		}
		e.Payload = p
	}
}

func madeUp() []abi.Event {
	headers := abi.AppendHeader(nil, "Content-Type", "application/json")
	list := make([]abi.Event, 5)
	for i := range list {
		list[i] = abi.Event{
			Subject: fmt.Appendf(nil, "events.raw.%d", i), Key: fmt.Appendf(nil, "key-%d", i%3),
			Payload:     fmt.Appendf(nil, `{"id":%d,"kind":"made-up","value":%d.5,"list":[1,2,3],"nested":{"text":"ä\n"}}`, i, i*i),
			HeaderCount: 1, Headers: headers,
		}
	}
	return list
}

// odd are payloads that some plugin does not expect.
func odd() [][]byte {
	return [][]byte{
		nil, []byte(" "),
		{0},
		[]byte("null"), []byte("{"), []byte("["), []byte(`"`), []byte("{}"), []byte("[]"), []byte("0"), []byte("-"), []byte("1e999"),
		[]byte(`{"a":`), []byte(`{"a":1}x`), []byte("\xef\xbb\xbf{}"), []byte("\xff\xfe\xfd"), []byte(`"\ud800"`), []byte("a,b\n1,2\n"),
		[]byte(strings.Repeat("[", 5_000)), []byte(strings.Repeat(`{"a":`, 5_000)), []byte(strings.Repeat("\x00", 4_096)), []byte(strings.Repeat("9", 4_096)),
	}
}

// answer is a response that outlives the guest's memory.
type answer struct {
	outputs  []abi.Output
	outcomes []abi.Outcome
}

func keep(res *abi.Result) answer {
	clone := func(b []byte) []byte { return append([]byte(nil), b...) }
	a := answer{outputs: append([]abi.Output(nil), res.Outputs...), outcomes: append([]abi.Outcome(nil), res.Outcomes...)}
	for i := range a.outputs {
		o := &a.outputs[i]
		o.Subject, o.Key, o.Headers, o.Payload = clone(o.Subject), clone(o.Key), clone(o.Headers), clone(o.Payload)
	}
	for i := range a.outcomes {
		a.outcomes[i].Reason = clone(a.outcomes[i].Reason)
	}
	return a
}

// differs says in what two answers differ; "" = in nothing.
func differs(a, b answer) string {
	if len(a.outputs) != len(b.outputs) || len(a.outcomes) != len(b.outcomes) {
		return fmt.Sprintf("%d outputs and %d outcomes against %d and %d", len(a.outputs), len(a.outcomes), len(b.outputs), len(b.outcomes))
	}
	for i := range a.outputs {
		x, y := a.outputs[i], b.outputs[i]
		if x, y := fmt.Sprintf("%+q", show(x)), fmt.Sprintf("%+q", show(y)); x != y {
			return fmt.Sprintf("output %d is %.150s against %.150s", i, x, y)
		}
	}
	for i := range a.outcomes {
		x, y := a.outcomes[i], b.outcomes[i]
		if x.Index != y.Index || x.Code != y.Code || x.Delay != y.Delay || !bytes.Equal(x.Reason, y.Reason) {
			return fmt.Sprintf("outcome %d is of event %d, code %d, %.80q, against event %d, code %d, %.80q", i, x.Index, x.Code, x.Reason, y.Index, y.Code, y.Reason)
		}
	}
	return ""
}

// show is an output with all that counts in it.
func show(o abi.Output) string {
	return fmt.Sprintf("event %d flags %d output %d subject %s key %s headers %d %s payload %s", int32(o.Source), o.Flags, o.ID, o.Subject, o.Key, o.HeaderCount, o.Headers, o.Payload)
}
