package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/status"
)

// replays is the engine as the admin endpoint asks for replays.
type replays struct{ *engine.Engine }

func (e replays) PreviewReplay(ctx context.Context, name string, r admin.ReplayRequest) (status.Replayed, error) {
	return e.Engine.PreviewReplay(ctx, name, rangeOf(r))
}

func (e replays) Replay(ctx context.Context, name string, r admin.ReplayRequest) (status.Replayed, error) {
	return e.Engine.Replay(ctx, name, rangeOf(r))
}

func rangeOf(r admin.ReplayRequest) engine.ReplayRange {
	return engine.ReplayRange{From: r.From, To: r.To, Into: r.Into}
}

func (a *app) replayCmd() *cobra.Command {
	var req admin.ReplayRequest
	var diff bool
	var with []string
	c := &cobra.Command{
		Use:   "replay PIPELINE --from PLACE [--to PLACE] --into TOPIC | --diff",
		Short: "Run recorded events through a pipeline's stages once more, into another topic or to compare",
		Long: "Run events of a pipeline's topic through its stages once more. With --into the\n" +
			"running instance does it, with instances of its own of the plugins in use, and\n" +
			"stores the outputs in that topic, one event after the other. The pipeline, its\n" +
			"position and its outputs are not touched, unless the topic is one of those; what\n" +
			"fails is counted. Outputs keep their subject, behind the topic's own first words.\n\n" +
			"With --diff it is done here, twice: with the modules that run, and with those of the\n" +
			"TOML file at hand, or of --with. Nothing is published; what differs is shown, and\n" +
			"the exit code is 1. Configuration and secrets are those of the TOML file, for both.\n\n" +
			"PLACE is start, a sequence, or an RFC 3339 time; --to is the last one that counts,\n" +
			"or the time before which events count, and without it the last one there is.",
		Example: "  wasmill replay alerts --from 2026-11-30T10:00:00Z --into replayed\n" +
			"  wasmill replay alerts --from start --diff --with strong=build/strong.wasm",
		Args: exactly("PIPELINE"),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case req.From == "":
				return invalid("replay: --from is missing: start, a sequence or an RFC 3339 time")
			case diff == (req.Into != ""):
				return invalid("replay: say either --into, the topic that takes the outputs, or --diff")
			case len(with) > 0 && !diff:
				return invalid("replay: --with goes with --diff: what runs is what --into uses")
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			if diff {
				err = a.replayDiff(c.Context(), cl, args[0], req, with)
			} else {
				err = a.replayInto(c.Context(), cl, args[0], req)
			}
			if err != nil && c.Context().Err() != nil {
				return fmt.Errorf("replay: interrupted")
			}
			return hinted(c.Context(), cl, pipelineNames, args[0], err)
		},
	}
	f := c.Flags()
	f.StringVar(&req.From, "from", "", "`where` to begin: start, a sequence or an RFC 3339 time")
	f.StringVar(&req.To, "to", "", "`where` to end: a sequence, or an RFC 3339 time")
	f.StringVar(&req.Into, "into", "", "`topic` that takes the outputs")
	f.BoolVar(&req.DryRun, "dry-run", false, "only say how many events it would be")
	f.BoolVar(&diff, "diff", false, "compare with what the modules that run make of the events")
	f.StringArrayVar(&with, "with", nil, "`PLUGIN=FILE`: with --diff, the new module of a plugin; may be repeated")
	return c
}

func (a *app) replayInto(ctx context.Context, cl *admin.Client, pipeline string, req admin.ReplayRequest) error {
	r, err := cl.Replay(ctx, pipeline, req)
	switch {
	case err != nil:
		return fmt.Errorf("replay: %w", err)
	case a.json():
		return a.printJSON(r)
	case r.DryRun:
		a.note("%s of topic %s, sequences %d to %d, would be replayed", counted(r.Events, "event"), r.Topic, r.FromSeq, r.ToSeq)
		return nil
	}
	parts := []string{counted(uint64(r.Outputs), "output") + " stored in topic " + r.Into} //nolint:gosec // a count
	if r.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("%d dropped", r.Dropped))
	}
	if r.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", r.Failed))
	}
	if r.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d outputs refused", r.Refused))
	}
	a.note("%s of topic %s replayed: %s", counted(r.Events, "event"), r.Topic, strings.Join(parts, ", "))
	for _, reason := range r.Reasons {
		a.note("  %s", clean(reason))
	}
	return nil
}
