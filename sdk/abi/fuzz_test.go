package abi_test

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/wasmill/wasmill/sdk/abi"
)

// within fails unless part lies in frame.
func within(t *testing.T, frame, part []byte) {
	t.Helper()
	if len(part) == 0 {
		return
	}
	start, first := uintptr(unsafe.Pointer(&frame[0])), uintptr(unsafe.Pointer(&part[0]))
	if first < start || first+uintptr(cap(part)) > start+uintptr(len(frame)) {
		t.Fatalf("a view of %d bytes lies outside of the frame", len(part))
	}
}

// FuzzReadBatch is the guest's side: whatever the frame, the reader ends, stays
// inside, and what it read survives being written again.
func FuzzReadBatch(f *testing.F) {
	f.Add(octets(f, batchLayout))
	f.Add(encodeBatch(abi.BatchHeader{Kind: abi.KindDrain}, nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		header, events, err := decodeBatch(frame)
		for i := range events {
			for _, part := range [][]byte{events[i].Subject, events[i].Key, events[i].Headers, events[i].Payload} {
				within(t, frame, part)
			}
		}
		if err != nil {
			if bad := (*abi.FrameError)(nil); !errors.As(err, &bad) || bad.Offset > len(frame) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		again, eventsAgain, err := decodeBatch(encodeBatch(header, events))
		if err != nil || again != header {
			t.Fatalf("written again: %+v, %v; was %+v", again, err, header)
		}
		sameEvents(t, eventsAgain, events)
	})
}

// FuzzDecodeResponse is the host's side (invariant A6): whatever the guest
// returns, decoding ends, stays inside, and holds what it promises.
func FuzzDecodeResponse(f *testing.F) {
	var w abi.ResponseWriter
	f.Add(writeResponseLayout(&w), 3, 3)
	w.Reset()
	f.Add(w.Bytes(), 0, 1)
	f.Fuzz(func(t *testing.T, frame []byte, events, outputs int) {
		events, outputs = max(0, events%1000), max(1, outputs%8)
		lim := abi.ResponseLimits{Events: events, Outputs: outputs}
		var r abi.Result
		if err := abi.DecodeResponse(frame, lim, &r); err != nil {
			if bad := (*abi.FrameError)(nil); !errors.As(err, &bad) || len(r.Outputs)+len(r.Outcomes) != 0 {
				t.Fatalf("the error is %v, the result %+v", err, r)
			}
			return
		}
		w.Reset()
		decided := map[uint32]bool{}
		for _, o := range r.Outcomes {
			within(t, frame, o.Reason)
			if decided[o.Index] || int(o.Index) >= events {
				t.Fatalf("outcome of event %d", o.Index)
			}
			decided[o.Index] = true
		}
		for i := range r.Outputs {
			o := &r.Outputs[i]
			for _, part := range [][]byte{o.Subject, o.Key, o.Headers, o.Payload} {
				within(t, frame, part)
			}
			if o.Source != abi.NoSource && (int(o.Source) >= events || decided[o.Source]) {
				t.Fatalf("output of event %d", o.Source)
			}
			if int(o.ID) >= outputs || abi.CheckHeaders(o.Headers, int(o.HeaderCount)) != nil {
				t.Fatalf("output %+v", o)
			}
			w.Output(o)
		}
		for _, o := range r.Outcomes {
			w.Outcome(o.Index, o.Code, o.Delay, string(o.Reason))
		}
		var again abi.Result
		if err := abi.DecodeResponse(w.Bytes(), lim, &again); err != nil {
			t.Fatalf("written again: %v", err)
		}
		sameResult(t, again, r)
	})
}
