package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
)

// check is one thing that doctor looks at, as "doctor -o json" prints it.
type check struct {
	Name    string `json:"name"`
	State   string `json:"state"` // ok, missing, failed
	Detail  string `json:"detail"`
	Path    string `json:"path,omitempty"`    // of a compiler
	Version string `json:"version,omitempty"` // of a compiler
}

// What a check ends with. A compiler that is missing is needed by nobody who
// does not write plugins in its language.
const (
	checkOK      = "ok"
	checkMissing = "missing"
	checkFailed  = "failed"
)

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at this machine: what runs and builds plugins here, and how to get what is missing",
		Long: "Look at this machine: what runs and builds plugins here, and how to get what is missing.\n\n" +
			"A compiler that is missing is named with the way to get it and is no failure; it is\n" +
			"needed only to build plugins in its language. What Wasmill itself needs is (exit code 3).",
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			checks := []check{a.checkSandbox(c.Context())}
			for _, l := range build.Languages() {
				checks = append(checks, checkToolchain(c.Context(), l))
			}
			if err := c.Context().Err(); err != nil {
				return fmt.Errorf("doctor: %w", err)
			}
			if err := a.printChecks(checks); err != nil {
				return err
			}
			for _, k := range checks {
				if k.State == checkFailed {
					return &exitError{exitEnv, errSilent}
				}
			}
			return nil
		},
	}
}

func (a *app) printChecks(checks []check) error {
	if a.json() {
		return a.printJSON(checks)
	}
	rows := make([][]string, len(checks))
	for i, k := range checks {
		colors := map[string]color{checkOK: green, checkMissing: yellow, checkFailed: red}
		rows[i] = []string{a.paint(a.stdout, colors[k.State], k.State), k.Name, clean(k.Detail)}
	}
	return a.table([]string{a.heading("state"), "what", "detail"}, rows)
}

// checkSandbox loads a plugin as `wasmill run` does: in a process aside, with
// the compiled module kept in the cache.
func (a *app) checkSandbox(ctx context.Context) check {
	k := check{Name: "sandbox", State: checkFailed}
	err := func() error {
		cache, err := a.cacheDir()
		if err != nil {
			return err
		}
		worker, err := host.Executable(compileWorker)
		if err != nil {
			return err
		}
		pass, ok := a.builtins["pass"]
		if !ok {
			return errors.New("this binary holds no plugins")
		}
		module, err := pass()
		if err != nil {
			return err
		}
		h := host.New(host.Options{CacheDir: cache, Worker: worker})
		if err := h.Open(ctx); err != nil {
			return err
		}
		defer h.Close(context.WithoutCancel(ctx))
		generation, err := h.Load(ctx, host.Spec{Name: "pass", Module: module})
		if err != nil {
			return err
		}
		k.Detail = "plugins run here; compiled modules are kept in " + cache
		if info, err := os.Stat(cache); err == nil {
			k.Detail += fmt.Sprintf(" (mode %#o)", info.Mode().Perm())
		}
		return generation.Close(context.WithoutCancel(ctx))
	}()
	if err != nil {
		k.Detail = err.Error()
		return k
	}
	k.State = checkOK
	return k
}

func checkToolchain(ctx context.Context, l *build.Language) check {
	k := check{Name: l.Title, State: checkMissing}
	found, err := l.Toolchain(ctx)
	if err != nil {
		k.Detail = err.Error()
		return k
	}
	k.State, k.Path, k.Version = checkOK, found.Path, found.Version
	k.Detail = found.Version + " in " + found.Path
	return k
}
