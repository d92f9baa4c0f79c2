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
	State   string `json:"state"` // ok, warn, fail, missing
	Detail  string `json:"detail"`
	Where   string `json:"where,omitempty"`   // an address, a path, a process
	Fix     string `json:"fix,omitempty"`     // what to do about it
	Path    string `json:"path,omitempty"`    // of a compiler
	Version string `json:"version,omitempty"` // of a compiler

	code int // the exit code when it fails
}

// What a check ends with. A compiler that is missing is needed by nobody who
// does not write plugins in its language.
const (
	checkOK      = "ok"
	checkWarn    = "warn"    // it works, but not as it should, or not for long
	checkFail    = "fail"    // it does not, or a start would be refused
	checkMissing = "missing" // and needed by nobody yet
)

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at this machine and the configuration at hand: what is wrong, and what to do about it",
		Long: "Look at this machine and the configuration at hand: whether plugins run here, whether\n" +
			"the file is valid and what it needs is there (secrets, a store that can be written to,\n" +
			"space, a file system that keeps what was stored, addresses, open files, a clock), how\n" +
			"the running instance is, and what builds plugins here. Nothing is changed.\n\n" +
			"Each line is ok; warn, when it works but not as it should; or fail, when it does not or\n" +
			"a start would be refused; with what to do. A compiler that is missing is named with the\n" +
			"way to get it and is needed only to build plugins in its language. Exit codes: 0 nothing\n" +
			"fails; 2 the configuration or its secrets do; 3 the surroundings do; 1 only the running\n" +
			"instance is not ready.",
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			checks := append([]check{a.checkSandbox(c.Context())}, a.checkSite(c)...)
			for _, l := range build.Languages() {
				checks = append(checks, checkToolchain(c.Context(), l))
			}
			if err := c.Context().Err(); err != nil {
				return fmt.Errorf("doctor: %w", err)
			}
			if err := a.printChecks(checks); err != nil {
				return err
			}
			code := exitOK
			for _, k := range checks {
				if k.State == checkFail {
					code = max(code, k.code)
				}
			}
			if code != exitOK {
				return &exitError{code, errSilent}
			}
			return nil
		},
	}
}

func (a *app) printChecks(checks []check) error {
	if a.json() {
		return a.printJSON(checks)
	}
	var rows [][]string
	colors := map[string]color{checkOK: green, checkWarn: yellow, checkMissing: plain, checkFail: red}
	for _, k := range checks {
		detail := clean(k.Detail)
		if k.Where != "" {
			detail = clean(k.Where) + ": " + detail
		}
		rows = append(rows, []string{a.paint(a.stdout, colors[k.State], k.State), k.Name, detail})
		if k.Fix != "" {
			rows = append(rows, []string{a.paint(a.stdout, plain, ""), "", "→ " + clean(k.Fix)})
		}
	}
	return a.table([]string{a.heading("state"), "what", "detail"}, rows)
}

// checkSandbox loads a plugin as `wasmill run` does: in a process aside, with
// the compiled module kept in the cache.
func (a *app) checkSandbox(ctx context.Context) check {
	k := check{Name: "sandbox", State: checkFail, code: exitEnv}
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
