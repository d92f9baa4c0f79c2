package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/runtime/freeport"
)

// edits are changes of the source of new plugins, after which they ask for half a
// magnitude more: file, text, and what takes its place.
var edits = map[string][3]string{
	"go":             {"main.go", "mag < c.MinMagnitude", "mag < c.MinMagnitude+0.5"},
	"rust":           {"src/lib.rs", "mag >= self.min_magnitude", "mag >= self.min_magnitude + 0.5"},
	"assemblyscript": {"main.ts", "mag.float() < minMagnitude", "mag.float() < minMagnitude + 0.5"},
	"c":              {"main.c", "mag < min_magnitude", "mag < min_magnitude + 0.5"},
}

// cmdChange replaces text in a file: change FILE FROM TO.
func cmdChange(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: change FILE FROM TO")
	}
	text := ts.ReadFile(args[0])
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%s does not have %q once", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600))
}

// TestLanguages goes the way of a plugin's author in every language, with the
// real compiler, in an empty directory and without a network.
func TestLanguages(t *testing.T) {
	cache := t.TempDir()
	for _, l := range build.Languages() {
		t.Run(l.Name, func(t *testing.T) {
			if _, err := l.Toolchain(t.Context()); err != nil {
				t.Skip(err)
			}
			home, err := os.UserHomeDir()
			if err != nil {
				t.Fatal(err)
			}
			gocache, goroot := goEnv(t, "GOCACHE"), goEnv(t, "GOROOT")
			testscript.Run(t, testscript.Params{
				Files:               []string{"testdata/languages.txtar"},
				RequireExplicitExec: true,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"change": cmdChange, "expand": cmdExpand, "ready": cmdReady, "signal": cmdSignal, "until": cmdUntil,
				},
				Setup: func(e *testscript.Env) error {
					for _, name := range []string{"NATS", "ADMIN"} {
						addr, err := freeport.Address(t.Context())
						if err != nil {
							return err
						}
						e.Setenv(name, addr)
					}
					e.Setenv("LANGUAGE", l.Name)
					edit, ok := edits[l.Name]
					if !ok {
						return fmt.Errorf("say above what is to be changed in a plugin in %s", l.Name)
					}
					e.Setenv("SOURCE", edit[0])
					e.Setenv("FROM", edit[1])
					e.Setenv("TO", edit[2])
					e.Setenv("WASMILL_CACHE", cache)
					e.Setenv("NO_COLOR", "1")
					e.Setenv("HOME", home) // rustup and npm look there for what they have
					e.Setenv("GOCACHE", gocache)
					e.Setenv("GOROOT", goroot)
					// Nothing may be fetched.
					e.Setenv("GOPROXY", "off")
					e.Setenv("GOMODCACHE", filepath.Join(e.WorkDir, "mod"))
					e.Setenv("CARGO_HOME", filepath.Join(e.WorkDir, "cargo"))
					e.Setenv("RUSTUP_HOME", rustupHome(home))
					e.Setenv("CARGO_NET_OFFLINE", "true")
					e.Setenv("npm_config_offline", "true")
					return nil
				},
			})
		})
	}
}

func rustupHome(home string) string {
	if dir := os.Getenv("RUSTUP_HOME"); dir != "" {
		return dir
	}
	return filepath.Join(home, ".rustup")
}
