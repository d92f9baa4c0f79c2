package host

import (
	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what a response costs the host beyond its own bytes (invariant A4).
const (
	// maxReason is how much of an outcome's reason is used: all reasons of a
	// response may be the same 64 KiB of it.
	maxReason = 1 << 10
	// leastRecords and bytesPerRecord say how many records a response may have:
	// each costs the host some 250 bytes, however few it has of its own.
	leastRecords   = 1 << 16
	bytesPerRecord = 128
	// maxHeaders and maxHeaderBytes bound the headers that one output sets.
	maxHeaders     = 256
	maxHeaderBytes = 64 << 10
)

// responseLimits are those of an instance with that many outputs.
func (l Limits) responseLimits(outputs int) abi.ResponseLimits {
	return abi.ResponseLimits{
		Outputs:        outputs,
		MaxBytes:       l.MaxOutputBytes,
		MaxPerEvent:    l.MaxOutputs,
		MaxRecords:     max(leastRecords, l.MaxOutputBytes/bytesPerRecord),
		MaxHeaders:     maxHeaders,
		MaxHeaderBytes: maxHeaderBytes,
	}
}

// response checks and decodes what fn returned for events (invariant A6).
func (g *guest) response(fn string, r int64, events []abi.Event, lim abi.ResponseLimits, res *abi.Result) *Fault {
	if r < 0 {
		if g.memory.refused {
			return g.failed(abi.FaultOutOfMemory, "memory limit of %s reached: %s failed with code %d", size(g.memory.limit), fn, r)
		}
		return g.failed(abi.FaultGuestError, "%s failed with code %d", fn, r)
	}
	p, n := uint32(uint64(r)>>32), uint32(uint64(r))
	if n > abi.MaxFrame {
		return g.failed(abi.FaultBadResponse, "%s returned a response of %d bytes, more than 2 GiB", fn, n)
	}
	frame, ok := g.view.Read(p, n)
	if !ok {
		return g.failed(abi.FaultBadResponse, "%s returned %d bytes at address %d, its memory ends at %d", fn, n, p, g.view.Size())
	}
	if err := abi.DecodeResponse(frame, lim, res); err != nil {
		f := g.failed(abi.FaultBadResponse, "response of %s: %s", fn, err)
		f.Err = err
		return f
	}
	if more, free := references(res, events); more > 0 && int(n)+more > lim.MaxBytes+free {
		res.Reset()
		return g.failed(abi.FaultBadResponse,
			"response of %s: its %d bytes and the %d that its outputs take over from their events exceed max_output_bytes, "+
				"which is %d beside the %d of the events themselves", fn, n, more, lim.MaxBytes, free)
	}
	for i := range res.Outcomes {
		res.Outcomes[i].Reason = g.reason(res.Outcomes[i].Reason)
	}
	return nil
}

// references returns how many bytes the outputs take over from their events, and
// how many the events have. An output that refers to its event's payload, or
// keeps its headers, is published as if it carried them: 32 bytes of a response
// can stand for megabytes in a topic. Each event may be passed on once for
// nothing, so that no batch is too large to be passed on.
func references(res *abi.Result, events []abi.Event) (more, free int) {
	for i := range res.Outputs {
		o := &res.Outputs[i]
		if o.Flags == 0 {
			continue // its bytes are the response's own
		}
		src := &events[o.Source]
		if o.Flags&abi.FlagPayloadRef != 0 {
			more += len(src.Payload)
		}
		if o.Flags&abi.FlagKeepHeaders != 0 {
			more += len(src.Headers)
		}
	}
	if more == 0 {
		return 0, 0
	}
	for i := range events {
		free += len(events[i].Payload) + len(events[i].Headers)
	}
	return more, free
}

// reason makes what a plugin says about an event fit for logs and dead letters.
// It is b itself when there is nothing to change.
func (g *guest) reason(b []byte) []byte {
	whole := len(b)
	b = b[:min(whole, maxReason)]
	if g.gen.redact.find(b, whole > maxReason) {
		b = g.gen.redact.take(append([]byte(nil), b...), whole > maxReason)
	}
	if !isPrintable(b) {
		b = []byte(printableLines(string(b)))
	}
	return b
}
