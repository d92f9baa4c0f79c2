package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/plan"
)

// validation is what "validate -o json" prints.
type validation struct {
	File      string    `json:"file"`
	Valid     bool      `json:"valid"`
	Findings  []finding `json:"findings"`
	Warnings  []finding `json:"warnings"` // what does not make it invalid
	Topics    int       `json:"topics"`
	Plugins   int       `json:"plugins"`
	Pipelines int       `json:"pipelines"`
}

// finding is one thing that is wrong. What a plugin says when it is loaded has
// no place and no code.
type finding struct {
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Code       string `json:"code,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
}

// warning is the finding as a line of stderr.
func (f finding) warning() string {
	if f.Code == "" {
		return "warning: " + f.File + ": " + f.Message
	}
	return config.Finding{File: f.File, Line: f.Line, Col: f.Column, Severity: config.SeverityWarning, Code: f.Code, Message: f.Message}.String()
}

func findingsOf(err error) []finding {
	out := []finding{}
	var list config.Findings
	switch {
	case err == nil:
	case errors.As(err, &list):
		for _, f := range list {
			out = append(out, finding{f.File, f.Line, f.Col, f.Code, f.Message, f.Suggestion})
		}
	default:
		for _, line := range lines(err) {
			out = append(out, finding{Message: line})
		}
	}
	return out
}

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a TOML file and load every plugin without running anything",
		Args:  exactly("[FILE]"),
		RunE: func(c *cobra.Command, args []string) error {
			file := a.file(args)
			p, err := a.load(file)
			var unused error
			if err == nil {
				unused, err = a.checkPlugins(c, p)
				if err == nil {
					err = checkAccess(p)
				}
			}
			if err != nil && exitCode(err) != exitInvalid {
				return err
			}
			out := validation{File: file, Valid: err == nil, Findings: findingsOf(err), Warnings: []finding{}}
			if p != nil {
				out.Warnings = append(findingsOf(unused), a.labels(p)...)
				for _, weak := range weakTokens(p) {
					out.Warnings = append(out.Warnings, finding{File: file, Message: weak})
				}
				out.Topics, out.Plugins, out.Pipelines = len(p.Topics), len(p.Plugins), len(p.Pipelines)
			}
			if a.json() {
				if err := a.printJSON(out); err != nil {
					return err
				}
				if err != nil {
					return &exitError{exitInvalid, errSilent}
				}
				return nil
			}
			for _, w := range out.Warnings {
				a.note("%s", a.paint(a.stderr, yellow, clean(w.warning())))
			}
			var findings config.Findings
			switch {
			case errors.As(err, &findings):
				return err
			case err != nil:
				return &exitError{exitInvalid, err}
			}
			a.printf("%s is valid: %s with dead-letters and wasmill-audit, %s, %s\n", file, plural(out.Topics, "topic"), plural(out.Plugins, "plugin"), plural(out.Pipelines, "pipeline"))
			return nil
		},
	}
}

// checkPlugins loads and opens every plugin as a run would. unused is what those
// refuse that no pipeline uses, which would not stop a run.
func (a *app) checkPlugins(c *cobra.Command, p *plan.Plan) (unused, err error) {
	h, err := a.openHost(c.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	unused, err = engine.Check(c.Context(), h, a.builtins, p)
	unused, err = config.Place(relative(p.File), unused), config.Place(relative(p.File), err)
	if err != nil && c.Context().Err() == nil {
		err = &exitError{exitInvalid, err}
	}
	return unused, errors.Join(err, h.Close(c.Context()))
}

// labels says which modules have a manifest that is not true. They run all the
// same, see the engine.
func (a *app) labels(p *plan.Plan) []finding {
	list := []finding{}
	for _, plugin := range p.Plugins {
		const most = 64 << 20
		if info, err := os.Stat(plugin.Path); err != nil || !info.Mode().IsRegular() || info.Size() > most {
			continue // built in; or the engine has said that it cannot be read
		}
		module, err := os.ReadFile(plugin.Path)
		if err != nil {
			continue
		}
		_, lies, _ := manifest.Check(module, plugin.Path)
		for _, l := range lies {
			list = append(list, finding{File: relative(plugin.Path), Message: fmt.Sprintf("the module of plugin %q %s", plugin.Name, l.Message)})
		}
	}
	return list
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the TOML file, for editors",
		Long: "Print the JSON Schema of the TOML file. Save it as wasmill.schema.json; a first\n" +
			"line \"#:schema wasmill.schema.json\" makes editors use it.",
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema(a.builtinNames()...)
			if err != nil {
				return fmt.Errorf("schema: %w", err)
			}
			a.printf("%s\n", schema)
			return nil
		},
	}
}
