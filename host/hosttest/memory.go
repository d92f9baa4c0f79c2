package hosttest

import (
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// memory looks at what an instance does with its memory.
func (s *suite) memory() {
	s.running("memory growth", "the buffer grows between batches, and what was kept stays valid", s.growth)
	s.running("steady memory", fmt.Sprintf("%d events through one instance, or as many as it takes in a minute, and the memory stays as it is", s.o.Steady), s.steady)
}

// growth hands the same batches to two instances: as they are, and blown up with
// appended fields, so that buffer and memory grow in between. What a batch means
// is the same, so the answers have to be.
func (s *suite) growth(c *Check) {
	if s.known["appended fields"] {
		c.skip("it does not pass over appended fields, with which this is checked")
		return
	}
	if !s.same() {
		c.skip("it has a clock or true randomness, or does not repeat itself, so two instances may differ")
		return
	}
	sizes := []int{1, 3, 2, 5, 1, 4, 1}
	grown := []int{0, 128 << 10, 0, 512 << 10, 0, 1 << 20, 0} // bytes more in the last record
	var plain, blown []frame
	next := uint64(1)
	for i, n := range sizes {
		f := frame{id: uint64(i + 1), events: s.with(n, next, nil)}
		next += uint64(n)
		plain = append(plain, f)
		f.record = grown[i] / n &^ 7
		blown = append(blown, f)
	}
	want, err := s.run(plain...)
	if err != nil {
		c.fault(err, "batch %d of %d", len(want)+1, len(plain))
		return
	}
	got, err := s.run(blown...)
	const advice = "read the batch at the address that wasmill_process gets, and take addresses anew after every call that may move or grow what they point to"
	if err != nil {
		c.fault(err, "batch %d of %d, after the buffer has grown", len(got)+1, len(blown))
		c.Advice = advice
		return
	}
	for i := range want {
		if d := differs(want[i], got[i]); d != "" {
			c.fail(advice, "batch %d is answered in another way when the buffer has grown in between: %s", i+1, d)
		}
	}
}

const (
	steadyTime = time.Minute // at the most, for a plugin that is slow
	warmUp     = 8           // batches after which its speed is known
)

// steady runs many events through an instance and looks at its memory at each
// quarter. What a runtime with a garbage collector takes at first is not a leak;
// what is still growing at the end is, if it goes on with as many events again.
func (s *suite) steady(c *Check) {
	i, err := s.gen.NewInstance(s.ctx, s.where())
	if err != nil {
		c.fault(err, "an instance did not start")
		return
	}
	defer i.Discard()
	// A few subjects, keys and payloads, so that what a plugin keeps for each of
	// them does not count.
	batch := s.many(512)
	var at [5]int64
	at[0] = i.Memory()
	total, done := s.o.Steady, 0
	for quarter := 1; quarter <= 4; quarter++ {
		begin := time.Now()
		for n := 0; done < total*quarter/4; n++ {
			if err := s.oneMore(i, batch, done); err != nil {
				s.interrupted(c, err, done)
				return
			}
			done += len(batch)
			if quarter == 1 && n == warmUp { // it is known how long the rest takes
				each := time.Since(begin) / time.Duration(done)
				total = min(total, max(4*done, int(steadyTime/max(1, each))))
			}
		}
		at[quarter] = i.Memory()
	}
	noise := at[1]/4 + 512<<10 // what a garbage collector may take more
	grew := at[2] > at[1] && at[3] > at[2] && at[4] > at[3] && at[4] > at[1]+noise
	more := int64(0)
	if grew || at[4] > at[1]+2*noise { // a collector may only need longer: a leak goes on as it was
		for last := done + total; done < last; done += len(batch) {
			if err := s.oneMore(i, batch, done); err != nil {
				s.interrupted(c, err, done)
				return
			}
		}
		more = i.Memory() - at[4]
	}
	if more > (at[4]-at[1])*2/3 { // half of what a leak would add
		c.fail("free what belongs to a batch when it is answered, and keep the buffers for the next one",
			"its memory grows with the events: %d, %d, %d, %d bytes at the quarters of %d events, %d after %d, about %.1f bytes an event",
			at[1], at[2], at[3], at[4], total, at[4]+more, done, float64(at[4]+more-at[1])/(float64(total)*7/4))
		return
	}
	c.note("%d events: %d bytes at the start, %d after a quarter, %d at the end", done, at[0], at[1], at[4]+more)
}

// oneMore hands over a batch whose events have the sequences behind done.
func (s *suite) oneMore(i *host.Instance, batch []abi.Event, done int) error {
	for k := range batch {
		batch[k].Seq = uint64(done + k + 1)
	}
	return i.Process(s.ctx, abi.BatchHeader{ID: uint64(done)}, batch, &s.res)
}

// interrupted says what an error after so many events means.
func (s *suite) interrupted(c *Check, err error, done int) {
	var f *host.Fault
	switch {
	case s.ctx.Err() != nil:
	case errors.As(err, &f) && f.Kind == abi.FaultOutOfMemory:
		c.fail("free what belongs to a batch when it is answered", "after %d events the memory is used up: %s", done, f.Message)
	case errors.As(err, &f) && tooMuch(f):
		c.skip("its answer to a batch is over a limit of the plugin: %s", f.Message)
	default:
		c.fault(err, "after %d events", done)
	}
}
