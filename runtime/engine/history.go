package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

const (
	// recordTimeout bounds the storing of a record: a change does not wait longer
	// for its own history.
	recordTimeout = 2 * time.Second
	// maxReason is how much of a reason is kept over a restart.
	maxReason = 2 << 10
)

// recordStore keeps small things over restarts.
type recordStore interface {
	Record(ctx context.Context, name string) ([]byte, error) // nil when there is none
	SaveRecord(ctx context.Context, name string, data []byte) error
}

// historyRecord is what is kept of a plugin's history.
type historyRecord struct {
	Numbers     int                `json:"numbers"` // of generations so far
	Generations []generationRecord `json:"generations"`
}

type generationRecord struct {
	status.Generation
	Proven bool `json:"proven,omitempty"`
}

// historyName is the name of a plugin's record. Of processes on one external
// server each has its own plugins: what one has loaded says nothing of another.
func (e *Engine) historyName(plugin string, p *plan.Plan) string {
	name := plugin + ".history"
	if e.topics.Describe().Mode != "external" {
		return name
	}
	host, _ := os.Hostname() // "" where there is none
	sum := sha256.Sum256([]byte(host + "\x00" + p.File))
	return name + "-" + hex.EncodeToString(sum[:8])
}

// recall gives a plugin that is new in this process the history that it had
// before. It is no reason not to start that there is none to be had.
func (e *Engine) recall(ctx context.Context, p *plugin, in *plan.Plan) {
	name := e.historyName(p.name, in)
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	b, err := e.records.Record(ctx, name)
	var r historyRecord
	if err == nil && b != nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		e.log.Warn("the history of a plugin is not known; it begins anew", "plugin", p.name, "error", err)
		return
	}
	p.recall(r)
}

func (p *plugin) recall(r historyRecord) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.numbers = r.Numbers
	for _, g := range r.Generations {
		was := &generation{Generation: g.Generation, spec: p.mu.spec, recalled: true}
		if was.State == stateActive { // in a process that has ended
			was.State = stateRetired
		}
		if g.WayBack > 0 {
			was.record = &trialRecord{number: g.WayBack}
			was.record.mu.rescued, was.record.mu.fault, was.record.mu.at, was.record.mu.proven = g.Rescued, g.LastFault, g.LastFaultAt, g.Proven
		}
		p.mu.history = append(p.mu.history, was)
	}
}

// remember is what recall gets back.
func (p *plugin) remember() historyRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := historyRecord{Numbers: p.mu.numbers}
	for _, g := range p.mu.history {
		d := generationRecord{Generation: g.describe(nil)}
		d.Reason, d.LastFault = d.Reason[:min(len(d.Reason), maxReason)], d.LastFault[:min(len(d.LastFault), maxReason)]
		if g.record != nil {
			d.Proven = !g.record.open()
		}
		r.Generations = append(r.Generations, d)
	}
	p.mu.dirty = false
	return r
}

// saveHistories keeps what has changed since the last time. It is called with the
// operations lock.
func (e *Engine) saveHistories() {
	in := e.plan()
	if in == nil {
		return
	}
	for _, p := range e.pluginList() {
		p.mu.Lock()
		dirty := p.mu.dirty
		p.mu.Unlock()
		if !dirty {
			continue
		}
		b, err := json.Marshal(p.remember())
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
			err = e.records.SaveRecord(ctx, e.historyName(p.name, in), b)
			cancel()
		}
		if err != nil {
			e.log.Warn("the history of a plugin could not be stored", "plugin", p.name, "error", err)
		}
	}
}

// pausedName is the name of the record that says whether a pipeline is paused.
func pausedName(pipeline string) string { return pipeline + ".paused" }

// pauseRecord says since when a pipeline is paused; zero = it is not.
type pauseRecord struct {
	Since time.Time `json:"since,omitzero"`
}

func (e *Engine) savePause(ctx context.Context, pipeline string, paused bool) error {
	var r pauseRecord
	if paused {
		r.Since = time.Now()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return e.records.SaveRecord(ctx, pausedName(pipeline), b)
}

// isPaused says whether an operator has paused a pipeline, here or in another
// process.
func (e *Engine) isPaused(ctx context.Context, pipeline string) (bool, error) {
	b, err := e.records.Record(ctx, pausedName(pipeline))
	if err != nil || b == nil {
		return false, err
	}
	var r pauseRecord
	if err := json.Unmarshal(b, &r); err != nil {
		e.log.Warn("whether a pipeline is paused is not known; it is not", "pipeline", pipeline, "error", err)
	}
	return !r.Since.IsZero(), nil
}

// reachable says whether the module of a generation is still to be had.
func (e *Engine) reachable(g *generation) bool {
	if g.spec.Builtin != "" {
		return !g.recalled // of the binary that runs now there is but one
	}
	return e.archive.has(g.Digest)
}

// digests lists every version in the history.
func (p *plugin) digests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, g := range p.mu.history {
		if !slices.Contains(out, g.Digest) {
			out = append(out, g.Digest)
		}
	}
	return out
}
