package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// drain is what POST /api/v1/drain does: it ends the verb as a signal does.
func (in *instance) drain(who status.AuditRecord) {
	if in.ended.CompareAndSwap(nil, &who) {
		in.interrupt()
	}
}

// noteEnd records that the instance has drained, for whoever asked for it. The
// end of a start that has failed is nobody's doing.
func (in *instance) noteEnd(err error) {
	rec := status.AuditRecord{Actor: signaled, Action: "drain"}
	if who := in.ended.Load(); who != nil {
		rec = *who
	} else if !in.opened {
		return
	}
	in.audit.Note(auditOf(rec, err))
}

func (a *app) pipelinesDrainCmd() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "drain NAME", Short: "Pause a pipeline and wait until nothing of it is in flight", Args: exactly("NAME"),
		Long: "Pause a pipeline and wait until everything that it had taken is finished: outputs and\n" +
			"dead letters are stored, and so is its position. It stays paused until it is resumed.\n" +
			"When that takes too long (an event is tried again and again), it stays paused and\n" +
			"goes on finishing.",
		RunE: func(c *cobra.Command, args []string) error {
			if timeout <= 0 {
				return invalid("pipelines drain: --timeout %s is not above zero", timeout)
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := cl.DrainPipeline(c.Context(), args[0], timeout)
			if err != nil {
				return hinted(c.Context(), cl, pipelineNames, args[0], fmt.Errorf("pipelines drain: %w", err))
			}
			if a.json() {
				return a.printJSON(p)
			}
			a.note("pipeline %s is drained and paused; everything up to sequence %d is finished", p.Name, p.AckedSeq)
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how `long` to wait")
	return c
}

func (a *app) drainCmd() *cobra.Command {
	var timeout time.Duration
	var noWait bool
	c := &cobra.Command{
		Use: "drain", Short: "Have a running instance finish what is in flight and end", Args: exactly(),
		Long: "Have a running instance finish what is in flight and end with exit code 0, as SIGTERM\n" +
			"does, and wait until it has ended.",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			d, err := cl.Drain(c.Context())
			if err != nil {
				return fmt.Errorf("drain: %w", err)
			}
			if !noWait {
				ctx, cancel := context.WithTimeout(c.Context(), timeout)
				defer cancel()
				if err := awaitEnd(ctx, cl, d.Started); err != nil {
					return err
				}
			}
			if a.json() {
				return a.printJSON(d)
			}
			if noWait {
				a.note("the instance drains")
			} else {
				a.note("the instance has drained and ended")
			}
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how `long` to wait")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it has ended")
	return c
}

// awaitEnd returns when the process that started then does not answer any more.
func awaitEnd(ctx context.Context, cl *admin.Client, started time.Time) error {
	inFlight := 0
	for {
		st, err := cl.Status(ctx)
		var gone *admin.UnreachableError
		switch {
		case errors.As(err, &gone), err == nil && !st.Started.Equal(started):
			return nil
		case err == nil:
			inFlight = 0
			for i := range st.Pipelines {
				inFlight += st.Pipelines[i].InFlight
			}
		}
		if err := sleepUntil(ctx, time.Now().Add(50*time.Millisecond)); err != nil {
			return fmt.Errorf("drain: the instance has not ended yet: %s in flight; it goes on draining", counted(inFlight, "event"))
		}
	}
}
