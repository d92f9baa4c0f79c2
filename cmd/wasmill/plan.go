package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) planCmd() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what the running instance would change to take a TOML file, and change nothing",
		Long: "Compare what runs with what the instance's file says now, or with FILE in its place,\n" +
			"the modules included: what would be added, changed and removed, and whether that\n" +
			"happens in place, with a new generation of a plugin, by draining a pipeline and\n" +
			"starting it again, or only when the process starts again. What would be loaded is\n" +
			"loaded and opened aside, as \"validate\" does. Nothing is changed.\n\n" +
			"The last line has a hash of both sides: \"wasmill apply --hash\" with it does exactly\n" +
			"this, or nothing. A configuration that would be refused is told with exit code 2;\n" +
			"otherwise it is 0, or with --check 1 when there is something to do.",
		Args: exactly("[FILE]"),
		RunE: func(c *cobra.Command, args []string) error {
			text, file, err := a.proposed(args)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			p, err := cl.Plan(c.Context(), text)
			if err != nil {
				return fmt.Errorf("plan: %w", a.movedAdmin(err, file))
			}
			inFile(&p, file)
			if a.json() {
				if err := a.printJSON(p); err != nil {
					return err
				}
			} else {
				a.printPlan(p, cl.URL(), file)
			}
			switch {
			case !p.Valid && a.json():
				return &exitError{exitInvalid, errSilent}
			case !p.Valid:
				return &exitError{exitInvalid, findingErrors(p.Findings)}
			case check && len(p.Changes) > 0:
				return &exitError{exitFailure, errSilent}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "exit with 1 when what runs is not what the file says")
	return c
}

func (a *app) applyCmd() *cobra.Command {
	var hash string
	c := &cobra.Command{
		Use:   "apply [FILE]",
		Short: "Make the running instance take its TOML file and modules, all of it or nothing",
		Long: "Make the running instance read its file and modules and take what has changed: all\n" +
			"that needs no restart of the process is done, or nothing and the reason is told.\n" +
			"The instance always takes its own file, because that is what it starts with the\n" +
			"next time; when FILE is named, it must say the same.\n\n" +
			"--hash takes the hash of a plan: when what runs, the file or a module has changed\n" +
			"since, nothing is done and what has moved is told (exit code 1). Of two operators\n" +
			"with the same plan one succeeds.\n\n" +
			"Exit codes: 0 what the file says runs; 1 it was refused because something has\n" +
			"moved, or a part waits for the process to start again, which is named; 2 the\n" +
			"configuration or a plugin is refused.",
		Args: exactly("[FILE]"),
		RunE: func(c *cobra.Command, args []string) error {
			if hash == "" && c.Flags().Changed("hash") { // a variable that is not set must not mean "whatever it is"
				return invalid("apply: --hash \"\": %w: \"wasmill plan\" prints one", engine.ErrBadHash)
			}
			text, file, err := a.proposed(args)
			if err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			done, err := cl.Apply(c.Context(), admin.ApplyRequest{Hash: hash, Config: text})
			var answer *admin.Error
			if err != nil && (!errors.As(err, &answer) || done.File == "") {
				return fmt.Errorf("apply: %w", a.movedAdmin(err, file))
			}
			inFile(&done.Plan, file)
			if a.json() {
				if err := a.printJSON(done); err != nil {
					return err
				}
			}
			switch {
			case err != nil && len(errorsOf(done.Findings)) > 0 && a.json():
				return &exitError{exitInvalid, errSilent}
			case err != nil && len(errorsOf(done.Findings)) > 0:
				return &exitError{exitInvalid, findingErrors(done.Findings)}
			case err != nil:
				return fmt.Errorf("apply: %w", err)
			}
			if !a.json() {
				a.printApplied(done, cl.URL())
			}
			if len(done.Restart) > 0 {
				return fmt.Errorf("apply: not in effect before the process starts again: %s", strings.Join(done.Restart, ", "))
			}
			return nil
		},
	}
	c.Flags().StringVar(&hash, "hash", "", "do only what the plan with this `hash` says")
	return c
}

// proposed reads the file that a plan or an apply is about: the argument or
// --config; nil means what the instance reads itself. An argument is the file at
// hand as well.
func (a *app) proposed(args []string) (text *string, file string, err error) {
	if len(args) == 0 && a.flags.config == "" {
		return nil, "", nil
	}
	file = a.file(args)
	if a.flags.config == "" {
		a.flags.config = file
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, file, readError(file, err)
	}
	s := string(b)
	return &s, file, nil
}

// movedAdmin says why nothing may answer at the address that a changed file has.
func (a *app) movedAdmin(err error, file string) error {
	var unreachable *admin.UnreachableError
	if file == "" || a.flags.admin != "" || a.getenv("WASMILL_ADMIN") != "" || !errors.As(err, &unreachable) {
		return err
	}
	return fmt.Errorf("%w; if [admin] of %s was changed, it is still at the address from before", err, file)
}

// inFile gives findings the name of the file that the user has given.
func inFile(p *status.Plan, file string) {
	for i := range p.Findings {
		f := &p.Findings[i]
		if f.File == p.File && file != "" {
			f.File = file
		} else {
			f.File = relative(f.File)
		}
	}
}

// findingOf is a finding as configuration errors are written.
func findingOf(f status.Finding) config.Finding {
	return config.Finding{
		File: f.File, Line: f.Line, Col: f.Col, Severity: f.Severity, Code: f.Code, Message: clean(f.Message), Suggestion: f.Suggestion,
	}
}

func errorsOf(findings []status.Finding) config.Findings {
	var out config.Findings
	for _, f := range findings {
		if f.Severity != config.SeverityWarning {
			out = append(out, findingOf(f))
		}
	}
	return out
}

// findingErrors is one error of all findings that are errors.
func findingErrors(findings []status.Finding) error {
	if list := errorsOf(findings); len(list) > 0 {
		return list
	}
	return errors.New("the configuration would be refused")
}

func (a *app) printPlan(p status.Plan, url, file string) {
	a.noteWarnings(p)
	a.printChanges(p.Changes)
	switch {
	case !p.Valid:
	case len(p.Changes) == 0:
		a.printf("nothing to do: what runs at %s is what %s says\n", url, cmp.Or(file, p.File))
	default:
		counts := map[string]int{}
		restart := 0
		for _, c := range p.Changes {
			counts[c.Op]++
			if c.Effect == status.EffectProcess {
				restart++
			}
		}
		a.printf("\n%s at %s: %d to add, %d to change, %d to remove", cmp.Or(file, p.File), url, counts[status.OpAdd], counts[status.OpChange], counts[status.OpRemove])
		if restart > 0 {
			a.printf("; %s", a.paint(a.stdout, yellow, fmt.Sprintf("%d of them only when the process starts again", restart)))
		}
		a.printf("\nto do exactly this: %swasmill apply --hash %s\n", placing(p.File, file), p.Hash)
	}
}

// placing is what comes before an apply of a file that is not the instance's own.
func placing(own, file string) string {
	if file == "" {
		return ""
	}
	if a, err := os.Stat(own); err == nil {
		if b, err := os.Stat(file); err == nil && os.SameFile(a, b) {
			return ""
		}
	}
	return fmt.Sprintf("put %s in the place of %s, then ", file, own)
}

func (a *app) printApplied(done status.Applied, url string) {
	a.noteWarnings(done.Plan)
	var now []status.Change
	for _, c := range done.Changes {
		if c.Effect != status.EffectProcess {
			now = append(now, c)
		}
	}
	a.printChanges(now)
	switch {
	case done.Applied:
		a.note("%s at %s: %s", a.paint(a.stderr, green, "applied"), url, plural(len(now), "change"))
	case len(done.Restart) == 0:
		a.note("nothing to do: what runs at %s is what %s says", url, done.File)
	}
}

func (a *app) noteWarnings(p status.Plan) {
	for _, f := range p.Findings {
		if f.Severity == config.SeverityWarning {
			a.note("%s", a.paint(a.stderr, yellow, findingOf(f).String()))
		}
	}
}

// printChanges lists changes with their fields.
func (a *app) printChanges(changes []status.Change) {
	marks := map[string]string{
		status.OpAdd: a.paint(a.stdout, green, "+"), status.OpChange: a.paint(a.stdout, yellow, "~"), status.OpRemove: a.paint(a.stdout, red, "-"),
	}
	for _, c := range changes {
		name := c.What
		if c.Name != "" {
			name += " " + c.Name
		}
		detail := c.Detail
		if c.Effect == status.EffectProcess || c.Removes != nil {
			detail = a.paint(a.stdout, yellow, detail)
		}
		a.printf("%s %s: %s\n", marks[c.Op], name, detail)
		for _, f := range c.Fields {
			a.printf("    %s\n", fieldText(c.Op, f))
		}
	}
}

// fieldText is one line for a field.
func fieldText(op string, f status.Field) string {
	before, after := clip(clean(f.Before), 120), clip(clean(f.After), 120)
	if f.Key == "module" {
		before, after = short(before), short(after)
	}
	switch {
	case op == status.OpAdd:
		return fmt.Sprintf("%s = %s", f.Key, after)
	case before == after:
		return fmt.Sprintf("%s: %s (another value)", f.Key, after)
	}
	return fmt.Sprintf("%s: %s → %s", f.Key, cmp.Or(before, "(none)"), cmp.Or(after, "(none)"))
}
