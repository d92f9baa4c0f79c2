package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// letterFlags choose dead letters.
type letterFlags struct {
	sel          admin.Selection
	since, until string
}

func (fl *letterFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&fl.sel.Pipeline, "pipeline", "", "only those of this `pipeline`")
	f.StringVar(&fl.sel.Stage, "stage", "", "only those of this `stage`")
	f.StringVar(&fl.sel.Plugin, "plugin", "", "only those of this `plugin`")
	f.StringVar(&fl.sel.Fault, "fault", "", "only those with this `fault`, such as trap or deadline")
	f.StringVar(&fl.sel.Subject, "subject", "", "only those whose event's subject matches this `pattern`")
	f.StringVar(&fl.sel.Reason, "reason", "", "only those with this `text` in their cause")
	f.StringVar(&fl.since, "since", "", "only those since this RFC 3339 time, or of the last so `long`, such as 2h or 7d")
	f.StringVar(&fl.until, "until", "", "only those before this `time`, or older than so long")
}

// resolve reads the times.
func (fl *letterFlags) resolve(verb string) (err error) {
	now := time.Now()
	if fl.sel.Since, err = parseSince(verb+": --since", fl.since, now); err != nil {
		return err
	}
	fl.sel.Until, err = parseSince(verb+": --until", fl.until, now)
	return err
}

// choose adds the ids, and refuses a selection that says nothing, or two things.
func (fl *letterFlags) choose(verb string, args []string) error {
	if err := fl.resolve(verb); err != nil {
		return err
	}
	sel := &fl.sel
	for _, arg := range args {
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return invalid("%s: %q is not an id: take numbers from \"wasmill dlq list\"", verb, arg)
		}
		sel.IDs = append(sel.IDs, id)
	}
	filtered := sel.Filtered()
	switch {
	case len(sel.IDs) == 0 && !filtered && !sel.All:
		return invalid("%s: say which: ids, --pipeline, --stage, --plugin, --fault, --subject, --reason, --since, --until, or --all", verb)
	case len(sel.IDs) > 0 && (filtered || sel.All), filtered && sel.All:
		return invalid("%s: say either ids, or a filter, or --all", verb)
	}
	return nil
}

func (a *app) dlqRedriveCmd() *cobra.Command {
	var fl letterFlags
	var rate string
	c := &cobra.Command{
		Use:   "redrive [ID…]",
		Short: "Publish the originals to their source topics again and remove the records",
		Long: "Publish the originals to their source topics again and remove the records, oldest\n" +
			"first; --dry-run says how many of each kind there are. Every pipeline that reads the\n" +
			"topic gets them. Those that come after it has begun are left alone, so that an event\n" +
			"that fails again is not redriven for ever. When it is interrupted, what is redriven\n" +
			"is redriven, and the rest is there.",
		Example: "  wasmill dlq redrive --pipeline alerts --fault trap --since 24h --dry-run\n" +
			"  wasmill dlq redrive --pipeline alerts --rate 100/s",
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if fl.sel.Rate, err = parseRate("dlq redrive", rate); err != nil {
				return err
			}
			if err := fl.choose("dlq redrive", args); err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			return a.redrive(c.Context(), cl, fl.sel)
		},
	}
	fl.add(c)
	c.Flags().BoolVar(&fl.sel.All, "all", false, "all dead letters")
	c.Flags().BoolVar(&fl.sel.DryRun, "dry-run", false, "only say how many would be redriven")
	c.Flags().StringVar(&rate, "rate", "", "at most so many per second, such as 100/s")
	return c
}

func (a *app) redrive(ctx context.Context, cl *admin.Client, sel admin.Selection) error {
	live := isTerminal(a.stderr)
	done, err := cl.Redrive(ctx, sel, func(r status.Redriven) {
		if live {
			fmt.Fprintf(a.stderr, "\r\x1b[K%s redriven", plural(r.Count, "dead letter"))
		}
	})
	if live {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("dlq redrive: interrupted after %s: the rest is still there", plural(done.Count, "dead letter"))
	case err != nil && done.Count > 0:
		return fmt.Errorf("dlq redrive: after %s: %w", plural(done.Count, "dead letter"), err)
	case err != nil:
		return fmt.Errorf("dlq redrive: %w", err)
	case a.json():
		if err := a.printJSON(done); err != nil {
			return err
		}
	case done.DryRun:
		return a.printKinds(done)
	default:
		a.note("%s redriven", plural(done.Count, "dead letter"))
	}
	if done.Refused == 0 {
		return nil
	}
	for _, text := range done.Errors {
		a.note("%s", clean(text))
	}
	return fmt.Errorf("dlq redrive: %s stay: no topic takes them", plural(done.Refused, "dead letter"))
}

// printKinds prints what a redrive would take.
func (a *app) printKinds(r status.Redriven) error {
	a.note("%s would be redriven", plural(r.Count, "dead letter"))
	if len(r.Kinds) == 0 {
		return nil
	}
	rows := make([][]string, len(r.Kinds))
	for i, k := range r.Kinds {
		rows[i] = []string{count(k.Count), k.Pipeline + "/" + k.Stage, k.Fault, k.Topic}
	}
	return a.table([]string{"COUNT", "PIPELINE/STAGE", "FAULT", "TO TOPIC"}, rows)
}

func (a *app) dlqPurgeCmd() *cobra.Command {
	var fl letterFlags
	var yes bool
	c := &cobra.Command{
		Use:   "purge [ID…]",
		Short: "Remove dead letters for good",
		RunE: func(c *cobra.Command, args []string) error {
			if err := fl.choose("dlq purge", args); err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "dlq purge"); err != nil {
				return err
			}
			n, err := cl.Purge(c.Context(), fl.sel)
			if err != nil {
				return fmt.Errorf("dlq purge: %w", err)
			}
			if a.json() {
				return a.printJSON(admin.Count{Count: n})
			}
			a.note("%s purged", plural(n, "dead letter"))
			return nil
		},
	}
	fl.add(c)
	c.Flags().BoolVar(&fl.sel.All, "all", false, "all dead letters")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
