// Command gotest runs `go test` and says at the end what was skipped and why.
//
// A test that needs a toolchain which is not there skips itself, and a plain
// `go test` says nothing about it. This one names every skipped test; with
// CI=true a skip fails the run, since there it means that something the
// project relies on was not tested.
//
// With -again as the first argument, what failed is run once more by itself
// when all others are done, and what passes then is named as flaky instead of
// failing the run: a loaded machine must not hide what a change breaks, nor a
// flaky test go unnamed. More than a handful of failures, a data race or code
// that does not build are never tried again.
//
// Usage: go run .ci/gotest/main.go [-again] [go test flags, as -flag=value] packages…
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// maxAgain is how many packages with failures are worth a second run; more of
// them are a broken change.
const maxAgain = 6

func main() {
	args, again := os.Args[1:], false
	if len(args) > 0 && args[0] == "-again" {
		args, again = args[1:], true
	}
	failed, err := run(args, os.Stdout, os.Getenv("CI") == "true", again)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	FailedBuild string
}

type test struct{ pkg, name string }

// report is what has been seen so far.
type report struct {
	out                     io.Writer
	output                  map[test]*strings.Builder // of tests still running, printed when they fail
	skips                   []string
	failures                map[string][]string // package → its failed tests without subtests; none: the package itself
	flaky                   []string
	passed, failed, skipped int
	final                   bool // a second run is not worth it
	bad                     bool
}

func run(args []string, out io.Writer, ci, again bool) (failed bool, err error) {
	r := newReport(out)
	if err := r.test(args); err != nil {
		return true, err
	}
	if again && r.bad && !r.final && len(r.failures) > 0 && len(r.failures) <= maxAgain {
		if err := r.again(args); err != nil {
			return true, err
		}
	}
	r.finish(ci)
	return r.bad, nil
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[test]*strings.Builder{}, failures: map[string][]string{}}
}

// again runs every package with failures once more, one after the other and
// with nothing beside it, and takes its result instead.
func (r *report) again(args []string) error {
	var flags []string
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			flags = append(flags, a)
		}
	}
	r.bad, r.failed = false, 0
	for _, pkg := range slices.Sorted(maps.Keys(r.failures)) {
		tests := r.failures[pkg]
		second := append(slices.Clone(flags), "-count=1")
		if len(tests) > 0 {
			second = append(second, "-run=^("+strings.Join(tests, "|")+")$")
		}
		fmt.Fprintf(r.out, "\nOnce more, by itself: %s %s\n", pkg, strings.Join(tests, " "))
		t := newReport(r.out)
		if err := t.test(append(second, pkg)); err != nil {
			return err
		}
		r.bad = r.bad || t.bad
		r.failed += t.failed
		if !t.bad {
			r.flaky = append(r.flaky, strings.TrimSpace(pkg+" "+strings.Join(tests, " ")))
			r.passed += t.passed
		}
	}
	return nil
}

// test runs go test once and takes in what it says.
func (r *report) test(args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(pipe)
	for {
		line, readErr := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.add(line)
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	r.bad = cmd.Wait() != nil || r.bad
	return nil
}

func (r *report) add(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		fmt.Fprintf(r.out, "%s", line) // not an event: the go command speaks
		return
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.final = true
	case "output":
		r.print(t, e.Output)
	case "pass", "fail", "skip":
		r.end(t, e.Action)
	}
}

// print keeps a test's output until it is known whether the test failed, and
// passes a package's own lines ("ok …", "FAIL …", panics) through at once.
func (r *report) print(t test, s string) {
	if strings.Contains(s, "WARNING: DATA RACE") {
		r.final = true
	}
	if t.name == "" {
		if s != "PASS\n" && !strings.HasSuffix(s, "[no test files]\n") {
			fmt.Fprint(r.out, s)
		}
		return
	}
	b := r.output[t]
	if b == nil {
		b = &strings.Builder{}
		r.output[t] = b
	}
	b.WriteString(s)
}

func (r *report) end(t test, action string) {
	b := r.output[t]
	delete(r.output, t)
	if t.name == "" {
		if action == "fail" {
			r.bad = true
			if _, known := r.failures[t.pkg]; !known {
				r.failures[t.pkg] = nil
			}
			r.flush(t.pkg) // a package that ends inside a test: a panic or a time-out
		}
		return
	}
	switch action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		r.bad = true
		if !strings.Contains(t.name, "/") {
			r.failures[t.pkg] = append(r.failures[t.pkg], t.name)
		}
		if b != nil {
			fmt.Fprint(r.out, b.String())
		}
	case "skip":
		r.skipped++
		r.skips = append(r.skips, t.pkg+" "+t.name+reason(b))
	}
}

func (r *report) flush(pkg string) {
	for t, b := range r.output {
		if t.pkg == pkg {
			fmt.Fprint(r.out, b.String())
			delete(r.output, t)
		}
	}
}

// reason is the last line that a skipped test printed about itself.
func reason(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	why := ""
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			why = ": " + line
		}
	}
	return why
}

func (r *report) finish(ci bool) {
	if len(r.skips) > 0 {
		fmt.Fprintf(r.out, "\nSkipped:\n  %s\n", strings.Join(r.skips, "\n  "))
		if ci {
			fmt.Fprintln(r.out, "With CI=true nothing may be skipped: install what is missing.")
			r.bad = true
		}
	}
	if len(r.flaky) > 0 {
		fmt.Fprintf(r.out, "\nFlaky, failed and then passed by itself; a defect to mend:\n  %s\n", strings.Join(r.flaky, "\n  "))
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.failed == 0 && r.bad {
		fmt.Fprintln(r.out, "FAIL")
	}
}
