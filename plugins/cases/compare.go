package cases

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one step of a case of which something else came than expected.
type Difference struct {
	Line   int    // in the case file: of the first line that was not met, else of the step
	Step   string // in words, "the event of line 5"
	Diff   string // unified, of JSON
	Detail string // of a fault: the guest's stack and last words
}

// result is what came of a step.
type result struct {
	lines  []Line
	detail string
}

// failed says whether, in the first step, the plugin could not be opened.
func (r result) failed() bool {
	return slices.ContainsFunc(r.lines, func(l Line) bool { return l.Kind != LineLog })
}

// compare returns how what came of a step differs from what is expected, or nil.
func (s *Step) compare(file string, got result) *Difference {
	want, have := slices.Clone(s.Expect), forComparison(s.Expect, got.lines)
	slices.SortStableFunc(want, byKind)
	a, b := blocks(want), blocks(have)
	pairs := matched(a, b)
	if len(pairs) == len(a) && len(pairs) == len(b) {
		return nil
	}
	d := &Difference{Line: s.line, Step: s.String(), Detail: got.detail}
	for i, l := range want {
		if !slices.ContainsFunc(pairs, func(p [2]int) bool { return p[0] == i }) {
			d.Line = l.line
			break
		}
	}
	var old, now []string
	for _, l := range want {
		old = append(old, l.shown()...)
	}
	for _, l := range have {
		now = append(now, l.shown()...)
	}
	d.Diff = unified(fmt.Sprintf("%s:%d expected", file, d.Line), "got from "+d.Step, old, now)
	return d
}

// String says which step it is.
func (s *Step) String() string {
	switch s.Kind {
	case StepOpen:
		return "the start of the instance"
	case StepClose:
		return "the end of the instance"
	default:
		return fmt.Sprintf("the event of line %d", s.line)
	}
}

func byKind(a, b Line) int { return int(a.Kind) - int(b.Kind) }

// forComparison returns what of got counts against want, with what want leaves
// open left open: the log where nothing of it is expected, and the reason of a
// fault, of which a part is enough.
func forComparison(want, got []Line) []Line {
	logs := slices.ContainsFunc(want, func(l Line) bool { return l.Kind == LineLog })
	var out []Line
	for _, g := range got {
		if g.Kind == LineLog && !logs {
			continue
		}
		for _, w := range want {
			if w.Kind != g.Kind {
				continue
			}
			if g.Kind == LineLog && w.Level == "" && w.Log == g.Log {
				g.Level = ""
			}
			if g.Fault != "" && w.Fault == g.Fault && strings.Contains(g.Reason, w.Reason) {
				g.Reason = w.Reason
			}
		}
		out = append(out, g)
	}
	slices.SortStableFunc(out, byKind)
	return out
}

func blocks(lines []Line) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.Join(l.shown(), "\n")
	}
	return out
}
