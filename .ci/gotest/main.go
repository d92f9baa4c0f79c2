// Command gotest runs `go test` and says at the end what was skipped and why.
//
// A test that needs a toolchain which is not there skips itself, and a plain
// `go test` says nothing about it. This one names every skipped test; with
// CI=true a skip fails the run, since there it means that something the
// project relies on was not tested.
//
// Usage: go run .ci/gotest/main.go [go test flags] packages…
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	failed, err := run(os.Args[1:], os.Stdout, os.Getenv("CI") == "true")
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
	passed, failed, skipped int
	bad                     bool
}

func run(args []string, out io.Writer, ci bool) (failed bool, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return true, err
	}
	if err := cmd.Start(); err != nil {
		return true, err
	}
	r := report{out: out, output: map[test]*strings.Builder{}}
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
			return true, readErr
		}
	}
	r.bad = cmd.Wait() != nil || r.bad
	r.finish(ci)
	return r.bad, nil
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
	case "output":
		r.print(t, e.Output)
	case "pass", "fail", "skip":
		r.end(t, e.Action)
	}
}

// print keeps a test's output until it is known whether the test failed, and
// passes a package's own lines ("ok …", "FAIL …", panics) through at once.
func (r *report) print(t test, s string) {
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
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.failed == 0 && r.bad {
		fmt.Fprintln(r.out, "FAIL")
	}
}
