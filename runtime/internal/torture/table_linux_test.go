package torture

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table gathers what came of each fault.
type table struct {
	rows []*row // in the order in which the faults first struck
}

type row struct {
	fault                     string
	times, events             int
	lost, repeated, reordered map[string]int
	swallowed                 int
	span                      time.Duration
	recovery                  []time.Duration
	mayLose                   bool
}

func (t *table) add(f *fault, c *tally, recovery time.Duration) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.fault == f.name })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, newRow(f.name))
	}
	r := t.rows[i]
	r.times++
	r.mayLose = f.mayLose
	r.recovery = append(r.recovery, recovery)
	r.span = max(r.span, c.span)
	r.sum(c.stored, c.swallowed, c.lost, c.repeated, c.reordered)
}

func newRow(name string) *row {
	return &row{fault: name, lost: map[string]int{}, repeated: map[string]int{}, reordered: map[string]int{}}
}

func (r *row) sum(events, swallowed int, lost, repeated, reordered map[string]int) {
	r.events += events
	r.swallowed += swallowed
	for _, p := range pipelines {
		r.lost[p] += lost[p]
		r.repeated[p] += repeated[p]
		r.reordered[p] += reordered[p]
	}
}

// write prints the table, which can stand in a Markdown page. Counts are those of
// at-least-once / exactly-once. What may be lost is not in the sum.
func (t *table) write(to io.Writer, took time.Duration, seed uint64) {
	if len(t.rows) == 0 {
		return
	}
	all := newRow("all but what a power loss may take")
	var notes []string
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| fault\t| times\t| events\t| lost\t| duplicated\t| reordered\t| recovery, median\t| max\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, r := range t.rows {
		r.write(w)
		if r.mayLose {
			notes = append(notes, fmt.Sprintf("%s: %d acknowledged events were gone, the oldest acknowledged %s before the last", r.fault, r.swallowed, r.span.Round(time.Millisecond)))
			continue
		}
		all.times += r.times
		all.recovery = append(all.recovery, r.recovery...)
		all.sum(r.events, r.swallowed, r.lost, r.repeated, r.reordered)
	}
	all.write(w)
	if err := w.Flush(); err != nil {
		fmt.Fprintln(to, err)
	}
	fmt.Fprintf(to, "lost, duplicated and reordered: at least once / exactly once; %s, TORTURE_SEED=%d\n", took.Round(time.Second), seed)
	for _, n := range notes {
		fmt.Fprintln(to, n)
	}
}

func (r *row) write(w io.Writer) {
	two := func(m map[string]int) string { return fmt.Sprintf("%d / %d", m[least], m[once]) }
	slices.Sort(r.recovery)
	median, longest := time.Duration(0), time.Duration(0)
	if n := len(r.recovery); n > 0 {
		median, longest = r.recovery[n/2], r.recovery[n-1]
	}
	fmt.Fprintf(w, "| %s\t|\n", strings.Join([]string{
		r.fault, fmt.Sprint(r.times), fmt.Sprint(r.events), two(r.lost), two(r.repeated), two(r.reordered), seconds(median), seconds(longest),
	}, "\t| "))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
