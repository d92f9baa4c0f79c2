package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/cases"
)

type testFlags struct {
	run, junit              string
	update, noBuild, detail bool
}

func (a *app) testCmd() *cobra.Command {
	var fl testFlags
	c := &cobra.Command{
		Use:   "test [DIR|FILE…]",
		Short: "Run the cases of plugins and pipelines, without a server",
		Long: "Run cases: files cases/NAME.ndjson that say which events go in and what comes\n" +
			"out. They run in the same host as in production, with its limits, without a\n" +
			"server and on a fixed clock. A module that is missing or older than its source\n" +
			"is built first.\n\n" +
			"A case is a script, one JSON object a line; below each event what comes of it:\n\n" +
			"  {\"case\": \"strong quakes pass\", \"plugin\": \"strong\", \"config\": {\"min_magnitude\": 4.5}}\n" +
			"  {\"subject\": \"quakes.raw\", \"payload\": {\"mag\": 5.3}}\n" +
			"  {\"output\": \"default\", \"payload\": {\"mag\": 5.3}}\n" +
			"  {\"subject\": \"quakes.raw\", \"payload\": {\"mag\": 0.3}}\n" +
			"  {\"outcome\": \"drop\"}\n\n" +
			"The first line may be left out. \"pipeline\" in place of \"plugin\" runs all its\n" +
			"stages. Outcomes are drop, retry, dead-letter; a fault is {\"fault\": \"trap\"};\n" +
			"{\"log\": \"…\"} is a line of the log. --update writes what comes out.\n\n" +
			"Exit code 1: a case failed; 2: a case is not valid, or the source does not compile.",
		Example: "  wasmill test\n  wasmill test --run strong -v\n  wasmill test cases/new.ndjson --update",
		RunE: func(c *cobra.Command, args []string) error {
			return a.test(c.Context(), args, fl)
		},
	}
	f := c.Flags()
	f.StringVar(&fl.run, "run", "", "only cases whose file matches this `regexp`")
	f.BoolVar(&fl.update, "update", false, "write what came out into the files, in place of what they expect")
	f.StringVar(&fl.junit, "junit", "", "write a JUnit report to this `file`, too")
	f.BoolVar(&fl.noBuild, "no-build", false, "take the modules as they are")
	f.BoolVarP(&fl.detail, "verbose", "v", false, "name the cases that pass, and show what plugins log")
	return c
}

func (a *app) test(ctx context.Context, args []string, fl testFlags) error {
	begin := time.Now()
	o := cases.Options{Builtins: a.builtins, Update: fl.update}
	if fl.run != "" {
		re, err := regexp.Compile(fl.run)
		if err != nil {
			return invalid("test: --run: %w", err)
		}
		o.Match = re
	}
	files, err := findCases(args)
	if err != nil {
		return err
	}
	if !fl.noBuild {
		if err := a.buildStale(ctx, files); err != nil {
			return err
		}
	}
	if o.Host, err = a.openHost(ctx, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	r := cases.New(o)
	reports, err := r.Run(ctx, files)
	if err = errors.Join(err, r.Close(context.WithoutCancel(ctx)), o.Host.Close(context.WithoutCancel(ctx))); err != nil {
		return fmt.Errorf("test: %w", err)
	}
	if len(reports) == 0 {
		return invalid("test: no case matches --run %q; there are %s", fl.run, plural(len(files), "case"))
	}
	took := time.Since(begin)
	if fl.junit != "" {
		if err := writeJUnit(fl.junit, reports, took); err != nil {
			return err
		}
	}
	if a.json() {
		err = a.printJSON(testResult(reports, took))
	} else {
		a.printReports(reports, took, fl)
	}
	return errors.Join(err, verdict(reports))
}

// findCases lists the case files of the arguments, each once.
func findCases(args []string) ([]string, error) {
	if len(args) == 0 {
		args = []string{"."}
	}
	var files []string
	for _, arg := range args {
		found, err := cases.Find(arg)
		if err != nil {
			return nil, fileError("test: read", arg, err)
		}
		for _, f := range found {
			if f = filepath.Clean(f); !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	if len(files) == 0 {
		return nil, invalid("test: there are no cases in %s: a case is a file cases/NAME.ndjson; \"wasmill help test\" shows one", strings.Join(args, ", "))
	}
	return files, nil
}

// buildStale builds what the cases run, as far as it is not up to date.
func (a *app) buildStale(ctx context.Context, files []string) error {
	configs, err := cases.Configs(files)
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	var b *build.Builder
	for _, file := range configs {
		stale, err := build.Stale(filepath.Dir(file))
		if err != nil {
			return fmt.Errorf("test: %w", err)
		}
		for _, p := range stale {
			if b == nil {
				if b, err = a.builder(); err != nil {
					return err
				}
			}
			a.note("building %s", relative(p.Module))
			if err := b.BuildTo(ctx, p.Source, p.Module); err != nil {
				return fmt.Errorf("test: %w", err)
			}
		}
	}
	return nil
}

// builder makes modules as `wasmill run` will load them.
func (a *app) builder() (*build.Builder, error) {
	cache, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	worker, err := host.Executable(compileWorker)
	if err != nil {
		return nil, environment("build: %w", err)
	}
	return &build.Builder{Out: a.stderr, CacheDir: cache, Worker: worker}, nil
}

func writeJUnit(file string, reports []cases.Report, took time.Duration) error {
	f, err := os.Create(file)
	if err != nil {
		return fileError("test: write", file, err)
	}
	if err := errors.Join(cases.JUnit(f, reports, took), f.Close()); err != nil {
		return fileError("test: write", file, err)
	}
	return nil
}

// verdict is the exit code of all reports: 2 when a case is not valid, else 1
// when one failed.
func verdict(reports []cases.Report) error {
	code := exitOK
	for i := range reports {
		switch r := &reports[i]; {
		case r.Err != nil:
			code = max(code, exitInvalid)
		case !r.Passed():
			code = max(code, exitFailure)
		}
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code, errSilent}
}

func (a *app) printReports(reports []cases.Report, took time.Duration, fl testFlags) {
	var passed, failed, broken, updated int
	said := map[string]bool{} // what is wrong with a wasmill.toml is said once
	for i := range reports {
		r := &reports[i]
		word, c := "ok", green
		switch {
		case r.Err != nil:
			broken++
			word, c = "INVALID", red
		case r.Updated:
			updated++
			word, c = "updated", yellow
		case r.Passed():
			passed++
		default:
			failed++
			word, c = "FAIL", red
		}
		if word != "ok" || fl.detail {
			a.printf("%s %s%s\n", a.paint(a.stdout, c, fmt.Sprintf("%-7s", word)), r.File, about(r.About))
		}
		if r.Err != nil {
			for _, line := range lines(r.Err) {
				if !said[line] {
					a.printf("    %s\n", clean(line))
				}
				said[line] = true
			}
			continue
		}
		if !r.Passed() {
			for k := range r.Differences {
				a.printDifference(&r.Differences[k])
			}
		}
		if fl.detail || !r.Passed() {
			for _, l := range r.Logs {
				a.printf("    log %s\n", clean(l))
			}
		}
	}
	parts := []string{}
	for _, p := range []struct {
		n    int
		what string
	}{{passed, "passed"}, {updated, "updated"}, {failed, "failed"}, {broken, "not valid"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	a.printf("%s: %s in %s\n", plural(len(reports), "case"), strings.Join(parts, ", "), took.Round(10*time.Millisecond))
}

func about(s string) string {
	if s == "" {
		return ""
	}
	return ": " + clean(s)
}

func (a *app) printDifference(d *cases.Difference) {
	for line := range strings.Lines(d.Diff) {
		line = clean(strings.TrimRight(line, "\n"))
		c := plain
		switch line[0] {
		case '-':
			c = red
		case '+':
			c = green
		}
		a.printf("    %s\n", a.paint(a.stdout, c, line))
	}
	for line := range strings.Lines(d.Detail) {
		a.printf("      %s\n", clean(strings.TrimRight(line, "\n")))
	}
}

// testSummary is what "test -o json" prints.
type testSummary struct {
	Cases  []testCase `json:"cases"`
	Passed int        `json:"passed"`
	Failed int        `json:"failed"`
	Broken int        `json:"invalid"`
	MS     int64      `json:"ms"`
}

type testCase struct {
	File        string           `json:"file"`
	About       string           `json:"about,omitempty"`
	Result      string           `json:"result"` // "passed", "updated", "failed" or "invalid"
	Differences []testDifference `json:"differences,omitempty"`
	Findings    []finding        `json:"findings,omitempty"`
	Logs        []string         `json:"logs,omitempty"`
	MS          int64            `json:"ms"`
}

type testDifference struct {
	Line   int    `json:"line"`
	Step   string `json:"step"`
	Diff   string `json:"diff"`
	Detail string `json:"detail,omitempty"`
}

func testResult(reports []cases.Report, took time.Duration) testSummary {
	s := testSummary{Cases: []testCase{}, MS: took.Milliseconds()}
	for i := range reports {
		r := &reports[i]
		one := testCase{File: r.File, About: r.About, Logs: r.Logs, MS: r.Duration.Milliseconds(), Result: "passed"}
		for _, d := range r.Differences {
			one.Differences = append(one.Differences, testDifference{d.Line, d.Step, d.Diff, d.Detail})
		}
		switch {
		case r.Err != nil:
			s.Broken++
			one.Result, one.Findings = "invalid", findingsOf(r.Err)
		case r.Updated:
			s.Passed++
			one.Result = "updated"
		case r.Passed():
			s.Passed++
		default:
			s.Failed++
			one.Result = "failed"
		}
		s.Cases = append(s.Cases, one)
	}
	return s
}
