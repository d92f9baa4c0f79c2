package main

import (
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/plan"
)

// adminConfig has the values of the tokens that the plan refers to.
func adminConfig(p *plan.Plan) (admin.Config, error) {
	token, err := p.Admin.Token.Resolve(p.Dir)
	if err != nil {
		return admin.Config{}, invalid("%s: [admin] token: %w", p.File, err)
	}
	out := admin.Config{Listen: p.Admin.Listen, Token: token}
	for _, t := range p.Admin.Tokens {
		secret, err := t.Token.Resolve(p.Dir)
		if err != nil {
			return admin.Config{}, invalid("%s: [admin.tokens.%s] token: %w", p.File, t.Name, err)
		}
		out.Tokens = append(out.Tokens, admin.Token{Name: t.Name, Role: admin.Role(t.Role), Secret: secret})
	}
	return out, nil
}
