package hosttest

import (
	"errors"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// state looks at what an instance is over its batches, and at its end.
func (s *suite) state() {
	s.running("close", "wasmill_close answers: after batches and without any", func(c *Check) {
		if !s.exports[abi.ExportClose] {
			c.skip("the module does not export it")
			return
		}
		for _, batches := range []int{0, 2} {
			s.closing(c, batches)
		}
	})
	s.running("after the end", "calls after wasmill_close end, whatever they answer", func(c *Check) {
		if !s.exports[abi.ExportClose] {
			c.skip("the module does not export it")
			return
		}
		s.afterTheEnd(c)
	})
	s.running("snapshot", "wasmill_snapshot and wasmill_restore carry the state over to another instance", s.snapshot)
}

// repeated comes before all that compares two instances.
func (s *suite) repeated() {
	s.running("determinism", "two instances answer the same batches in the same way", s.determinism)
}

// history is a run of batches of all kinds.
func (s *suite) history() []frame {
	frames := []frame{{id: 1}}
	for i, n := range []int{1, 3, 64, 2} {
		frames = append(frames, frame{id: uint64(len(frames) + 1), events: s.with(n, uint64(1000*i), nil)})
	}
	list := odd()
	frames = append(frames,
		frame{id: 6, events: s.with(len(list), 10_000, func(i int, e *abi.Event) { e.Payload = list[i] })},
		frame{id: 7, events: s.with(2, 20_000, sized(1<<16+1))},
		frame{kind: abi.KindTimer, id: 8},
		frame{id: 9, events: s.with(len(s.events[:min(len(s.events), 256)]), 30_000, nil)},
		frame{kind: abi.KindDrain, id: 10})
	return frames
}

func (s *suite) determinism(c *Check) {
	if !s.same() {
		c.skip("it imports a clock or true randomness")
		return
	}
	frames := s.history()
	first, err := s.run(frames...)
	if err != nil {
		c.fault(err, "batch %d of %d", len(first)+1, len(frames))
		return
	}
	// Far enough apart that no clock shows the same, however coarse it is.
	second, err := s.runLater(time.Second, frames...)
	if err != nil {
		c.fault(err, "batch %d of %d, in the second instance only", len(second)+1, len(frames))
		return
	}
	for i := range first {
		if d := differs(first[i], second[i]); d != "" {
			s.varies = true
			c.fail("do not let the order of maps, uninitialized memory, addresses or the monotonic clock into outputs: after a crash events are processed again, and should give the same",
				"batch %d is answered in two ways: %s", i+1, d)
			return
		}
	}
}

func (s *suite) closing(c *Check, batches int) {
	p, err := s.opened()
	if err != nil {
		c.fault(err, "an instance did not open")
		return
	}
	defer p.Close()
	res := &abi.Result{}
	for i := range batches {
		f := frame{id: uint64(i + 1), events: s.with(3, uint64(3*i+1), nil)}
		if err := p.Process(f.encode(), f.events, res); err != nil {
			c.fault(err, "batch %d", i+1)
			return
		}
	}
	if err := p.Finish(res); err != nil {
		c.fault(err, "wasmill_close after %d batches", batches)
		return
	}
	c.note("%d outputs at the end", len(res.Outputs))
}

// afterTheEnd calls what a host does not call any more. A module need not have
// an answer; it must not run on.
func (s *suite) afterTheEnd(c *Check) {
	p, err := s.opened()
	if err != nil {
		c.fault(err, "an instance did not open")
		return
	}
	defer p.Close()
	res := &abi.Result{}
	f := frame{id: 1, events: s.with(1, 1, nil)}
	for _, call := range []func() error{
		func() error { return p.Finish(res) },
		func() error { return p.Finish(res) },
		func() error { return p.Process(f.encode(), f.events, res) },
	} {
		var fault *host.Fault
		switch err := call(); {
		case errors.As(err, &fault) && fault.Kind == abi.FaultDeadline:
			c.fault(err, "a call after wasmill_close")
		case err != nil && !errors.As(err, &fault):
			return // it has trapped: the guest is gone
		}
	}
}

func (s *suite) snapshot(c *Check) {
	save, load := s.exports[abi.ExportSnapshot], s.exports[abi.ExportRestore]
	switch {
	case !save && !load:
		c.skip("the module does not export them")
		return
	case !save || !load:
		c.fail("export both or neither", "it exports only one of wasmill_snapshot and wasmill_restore")
		return
	}
	old, err := s.opened()
	if err != nil {
		c.fault(err, "an instance did not open")
		return
	}
	defer old.Close()
	res := &abi.Result{}
	before := frame{id: 1, events: s.with(7, 1, nil)}
	if err := old.Process(before.encode(), before.events, res); err != nil {
		c.fault(err, "a batch of 7 events")
		return
	}
	state, err := old.Snapshot()
	if err != nil {
		c.fault(err, "wasmill_snapshot")
		return
	}
	fresh, err := s.opened()
	if err != nil {
		c.fault(err, "an instance did not open")
		return
	}
	defer fresh.Close()
	if err := fresh.Restore(state); err != nil {
		c.fault(err, "wasmill_restore of %d bytes that wasmill_snapshot returned", len(state))
		c.Advice = "take what wasmill_snapshot of this version has written"
		return
	}
	after := frame{id: 2, events: s.with(5, 8, nil)}
	var answers [2]answer
	for i, p := range []*host.Probe{old, fresh} {
		if err := p.Process(after.encode(), after.events, res); err != nil {
			c.fault(err, "a batch after the snapshot, in instance %d", i+1)
			return
		}
		answers[i] = keep(res)
	}
	if d := differs(answers[0], answers[1]); d != "" && s.same() {
		c.fail("put into the snapshot all that answers depend on", "the restored instance answers in another way than the one it was taken from: %s", d)
		return
	}
	s.garbage(c, len(state))
}

// garbage restores what is no state: refused or taken, but not by a trap.
func (s *suite) garbage(c *Check, size int) {
	for _, b := range [][]byte{nil, {0}, make([]byte, 64), make([]byte, size+1)} {
		fill(b)
		p, err := s.opened()
		if err != nil {
			c.fault(err, "an instance did not open")
			return
		}
		err = p.Restore(b)
		p.Close()
		var f *host.Fault
		if errors.As(err, &f) && f.Kind != abi.FaultGuestError {
			c.fault(err, "wasmill_restore of %d bytes that are no state", len(b))
			c.Advice = "check the state before it is used, and return a negative code"
			return
		}
	}
}
