package build

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed asc.mjs
var ascScript string

// asc is AssemblyScript's compiler in a Node.js of its own. The zero value with
// node and script set is ready to use, by one goroutine; close ends it.
type asc struct {
	node   string // the command
	script string // the compiler's bin/asc.js
	keep   bool   // the process is kept for the next compilation

	cmd    *exec.Cmd // nil = none runs
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
	stale  bool // it has compiled before
}

// ascAnswer is what came of one compilation.
type ascAnswer struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what the compiler printed
}

// compile compiles the plugin in dir to the module file and writes what the
// compiler prints to out, unchanged.
func (a *asc) compile(ctx context.Context, dir, file string, out io.Writer) error {
	base, args, err := ascArgs(dir, file)
	if err != nil {
		return err
	}
	if a.keep && transforms(dir) { // they stay in a process as they were loaded
		once := asc{node: a.node, script: a.script}
		return once.run(ctx, dir, base, args, out)
	}
	return a.run(ctx, dir, base, args, out)
}

func (a *asc) run(ctx context.Context, dir, base string, args []string, out io.Writer) error {
	if !a.keep {
		defer func() { _ = a.close() }() // the answer counts
	}
	again := a.stale
	answer, err := a.ask(ctx, base, args)
	if err != nil && again && ctx.Err() == nil { // perhaps it has only grown old
		answer, err = a.ask(ctx, base, args)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("build %s: %w", dir, ctx.Err())
	case err != nil:
		_, _ = io.WriteString(out, a.stderr.String()) // out is the caller's to judge
		return &CompileError{Dir: dir, Err: err}
	}
	if _, err := io.WriteString(out, answer.Text); err != nil {
		return fmt.Errorf("write what the compiler printed: %w", err)
	}
	if !answer.OK {
		return &CompileError{Dir: dir, Err: errors.New("the compiler refused it")}
	}
	return nil
}

// ask has the process compile; it is started when there is none, and ended when
// it does not answer.
func (a *asc) ask(ctx context.Context, dir string, args []string) (answer ascAnswer, err error) {
	if a.cmd == nil {
		if err := a.start(); err != nil {
			return answer, err
		}
	}
	process := a.cmd.Process
	stop := context.AfterFunc(ctx, func() { _ = process.Kill() }) // the answer does not come then
	defer stop()
	request, err := json.Marshal(map[string]any{"dir": dir, "args": args})
	if err != nil {
		return answer, err
	}
	if _, err = a.in.Write(append(request, '\n')); err == nil {
		var line []byte
		if line, err = a.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &answer)
		}
	}
	a.stale = true
	if err != nil {
		return answer, errors.Join(fmt.Errorf("the compiler ended without an answer: %w", err), a.close())
	}
	return answer, nil
}

func (a *asc) start() error {
	times := "once"
	if a.keep {
		times = "again"
	}
	lib := filepath.Join(filepath.Dir(filepath.Dir(a.script)), "dist", "asc.js")
	// It outlives the contexts of single compilations and ends with its stdin.
	cmd := exec.Command(a.node, "--input-type=module", "--eval", ascScript, "--", lib, times) //nolint:noctx // see above
	cmd.WaitDelay = time.Second
	a.stderr.Reset()
	cmd.Stderr = &a.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", a.node, err)
	}
	a.cmd, a.in, a.out, a.stale = cmd, in, bufio.NewReader(out), false
	return nil
}

// close ends the process and waits for it.
func (a *asc) close() error {
	if a.cmd == nil {
		return nil
	}
	cmd := a.cmd
	a.cmd = nil
	_ = a.in.Close()       // it may have ended
	_ = cmd.Process.Kill() // the same
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil // by our own hand, or there is more to say about it elsewhere
	}
	return err
}
