package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/bench"
)

func (a *app) benchCmd() *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput, latency and memory beside the native loop",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return environment("bench: find this binary: %w", err)
			}
			o.Executable, o.Out, o.Progress, o.JSON, o.Modules = exe, a.stdout, a.stderr, a.json(), a.builtins
			if o.Alone && (o.Throughput || len(o.Only) > 0) {
				return invalid("bench: --languages is a part of its own: leave --throughput and --only out")
			}
			if o.Alone || !o.Throughput && len(o.Only) == 0 {
				if o.Languages, err = benchModules(c.Context(), a.stderr); err != nil {
					return fmt.Errorf("bench: %w", err)
				}
			}
			if _, err := bench.Run(c.Context(), o); err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Events, "events", 0, "events in a throughput round (default 300000)")
	f.IntVar(&o.Rounds, "rounds", 0, "rounds, variants in turn (default 3)")
	f.IntVar(&o.Seconds, "seconds", 0, "length of each latency and reload measurement (default 5)")
	f.IntVar(&o.Backlog, "backlog", 0, "events of the backlog measurement (default 2000000)")
	f.BoolVar(&o.Throughput, "throughput", false, "only the throughput part")
	f.BoolVar(&o.Alone, "languages", false, "only the part that compares plugins in all languages")
	f.StringSliceVar(&o.Only, "only", nil, "only these throughput `variants`")
	f.StringVar(&o.Dir, "dir", "", "`directory` for the stores (default a temporary one)")
	return c
}
