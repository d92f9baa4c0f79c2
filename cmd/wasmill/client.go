package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

// defaultFile is the TOML file that verbs use when none is named.
const defaultFile = "wasmill.toml"

// defaultAdmin is where an instance listens whose configuration says nothing.
const defaultAdmin = "http://127.0.0.1:7422"

// file is the TOML file at hand: the argument, --config, or wasmill.toml.
func (a *app) file(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return cmp.Or(a.flags.config, defaultFile)
}

// client finds the running instance: --admin, WASMILL_ADMIN, or the [admin] of
// the TOML file at hand.
func (a *app) client() (*admin.Client, error) {
	cl, err := a.findClient()
	if err != nil {
		return nil, err
	}
	cl.OnWarning(func(w string) { a.note("%s", a.paint(a.stderr, yellow, clean(w))) })
	return cl, nil
}

func (a *app) findClient() (*admin.Client, error) {
	url := cmp.Or(a.flags.admin, a.getenv("WASMILL_ADMIN"))
	token := cmp.Or(a.flags.token, a.getenv("WASMILL_ADMIN_TOKEN"))
	if url != "" && token != "" {
		return admin.NewClient(url, token), nil
	}
	at, file, err := a.adminAtHand()
	if err != nil {
		if url != "" && a.flags.config == "" {
			return admin.NewClient(url, token), nil // the file is not needed to find it
		}
		return nil, err
	}
	if url == "" {
		if url, err = adminURL(at, file); err != nil {
			return nil, err
		}
	}
	if at != nil && token == "" && at.Token != "" {
		if token, err = at.Token.Resolve(filepath.Dir(file)); err != nil {
			return nil, invalid("admin token: %w: or give it with --token or WASMILL_ADMIN_TOKEN", err)
		}
	}
	return admin.NewClient(url, token), nil
}

// adminAddress is where client would find the instance, without the token.
func (a *app) adminAddress() (string, error) {
	if url := cmp.Or(a.flags.admin, a.getenv("WASMILL_ADMIN")); url != "" {
		return url, nil
	}
	at, file, err := a.adminAtHand()
	if err != nil {
		return "", err
	}
	return adminURL(at, file)
}

// adminAtHand reads the table [admin] of the TOML file at hand, and nothing
// else of it: a running instance can be asked while the file is being changed
// or a module is not built. Without a file, and without --config, there is no
// table and no error.
func (a *app) adminAtHand() (at *config.Admin, file string, err error) {
	file = a.file(nil)
	if a.flags.config == "" {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil, file, nil
		}
	}
	table, err := config.LoadAdmin(file)
	if err != nil {
		return nil, file, readError(file, err)
	}
	return &table, file, nil
}

// load reads a TOML file and makes the plan of it. Warnings go to stderr; what
// is wrong comes back as one error with all findings.
func (a *app) load(file string) (*plan.Plan, error) {
	cfg, err := config.Load(file, a.builtinNames()...)
	if err != nil {
		return nil, readError(file, err)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		return nil, &exitError{exitInvalid, err}
	}
	for _, w := range cfg.Warnings {
		a.note("%s", a.paint(a.stderr, yellow, w.String()))
	}
	return p, nil
}

// readError says why a TOML file cannot be read; findings speak for themselves.
func readError(file string, err error) error {
	var findings config.Findings
	if errors.As(err, &findings) {
		return err
	}
	if err = fileError("read", file, err); file == defaultFile && exitCode(err) == exitInvalid {
		err = fmt.Errorf("%w: name another one, or begin with \"wasmill new plugin NAME\"", err)
	}
	return err
}

// adminURL is where the instance whose table at of file is can be reached from
// this machine.
func adminURL(at *config.Admin, file string) (string, error) {
	if at == nil {
		return defaultAdmin, nil
	}
	if at.Listen == nil || *at.Listen == "" {
		return "", invalid("%s: [admin] listen is \"\", so the instance cannot be reached: name it with --admin", file)
	}
	host, port, err := net.SplitHostPort(*at.Listen)
	if err != nil {
		return "", invalid("%s: [admin] listen %q is not host:port", file, *at.Listen)
	}
	if port == "0" {
		return "", invalid("%s: [admin] listen takes any free port: name the one it printed with --admin", file)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
