package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

// adminConfig has the values of the tokens that the plan refers to.
func adminConfig(p *plan.Plan) (admin.Config, error) {
	var errs []error
	token, err := tokenValue(p.Admin.Token, p.Dir)
	if err != nil {
		errs = append(errs, invalid("%s: [admin] token: %w", p.File, err))
	}
	out := admin.Config{Listen: p.Admin.Listen, Token: token, Hosts: p.Admin.Hosts, Session: p.Admin.Session, TLSCert: p.Admin.TLSCert, TLSKey: p.Admin.TLSKey}
	for _, t := range p.Admin.Tokens {
		secret, err := tokenValue(t.Token, p.Dir)
		if err != nil {
			errs = append(errs, invalid("%s: [admin.tokens.%s] token: %w", p.File, t.Name, err))
		}
		out.Tokens = append(out.Tokens, admin.Token{Name: t.Name, Role: admin.Role(t.Role), Secret: secret})
	}
	return out, errors.Join(errs...)
}

// tokenValue is what a reference to a token leads to, without the white space
// around it, which no request can present.
func tokenValue(secret config.Secret, dir string) (string, error) {
	value, err := secret.Resolve(dir)
	if err != nil {
		return "", err
	}
	if value = strings.TrimSpace(value); value == "" && secret != "" {
		return "", fmt.Errorf("%s holds nothing but white space", secret)
	}
	return value, nil
}

// goodToken is how many characters a token has that is not guessed.
const goodToken = 16

// weakTokens says which tokens are so short that they can be guessed. Those that
// cannot be read are not among them.
func weakTokens(p *plan.Plan) []string {
	var weak []string
	look := func(where string, secret config.Secret) {
		if v, err := tokenValue(secret, p.Dir); err == nil && v != "" && len(v) < goodToken {
			weak = append(weak, fmt.Sprintf("%s token is shorter than %d characters and can be guessed: \"openssl rand -hex 32\" makes a good one", where, goodToken))
		}
	}
	look("[admin]", p.Admin.Token)
	for _, t := range p.Admin.Tokens {
		look("[admin.tokens."+t.Name+"]", t.Token)
	}
	return weak
}

// checkAccess says what would keep a start from knowing who may use the admin
// endpoint and the server.
func checkAccess(p *plan.Plan) error {
	_, server := brokerConfig(p)
	_, err := adminConfig(p)
	if err = errors.Join(server, err); err != nil {
		return &exitError{exitInvalid, err}
	}
	return nil
}

// usersOf has the passwords that the plan refers to.
func usersOf(p *plan.Plan) ([]broker.User, error) {
	var out []broker.User
	for _, u := range p.Server.Users {
		password, err := u.Password.Resolve(p.Dir)
		if err != nil {
			return nil, invalid("%s: [server.users.%s] password: %w", p.File, u.Name, err)
		}
		out = append(out, broker.User{
			Name: u.Name, Password: password, NKey: u.NKey, Publish: u.Publish, Subscribe: u.Subscribe, Consume: u.Consume,
		})
	}
	return out, nil
}

// access prepares the tokens and users that next refers to, as they are now.
func (in *instance) access(next *plan.Plan) (set func(), err error) {
	users, err := usersOf(next)
	if err != nil {
		return nil, err
	}
	setTokens := func() {}
	if in.admin != nil {
		cfg, err := adminConfig(next)
		if err != nil {
			return nil, err
		}
		if setTokens, err = in.admin.PrepareTokens(cfg.Token, cfg.Tokens); err != nil {
			return nil, err
		}
	}
	return func() {
		setTokens()
		if err := in.broker.SetUsers(users); err != nil {
			in.log.Error("the users of the server were not changed", "error", err)
		}
	}, nil
}

// accessOf says in a line who may use the admin endpoint.
func (a *app) accessOf(at *plan.Admin) string {
	if at.Token == "" && len(at.Tokens) == 0 {
		return a.paint(a.stderr, yellow, "no token: everybody on this machine may do everything") + `; see "wasmill help security"`
	}
	var names []string
	if at.Token != "" {
		names = append(names, "[admin] token (admin)")
	}
	for _, t := range at.Tokens {
		names = append(names, fmt.Sprintf("%s (%s)", t.Name, t.Role))
	}
	return "by token: " + strings.Join(names, ", ")
}

// usersLine names who may connect to the embedded server.
func usersLine(users []plan.ServerUser) string {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	return strings.Join(names, ", ")
}
