package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show server, topics, plugins and pipelines at a glance",
		Long:  "Show server, topics, plugins and pipelines at a glance.\n\n" + pipelineColumns,
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			st, err := cl.Status(c.Context())
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			if a.json() {
				return a.printJSON(st)
			}
			return a.printStatus(cl.URL(), st)
		},
	}
}

func (a *app) printStatus(url string, st status.Status) error {
	ready := a.paint(a.stdout, green, "ready")
	if !st.Ready {
		ready = a.paint(a.stdout, red, "not ready")
	}
	server := st.Server.Mode
	if st.Server.URL != "" {
		server += " " + st.Server.URL
	}
	store := ""
	if st.Server.StoreDir != "" {
		store = fmt.Sprintf("%s, %s used", st.Server.StoreDir, size(st.Server.StoreBytes))
		if st.Server.MaxStore > 0 {
			store += " of " + size(st.Server.MaxStore)
		}
		store += fmt.Sprintf(", %s free on the disk", size(st.Server.StoreFree))
		if !st.Server.Storing {
			store += ", " + a.paint(a.stdout, red, "takes no messages")
		}
	}
	err := a.fields(
		"wasmill", fmt.Sprintf("%s %s, %s, up %s", st.Version, st.State, ready, time.Since(st.Started).Round(time.Second)),
		"config", st.Config,
		"admin", url,
		"server", server,
		"store", store,
		"durability", fmt.Sprintf("%s: %s", st.Server.Durability, st.Server.LossWindow),
	)
	if err != nil {
		return err
	}
	for _, p := range st.Problems {
		a.printf("%s %s\n", a.paint(a.stdout, red, "problem:"), clean(p))
	}
	for _, e := range st.ConfigErrors {
		a.printf("%s %s; what runs is from before\n", a.paint(a.stdout, red, "the file is not valid now:"), clean(e))
	}
	for _, r := range st.Server.Repairs {
		a.printf("%s %s\n", a.paint(a.stdout, yellow, "mended at the start:"), clean(r))
	}
	for i := range st.Topics {
		a.printLost(&st.Topics[i])
	}
	for i := range st.Pipelines {
		if p := &st.Pipelines[i]; p.Lost > 0 {
			a.printf("%s pipeline %s: it had not finished %s of what was lost\n", a.paint(a.stdout, red, "lost:"), p.Name, counted(p.Lost, "event"))
		}
	}
	for _, section := range []func() error{
		func() error { return a.printPipelines(st.Pipelines) },
		func() error { return a.printPlugins(st.Plugins) },
		func() error { return a.printTopics(st.Topics) },
	} {
		a.printf("\n")
		if err := section(); err != nil {
			return err
		}
	}
	return nil
}

// printLost says what a topic has lost.
func (a *app) printLost(t *status.Topic) {
	for _, r := range t.LostRanges {
		accepted := ""
		if r.Accepted {
			accepted = ", accepted"
		}
		a.printf("%s topic %s: %s, %d–%d, %s, found %s%s\n", a.paint(a.stdout, red, "lost:"), t.Name,
			counted(r.Last-r.First+1, "message"), r.First, r.Last, r.Cause, age(r.Found, time.Now()), accepted)
	}
}

func (a *app) printPipelines(list []status.Pipeline) error {
	if len(list) == 0 {
		a.printf("no pipelines\n")
		return nil
	}
	rows := make([][]string, len(list))
	for i, p := range list {
		rows[i] = []string{
			p.Name, a.state(p.State), p.From + " → " + strings.Join(p.Stages, " → ") + " → " + outputs(p),
			count(p.Lag), count(p.In), count(p.Out), count(p.Dropped), count(p.Retried), count(p.DeadLettered), count(p.InFlight),
		}
	}
	return a.table([]string{"PIPELINE", a.heading("STATE"), "FLOW", "LAG", "IN", "OUT", "DROPPED", "RETRIED", "DEAD", "IN FLIGHT"}, rows)
}

// outputs names the topics a pipeline publishes to, the default one first.
func outputs(p status.Pipeline) string {
	topics := []string{}
	if t := p.Outputs["default"]; t != "" {
		topics = append(topics, t)
	}
	for _, name := range sortedKeys(p.Outputs) {
		if name != "default" {
			topics = append(topics, p.Outputs[name])
		}
	}
	return strings.Join(topics, ", ")
}

func (a *app) printPlugins(list []status.Plugin) error {
	if len(list) == 0 {
		a.printf("no plugins\n")
		return nil
	}
	rows := make([][]string, len(list))
	for i, p := range list {
		g := p.Generation
		rows[i] = []string{
			p.Name, versionOf(g), p.Source, strings.Join(p.Pipelines, ", "), fmt.Sprint(g.Number), short(g.Digest), g.Origin,
			age(g.Loaded, time.Now()), size(g.Size), size(g.Memory),
		}
	}
	if err := a.table([]string{"PLUGIN", "VERSION", "SOURCE", "PIPELINES", "GENERATION", "DIGEST", "ORIGIN", "LOADED", "SIZE", "MEMORY"}, rows); err != nil {
		return err
	}
	for _, p := range list {
		for _, w := range p.Generation.Warnings {
			a.printf("%s the module of %s %s\n", a.paint(a.stdout, yellow, "warning:"), p.Name, clean(w))
		}
		if g := p.Generation; g.Rescued > 0 {
			a.printf("%s generation %d of %s %s\n", a.paint(a.stdout, yellow, "note:"), g.Number, p.Name, rescued(g))
		}
		if len(p.History) > 0 && p.History[0].Number > p.Generation.Number {
			g := p.History[0] // newer than the one in use: it did not make it
			a.printf("%s generation %d of %s was %s %s: %s\n",
				a.paint(a.stdout, yellow, "note:"), g.Number, p.Name, g.State, age(g.Loaded, time.Now()), clip(clean(g.Reason), 200))
		}
	}
	return nil
}

// rescued says what a generation failed on while it was on trial.
func rescued(g status.Generation) string {
	batches := fmt.Sprintf("%d batches", g.Rescued)
	if g.Rescued == 1 {
		batches = "1 batch"
	}
	return fmt.Sprintf("failed on %s that generation %d could process; the last, %s: %s",
		batches, g.WayBack, age(g.LastFaultAt, time.Now()), clip(clean(g.LastFault), 200))
}

func (a *app) printTopics(list []status.Topic) error {
	if len(list) == 0 {
		a.printf("no topics\n")
		return nil
	}
	rows := make([][]string, len(list))
	for i, t := range list {
		rows[i] = []string{
			t.Name, clip(strings.Join(t.Subjects, " "), 48), count(t.Messages), size(t.Bytes),
			fmt.Sprintf("%d–%d", t.FirstSeq, t.LastSeq), age(t.LastTime, time.Now()),
		}
	}
	return a.table([]string{"TOPIC", "SUBJECTS", "MESSAGES", "BYTES", "SEQUENCES", "LAST"}, rows)
}
