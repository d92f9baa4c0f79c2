package abi_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// The frames as section "The plugin ABI" of DESIGN.md lays them out, written
// down byte by byte. A change here is a change of the ABI.

// octets reads hexadecimal digits; what follows a # is a remark.
func octets(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(l, "#")
		for f := range strings.FieldsSeq(l) {
			digits.WriteString(f)
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const batchLayout = `
	57 4d 42 31               # 0  magic WMB1
	20 00                     # 4  header length
	00 00                     # 6  kind: data
	02 00 00 00               # 8  count
	a0 00 00 00               # 12 total length: 32 + 72 + 56
	08 07 06 05 04 03 02 01   # 16 batch id
	ff ff ff ff ff ff ff 7f   # 24 now, ns

	48 00 00 00               # 0  record length: 48 + 3 + 1 + 13 + 2 = 67, padded to 72
	00 00 00 00               # 4  flags
	2a 00 00 00 00 00 00 00   # 8  sequence
	fe ff ff ff ff ff ff ff   # 16 timestamp, ns
	03 00 00 00               # 24 attempt
	03 00 00 00               # 28 subject length
	01 00 00 00               # 32 key length
	0d 00 00 00               # 36 headers length
	02 00 00 00               # 40 payload length
	01 00 00 00               # 44 header count
	61 2e 62                  # subject a.b
	6b                        # key k
	02 00 00 00 03 00 00 00 48 31 76 2d 31  # header H1: v-1
	7b 7d                     # payload {}
	00 00 00 00 00            # padding

	38 00 00 00               # an event with a subject of 8 bytes and nothing else
	00 00 00 00
	2b 00 00 00 00 00 00 00
	00 00 00 00 00 00 00 00
	01 00 00 00
	08 00 00 00
	00 00 00 00
	00 00 00 00
	00 00 00 00
	00 00 00 00
	73 75 62 6a 65 63 74 73`

func batchOfLayout() (abi.BatchHeader, []abi.Event) {
	return abi.BatchHeader{Kind: abi.KindData, Count: 2, ID: 0x0102030405060708, Now: 1<<63 - 1}, []abi.Event{
		{
			Attempt: 3, Seq: 42, Time: -2, HeaderCount: 1, Subject: []byte("a.b"), Key: []byte("k"),
			Headers: abi.AppendHeader(nil, "H1", "v-1"), Payload: []byte("{}"),
		},
		{Attempt: 1, Seq: 43, Subject: []byte("subjects")},
	}
}

const responseLayout = `
	57 4d 52 31               # 0  magic WMR1
	18 00 00 00               # 4  header length
	02 00 00 00               # 8  outcome count
	03 00 00 00               # 12 record count
	c2 00 00 00               # 16 total length: 24 + 32 + 56 + 40 + 2*16 + 10
	00 00 00 00               # 20 zero

	20 00 00 00               # 0  record length: an event passed on
	00 00 00 00               # 4  source index
	03 00 00 00               # 8  flags: payload by reference, keep headers
	00 00                     # 12 output id
	00 00                     # 14 header count
	00 00 00 00               # 16 subject length
	00 00 00 00               # 20 key length
	00 00 00 00               # 24 headers length
	00 00 00 00               # 28 payload length

	38 00 00 00               # 32 + 3 + 1 + 11 + 5 = 52, padded to 56
	00 00 00 00
	00 00 00 00
	02 00
	01 00
	03 00 00 00
	01 00 00 00
	0b 00 00 00
	05 00 00 00
	78 2e 79                  # subject x.y
	6b                        # key k
	01 00 00 00 02 00 00 00 48 76 31        # header H: v1
	68 65 6c 6c 6f            # payload hello
	00 00 00 00               # padding

	28 00 00 00               # 32 + 8
	ff ff ff ff               # no source
	00 00 00 00
	00 00
	00 00
	00 00 00 00
	00 00 00 00
	00 00 00 00
	08 00 00 00
	66 69 6e 61 6c 6c 79 2e   # payload finally.

	01 00 00 00               # 0  index
	01                        # 4  code: drop
	00                        # 5  zero
	04 00                     # 6  reason length
	00 00 00 00               # 8  delay, ms
	b8 00 00 00               # 12 reason offset
	02 00 00 00
	02                        # retry
	00
	06 00
	fa 00 00 00               # after 250 ms
	bc 00 00 00

	64 75 6c 6c               # dull
	6c 61 74 65 72 21         # later!`

func writeResponseLayout(w *abi.ResponseWriter) []byte {
	w.Reset()
	w.Pass(0, 0)
	w.Output(&abi.Output{
		Source: 0, ID: 2, HeaderCount: 1, Subject: []byte("x.y"), Key: []byte("k"),
		Headers: abi.AppendHeader(nil, "H", "v1"), Payload: []byte("hello"),
	})
	w.Output(&abi.Output{Source: abi.NoSource, Payload: []byte("finally.")})
	w.Outcome(1, abi.CodeDrop, 0, "dull")
	w.Outcome(2, abi.CodeRetry, 250, "later!")
	return w.Bytes()
}

func TestBatchLayout(t *testing.T) {
	want := octets(t, batchLayout)
	header, events := batchOfLayout()
	t.Run("written", func(t *testing.T) {
		if got := encodeBatch(header, events); !bytes.Equal(got, want) {
			t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
		}
	})
	t.Run("over the bytes of an earlier batch", func(t *testing.T) {
		got := bytes.Repeat([]byte{0xff}, len(want))
		putBatch(got, header, events)
		if !bytes.Equal(got, want) {
			t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
		}
	})
	t.Run("read", func(t *testing.T) {
		gotHeader, gotEvents, err := decodeBatch(want)
		if err != nil {
			t.Fatal(err)
		}
		if gotHeader != header {
			t.Errorf("header: got %+v, want %+v", gotHeader, header)
		}
		sameEvents(t, gotEvents, events)
	})
	t.Run("a longer header of a later minor version is skipped", func(t *testing.T) {
		longer := append(append(append([]byte(nil), want[:32]...), make([]byte, 8)...), want[32:]...)
		longer[4], longer[12] = 40, byte(len(longer))
		_, gotEvents, err := decodeBatch(longer)
		if err != nil {
			t.Fatal(err)
		}
		sameEvents(t, gotEvents, events)
	})
	t.Run("bytes behind the frame are not read", func(t *testing.T) {
		if _, _, err := decodeBatch(append(want[:len(want):len(want)], "whatever"...)); err != nil {
			t.Error(err)
		}
	})
}

func TestResponseLayout(t *testing.T) {
	want := octets(t, responseLayout)
	t.Run("written", func(t *testing.T) {
		var w abi.ResponseWriter
		for range 2 { // the second time into the same buffers
			if got := writeResponseLayout(&w); !bytes.Equal(got, want) {
				t.Errorf("got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
			}
		}
	})
	t.Run("read", func(t *testing.T) {
		var r abi.Result
		if err := abi.DecodeResponse(want, abi.ResponseLimits{Events: 3, Outputs: 3}, &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Outputs) != 3 || len(r.Outcomes) != 2 {
			t.Fatalf("%d outputs, %d outcomes", len(r.Outputs), len(r.Outcomes))
		}
		if o := r.Outputs[0]; o.Source != 0 || o.Flags != abi.FlagPayloadRef|abi.FlagKeepHeaders || o.ID != 0 {
			t.Errorf("output 0 is %+v", o)
		}
		o := r.Outputs[1]
		if v, _ := abi.FindHeader(o.Headers, "H"); string(v) != "v1" || o.ID != 2 || string(o.Subject) != "x.y" || string(o.Key) != "k" || string(o.Payload) != "hello" {
			t.Errorf("output 1 is %+v", o)
		}
		if o := r.Outputs[2]; o.Source != abi.NoSource || string(o.Payload) != "finally." {
			t.Errorf("output 2 is %+v", o)
		}
		if o := r.Outcomes[0]; o.Index != 1 || o.Code != abi.CodeDrop || o.Delay != 0 || string(o.Reason) != "dull" {
			t.Errorf("outcome 0 is %+v", o)
		}
		if o := r.Outcomes[1]; o.Index != 2 || o.Code != abi.CodeRetry || o.Delay != 250 || string(o.Reason) != "later!" {
			t.Errorf("outcome 1 is %+v", o)
		}
	})
}

func TestPointer(t *testing.T) {
	b := make([]byte, 8, 16)
	if got := uint32(abi.Pointer(b)); got != 8 {
		t.Errorf("the length is %d, want 8", got)
	}
}

// change returns frame with the byte at offset replaced.
func change(frame []byte, offset int, value byte) []byte {
	b := append([]byte(nil), frame...)
	b[offset] = value
	return b
}

func TestBatchRefused(t *testing.T) {
	frame := octets(t, batchLayout)
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"nothing", nil, "shorter than its header"},
		{"a head without a tail", frame[:31], "shorter than its header"},
		{"another magic", change(frame, 3, '2'), "magic is not WMB1"},
		{"a header length below 32", change(frame, 4, 31), "header length"},
		{"a header length beyond the frame", change(frame, 5, 1), "header length"},
		{"an unknown kind", change(frame, 6, 3), "kind is unknown"},
		{"more events than there is room for", change(frame, 8, 3), "event count"},
		{"a total length beyond the bytes", change(frame, 12, 0xa1), "total length"},
		{"a total length of 2 GiB", change(frame, 15, 0x80), "total length"},
		{"a record length beyond the frame", change(frame, 32, 0x88), "event length"},
		{"a record length of zero", change(frame, 32, 0), "event length"},
		{"a record length that is not padded", change(frame, 32, 0x49), "event length"},
		{"an unknown flag", change(frame, 36, 1), "flags are unknown"},
		{"a subject longer than its record", change(frame, 32+28, 0x40), "parts exceed"},
		{"a payload of 4 GiB", change(change(change(change(frame, 32+40, 0xff), 32+41, 0xff), 32+42, 0xff), 32+43, 0xff), "parts exceed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := decodeBatch(c.frame)
			var bad *abi.FrameError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	frame := octets(t, responseLayout)
	const second, third, outcome = 24 + 32, 24 + 32 + 56, 24 + 32 + 56 + 40
	limits := abi.ResponseLimits{Events: 3, Outputs: 3}
	for _, c := range []struct {
		name   string
		frame  []byte
		limits abi.ResponseLimits
		want   string
	}{
		{"nothing", nil, limits, "shorter than its header"},
		{"another magic", change(frame, 0, 'X'), limits, "magic is not WMR1"},
		{"a total length beyond the bytes", change(frame, 16, 0xff), limits, "total length"},
		{"a header length beyond the frame", change(frame, 5, 1), limits, "header length"},
		{"a reserved field", change(frame, 20, 1), limits, "reserved"},
		{"too many records", change(frame, 13, 1), limits, "counts exceed"},
		{"too many outcomes", change(frame, 11, 0xff), limits, "counts exceed"},
		{"a record that is not padded", change(frame, 24, 0x21), limits, "record length"},
		{"a record beyond the frame", change(frame, third+1, 1), limits, "record length"},
		{"an unknown flag", change(frame, 24+8, 4), limits, "flags are unknown"},
		{"an output that does not exist", frame, abi.ResponseLimits{Events: 3, Outputs: 2}, "output id"},
		{"a source beyond the batch", change(frame, second+4, 3), limits, "source index"},
		{"sources that go back", change(frame, 24+4, 1), limits, "order of their events"},
		{"a reference without a source", change(frame, third+8, 1), limits, "without a source"},
		{"a payload beside a reference", change(frame, second+8, 1), limits, "refers to its source"},
		{"a subject longer than its record", change(frame, second+17, 1), limits, "parts exceed"},
		{"a header count without headers", change(frame, 24+14, 1), limits, "header entry"},
		{"headers beyond their count", change(frame, second+14, 0), limits, "headers exceed"},
		{"a header key with a space", change(frame, second+32+4+8, ' '), limits, "header key"},
		{"a header value with a line break", change(frame, second+32+4+9, '\n'), limits, "header value"},
		{"an outcome beyond the batch", frame, abi.ResponseLimits{Events: 2, Outputs: 3}, "outcome index"},
		{"two outcomes of one event", change(frame, outcome+16, 1), limits, "order of their events"},
		{"an unknown code", change(frame, outcome+4, 4), limits, "code is unknown"},
		{"no code", change(frame, outcome+4, 0), limits, "code is unknown"},
		{"a reserved byte", change(frame, outcome+5, 1), limits, "reserved"},
		{"a reason beyond the frame", change(frame, outcome+6, 0xff), limits, "reason"},
		{"an outcome of an event with outputs", change(frame, outcome, 0), limits, "outcome and outputs"},
		{"more bytes than allowed", frame, abi.ResponseLimits{Events: 3, Outputs: 3, MaxBytes: 100}, "max_output_bytes"},
		{"more outputs of one event than allowed", frame, abi.ResponseLimits{Events: 3, Outputs: 3, MaxPerEvent: 1}, "too many outputs"},
		{
			"a second record without a source", change(change(change(change(frame, second+4, 0xff), second+5, 0xff), second+6, 0xff), second+7, 0xff),
			abi.ResponseLimits{Events: 3, Outputs: 3, MaxWithoutEvent: 1},
			"without a source",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := abi.Result{Outputs: make([]abi.Output, 1), Outcomes: make([]abi.Outcome, 1)}
			err := abi.DecodeResponse(c.frame, c.limits, &r)
			var bad *abi.FrameError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if len(r.Outputs) != 0 || len(r.Outcomes) != 0 {
				t.Errorf("the result is not empty: %+v", r)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	block := abi.AppendHeader(abi.AppendHeader(abi.AppendHeader(nil, "A", "1"), "B", ""), "A", "2")
	if v, ok := abi.FindHeader(block, "A"); !ok || string(v) != "1" {
		t.Errorf("the first A is %q", v)
	}
	if v, ok := abi.FindHeader(block, "B"); !ok || len(v) != 0 {
		t.Errorf("B is %q, %t", v, ok)
	}
	if _, ok := abi.FindHeader(block, "a"); ok {
		t.Error("a was found: names are compared byte by byte")
	}
	if err := abi.CheckHeaders(block, 3); err != nil {
		t.Error(err)
	}
	for n := range block {
		if err := abi.CheckHeaders(block[:n], 3); err == nil {
			t.Errorf("the first %d bytes pass for three headers", n)
		}
	}
}
