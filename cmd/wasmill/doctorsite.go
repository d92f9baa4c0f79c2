package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// site is what a configuration asks of the machine, and the instance that runs
// it, if one does.
type site struct {
	a    *app
	cmd  *cobra.Command
	file string

	plan  *plan.Plan     // nil when the file is not valid
	runs  *status.Status // nil when none answers, or does not say what it is
	other *status.Status // the same of one that runs another file
	url   string         // where one was asked for
	mute  *admin.Error   // one answers there and says nothing
	found *admin.Client  // asks runs

	pid     int    // of the process that has the store, 0 when it is not known
	written string // a file that is written while an instance runs
}

// siteTimeout bounds each question to another process.
const siteTimeout = 5 * time.Second

// checkSite looks at the configuration at hand and at what it needs. Without one
// it says so.
func (a *app) checkSite(c *cobra.Command) []check {
	s := &site{a: a, cmd: c, file: a.file(nil)}
	if _, err := os.Stat(s.file); errors.Is(err, fs.ErrNotExist) && a.flags.config == "" {
		s.look(c.Context())
		none := check{Name: "configuration", State: checkMissing, Detail: "there is no " + s.file + " here", Fix: "name one with --config to have it and what it needs looked at"}
		return slices.Concat([]check{none}, s.checkInstance(c.Context()), s.checkMachine())
	}
	// Without the plugins first: whether an instance runs decides what is wrong.
	configuration := s.load()
	s.look(c.Context())
	if s.plan == nil {
		return slices.Concat([]check{configuration}, s.checkInstance(c.Context()), s.checkMachine())
	}
	secrets := s.checkSecrets()
	if secrets.State == checkOK {
		configuration = s.checkPlugins(configuration)
	} else {
		configuration.Detail += "; its plugins were not loaded, for want of secrets"
	}
	checks := []check{configuration, secrets}
	checks = append(checks, s.checkServer(c.Context())...)
	checks = append(checks, s.checkAdmin(c.Context()))
	return slices.Concat(checks, s.checkInstance(c.Context()), s.checkMachine())
}

// load reads the file as a run would.
func (s *site) load() check {
	k := check{Name: "configuration", State: checkFail, Where: s.file, Fix: "wasmill validate " + s.file, code: exitInvalid}
	cfg, err := config.Load(s.file, s.a.builtinNames()...)
	if err == nil {
		s.plan, err = plan.From(cfg, s.file)
	}
	if err != nil {
		all := lines(readError(s.file, err))
		k.Detail = all[0]
		if len(all) > 1 {
			k.Detail += fmt.Sprintf("; and %s", plural(len(all)-1, "other finding"))
		}
		return k
	}
	k.State, k.Fix = checkOK, ""
	k.Detail = fmt.Sprintf("valid: %s, %s, %s", plural(len(s.plan.Topics), "topic"), plural(len(s.plan.Plugins), "plugin"), plural(len(s.plan.Pipelines), "pipeline"))
	if n := len(cfg.Warnings); n > 0 {
		k.State, k.Detail = checkWarn, cfg.Warnings[0].String()
		if n > 1 {
			k.Detail += fmt.Sprintf("; and %s", plural(n-1, "other warning"))
		}
		k.Fix = "wasmill validate " + s.file
	}
	return k
}

// checkPlugins loads every plugin as a run would.
func (s *site) checkPlugins(k check) check {
	unused, err := s.a.checkPlugins(s.cmd, s.plan)
	switch {
	case err != nil:
		k.State, k.Detail, k.Fix, k.code = checkFail, lines(err)[0], "wasmill validate "+s.file, exitInvalid
	case unused != nil && k.State == checkOK:
		k.State, k.Detail, k.Fix = checkWarn, lines(unused)[0], "wasmill validate "+s.file
	case k.State == checkOK:
		k.Detail += "; every plugin loads"
	}
	return k
}

// checkSecrets resolves every secret that the plan refers to. What is missing
// here may be there for the instance, which then runs.
func (s *site) checkSecrets() check {
	k := check{Name: "secrets", State: checkOK, Where: s.file, Detail: "none are needed"}
	n := 0
	var missing []string
	look := func(where string, secret config.Secret) {
		if secret == "" {
			return
		}
		n++
		if _, err := secret.Resolve(s.plan.Dir); err != nil {
			missing = append(missing, where+": "+strings.TrimPrefix(err.Error(), "resolve secret: "))
		}
	}
	p := s.plan
	look("server.password", p.Server.Password)
	look("server.token", p.Server.Token)
	look("admin.token", p.Admin.Token)
	for _, t := range p.Admin.Tokens {
		look("admin.tokens."+t.Name, t.Token)
	}
	for _, name := range sortedKeys(p.Tracing.Headers) {
		look("tracing.headers."+name, p.Tracing.Headers[name])
	}
	for _, g := range p.Plugins {
		for _, name := range sortedKeys(g.Secrets) {
			look("plugins."+g.Name+".secrets."+name, g.Secrets[name])
		}
	}
	switch {
	case len(missing) > 0:
		k.State, k.code, k.Detail = checkFail, exitInvalid, strings.Join(missing, "; ")
		k.Fix = "set the variable, or make the file, for the user that runs Wasmill"
		if s.runs != nil {
			k.State, k.Detail = checkWarn, "not here, though the running instance had them when it started: "+k.Detail
		}
	case n > 0:
		k.Detail = plural(n, "secret") + " can be read"
	}
	return k
}

// look asks the instance at the address at hand what it is.
func (s *site) look(ctx context.Context) {
	cl, err := s.a.client()
	if err != nil { // for want of the token, perhaps: one that answers is seen without
		if cl, err = s.a.openClient(); err != nil {
			return
		}
	}
	defer cl.Close() // of connections that are idle; it can be used after
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	s.url = cl.URL()
	st, err := cl.Status(ctx)
	switch {
	case err != nil:
		errors.As(err, &s.mute)
	case s.plan != nil && !sameFile(st.Config, s.plan.File):
		s.other = &st
	default:
		s.runs, s.found = &st, cl
	}
}

// sameFile says whether two paths lead to the same file.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// checkInstance says how the running instance is.
func (s *site) checkInstance(ctx context.Context) []check {
	k := check{Name: "instance", State: checkOK, Where: s.url, code: exitFailure}
	st := s.runs
	switch {
	case s.mute != nil && s.mute.Status == http.StatusUnauthorized:
		k.State, k.Detail, k.Fix = checkWarn, "one answers, but not without a token", "--token or WASMILL_ADMIN_TOKEN"
	case s.mute != nil:
		k.State, k.Detail, k.Fix = checkWarn, "one answers, but does not say how it is: "+s.mute.Message, ""
	case s.other != nil:
		k.State, k.Detail = checkWarn, fmt.Sprintf("what answers runs %s, not %s", s.other.Config, s.plan.File)
		k.Fix = "give one of them another [admin] listen, or name the right one with --admin or --config"
	case st == nil && s.url == "":
		k.Detail = "none can be asked: [admin] listen names no address"
	case st == nil:
		k.Detail = "none runs here"
	case !st.Ready:
		k.State, k.Fix = checkFail, "wasmill status"
		k.Detail = "not ready: " + strings.Join(st.Problems, "; ")
	case st.Version != s.a.version:
		k.State, k.Fix = checkWarn, "start it again to run this version"
		k.Detail = fmt.Sprintf("ready, and version %s; this is version %s", st.Version, s.a.version)
	default:
		k.Detail = fmt.Sprintf("ready, up %s, version %s", time.Since(st.Started).Round(time.Second), st.Version)
	}
	if st == nil {
		return []check{k}
	}
	return []check{k, s.checkInEffect(ctx)}
}

// checkInEffect says whether what runs is what the file says.
func (s *site) checkInEffect(ctx context.Context) check {
	k := check{Name: "in effect", State: checkOK, Where: s.runs.Config, Detail: "what runs is what the file says"}
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	switch c, err := s.found.Config(ctx); {
	case err != nil:
		k.State, k.Detail = checkWarn, err.Error()
	case c.FileHash == "":
		k.State, k.Detail, k.Fix = checkWarn, "the file is not valid any more; what runs is what it said before", "wasmill validate "+s.runs.Config
	case c.FileHash != c.Hash:
		k.State, k.Detail, k.Fix = checkWarn, "the file says something else than what runs", "wasmill plan shows what, wasmill apply or a restart takes it"
	}
	return k
}

// checkAdmin looks at the admin endpoint's address and who may use it.
func (s *site) checkAdmin(ctx context.Context) check {
	p := s.plan
	if p.Admin.Listen == "" {
		return check{
			Name: "admin endpoint", State: checkWarn, Where: s.file, Detail: "there is none: no status, metrics, dashboard, plan or apply",
			Fix: "set [admin] listen, such as 127.0.0.1:7422",
		}
	}
	k := s.checkPort(ctx, "admin endpoint", "[admin] listen", p.Admin.Listen, s.runs != nil)
	if k.State != checkOK {
		return k
	}
	host, _, _ := net.SplitHostPort(p.Admin.Listen)
	tokens := len(p.Admin.Tokens)
	if p.Admin.Token != "" {
		tokens++
	}
	ip := net.ParseIP(host)
	local := strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
	switch {
	case local && tokens == 0:
		k.Detail += "; only from this machine, where everybody may do everything"
	case local:
		k.Detail += "; only from this machine, by " + plural(tokens, "token")
	case p.Admin.TLSCert != "":
		k.Detail += "; from other machines by " + plural(tokens, "token") + ", over TLS"
	default: // a token is demanded by the configuration
		k.State, k.Fix = checkWarn, "set tls_cert and tls_key of [admin]"
		k.Detail += "; from other machines by " + plural(tokens, "token") + ", which travel through the network as they are"
	}
	if weak := weakTokens(p); len(weak) > 0 && k.State == checkOK {
		k.State, k.Fix = checkWarn, "openssl rand -hex 32 makes a good one"
		k.Detail += "; " + strings.Join(weak, "; ")
	}
	return k
}

// checkPort says whether an address is free, or held by the instance that runs
// this configuration (ours).
func (s *site) checkPort(ctx context.Context, name, key, listen string, ours bool) check {
	k := check{Name: name, State: checkOK, Where: listen, code: exitEnv}
	if _, port, err := net.SplitHostPort(listen); err != nil || port == "0" {
		k.Detail = "any port that is free"
		return k
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	switch {
	case err == nil:
		_ = l.Close()
		k.Detail = "free"
	case errors.Is(err, syscall.EADDRINUSE) && ours:
		k.Detail = "held by the running instance"
	case errors.Is(err, syscall.EADDRINUSE):
		k.State, k.Detail = checkFail, "in use by another process"
		if s.other != nil {
			k.Detail += "; a Wasmill that runs " + s.other.Config + " answers at " + s.url
		}
		if s.mute != nil {
			k.State, k.Detail = checkWarn, "in use; a Wasmill that does not say what it runs answers at "+s.url
		}
		_, port, _ := net.SplitHostPort(listen)
		k.Fix = fmt.Sprintf("stop it (\"ss -ltnp sport = :%s\" names it), or set %s", port, key)
	default:
		k.State, k.Detail, k.Fix = checkFail, "cannot be listened on: "+innermost(err).Error(), "set "+key+" to an address of this machine and a port that this user may take"
	}
	return k
}

// innermost is the error that says why.
func innermost(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// storeOf is where the store of the plan is, as a person finds it.
func (s *site) storeOf() string { return filepath.Clean(s.plan.Server.StoreDir) }
