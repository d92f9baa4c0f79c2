package abi

// Output is one record of a response: an event that the plugin emits. Byte
// slices are views of the frame they were decoded from.
type Output struct {
	Source      uint32 // index of the event that caused it, or NoSource
	Flags       uint32
	ID          uint16 // 0 is the default output; the others count as in wasmill_open's outputs
	HeaderCount uint16
	Subject     []byte // empty: the output's default subject
	Key         []byte
	Headers     []byte
	Payload     []byte
}

// Outcome is what the plugin decided about the event at Index.
type Outcome struct {
	Index  uint32
	Code   Code
	Delay  uint32 // ms until the retry; 0 = the pipeline's backoff
	Reason []byte
}

// Result is a decoded response. Its slices are reused from call to call.
type Result struct {
	Outputs  []Output  // by source index, not decreasing; NoSource anywhere
	Outcomes []Outcome // by index, strictly increasing
}

// Reset empties r and keeps its memory.
func (r *Result) Reset() { r.Outputs, r.Outcomes = r.Outputs[:0], r.Outcomes[:0] }

// ResponseLimits are what a response is checked against.
type ResponseLimits struct {
	Events          int // events in the batch
	Outputs         int // outputs the plugin has; at least 1
	MaxBytes        int // bytes of the frame; 0 = MaxFrame
	MaxPerEvent     int // output records per event; 0 = no limit
	MaxWithoutEvent int // records with NoSource; 0 = no limit
	MaxRecords      int // output records; 0 = no limit
	MaxHeaders      int // headers that one record sets; 0 = no limit
	MaxHeaderBytes  int // bytes of them; 0 = no limit
}

// DecodeResponse checks frame against lim and decodes it into res, which it
// empties first. The slices of res are views of frame. An error is a
// *FrameError; res is then empty.
func DecodeResponse(frame []byte, lim ResponseLimits, res *Result) error {
	res.Reset()
	err := decodeResponse(frame, lim, res)
	if err != nil {
		res.Reset()
	}
	return err
}

func decodeResponse(frame []byte, lim ResponseLimits, res *Result) error {
	if len(frame) < ResponseHeaderSize {
		return bad("response is shorter than its header", 0, uint64(len(frame)))
	}
	if string(frame[:4]) != responseMagic {
		return bad("magic is not WMR1", 0, uint64(le.Uint32(frame)))
	}
	head, total := uint64(le.Uint32(frame[4:])), uint64(le.Uint32(frame[16:]))
	outcomes, records := uint64(le.Uint32(frame[8:])), uint64(le.Uint32(frame[12:]))
	if total > MaxFrame || total > uint64(len(frame)) || total < ResponseHeaderSize {
		return bad("total length is out of bounds", 16, total)
	}
	if lim.MaxBytes > 0 && total > uint64(lim.MaxBytes) {
		return bad("response exceeds max_output_bytes", 16, total)
	}
	if head < ResponseHeaderSize || head > total {
		return bad("header length is out of bounds", 4, head)
	}
	if v := le.Uint32(frame[20:]); v != 0 {
		return bad("reserved field is not zero", 20, uint64(v))
	}
	if records*OutputHeaderSize+outcomes*OutcomeSize > total-head {
		return bad("counts exceed the response", 8, outcomes+records)
	}
	if lim.MaxRecords > 0 && records > uint64(lim.MaxRecords) {
		return bad("too many outputs in one response", 12, records)
	}
	frame = frame[:total]
	at, err := decodeOutputs(frame, int(head), int(records), lim, res)
	if err != nil {
		return err
	}
	return decodeOutcomes(frame, at, int(outcomes), lim, res)
}

func decodeOutputs(frame []byte, at, records int, lim ResponseLimits, res *Result) (int, error) {
	var perEvent, withoutEvent int
	var last uint32
	for range records {
		b := frame[at:]
		if len(b) < OutputHeaderSize {
			return 0, bad("response ends inside a record", at, uint64(len(b)))
		}
		h := (*[OutputHeaderSize]byte)(b) // constant offsets into an array need no checks
		size := int(le.Uint32(h[0:]))
		if size < OutputHeaderSize || size > len(b) || size&7 != 0 {
			return 0, bad("record length is out of bounds", at, uint64(size))
		}
		o := Output{
			Source:      le.Uint32(h[4:]),
			Flags:       le.Uint32(h[8:]),
			ID:          le.Uint16(h[12:]),
			HeaderCount: le.Uint16(h[14:]),
		}
		if o.Flags&^knownOutputFlags != 0 {
			return 0, bad("record flags are unknown", at+8, uint64(o.Flags))
		}
		if int(o.ID) >= lim.Outputs {
			return 0, bad("output id is unknown", at+12, uint64(o.ID))
		}
		switch {
		case o.Source == NoSource:
			if o.Flags != 0 {
				return 0, bad("record without a source refers to it", at+8, uint64(o.Flags))
			}
			if withoutEvent++; lim.MaxWithoutEvent > 0 && withoutEvent > lim.MaxWithoutEvent {
				return 0, bad("too many records without a source", at, uint64(withoutEvent))
			}
		case uint64(o.Source) >= uint64(lim.Events):
			return 0, bad("source index is out of bounds", at+4, uint64(o.Source))
		case o.Source < last:
			return 0, bad("records are not in the order of their events", at+4, uint64(o.Source))
		default:
			if o.Source != last {
				last, perEvent = o.Source, 0
			}
			if perEvent++; lim.MaxPerEvent > 0 && perEvent > lim.MaxPerEvent {
				return 0, bad("too many outputs for one event", at, uint64(perEvent))
			}
		}
		subject, key := uint64(le.Uint32(h[16:])), uint64(le.Uint32(h[20:]))
		headers, payload := uint64(le.Uint32(h[24:])), uint64(le.Uint32(h[28:]))
		if o.Flags&FlagPayloadRef != 0 && payload != 0 {
			return 0, bad("record has a payload and refers to its source's", at+28, payload)
		}
		key += subject
		headers += key
		payload += headers
		data := b[OutputHeaderSize:size]
		if payload > uint64(len(data)) {
			return 0, bad("record parts exceed its length", at+16, payload)
		}
		o.Subject = data[:subject:subject]
		o.Key = data[subject:key:key]
		o.Headers = data[key:headers:headers]
		o.Payload = data[headers:payload:payload]
		if o.HeaderCount != 0 || len(o.Headers) != 0 {
			if lim.MaxHeaders > 0 && int(o.HeaderCount) > lim.MaxHeaders {
				return 0, bad("record has too many headers", at+14, uint64(o.HeaderCount))
			}
			if lim.MaxHeaderBytes > 0 && len(o.Headers) > lim.MaxHeaderBytes {
				return 0, bad("record has too many bytes of headers", at+24, uint64(len(o.Headers)))
			}
			if err := CheckHeaders(o.Headers, int(o.HeaderCount)); err != nil {
				return 0, err
			}
		}
		res.Outputs = append(res.Outputs, o)
		at += size
	}
	return at, nil
}

func decodeOutcomes(frame []byte, at, outcomes int, lim ResponseLimits, res *Result) error {
	if outcomes*OutcomeSize > len(frame)-at {
		return bad("outcomes exceed the response", at, uint64(outcomes))
	}
	next := uint32(0)
	out := 0 // first output that may belong to the outcome's event
	for range outcomes {
		b := frame[at : at+OutcomeSize]
		o := Outcome{Index: le.Uint32(b), Code: Code(b[4]), Delay: le.Uint32(b[8:])}
		if uint64(o.Index) >= uint64(lim.Events) {
			return bad("outcome index is out of bounds", at, uint64(o.Index))
		}
		if o.Index < next {
			return bad("outcomes are not in the order of their events", at, uint64(o.Index))
		}
		next = o.Index + 1
		if o.Code < CodeDrop || o.Code > CodeDeadLetter {
			return bad("outcome code is unknown", at+4, uint64(o.Code))
		}
		if b[5] != 0 {
			return bad("reserved field is not zero", at+5, uint64(b[5]))
		}
		if n := uint64(le.Uint16(b[6:])); n > 0 {
			off := uint64(le.Uint32(b[12:]))
			if off+n > uint64(len(frame)) {
				return bad("reason is out of bounds", at+12, off)
			}
			o.Reason = frame[off : off+n : off+n]
		}
		for out < len(res.Outputs) && (res.Outputs[out].Source == NoSource || res.Outputs[out].Source < o.Index) {
			out++
		}
		if out < len(res.Outputs) && res.Outputs[out].Source == o.Index {
			return bad("event has an outcome and outputs", at, uint64(o.Index))
		}
		res.Outcomes = append(res.Outcomes, o)
		at += OutcomeSize
	}
	return nil
}
