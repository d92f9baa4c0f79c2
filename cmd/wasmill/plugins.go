package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) pluginsCmd() *cobra.Command {
	return a.group("plugins", "List, inspect, verify and roll back plugins",
		a.pluginsListCmd(), a.pluginsInspectCmd(), a.pluginsVerifyCmd(), a.named(pluginNames, a.pluginsHistoryCmd()), a.named(pluginNames, a.pluginsRollbackCmd()))
}

func (a *app) pluginsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the plugins and their generation in use", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.Plugins(c.Context())
			if err != nil {
				return fmt.Errorf("plugins list: %w", err)
			}
			if a.json() {
				return a.printJSON(list)
			}
			return a.printPlugins(list)
		},
	}
}

func (a *app) pluginsHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "Show the last 20 generations of a plugin, newest first", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := cl.Plugin(c.Context(), args[0])
			if err != nil {
				return hinted(c.Context(), cl, pluginNames, args[0], fmt.Errorf("plugins history: %w", err))
			}
			history := p.History
			if len(history) == 0 {
				history = []status.Generation{p.Generation}
			}
			if a.json() {
				return a.printJSON(history)
			}
			rows := make([][]string, len(history))
			for i, g := range history {
				state, reason := g.State, clean(g.Reason)
				if g.OnTrial {
					state += ", on trial"
				}
				if g.Rescued > 0 && g.State != "rolled back" { // whose reason says it
					reason = rescued(g)
				}
				rows[i] = []string{
					fmt.Sprint(g.Number), state, versionOf(g), short(g.Digest), g.Origin, g.Loaded.Local().Format(time.DateTime),
					size(g.Size), fmt.Sprintf("%.0f ms", g.Compile*1000), clip(reason, 200),
				}
			}
			return a.table([]string{"GENERATION", "STATE", "VERSION", "DIGEST", "ORIGIN", "LOADED", "SIZE", "TOOK", "REASON"}, rows)
		},
	}
}

func (a *app) pluginsRollbackCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rollback NAME", Short: "Put the previous generation of a plugin back", Args: exactly("NAME"),
		Long: "Put the previous generation of a plugin back. The module's file stays as it is:\n" +
			"a change of it is taken, and so is the file as it is when Wasmill starts again.",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			g, err := cl.Rollback(c.Context(), args[0])
			if err != nil {
				return hinted(c.Context(), cl, pluginNames, args[0], fmt.Errorf("plugins rollback: %w", err))
			}
			if a.json() {
				return a.printJSON(g)
			}
			a.note("plugin %s runs %s again, as generation %d, until its file changes or Wasmill starts again", args[0], short(g.Digest), g.Number)
			return nil
		},
	}
}

// versionOf is what a module says of its version, marked when its manifest is not
// true; "-" when it says nothing.
func versionOf(g status.Generation) string {
	v := g.Version
	if v == "" {
		v = "-"
	}
	if len(g.Warnings) > 0 {
		v += " (?)"
	}
	return v
}
