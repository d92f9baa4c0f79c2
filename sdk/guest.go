package sdk

import (
	"errors"
	"runtime"

	"github.com/wasmill/wasmill/sdk/abi"
)

// guest is one instance behind the ABI. What crosses the boundary does so here;
// the exports, or natively Guest, only find the bytes.
type guest struct {
	opener  Opener
	in      *Instance
	handler Handler
	out     Out
	event   Event

	calls, events int // since the last yield
}

var errClosed = errors.New("the instance is closed")

// open makes the instance that doc describes. It keeps doc.
func (g *guest) open(doc []byte) (err error) {
	defer recovered(&err)
	if g.opener == nil {
		return errNoHandler
	}
	in, err := newInstance(doc)
	if err != nil {
		return err
	}
	handler, err := g.opener(in)
	if err != nil {
		return err
	}
	if handler == nil {
		return errNoHandler
	}
	g.in, g.handler, g.out.outputs = in, handler, in.Outputs
	return nil
}

// process runs the handler on a batch and returns the response, which is valid
// until the next call.
func (g *guest) process(frame []byte) ([]byte, error) {
	if g.handler == nil {
		// wasmill_open is optional for a host that has nothing to say in it.
		if err := g.open(nil); err != nil {
			return nil, err
		}
	}
	batch, err := abi.ReadBatch(frame)
	if err != nil {
		return nil, err
	}
	g.out.w.Reset()
	for index, more := uint32(0), true; more; {
		if index, more, err = g.run(&batch, index); err != nil {
			return nil, err
		}
	}
	g.yield(int(batch.Header.Count))
	return g.out.w.Bytes(), nil
}

// run hands events to the handler until the batch ends (more is false) or a
// handler panics: one deferred call serves all events up to a panic, instead of
// one for each. next is the index of the event to go on with.
func (g *guest) run(batch *abi.BatchReader, index uint32) (next uint32, more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.out.settle(panicError(p))
			next, more, err = index+1, true, nil
		}
	}()
	for ; ; index++ {
		ok, err := batch.Next(&g.event.raw)
		if !ok || err != nil {
			return index, false, err
		}
		g.out.begin(index)
		err = g.handler(&g.event, &g.out)
		if err == nil {
			err = g.out.err
		}
		if err != nil {
			g.out.settle(err)
		}
	}
}

// close ends the instance; the response holds what its hooks emitted.
func (g *guest) close() (_ []byte, err error) {
	defer recovered(&err)
	g.out.w.Reset()
	g.out.begin(abi.NoSource)
	if g.in == nil {
		return g.out.w.Bytes(), nil
	}
	closers := g.in.closers
	g.in.closers = nil
	for _, f := range closers {
		if err := f(&g.out); err != nil {
			return nil, err
		}
		if g.out.err != nil {
			return nil, g.out.err
		}
	}
	g.opener, g.handler = func(*Instance) (Handler, error) { return nil, errClosed }, nil
	return g.out.w.Bytes(), nil
}

// yield lets the collector run, which in a guest works only while an export
// gives way. It takes about a microsecond, so it is done once in a while: every
// few calls, or every thousand events.
func (g *guest) yield(events int) {
	g.calls++
	if g.events += events; g.calls >= 8 || g.events >= 1024 {
		g.calls, g.events = 0, 0
		runtime.Gosched()
	}
}
