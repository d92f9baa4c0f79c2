package main

import (
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/plan"
)

// adminConfig has the values of the tokens that the plan refers to.
func adminConfig(p *plan.Plan) (admin.Config, error) {
	token, err := p.Admin.Token.Resolve(p.Dir)
	if err != nil {
		return admin.Config{}, invalid("%s: [admin] token: %w", p.File, err)
	}
	out := admin.Config{Listen: p.Admin.Listen, Token: token, Hosts: p.Admin.Hosts, Session: p.Admin.Session, TLSCert: p.Admin.TLSCert, TLSKey: p.Admin.TLSKey}
	for _, t := range p.Admin.Tokens {
		secret, err := t.Token.Resolve(p.Dir)
		if err != nil {
			return admin.Config{}, invalid("%s: [admin.tokens.%s] token: %w", p.File, t.Name, err)
		}
		out.Tokens = append(out.Tokens, admin.Token{Name: t.Name, Role: admin.Role(t.Role), Secret: secret})
	}
	return out, nil
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
