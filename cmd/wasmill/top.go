package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/status"
)

// topped is what "top --once -o json" prints.
type topped struct {
	Version   string            `json:"version"`
	State     string            `json:"state"`
	Ready     bool              `json:"ready"`
	Problems  []string          `json:"problems"`
	Pipelines []status.Pipeline `json:"pipelines"` // those that the filter chooses, sorted
}

// topFlags say what is shown.
type topFlags struct {
	sort, filter string
	reverse      bool
	every        time.Duration
}

func (a *app) topCmd() *cobra.Command {
	var once bool
	var fl topFlags
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the pipelines of the running instance: rates, lag, latency, faults; problems first",
		Long: "Watch the pipelines of the running instance in the terminal, problems first: events\n" +
			"a second in and out, LAG (events of the topic that are not finished), P50 and P99 from\n" +
			"stored to finished, events in FLIGHT, FAULTS of plugins and, on a wide screen, DEAD\n" +
			"letters and what a pipeline is held back by. Rates are over two seconds, P50 and P99\n" +
			"over the last five to ten; faults and dead letters count since the process started.\n" +
			"They are the numbers of \"status\" and of the dashboard.\n\n" +
			"The keys are at the foot of the screen: arrows choose, enter shows the stages of what\n" +
			"is chosen, s and S sort, r reverses, / filters by name or state, q ends. With --once\n" +
			"the table is printed, whole, and that is all.",
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(topSorts(), fl.sort) {
				return invalid("top: --sort %q: it is one of %s", fl.sort, strings.Join(topSorts(), ", "))
			}
			if fl.every < 100*time.Millisecond {
				return invalid("top: --every %s: at least 100ms", fl.every)
			}
			if !once && (a.json() || !isTerminal(a.stdin) || !isTerminal(a.stdout)) {
				return invalid("top: the screen needs a terminal and prints no JSON: say --once to print the table, or with -o json the numbers, and end")
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			defer cl.Close()
			st, err := cl.Status(c.Context())
			if err != nil {
				return fmt.Errorf("top: %w", err)
			}
			if once {
				return a.printTop(st, fl)
			}
			s := newTopScreen(a, cl, fl, st)
			// Signals end the context, see app.signals.
			_, err = tea.NewProgram(s, tea.WithContext(c.Context()), tea.WithInput(a.stdin), tea.WithOutput(a.stdout),
				tea.WithoutSignalHandler()).Run()
			if err != nil && c.Context().Err() == nil && !errors.Is(err, tea.ErrInterrupted) {
				return fmt.Errorf("top: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&once, "once", false, "print the table once")
	c.Flags().StringVar(&fl.sort, "sort", "state", "`column` to sort by: "+strings.Join(topSorts(), ", "))
	c.Flags().BoolVar(&fl.reverse, "reverse", false, "the other way round")
	c.Flags().StringVar(&fl.filter, "filter", "", "only pipelines with `text` in their name or state")
	c.Flags().DurationVar(&fl.every, "every", time.Second, "`time` between two looks")
	// The only error is a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topSorts(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// printTop prints the whole table.
func (a *app) printTop(st status.Status, fl topFlags) error {
	list := topList(st.Pipelines, fl.sort, fl.filter, fl.reverse)
	if a.json() {
		return a.printJSON(topped{Version: st.Version, State: st.State, Ready: st.Ready, Problems: append([]string{}, st.Problems...), Pipelines: list})
	}
	for _, p := range st.Problems {
		a.printf("%s %s\n", a.paint(a.stdout, red, "problem:"), clean(p))
	}
	if len(list) == 0 {
		a.printf("no pipelines\n")
		return nil
	}
	columns := topColumns()
	header := make([]string, len(columns))
	rows := make([][]string, len(list))
	for i, c := range columns {
		header[i] = strings.ToUpper(c.name)
		if c.name == "state" {
			header[i] = a.heading(header[i])
		}
		for j := range list {
			text := clean(c.cell(&list[j]))
			if c.name == "state" {
				text = a.state(text)
			}
			rows[j] = append(rows[j], text)
		}
	}
	return a.table(header, rows)
}

// statusSource is what the screen asks for numbers.
type statusSource interface {
	Status(ctx context.Context) (status.Status, error)
	URL() string
}
