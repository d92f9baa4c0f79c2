package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) pipelinesResetCmd() *cobra.Command {
	var to string
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "reset NAME --to start|end|SEQUENCE|TIME",
		Short: "Make a pipeline go on at another place of its topic",
		Long: "Make a pipeline go on at another place of its topic: its start, its end, a sequence,\n" +
			"or the first event since an RFC 3339 time. It says first where the pipeline is and\n" +
			"how many events are read again or left out; --dry-run only says so.\n\n" +
			"Going back publishes outputs again, with delivery exactly-once as well; going\n" +
			"forward leaves events out. A place that the topic no longer holds is an error.\n" +
			"Nothing is done when the pipeline was reset by somebody else meanwhile.",
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return invalid("pipelines reset: --to is missing: start, end, a sequence or an RFC 3339 time")
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			fail := func(err error) error {
				return hinted(c.Context(), cl, pipelineNames, args[0], fmt.Errorf("pipelines reset: %w", err))
			}
			would, err := cl.PreviewReset(c.Context(), args[0], to)
			if err != nil {
				return fail(err)
			}
			if dryRun {
				if a.json() {
					return a.printJSON(would)
				}
				return a.printReset(would)
			}
			a.note("%s", resetLine(&would))
			if would.Meaning != "" {
				a.note("%s", clean(would.Meaning))
			}
			if err := a.confirm(yes, fmt.Sprintf("pipelines reset %s to %s", args[0], to)); err != nil {
				return err
			}
			done, err := cl.Reset(c.Context(), args[0], to, &would)
			if err != nil {
				return fail(err)
			}
			if a.json() {
				return a.printJSON(done)
			}
			a.note("pipeline %s goes on at sequence %d", done.Pipeline, done.NextSeq)
			return nil
		},
	}
	c.Flags().StringVar(&to, "to", "", "`where` to go on: start, end, a sequence or an RFC 3339 time")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be repeated or left out")
	return c
}

// resetLine says what a reset changes.
func resetLine(r *status.Reset) string {
	switch {
	case r.Unknown != "":
		return fmt.Sprintf("pipeline %s would go on at sequence %d of topic %s; where it is now is not known: %s",
			r.Pipeline, r.NextSeq, r.Topic, clean(r.Unknown))
	case r.Repeated > 0:
		return fmt.Sprintf("pipeline %s goes back from sequence %d to %d of topic %s: %s repeated",
			r.Pipeline, r.FromSeq, r.NextSeq, r.Topic, countedAre(r.Repeated))
	case r.Skipped > 0:
		return fmt.Sprintf("pipeline %s goes forward from sequence %d to %d of topic %s: %s left out",
			r.Pipeline, r.FromSeq, r.NextSeq, r.Topic, countedAre(r.Skipped))
	}
	return fmt.Sprintf("pipeline %s goes from sequence %d to %d of topic %s: no event is repeated or left out",
		r.Pipeline, r.FromSeq, r.NextSeq, r.Topic)
}

func countedAre(n uint64) string {
	if n == 1 {
		return "1 event is"
	}
	return counted(n, "event") + " are"
}

func (a *app) printReset(r status.Reset) error {
	from := fmt.Sprint(r.FromSeq)
	repeated, skipped := count(r.Repeated), count(r.Skipped)
	if r.Unknown != "" {
		from, repeated, skipped = "not known: "+clean(r.Unknown), "", ""
	}
	return a.fields(
		"pipeline", r.Pipeline,
		"delivery", r.Delivery,
		"topic", fmt.Sprintf("%s, sequences %d–%d", r.Topic, r.FirstSeq, r.LastSeq),
		"from sequence", from,
		"to sequence", fmt.Sprint(r.NextSeq),
		"repeated", repeated,
		"skipped", skipped,
		"meaning", clean(r.Meaning),
	)
}
