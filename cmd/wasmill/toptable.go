package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// topColumn is a column of the table of "wasmill top", and an order of its rows.
type topColumn struct {
	name  string // as in --sort; the header in capitals
	width int    // characters; 0 = what is left
	from  int    // characters that the screen must have for it to be shown
	cell  func(p *status.Pipeline) string
	// order compares two rows, what matters most first; equal ones are in the
	// order of their names.
	order func(p, q *status.Pipeline) int
}

// topColumns are the columns from left to right. The first ones that are always
// shown fit into 80 characters beside a name of fourteen.
func topColumns() []topColumn {
	down := func(v func(p *status.Pipeline) float64) func(p, q *status.Pipeline) int {
		return func(p, q *status.Pipeline) int { return cmp.Compare(v(q), v(p)) }
	}
	return []topColumn{
		{"pipeline", 0, 0, func(p *status.Pipeline) string { return p.Name }, func(_, _ *status.Pipeline) int { return 0 }},
		{"state", 11, 0, func(p *status.Pipeline) string { return p.State }, problemsFirst},
		{"in/s", 6, 0, func(p *status.Pipeline) string { return shortNumber(p.Rates.In) }, down(func(p *status.Pipeline) float64 { return p.Rates.In })},
		{"out/s", 6, 0, func(p *status.Pipeline) string { return shortNumber(p.Rates.Out) }, down(func(p *status.Pipeline) float64 { return p.Rates.Out })},
		{"lag", 6, 0, func(p *status.Pipeline) string { return shortNumber(float64(p.Lag)) }, down(func(p *status.Pipeline) float64 { return float64(p.Lag) })},
		{"p50", 6, 0, func(p *status.Pipeline) string { return shortSeconds(p.EndToEnd, p.EndToEnd.P50) }, down(func(p *status.Pipeline) float64 { return p.EndToEnd.P50 })},
		{"p99", 6, 0, func(p *status.Pipeline) string { return shortSeconds(p.EndToEnd, p.EndToEnd.P99) }, down(func(p *status.Pipeline) float64 { return p.EndToEnd.P99 })},
		{"flight", 7, 0, func(p *status.Pipeline) string { return shortNumber(float64(p.InFlight)) }, down(func(p *status.Pipeline) float64 { return float64(p.InFlight) })},
		{"faults", 7, 0, func(p *status.Pipeline) string { return shortNumber(float64(faultsOf(p))) }, down(func(p *status.Pipeline) float64 { return float64(faultsOf(p)) })},
		{"dead", 6, 90, func(p *status.Pipeline) string { return shortNumber(float64(p.DeadLettered)) }, down(func(p *status.Pipeline) float64 { return float64(p.DeadLettered) })},
		{"held", 30, 120, heldBack, down(func(p *status.Pipeline) float64 { _, part := worstBlock(p); return part })},
	}
}

// topSorts are the names of the orders.
func topSorts() []string {
	var names []string
	for _, c := range topColumns() {
		names = append(names, c.name)
	}
	return names
}

// problemsFirst is the order of urgency: what stands still, what is held back,
// and then what has the most to do.
func problemsFirst(p, q *status.Pipeline) int {
	return cmp.Or(cmp.Compare(urgency(p), urgency(q)), cmp.Compare(q.Lag, p.Lag))
}

func urgency(p *status.Pipeline) int {
	states := []string{
		status.StateHalted, status.StateQuarantined, status.StateStalled, status.StateBackoff, status.StateStopped,
		status.StateDraining, status.StateStarting,
	}
	if i := slices.Index(states, p.State); i >= 0 {
		return i
	}
	switch _, part := worstBlock(p); {
	case p.State == status.StateRunning && (p.Rates.DeadLettered > 0 || part > heldBackFrom):
		return len(states)
	case p.State == status.StatePaused:
		return len(states) + 1
	case p.State == status.StateRunning:
		return len(states) + 2
	}
	return len(states) + 3 // standby
}

// heldBackFrom is the part of the time from which waiting is worth a word, as on
// the dashboard.
const heldBackFrom = 0.2

// worstBlock is what a pipeline waits for most, and which part of the time.
func worstBlock(p *status.Pipeline) (reason string, part float64) {
	for _, r := range slices.Sorted(maps.Keys(p.Blocked)) {
		if r != event.ReasonPaused && p.Blocked[r] > part {
			reason, part = r, p.Blocked[r]
		}
	}
	return reason, part
}

func heldBack(p *status.Pipeline) string {
	reason, part := worstBlock(p)
	if part <= heldBackFrom {
		return "-"
	}
	return fmt.Sprintf("%.0f%% %s", 100*part, reason)
}

func faultsOf(p *status.Pipeline) (n uint64) {
	for _, k := range p.Faults {
		n += k
	}
	return n
}

// topList chooses and sorts pipelines; a filter is part of a name or a state.
func topList(list []status.Pipeline, sort, filter string, reverse bool) []status.Pipeline {
	filter = strings.ToLower(strings.TrimSpace(filter))
	out := []status.Pipeline{}
	for _, p := range list {
		if strings.Contains(strings.ToLower(p.Name), filter) || strings.Contains(p.State, filter) {
			out = append(out, p)
		}
	}
	columns := topColumns()
	i := max(slices.IndexFunc(columns, func(c topColumn) bool { return c.name == sort }), 0)
	slices.SortFunc(out, func(p, q status.Pipeline) int {
		order := cmp.Or(columns[i].order(&p, &q), strings.Compare(p.Name, q.Name))
		if reverse {
			return -order
		}
		return order
	})
	return out
}

// shownColumns are the columns of a screen, the first one as wide as it can be.
func shownColumns(width int) []topColumn {
	var shown []topColumn
	rest := width
	for i, c := range topColumns() {
		if i == 0 || width >= c.from {
			shown = append(shown, c)
			rest -= c.width + c.gap(i)
		}
	}
	shown[0].width = max(rest, 8)
	return shown
}

// text says that the column is set from the left, as text is.
func (c *topColumn) text() bool { return c.name == "pipeline" || c.name == "state" || c.name == "held" }

// gap is the space before the column that stands at place i: numbers are
// shorter than their columns anyway.
func (c *topColumn) gap(i int) int {
	switch {
	case i == 0:
		return 0
	case c.text():
		return 2
	}
	return 1
}

// topLine lays cells out, text from the left and numbers from the right, painted
// by paint.
func topLine(columns []topColumn, cell func(c topColumn) string, paint func(column, text string) string) string {
	var b strings.Builder
	for i, c := range columns {
		text := ansi.Truncate(clean(cell(c)), c.width, "…")
		space := strings.Repeat(" ", c.width-ansi.StringWidth(text))
		b.WriteString(strings.Repeat(" ", c.gap(i)))
		if c.text() {
			b.WriteString(paint(c.name, text) + space)
		} else {
			b.WriteString(space + paint(c.name, text))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// shortNumber writes a number that is not negative in at most five characters.
func shortNumber(v float64) string {
	if v == 0 {
		return "0"
	}
	if v < 0.1 {
		return "<0.1"
	}
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		switch {
		case v < 9.95 && (unit != "" || v != float64(int(v))):
			return strconv.FormatFloat(v, 'f', 1, 64) + unit
		case v < 999.5:
			return strconv.FormatFloat(v, 'f', 0, 64) + unit
		}
		v /= 1000
	}
	return "many"
}

// shortSeconds writes a quantile in at most six characters; "-" when nothing was measured.
func shortSeconds(q status.Quantiles, v float64) string {
	if q.Count == 0 {
		return "-"
	}
	for _, u := range []struct {
		of   float64
		name string
	}{{1e-6, "µs"}, {1e-3, "ms"}, {1, "s"}, {60, "m"}, {3600, "h"}} {
		n := v / u.of
		limit := 999.5
		switch u.name {
		case "s", "m":
			limit = 119.5
		case "h":
			limit = 1e4
		}
		switch {
		case n < 9.95:
			return strconv.FormatFloat(n, 'f', 1, 64) + u.name
		case n < limit:
			return strconv.FormatFloat(n, 'f', 0, 64) + u.name
		}
	}
	return "long"
}
