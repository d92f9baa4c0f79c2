package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// app is one invocation of the command: its streams, its environment and the
// flags that every verb knows.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	version        string
	builtins       map[string]func() ([]byte, error) // what reads an embedded plugin, by name
	exit           func(code int)                    // ends the process at once, on a second signal
	interrupt      func()                            // does what the first signal does

	flags struct {
		admin, token, ca string
		config           string
		output           string // "text" or "json"
		color            string // "auto", "always" or "never"
	}
}

// main runs the command line and returns the exit code.
func (a *app) main(args []string) int {
	ctx, stop := a.signals()
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, errInterrupted) || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitOK
	}
	a.report(err)
	return exitCode(err)
}

// signals returns a context that ends with the first SIGINT or SIGTERM, which
// asks for an orderly end. The second ends the process at once. A broken pipe
// on stdout ends it as other Unix tools do.
func (a *app) signals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	a.interrupt = cancel
	ch := make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-ch:
				if n > 0 {
					a.exit(exitFailure)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		<-ended
		cancel()
	}
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colored reports whether to colour what goes to w.
func (a *app) colored(w io.Writer) bool {
	switch a.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && isTerminal(w)
}
