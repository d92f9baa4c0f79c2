package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"unicode"

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
	if strings.ContainsFunc(token, unicode.IsControl) {
		return nil, invalid("the token of --token or WASMILL_ADMIN_TOKEN has a line break or another control character in it: give the token alone")
	}
	if url != "" && token != "" {
		return a.trusting(url, token, nil, "")
	}
	at, file, err := a.adminAtHand()
	if err != nil {
		if url != "" && a.flags.config == "" {
			return a.trusting(url, token, nil, "") // the file is not needed to find it
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
	return a.trusting(url, token, at, file)
}

// openClient is client without a token, which some routes do not need.
func (a *app) openClient() (*admin.Client, error) {
	if url := cmp.Or(a.flags.admin, a.getenv("WASMILL_ADMIN")); url != "" {
		at, file, err := a.adminAtHand()
		if err != nil {
			at = nil // the file is not needed to find it
		}
		return a.trusting(url, "", at, file)
	}
	at, file, err := a.adminAtHand()
	if err != nil {
		return nil, err
	}
	url, err := adminURL(at, file)
	if err != nil {
		return nil, err
	}
	return a.trusting(url, "", at, file)
}

// trusting makes a client that trusts the authorities of --ca; without them those of
// the system and, when the TOML file at hand names it, the endpoint's own
// certificate, whatever names that has.
func (a *app) trusting(endpoint, token string, at *config.Admin, file string) (*admin.Client, error) {
	cl := admin.NewClient(endpoint, token)
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := cmp.Or(a.flags.ca, a.getenv("WASMILL_ADMIN_CA")); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fileError("read the authorities", ca, err)
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("read the authorities %s: there is no certificate in it: a PEM file is expected", ca)
		}
	} else if at != nil && at.TLSCert != "" {
		own, err := leafOf(filepath.Join(filepath.Dir(file), at.TLSCert), at.TLSCert)
		if err != nil {
			return nil, err
		}
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		cfg.RootCAs.AddCert(own)
		cfg.InsecureSkipVerify = true //nolint:gosec // VerifyConnection does it: the certificate at hand may have any name
		host := ""                    // no name is that: what cannot be parsed is refused when it is asked
		if u, err := neturl.Parse(endpoint); err == nil {
			host = u.Hostname()
		}
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verify(s.PeerCertificates, host, own, cfg.RootCAs) }
	}
	cl.Trust(cfg)
	return cl, nil
}

// verify is what TLS does by itself, but for the endpoint's own certificate any
// name will do: it is known. host is that of the URL; the state of a connection
// has no name when it is an address.
func verify(chain []*x509.Certificate, host string, own *x509.Certificate, roots *x509.CertPool) error {
	shown := chain[0]
	if !shown.Equal(own) {
		if err := shown.VerifyHostname(host); err != nil {
			return err
		}
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := shown.Verify(options)
	return err
}

// leafOf reads the first certificate of a PEM file.
func leafOf(path, written string) (*x509.Certificate, error) {
	if filepath.IsAbs(written) {
		path = written
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("read the certificate of [admin]", path, err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, invalid("read the certificate of [admin] %s: there is none in it: a PEM file is expected", path)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, invalid("read the certificate of [admin] %s: %w", path, err)
		}
		return c, nil
	}
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
	scheme := "http://"
	if at.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port), nil
}
