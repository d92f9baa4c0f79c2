package hosttest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// maxBatch bounds the bytes of a batch of many events.
const maxBatch = 8 << 20

// run hands frames to one fresh instance, in turn, and returns what it answers.
func (s *suite) run(frames ...frame) ([]answer, error) { return s.runLater(0, frames...) }

// runLater is run on an instance whose clock is put forward before each frame.
func (s *suite) runLater(by time.Duration, frames ...frame) ([]answer, error) {
	p, err := s.opened()
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var answers []answer
	res := &abi.Result{}
	for _, f := range frames {
		p.Advance(by)
		if err := p.Process(f.encode(), f.events, res); err != nil {
			return answers, err
		}
		s.seen.add(f.events, res)
		answers = append(answers, keep(res))
	}
	return answers, nil
}

// batch checks that a fresh instance answers frames.
func (s *suite) batch(name, what string, frames ...frame) {
	s.running("batch: "+name, what, func(c *Check) {
		answers, err := s.run(frames...)
		if err == nil {
			return
		}
		var f *host.Fault
		if errors.As(err, &f) && tooMuch(f) {
			c.skip("its answer is over a limit of the plugin: %s", f.Message)
			return
		}
		of := ""
		if len(frames) > 1 {
			of = fmt.Sprintf("batch %d of %d: ", len(answers)+1, len(frames))
		}
		c.fault(err, "%sa batch of %d events", of, len(frames[len(answers)].events))
	})
}

// tooMuch says whether a response was refused for its size alone.
func tooMuch(f *host.Fault) bool {
	var frame *abi.FrameError
	return errors.As(f.Err, &frame) && (strings.Contains(frame.What, "too many outputs") || strings.Contains(frame.What, "exceeds max_output_bytes")) ||
		f.Kind == abi.FaultBadResponse && strings.Contains(f.Message, "exceed max_output_bytes")
}

// frames are the batches at whose boundaries an implementation goes wrong.
func (s *suite) frames() {
	one := func(change func(int, *abi.Event)) frame { return frame{id: 1, events: s.with(1, 1, change)} }
	payload := func(b []byte) frame { return one(func(_ int, e *abi.Event) { e.Payload = b }) }

	s.batch("no events", "an empty batch, as every instance gets before it is used", frame{id: 1}, frame{id: 2})
	s.batch("one event", "a batch of one event", one(nil))
	s.batch("three events", "a batch of three events", frame{id: 1, events: s.with(3, 1, nil)})
	s.batch("timer", "a batch of kind 1 (timer) without events", frame{kind: abi.KindTimer, id: 1})
	s.batch("drain", "a batch of kind 2 (drain) without events, after one with some", frame{id: 1, events: s.with(3, 1, nil)}, frame{kind: abi.KindDrain, id: 2})
	s.batch("empty payload", "an event without a payload", payload(nil))
	s.batch("bare event", "an event without key, headers and payload, with a subject of one byte", one(func(_ int, e *abi.Event) {
		*e = abi.Event{Seq: e.Seq, Time: e.Time, Attempt: 1, Subject: []byte("a")}
	}))
	s.batch("long names", "a subject of 256 bytes and a key of 64 KiB", one(func(_ int, e *abi.Event) {
		e.Subject = []byte(strings.Repeat("subject.", 32)[:255] + "x")
		e.Key = bytes.Repeat([]byte("k"), 1<<16)
	}))
	s.batch("not UTF-8", "key, header and payload that are no valid UTF-8", one(func(_ int, e *abi.Event) {
		e.Key, e.Payload = []byte("k\xff\x80"), []byte("{\"a\":\"\xff\xc3\"}")
		e.Headers, e.HeaderCount = abi.AppendHeader(nil, "Bytes", "\xff\x80\xc3"), 1
	}))
	s.batch("many headers", "an event with 1000 headers: some empty, some with the same name, one of 60 KiB", one(func(_ int, e *abi.Event) {
		e.Headers = nil
		for i := range 999 {
			e.Headers = abi.AppendHeader(e.Headers, fmt.Sprintf("Header-%d", i/2), strings.Repeat("v", i%3))
		}
		e.Headers, e.HeaderCount = abi.AppendHeader(e.Headers, "Long", strings.Repeat("x", 60<<10)), 1000
	}))
	s.batch("extreme numbers", "sequence, time and attempt at the ends of their ranges", frame{id: math.MaxUint64, events: s.with(2, 1, func(i int, e *abi.Event) {
		if e.Seq, e.Time, e.Attempt = math.MaxUint64, math.MinInt64, math.MaxUint32; i == 1 {
			e.Seq, e.Time, e.Attempt = 0, math.MaxInt64, 0
		}
	})})
	for _, size := range []int{1<<16 - 1, 1 << 16, 1<<16 + 1} {
		s.batch(fmt.Sprintf("payload of %d bytes", size), "a payload around 64 KiB", one(sized(size)))
	}
	s.batch("payload of 1 MiB", "a payload of 1 MiB, and small ones before and after", one(nil), one(sized(1<<20)), one(nil))
	s.batch("many events", "512 events, the default size of a batch", frame{id: 1, events: s.many(512)})
	s.batch("most events", "65,536 events, the largest batch of a configuration, or 8 MiB, or as many as it takes in a tenth of the deadline",
		frame{id: 1, events: s.many(s.inTime(1 << 16))})
	s.batch("odd payloads", "payloads that it does not expect, among those that it does", s.oddFrames()...)
	const given, what = "given events", "the events that it is made for, in one batch and one by one"
	if s.made {
		s.running("batch: "+given, what, func(c *Check) { c.skip("no events were given: those of the suite are made up") })
		return
	}
	s.batch(given, what, s.given()...)
}

// many is n events, or as many as fit.
func (s *suite) many(n int) []abi.Event {
	size := 0
	for i := range s.events {
		size += abi.EventSize(&s.events[i])
	}
	return s.with(max(1, min(n, maxBatch/max(1, size/len(s.events)))), 1, nil)
}

// inTime is n, or what the module can do in a tenth of the deadline of a call.
func (s *suite) inTime(n int) int {
	if !s.starts {
		return n
	}
	some := frame{id: 1, events: s.many(512)}
	p, err := s.opened()
	if err != nil {
		return n
	}
	defer p.Close()
	var pace time.Duration // of an event
	for range 2 {          // the first time it also makes room
		begin := time.Now()
		if p.Process(some.encode(), some.events, &s.res) != nil {
			return n
		}
		pace = time.Since(begin) / time.Duration(len(some.events))
	}
	return min(n, max(512, int(s.o.Limits.Deadline/10/max(1, pace))))
}

func (s *suite) oddFrames() []frame {
	list := odd()
	all := frame{id: 1, events: s.with(2*len(list), 1, func(i int, e *abi.Event) {
		if i%2 == 1 {
			e.Payload = list[i/2]
		}
	})}
	frames := []frame{all}
	for i, p := range list {
		frames = append(frames, frame{id: uint64(i + 2), events: s.with(1, uint64(1000+i), func(_ int, e *abi.Event) { e.Payload = p })})
	}
	return frames
}

func (s *suite) given() []frame {
	const most = 500
	n := min(len(s.events), most)
	frames := []frame{{id: 1, events: s.with(n, 1, nil)}}
	single := s.with(n, uint64(n+1), nil)
	for i := range n {
		frames = append(frames, frame{id: uint64(i + 2), events: single[i : i+1]})
	}
	return frames
}

// appended checks that the lengths of header and records are honoured: a frame
// with more in it than this version knows must be answered as one without.
func (s *suite) appended() {
	s.running("appended fields", "fields that a later version appends to header and records are passed over", func(c *Check) {
		plain, err := s.run(frame{id: 1, events: s.with(3, 1, nil)})
		if err != nil {
			c.skip("it does not answer a batch without them")
			return
		}
		for _, f := range []frame{{head: 8}, {head: 40}, {record: 8}, {record: 24}, {head: 64, record: 16}} {
			f.id, f.events = 1, s.with(3, 1, nil)
			more, err := s.run(f)
			const advice = "begin to read events at the header's own length (u16 at byte 4), and go from record to record by the record's own length"
			if err != nil {
				c.fault(err, "a header with %d bytes more and records with %d more", f.head, f.record)
				c.Advice = advice
				return
			}
			if d := differs(plain[0], more[0]); d != "" && s.same() {
				c.fail(advice, "with %d bytes more in the header and %d in each record the answer is another one: %s", f.head, f.record, d)
			}
		}
	})
}

// unknownFlags checks that what a guest cannot know is not passed over.
func (s *suite) unknownFlags() {
	s.running("unknown flags", "an event with flags that it does not know is an error, not processed as if they were not there", func(c *Check) {
		for _, bit := range []uint32{1, 1 << 31} {
			f := frame{id: 1, events: s.with(2, 1, nil), flags: bit}
			answers, err := s.run(f)
			var fault *host.Fault
			switch {
			case errors.As(err, &fault) && fault.Kind == abi.FaultGuestError:
				continue
			case err != nil:
				c.fault(err, "an event with the flags %#x", bit)
				c.Advice = "return a negative code when an event has flags that are not known"
				return
			}
			if len(answers[0].outcomes) == 0 || answers[0].outcomes[0].Index != 0 || answers[0].outcomes[0].Code == abi.CodeDrop {
				c.fail("return a negative code when an event has flags that are not known: what they mean may change everything",
					"an event with the flags %#x was processed as if it had none", bit)
			}
		}
	})
}

// same says whether two instances answer in the same way: without a clock and
// true randomness there is nothing that may make a difference, and it is known
// whether something does.
func (s *suite) same() bool {
	return !s.varies && !s.imports[abi.ImportModule+"."+abi.ImportNow] && !s.imports[abi.ImportModule+"."+abi.ImportRandom]
}
