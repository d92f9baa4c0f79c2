package cases

import (
	"path/filepath"
	"slices"

	"github.com/wasmill/wasmill/runtime/plan"
)

// Events returns the events that the cases of a project give a plugin, in the
// order of the files: those of its own cases and of the pipelines that begin with
// it, but for those that are to make a call fail. Cases that are not valid are
// passed over; `wasmill test` says why. The error is of the file system.
func Events(p *plan.Plan, plugin string) ([]Event, error) {
	files, err := Find(p.Dir)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, file := range files {
		at, err := above(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		if !sameFile(at, p.File) {
			continue // of another project below this one
		}
		c, err := Read(file)
		if err != nil || c.Module != "" || c.first(p) != plugin {
			continue
		}
		for i := range c.Steps {
			fails := slices.ContainsFunc(c.Steps[i].Expect, func(l Line) bool { return l.Kind == LineFault })
			if s := &c.Steps[i]; s.Kind == StepEvent && !fails {
				events = append(events, s.Event)
			}
		}
	}
	return events, nil
}

// first is the plugin that gets the events of a case; "" = that is not known.
func (c *Case) first(p *plan.Plan) string {
	switch {
	case c.Pipeline != "":
		if l := p.Pipeline(c.Pipeline); l != nil && len(l.Stages) > 0 {
			return l.Stages[0]
		}
		return ""
	case c.Plugin != "":
		return c.Plugin
	}
	if g := pluginBeside(p, filepath.Dir(c.File)); g != nil {
		return g.Name
	}
	return ""
}

func sameFile(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}
