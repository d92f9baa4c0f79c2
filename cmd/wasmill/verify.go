package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/sdk/abi"
)

// verification is what "plugins verify -o json" prints.
type verification struct {
	Source       string           `json:"source"`
	Conforms     bool             `json:"conforms"`
	Passed       int              `json:"passed"`
	Failed       int              `json:"failed"`
	NotExercised int              `json:"not_exercised"`
	Checks       []hosttest.Check `json:"checks"`
}

// verifyFlags are the ways to say how a module is to be examined.
type verifyFlags struct {
	config, events  string
	grants, outputs []string
	steady          int
	deadline        time.Duration
}

func (a *app) pluginsVerifyCmd() *cobra.Command {
	var fl verifyFlags
	c := &cobra.Command{
		Use:   "verify FILE|NAME",
		Short: "Check a module of anybody, in any language, against the plugin ABI",
		Long: "Check a module of anybody, in any language, against the plugin ABI: it is run in the real\n" +
			"sandbox through the frames and calls at which implementations go wrong. Each check is a\n" +
			"line: ok, failed with the reason and what to do, or not exercised, where the plugin gave\n" +
			"no occasion. NAME is a plugin of the wasmill.toml at hand, with its configuration, grants,\n" +
			"outputs and limits, and on the events of its cases and of events.ndjson; or builtin:NAME.\n" +
			"Exit code 1 when a check failed.",
		Example: "  wasmill plugins verify strong\n" +
			"  wasmill plugins verify strong.wasm --config '{\"min_magnitude\":4.5}' --events quakes.ndjson",
		Args: exactly("FILE or NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			module, source, o, err := a.examinee(args[0])
			if err != nil {
				return err
			}
			if err := fl.apply(c, &o); err != nil {
				return err
			}
			h, err := a.openHost(c.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			o.Host = h
			if n := len(o.Events); n > 0 && fl.events == "" {
				a.note("examined on %s of the project's cases and of %s; --events names others", plural(n, "event"), sampleFile)
			}
			checks, err := hosttest.Verify(c.Context(), module, o)
			if err = errors.Join(err, h.Close(c.Context())); err != nil {
				return fmt.Errorf("plugins verify: %w", err)
			}
			return a.printVerification(source, append(checks, manifestCheck(module, source)))
		},
	}
	f := c.Flags()
	f.StringVar(&fl.config, "config", "", "configuration of the plugin: JSON, or a `file` with JSON")
	f.StringVar(&fl.events, "events", "", "`file` with payloads that the plugin is made for, one a line")
	f.StringSliceVar(&fl.grants, "grants", nil, "what the plugin is `granted`: clock, random, secret")
	f.StringSliceVar(&fl.outputs, "outputs", nil, "`names` of the outputs beside the default one")
	f.IntVar(&fl.steady, "steady", 1_000_000, "`number` of events that its memory must bear without growing")
	f.DurationVar(&fl.deadline, "deadline", 10*time.Second, "`time` that a call may take")
	return c
}

// examinee finds the module: a file, a built-in one, or a plugin of the TOML
// file at hand, of which everything else is known as well.
func (a *app) examinee(name string) (module []byte, source string, o hosttest.Options, err error) {
	module, source, err = a.module(name)
	o.Builtin, _ = strings.CutPrefix(source, builtinPrefix)
	if o.Builtin == source {
		o.Builtin = ""
	}
	if err == nil || looksLikePath(name) || !errors.Is(err, fs.ErrNotExist) {
		return module, source, o, strip(err)
	}
	if _, err := os.Stat(defaultFile); err != nil {
		return nil, "", o, invalid("plugins verify: %s is no file, and there is no %s here that could have a plugin of that name", name, defaultFile)
	}
	p, err := a.load(defaultFile)
	if err != nil {
		return nil, "", o, err
	}
	plugin := p.Plugin(name)
	if plugin == nil {
		known := []string{}
		for _, other := range p.Plugins {
			known = append(known, other.Name)
		}
		return nil, "", o, invalid("plugins verify: %s is no file, and no plugin of %s: there are %s", name, defaultFile, strings.Join(known, ", "))
	}
	if o, err = asConfigured(p, plugin); err != nil {
		return nil, "", o, invalid("plugins verify: plugin %q: %w", name, err)
	}
	if o.Events, err = atHand(p, plugin.Name); err != nil {
		return nil, "", o, fmt.Errorf("plugins verify: look for events of plugin %q: %w", name, err)
	}
	if source = relative(plugin.Path); plugin.Builtin != "" {
		source = builtinPrefix + plugin.Builtin
	}
	module, source, err = a.module(source)
	return module, source, o, strip(err)
}

// strip takes the name of the verb for which module was written out of its error.
func strip(err error) error {
	var missing *notAFile
	if errors.As(err, &missing) {
		return fmt.Errorf("plugins verify: %w", missing.shown)
	}
	return err
}

// asConfigured says how a plan runs a plugin, but for its deadline: how fast the
// machine is does not belong to the ABI.
func asConfigured(p *plan.Plan, plugin *plan.Plugin) (hosttest.Options, error) {
	o := hosttest.Options{
		Name: plugin.Name, Builtin: plugin.Builtin, Config: plugin.Config, Grants: plugin.Grants, Secrets: map[string]string{},
		Limits: host.Limits{Memory: plugin.Limits.Memory, MaxOutputBytes: int(plugin.Limits.MaxOutputBytes), MaxOutputs: plugin.Limits.MaxOutputs},
	}
	for name, secret := range plugin.Secrets {
		value, err := secret.Resolve(p.Dir)
		if err != nil {
			return o, fmt.Errorf("secret %q: %w", name, err)
		}
		o.Secrets[name] = value
	}
	for _, pipeline := range p.Pipelines {
		if slices.Contains(pipeline.Stages, plugin.Name) {
			for _, output := range pipeline.Outputs[1:] {
				o.Outputs = append(o.Outputs, output.Name)
			}
			break
		}
	}
	return o, nil
}

// atHand are the events that a project has for a plugin: those of its cases, and
// of the file of sample events when a pipeline begins with the plugin.
func atHand(p *plan.Plan, plugin string) ([]abi.Event, error) {
	found, err := cases.Events(p, plugin)
	if err != nil {
		return nil, err
	}
	for i := range p.Pipelines {
		l := &p.Pipelines[i]
		file := filepath.Join(p.Dir, sampleFile)
		if _, err := os.Stat(file); err != nil || len(l.Stages) == 0 || l.Stages[0] != plugin || fed(p, l.From) {
			continue
		}
		samples, err := eventsOf(file, sampleSubject(p, l))
		if err != nil {
			return nil, err
		}
		found = append(found, samples...)
		break
	}
	events := make([]abi.Event, len(found))
	for i, e := range found {
		events[i] = abi.Event{Subject: []byte(e.Subject), Key: []byte(e.Key), Payload: e.Payload, HeaderCount: uint32(len(e.Headers))}
		for _, h := range e.Headers {
			events[i].Headers = abi.AppendHeader(events[i].Headers, h.Name, h.Value)
		}
	}
	return events, nil
}

// apply sets what the flags say over what the TOML file says.
func (fl *verifyFlags) apply(c *cobra.Command, o *hosttest.Options) error {
	if fl.config != "" {
		text := []byte(fl.config)
		if !strings.HasPrefix(strings.TrimSpace(fl.config), "{") {
			var err error
			if text, err = os.ReadFile(fl.config); err != nil {
				return fmt.Errorf("plugins verify: --config: %w", fileError("read", fl.config, err))
			}
		}
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil || object == nil {
			return invalid("plugins verify: --config is not a JSON object: %v", cmpError(err))
		}
		o.Config = text
	}
	if c.Flags().Changed("grants") {
		o.Grants = fl.grants
		for _, g := range fl.grants {
			if all := []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret}; !slices.Contains(all, g) {
				return invalid("plugins verify: there is no grant %q: there are %s", g, strings.Join(all, ", "))
			}
		}
	}
	if c.Flags().Changed("outputs") {
		o.Outputs = fl.outputs
	}
	if fl.steady < 1 || fl.deadline <= 0 {
		return invalid("plugins verify: --steady and --deadline are more than 0")
	}
	o.Steady, o.Limits.Deadline = fl.steady, fl.deadline
	if fl.events == "" {
		return nil
	}
	return readEvents(fl.events, o)
}

// cmpError is why a JSON text is no object.
func cmpError(err error) error {
	if err == nil {
		return errors.New("it is null")
	}
	return err
}

// readEvents takes each line of a file for a payload, as topics publish does.
func readEvents(file string, o *hosttest.Options) error {
	const most = 64 << 20
	info, err := os.Stat(file)
	if err == nil && info.Size() > most {
		return invalid("plugins verify: --events %s is larger than %s: a few hundred events will do", file, size(most))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("plugins verify: --events: %w", fileError("read", file, err))
	}
	var payloads [][]byte
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 {
			payloads = append(payloads, line)
		}
	}
	o.Events = hosttest.Payloads(payloads...)
	if len(o.Events) == 0 {
		return invalid("plugins verify: --events %s has no line in it", file)
	}
	return nil
}

// manifestCheck is the check of what the module says of itself.
func manifestCheck(module []byte, source string) hosttest.Check {
	c := hosttest.Check{Name: "manifest", What: "a manifest, if there is one, that is true of the module", Result: hosttest.Passed}
	m, lies, err := manifest.Check(module, fileOf(source))
	switch {
	case err != nil || m == nil && len(lies) == 0:
		c.Result, c.Reason = hosttest.NotExercised, "the module has none"
	case len(lies) > 0:
		c.Result, c.Advice = hosttest.Failed, "let `wasmill build` make the module, and leave it as it is"
		for i, l := range lies {
			if i > 0 {
				c.Reason += "; "
			}
			c.Reason += "it " + l.Message
		}
	default:
		c.Reason = m.String()
	}
	return c
}

func (a *app) printVerification(source string, checks []hosttest.Check) error {
	v := verification{Source: source, Checks: checks}
	for _, c := range checks {
		switch c.Result {
		case hosttest.Passed:
			v.Passed++
		case hosttest.Failed:
			v.Failed++
		case hosttest.NotExercised:
			v.NotExercised++
		}
	}
	v.Conforms = v.Failed == 0
	if a.json() {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		a.printExamination(checks)
		verdict := a.paint(a.stdout, green, "conforms to version 1 of the plugin ABI")
		if !v.Conforms {
			verdict = a.paint(a.stdout, red, "does not conform to version 1 of the plugin ABI")
		}
		a.printf("\n%s %s: %d ok, %d failed, %d not exercised\n", source, verdict, v.Passed, v.Failed, v.NotExercised)
	}
	if !v.Conforms {
		return &exitError{exitFailure, errSilent}
	}
	return nil
}

// printExamination prints a line for each check, but only one for those that a module
// which does not start gives no occasion for.
func (a *app) printExamination(checks []hosttest.Check) {
	same := map[string]int{} // by reason
	for _, c := range checks {
		if c.Result == hosttest.NotExercised {
			same[c.Reason]++
		}
	}
	const few = 10
	for _, c := range checks {
		switch n := same[c.Reason]; {
		case c.Result != hosttest.NotExercised || n <= few && n > 0:
			a.printCheck(c)
		case n > few:
			same[c.Reason] = 0 // it is said here, once
			a.printCheck(hosttest.Check{Name: plural(n, "check"), What: "all that needs an instance", Result: c.Result, Reason: c.Reason + ` ("-o json" lists them)`})
		}
	}
}

func (a *app) printCheck(c hosttest.Check) {
	line := func(paint color, format string, args ...any) {
		a.printf("%s  %-30s  %s\n", a.paint(a.stdout, paint, fmt.Sprintf("%-13s", c.Result)), c.Name, clean(fmt.Sprintf(format, args...)))
	}
	const indent = "               "
	switch {
	case c.Result == hosttest.Passed && c.Reason != "":
		line(green, "%s (%s)", c.What, c.Reason)
	case c.Result == hosttest.Passed:
		line(green, "%s", c.What)
	case c.Result == hosttest.NotExercised:
		line(plain, "%s: %s", c.What, c.Reason)
	case c.Like != "":
		line(red, "as in %q: %s", c.Like, c.Reason)
	default:
		line(red, "%s", c.What)
		a.printf("%swhy: %s\n", indent, clean(c.Reason))
		if c.Advice != "" {
			a.printf("%sdo:  %s\n", indent, clean(c.Advice))
		}
		for l := range strings.Lines(c.Detail) {
			a.printf("%s     %s\n", indent, clean(strings.TrimRight(l, "\n")))
		}
	}
}
