package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) runCmd() *cobra.Command {
	var logFormat, logLevel string
	var acceptLoss, watch bool
	c := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Run what a TOML file says until it is stopped",
		Long: "Run what a TOML file (default wasmill.toml) says. The first SIGINT or SIGTERM\n" +
			"finishes what is in flight and exits 0, a second exits at once. SIGHUP, or a\n" +
			"change of the file or of a module, reloads without a stop. With --watch=false files\n" +
			"may be changed at leisure: \"wasmill plan\" shows what that would do, and only\n" +
			"\"wasmill apply\" or SIGHUP does it.\n\n" +
			"At the start the store is checked against a ledger of what it should hold. When\n" +
			"events are gone it does not start, and says which: --accept-loss starts it all\n" +
			"the same, and is remembered.",
		Args: exactly("[FILE]"),
		RunE: func(c *cobra.Command, args []string) error {
			log, err := newLogger(a.stderr, logFormat, logLevel)
			if err != nil {
				return err
			}
			begin := time.Now()
			memory, stop := context.WithCancel(context.WithoutCancel(c.Context()))
			wait := governMemory(memory, a.getenv)
			defer func() { stop(); wait() }()
			p, err := a.load(a.file(args))
			if err != nil {
				return err
			}
			in, err := a.open(c.Context(), p, opening{acceptLoss: acceptLoss, manual: !watch, log: log})
			if err != nil {
				return err
			}
			if err := in.watchFiles(c.Context()); err != nil {
				_ = in.close() // err says what is wrong
				return err
			}
			st, ready := in.waitReady(c.Context(), 10*time.Second)
			a.banner(in, st, ready, time.Since(begin))
			systemd := supervisor{log}
			systemd.ready(st)
			// Give back what loading the modules and the first look at the files took.
			settled := time.AfterFunc(time.Second, debug.FreeOSMemory)
			defer settled.Stop()
			in.serve(c.Context(), systemd)
			systemd.stopping()
			a.note("draining; a second signal exits at once")
			return in.close()
		},
	}
	c.Flags().BoolVar(&acceptLoss, "accept-loss", false, "start although events are gone from the store")
	c.Flags().BoolVar(&watch, "watch", true, "take changes of the file and of modules over when they happen")
	c.Flags().StringVar(&logFormat, "log-format", "text", "`format` of the log on stderr: text or json")
	c.Flags().StringVar(&logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	return c
}

// serve waits for the end and reloads at SIGHUP.
func (in *instance) serve(ctx context.Context, systemd supervisor) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watchdog, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends with watchdog
		defer close(done)
		systemd.watchdog(watchdog, in.engine.Status)
	}()
	defer func() { stop(); <-done }()
	for {
		select {
		case <-hup:
			systemd.reloading()
			_, err := in.watch.Reload(ctx) // what is refused is logged where it is found
			in.audit.Note(auditOf(status.AuditRecord{Actor: signaled, Action: "reload"}, err))
			systemd.ready(in.engine.Status(ctx))
		case <-ctx.Done():
			return
		}
	}
}

// banner says on stderr what runs and where to find it.
func (a *app) banner(in *instance, st status.Status, ready bool, took time.Duration) {
	p := in.plan
	url := st.Server.URL
	if url == "" {
		url = "in this process only"
	}
	a.note("%s %s, %s", a.paint(a.stderr, cyan, "wasmill"), a.version, p.File)
	a.note("  topics     %s (%s)", url, st.Server.Mode)
	if len(p.Server.Users) > 0 {
		a.note("  users      %s", usersLine(p.Server.Users))
	}
	a.note("  durability %s: %s", st.Server.Durability, st.Server.LossWindow)
	if in.admin != nil {
		a.note("  dashboard  %s", in.admin.URL())
		a.note("  access     %s", a.accessOf(&p.Admin))
		for _, weak := range weakTokens(p) {
			a.note("             %s", a.paint(a.stderr, yellow, weak))
		}
	}
	for i := range p.Pipelines {
		a.note("  pipeline   %s", flow(&p.Pipelines[i]))
	}
	if len(p.Pipelines) == 0 {
		a.note("  no pipelines")
	}
	if ready {
		a.note("  %s in %d ms", a.paint(a.stderr, green, "ready"), took.Milliseconds())
		return
	}
	for _, problem := range st.Problems {
		a.note("  %s %s", a.paint(a.stderr, yellow, "not ready yet:"), problem)
	}
}

// flow describes a pipeline in one line.
func flow(p *plan.Pipeline) string {
	topics := make([]string, 0, len(p.Outputs))
	for _, o := range p.Outputs {
		if o.Topic != "" {
			topics = append(topics, o.Topic)
		}
	}
	return fmt.Sprintf("%s: %s → %s → %s", p.Name, p.From, strings.Join(p.Stages, " → "), strings.Join(topics, ", "))
}
