package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/wasmill/wasmill/runtime/admin"
)

// healthcheckCmd is for the health checks of containers and pods that have no
// shell and no curl. Docker reserves exit code 2 and knows no 3: whatever is
// wrong with the instance is 1.
func (a *app) healthcheckCmd() *cobra.Command {
	var ready bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running instance whether it is well; exit 0 or 1",
		Long: "Ask the running instance whether it lives (/healthz), or with --ready whether\n" +
			"events flow (/readyz). It exits 0 when it is well and 1 when it is not or does\n" +
			"not answer in time: for HEALTHCHECK of a container and exec probes of Kubernetes.\n" +
			"No token is needed.",
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			cl, err := a.openClient()
			if err != nil {
				return err
			}
			defer cl.Close()
			word, ask := "healthy", cl.Healthy
			if ready {
				word = "ready"
				ask = func(ctx context.Context) error { return notReady(cl.Ready(ctx)) }
			}
			err = ask(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("healthcheck: %s does not answer within %s", cl.URL(), timeout)
			}
			if err != nil {
				return &exitError{exitFailure, err}
			}
			a.note("%s", word)
			return nil
		},
	}
	c.Flags().BoolVar(&ready, "ready", false, "ask whether events flow, too")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "`time` after which no answer means not well")
	return c
}

// notReady makes an error of an answer that says why events do not flow.
func notReady(r admin.Readiness, err error) error {
	if err != nil || r.Ready {
		return err
	}
	if len(r.Reasons) == 0 {
		return fmt.Errorf("not ready: it is %s", r.State)
	}
	return fmt.Errorf("not ready: it is %s: %s", r.State, strings.Join(r.Reasons, "; "))
}

// manCmd writes the manual for packages; it is no verb for every day.
func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all verbs into a directory",
		Args:   exactly("DIR"),
		Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			dir := filepath.Clean(args[0])
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manual pages are for everybody
				return environment("man: %w", err)
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the same source makes the same pages
			// Pages of the same source are the same, whatever the day.
			date := time.Unix(0, 0).UTC()
			header := &doc.GenManHeader{Title: "WASMILL", Section: "1", Source: "wasmill " + a.version, Manual: "Wasmill", Date: &date}
			if err := doc.GenManTree(root, header, dir); err != nil {
				return environment("man: %w", err)
			}
			return nil
		},
	}
}
