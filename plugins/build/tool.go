package build

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// tool is a command of a toolchain.
type tool struct {
	path string
	dir  string   // where it is run; "" = here
	env  []string // in addition to this process's
}

func (t tool) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, t.path, args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), t.env...)
	return cmd
}

// ask runs the command and returns what it printed, trimmed. That it fails is
// a *ToolchainError: questions do not depend on the source.
func (t tool) ask(ctx context.Context, args ...string) (string, error) {
	cmd := t.command(ctx, args)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("ask %s %s: %w", t.path, strings.Join(args, " "), ctx.Err())
		}
		where := ""
		if t.dir != "" {
			where = " in " + t.dir
		}
		return "", &ToolchainError{
			Tool: t.path, Err: err,
			Message: fmt.Sprintf("%s does not work%s: %s", t.path, where, cmp.Or(strings.TrimSpace(stderr.String()), err.Error())),
		}
	}
	return strings.TrimSpace(stdout.String()), nil
}

// compile runs the command on the source in t.dir. Both of its streams go to
// out; stdout replaces out for what it prints there when it is not nil.
func (t tool) compile(ctx context.Context, out, stdout io.Writer, args ...string) error {
	cmd := t.command(ctx, args)
	cmd.Stdout, cmd.Stderr = out, out
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build %s: %w", t.dir, ctx.Err())
		}
		return &CompileError{Dir: t.dir, Err: err}
	}
	return nil
}
