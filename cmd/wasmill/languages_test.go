package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/runtime/freeport"
)

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
					"expand": cmdExpand, "ready": cmdReady, "signal": cmdSignal, "until": cmdUntil,
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
