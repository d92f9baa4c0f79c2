package host

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// InstanceSpec says where an instance works. The plugin is told all of it.
type InstanceSpec struct {
	Pipeline  string
	Partition int
	Outputs   []string // names by output id; empty = {"default"}
}

// Instance runs the batches of one (stage, partition). It is not safe for
// concurrent use, except for Memory.
//
// Life: NewInstance → Process … → Close → Discard. A Fault ends the guest
// inside, never the Instance: the next Process starts a fresh guest, which has
// none of the state of the old one.
type Instance struct {
	gen       *Generation
	spec      InstanceSpec
	doc       []byte // what wasmill_open gets
	limits    abi.ResponseLimits
	guest     *guest // nil after a fault
	retired   *guest // shut; mapped until the next call, since views of it may be read until then
	used      atomic.Pointer[memory]
	started   time.Duration // of the last Process: starting a fresh guest
	closed    bool
	discarded bool
}

// NewInstance instantiates the module, initializes it, calls wasmill_open with
// its configuration and runs an empty batch as a canary. The error wraps a
// *Fault when the plugin failed; its detail holds what the plugin wrote.
func (gen *Generation) NewInstance(ctx context.Context, spec InstanceSpec) (*Instance, error) {
	if len(spec.Outputs) == 0 {
		spec.Outputs = []string{"default"}
	}
	doc, err := openDocument(&gen.spec, &spec)
	if err != nil {
		return nil, fmt.Errorf("encode the configuration of plugin %q: %w", gen.spec.Name, err)
	}
	if err := gen.acquire(); err != nil {
		return nil, fmt.Errorf("start plugin %q: generation is %w", gen.spec.Name, err)
	}
	i := &Instance{gen: gen, spec: spec, doc: doc, limits: gen.spec.Limits.responseLimits(len(spec.Outputs))}
	if err := i.fresh(ctx); err != nil {
		i.Discard()
		return nil, fmt.Errorf("start plugin %q in pipeline %q: %w", gen.spec.Name, spec.Pipeline, err)
	}
	return i, nil
}

// openDocument is the JSON that wasmill_open gets.
func openDocument(plugin *Spec, spec *InstanceSpec) ([]byte, error) {
	doc := struct {
		Config    json.RawMessage `json:"config"`
		Grants    []string        `json:"grants"`
		Plugin    string          `json:"plugin"`
		Pipeline  string          `json:"pipeline"`
		Partition int             `json:"partition"`
		Outputs   []string        `json:"outputs"`
		Builtin   string          `json:"builtin,omitempty"`
	}{plugin.Config, plugin.Grants, plugin.Name, spec.Pipeline, spec.Partition, spec.Outputs, plugin.Builtin}
	if len(doc.Config) == 0 {
		doc.Config = json.RawMessage("{}")
	}
	if doc.Grants == nil {
		doc.Grants = []string{}
	}
	return json.Marshal(doc)
}

// fresh puts a new guest into the instance: instantiate, open, canary.
func (i *Instance) fresh(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start a fresh guest of plugin %q: %w", i.gen.spec.Name, err)
	}
	g, f := i.gen.newGuest(&i.spec, i.log)
	if f != nil {
		return f
	}
	f = g.open(i.doc)
	if f == nil {
		// The canary: a plugin that cannot take an empty batch is not ready.
		f = g.process(abi.BatchHeader{}, nil, abi.BatchHeaderSize, i.limits, &abi.Result{})
	}
	g.flushMetrics()
	if f != nil {
		g.release()
		return f
	}
	g.deadline = i.gen.spec.Limits.Deadline
	i.guest = g
	i.used.Store(g.memory)
	return nil
}

// Process hands one batch to the plugin: the header (its Count is set here, and
// Now to zero without the grant "clock") and the events, which are encoded
// straight into the guest's memory. res is emptied and then holds the checked
// response; it holds views of the guest's memory, valid until the next call on
// this instance. In steady state it allocates nothing.
//
// The error is a *Fault when the plugin failed; res is then empty, and the next
// Process starts a fresh guest. ctx only bounds that start: a call that has
// begun ends by itself or at the plugin's deadline.
func (i *Instance) Process(ctx context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	res.Reset()
	if i.closed {
		return fmt.Errorf("call plugin %q: instance is %w", i.gen.spec.Name, ErrClosed)
	}
	i.unmap()
	total := abi.BatchHeaderSize
	for k := range events {
		total += abi.EventSize(&events[k])
	}
	if int64(total) > i.gen.limit {
		return &Fault{Kind: abi.FaultOutOfMemory, Message: fmt.Sprintf(
			"a batch of %d events takes %d bytes, the plugin's memory limit is %s", len(events), total, size(i.gen.limit))}
	}
	i.started = 0
	if i.guest == nil {
		begin := time.Now()
		err := i.fresh(ctx)
		i.started = time.Since(begin)
		if err != nil {
			return err
		}
	}
	lim := i.limits
	lim.Events = len(events)
	f := i.guest.process(h, events, total, lim, res)
	i.guest.flushMetrics()
	i.reportCut(false)
	if f != nil {
		i.fail(res)
		return f
	}
	return nil
}

// Started returns how long the last Process took to start a fresh guest in place
// of one that had faulted; zero when it did not have to.
func (i *Instance) Started() time.Duration { return i.started }

// log hands a line on, of the plugin or about it.
func (i *Instance) log(level int, line string) {
	if log := i.gen.spec.Log; log != nil {
		log(i.spec.Pipeline, i.spec.Partition, level, line)
	}
}

// reportCut says, if there is something to say, what the gate has cut.
func (i *Instance) reportCut(end bool) {
	if line := i.gen.gate.report(end); line != "" {
		i.log(abi.LevelWarn, line)
	}
}

// fail retires the guest after a fault.
func (i *Instance) fail(res *abi.Result) {
	res.Reset()
	g := i.guest
	i.guest, i.retired = nil, g
	if err := g.shut(); err != nil {
		i.gen.host.log.Warn("a plugin instance did not close cleanly", "plugin", i.gen.spec.Name, "error", err)
	}
}

// unmap gives the memory of a retired guest back: a call ends the life of all
// views of earlier ones.
func (i *Instance) unmap() {
	if i.retired != nil {
		i.used.CompareAndSwap(i.retired.memory, nil)
		i.retired.release()
		i.retired = nil
	}
}

// Close calls wasmill_close, if the plugin has it, and leaves its last outputs
// in res: views valid until Discard. Afterwards only Discard may be called.
// Close a second time does nothing. The error is a *Fault when the plugin failed.
func (i *Instance) Close(_ context.Context, res *abi.Result) error {
	res.Reset()
	if i.closed {
		return nil
	}
	i.closed = true
	i.unmap()
	if i.guest == nil {
		return nil
	}
	f := i.guest.finish(i.limits, res)
	i.guest.flushMetrics()
	if f != nil {
		i.fail(res)
		return f
	}
	return nil
}

// Discard frees the instance and its memory, without a word to the plugin. All
// views are invalid. Calling it again does nothing.
func (i *Instance) Discard() {
	if i.discarded {
		return
	}
	i.closed, i.discarded = true, true
	defer i.reportCut(true)
	i.unmap()
	i.used.Store(nil)
	if i.guest != nil {
		i.guest.release()
		i.guest = nil
	}
	i.gen.done()
}

// Memory returns how many bytes of linear memory the instance holds. Safe to
// call at any time, from any goroutine.
func (i *Instance) Memory() int64 {
	if m := i.used.Load(); m != nil {
		return m.size.Load()
	}
	return 0
}
