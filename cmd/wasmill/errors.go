package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
)

// Exit codes, as design and documentation name them.
const (
	exitOK      = 0
	exitFailure = 1 // something failed while running
	exitInvalid = 2 // input, configuration or usage
	exitEnv     = 3 // port busy, disk, missing toolchain, nothing answers
)

// exitError is an error with the exit code it leads to.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// invalid is an error of what the user gave.
func invalid(format string, args ...any) error {
	return &exitError{exitInvalid, fmt.Errorf(format, args...)}
}

// environment is an error of the surroundings.
func environment(format string, args ...any) error {
	return &exitError{exitEnv, fmt.Errorf(format, args...)}
}

// errInterrupted ends a verb that a signal has ended in order.
var errInterrupted = errors.New("interrupted")

// errSilent is a failure of which everything has been said already.
var errSilent = errors.New("failed")

// exitCode maps an error to the code that scripts can rely on.
func exitCode(err error) int {
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	var (
		brokerEnv   *broker.EnvError
		listen      *admin.ListenError
		unreachable *admin.UnreachableError
		brokenOff   *admin.BrokenOffError
		notWasmill  *admin.NotWasmillError
		noTLS       *admin.TLSError
		certificate *admin.CertificateError
		toolchain   *build.ToolchainError
		findings    config.Findings
		load        *host.LoadError
		topic       *broker.TopicError
		compile     *build.CompileError
		module      *build.ModuleError
		answer      *admin.Error
	)
	switch {
	case errors.As(err, &brokerEnv), errors.As(err, &listen), errors.As(err, &unreachable), errors.As(err, &brokenOff),
		errors.As(err, &notWasmill), errors.As(err, &noTLS), errors.As(err, &certificate), errors.As(err, &toolchain):
		return exitEnv
	case errors.As(err, &findings), errors.As(err, &load), errors.As(err, &topic),
		errors.As(err, &compile), errors.As(err, &module):
		return exitInvalid
	case errors.As(err, &answer):
		switch answer.Status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotFound, http.StatusUnauthorized,
			http.StatusForbidden, http.StatusRequestEntityTooLarge:
			return exitInvalid
		}
	}
	return exitFailure
}

// report prints an error as one line for each thing that is wrong.
func (a *app) report(err error) {
	if errors.Is(err, errSilent) {
		return
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	for _, line := range lines(err) {
		fmt.Fprintln(a.stderr, a.paint(a.stderr, red, "wasmill:")+" "+line)
	}
}

// lines flattens joined errors: each gets a line of its own.
func lines(err error) []string {
	var out []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// fileError gives a failure to read or write a file its place and its code.
func fileError(verb, path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, os.ErrNotExist) {
		return invalid("%s %s: there is no such file", verb, path)
	}
	return environment("%s %s: %w", verb, path, err)
}
