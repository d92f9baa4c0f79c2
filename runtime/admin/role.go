package admin

import (
	"slices"
	"strings"
)

// Role is what a token is good for. Each role includes those before it.
type Role string

// The roles, the least first.
const (
	RoleView    Role = "view"    // reads everything
	RoleOperate Role = "operate" // steers what runs: pause, resume, reset, redrive, rollback, reload, plan, apply
	RoleAdmin   Role = "admin"   // makes, changes, removes and carries away events, too

	roleOpen Role = "open" // needs no token at all
)

// rank orders the roles; one that does not exist is worth nothing, and reaches nothing.
func (r Role) rank() int { return slices.Index([]Role{RoleView, RoleOperate, RoleAdmin}, r) + 1 }

// includes reports whether who has r may do what wants the role least.
func (r Role) includes(least Role) bool {
	return least == roleOpen || least.rank() > 0 && r.rank() >= least.rank()
}

// orMore reads "operate or admin".
func orMore(least Role) string {
	var names []string
	for _, r := range []Role{RoleView, RoleOperate, RoleAdmin} {
		if r.includes(least) {
			names = append(names, string(r))
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
