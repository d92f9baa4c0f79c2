package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) pipelinesCmd() *cobra.Command {
	return a.group("pipelines", "List, show, pause, resume, drain and reset pipelines",
		a.pipelinesListCmd(), a.named(pipelineNames, a.pipelinesShowCmd()),
		a.named(pipelineNames, a.pipelineVerb("pause", "Stop a pipeline from fetching; what it holds is finished",
			"Stop a pipeline from fetching; what it holds is finished. It stays paused until\n"+
				"it is resumed, also when Wasmill starts again.", "paused", (*admin.Client).Pause)),
		a.named(pipelineNames, a.pipelineVerb("resume", "Let a paused, halted or quarantined pipeline go on", "", "resumed", (*admin.Client).Resume)),
		a.named(pipelineNames, a.pipelinesDrainCmd()),
		a.named(pipelineNames, a.pipelinesResetCmd()),
	)
}

// pipelineColumns explains the table of pipelines.
const pipelineColumns = `LAG counts events of the topic that are not finished, IN those fetched and IN
FLIGHT those held now. OUT counts what was published: one event can make several.
DROPPED and RETRIED count events at each stage, DEAD the dead letters. IN and what
follows it count since this process started.`

func (a *app) pipelinesListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the pipelines", Args: exactly(),
		Long: "List the pipelines.\n\n" + pipelineColumns,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.Pipelines(c.Context())
			if err != nil {
				return fmt.Errorf("pipelines list: %w", err)
			}
			if a.json() {
				return a.printJSON(list)
			}
			return a.printPipelines(list)
		},
	}
}

func (a *app) pipelinesShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show everything about one pipeline", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := cl.Pipeline(c.Context(), args[0])
			if err != nil {
				return hinted(c.Context(), cl, pipelineNames, args[0], fmt.Errorf("pipelines show: %w", err))
			}
			if a.json() {
				return a.printJSON(p)
			}
			return a.printPipeline(p)
		},
	}
}

func (a *app) printPipeline(p status.Pipeline) error {
	outs := make([]string, 0, len(p.Outputs))
	for _, name := range sortedKeys(p.Outputs) {
		outs = append(outs, name+"="+p.Outputs[name])
	}
	faults := make([]string, 0, len(p.Faults))
	for _, kind := range sortedKeys(p.Faults) {
		faults = append(faults, fmt.Sprintf("%s %s", kind, count(p.Faults[kind])))
	}
	blocked := make([]string, 0, len(p.Backpressure))
	for _, reason := range sortedKeys(p.Backpressure) {
		d := time.Duration(p.Backpressure[reason] * float64(time.Second))
		blocked = append(blocked, fmt.Sprintf("%s %s", reason, d.Round(time.Millisecond)))
	}
	return a.fields(
		"pipeline", p.Name,
		"state", a.state(p.State),
		"reason", clean(p.Reason),
		"from", p.From,
		"stages", strings.Join(p.Stages, " → "),
		"outputs", strings.Join(outs, ", "),
		"delivery", p.Delivery,
		"partitions", fmt.Sprint(p.Partitions),
		"lag", count(p.Lag),
		"finished up to", fmt.Sprint(p.AckedSeq),
		"events in", count(p.In),
		"events out", count(p.Out),
		"dropped", count(p.Dropped),
		"retried", count(p.Retried),
		"dead-lettered", count(p.DeadLettered),
		"faults", strings.Join(faults, ", "),
		"last fault", lastFault(p.LastFault),
		"in flight", fmt.Sprintf("%s, %s", counted(p.InFlight, "event"), size(p.InFlightBytes)),
		"backpressure", strings.Join(blocked, ", "),
		"restarts", fmt.Sprint(p.Restarts),
		"last error", clean(p.LastError),
	)
}

// lastFault says when a plugin failed last, and how.
func lastFault(f *status.Fault) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s, at stage %s: %s", age(f.Time, time.Now()), f.Stage, clip(clean(f.Message), 300))
}

func (a *app) pipelineVerb(verb, about, more, done string, call func(*admin.Client, context.Context, string) (status.Pipeline, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: about, Long: more, Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := call(cl, c.Context(), args[0])
			if err != nil {
				return hinted(c.Context(), cl, pipelineNames, args[0], fmt.Errorf("pipelines %s: %w", verb, err))
			}
			if a.json() {
				return a.printJSON(p)
			}
			a.note("pipeline %s is %s", p.Name, done)
			return nil
		},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
