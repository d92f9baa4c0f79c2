package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

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
	url := cmp.Or(a.flags.admin, a.getenv("WASMILL_ADMIN"))
	token := cmp.Or(a.flags.token, a.getenv("WASMILL_ADMIN_TOKEN"))
	if url != "" && token != "" {
		return admin.NewClient(url, token), nil
	}
	p, err := a.planAtHand()
	if err != nil {
		if url != "" && a.flags.config == "" {
			return admin.NewClient(url, token), nil // the file is not needed to find it
		}
		return nil, err
	}
	if url == "" {
		if url, err = adminURL(p); err != nil {
			return nil, err
		}
	}
	if p != nil && token == "" && p.Admin.Token != "" {
		if token, err = p.Admin.Token.Resolve(p.Dir); err != nil {
			return nil, invalid("admin token: %w: or give it with --token or WASMILL_ADMIN_TOKEN", err)
		}
	}
	return admin.NewClient(url, token), nil
}

// planAtHand reads the TOML file at hand. Without one, and without --config,
// there is no plan and no error.
func (a *app) planAtHand() (*plan.Plan, error) {
	file := a.file(nil)
	if a.flags.config == "" {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	return a.load(file)
}

// load reads a TOML file and makes the plan of it. Warnings go to stderr; what
// is wrong comes back as one error with all findings.
func (a *app) load(file string) (*plan.Plan, error) {
	cfg, err := config.Load(file, a.builtinNames()...)
	if err != nil {
		var findings config.Findings
		if errors.As(err, &findings) {
			return nil, err
		}
		if err = fileError("read", file, err); file == defaultFile && exitCode(err) == exitInvalid {
			err = fmt.Errorf("%w: name another one, or begin with \"wasmill new plugin NAME\"", err)
		}
		return nil, err
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

// adminURL is where an instance of this plan can be reached from this machine.
func adminURL(p *plan.Plan) (string, error) {
	if p == nil {
		return defaultAdmin, nil
	}
	if p.Admin.Listen == "" {
		return "", invalid("%s: [admin] listen is \"\", so the instance cannot be reached: name it with --admin", p.File)
	}
	host, port, err := net.SplitHostPort(p.Admin.Listen)
	if err != nil {
		return "", invalid("%s: [admin] listen %q is not host:port", p.File, p.Admin.Listen)
	}
	if port == "0" {
		return "", invalid("%s: [admin] listen takes any free port: name the one it printed with --admin", p.File)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
