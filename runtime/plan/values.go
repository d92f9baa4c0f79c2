package plan

import (
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/config"
)

// Value is one key that a Change is about, as the configuration writes it.
// Secrets are the references they are; two values that are the same here and
// yet listed differ in what is not shown.
type Value struct {
	Key           string // as a TOML path below the thing
	Before, After string // in TOML; "" where the key has no value
}

// Values returns the keys of one Change between two plans: of a Modify those
// whose values differ, of an Add those that are not the default, of a Remove
// none. Plans that were not made by From have none.
func Values(before, after *Plan, c Change) []Value {
	if c.Op == Remove {
		return nil
	}
	old, next := settingsOf(before, c), settingsOf(after, c)
	if c.What == "server" || c.What == "admin" { // of which there may be two changes
		other := func(s config.Setting) bool {
			return !slices.ContainsFunc(c.Fields, func(f string) bool { return s.Key == f || strings.HasPrefix(s.Key, f+".") })
		}
		old, next = slices.DeleteFunc(old, other), slices.DeleteFunc(next, other)
	}
	find := func(list []config.Setting, key string) (config.Setting, bool) {
		i := slices.IndexFunc(list, func(s config.Setting) bool { return s.Key == key })
		if i < 0 {
			return config.Setting{}, false
		}
		return list[i], true
	}
	var out []Value
	for _, s := range next {
		was, ok := find(old, s.Key)
		switch {
		case c.Op == Add && s.Default, ok && was.Same(s):
		default:
			out = append(out, Value{Key: s.Key, Before: was.Value, After: s.Value})
		}
	}
	for _, s := range old {
		if _, ok := find(next, s.Key); !ok {
			out = append(out, Value{Key: s.Key, Before: s.Value})
		}
	}
	return out
}

// settingsOf lists the keys of the thing that a change is about.
func settingsOf(p *Plan, c Change) []config.Setting {
	if p == nil || p.Config == nil {
		return nil
	}
	section := c.What
	if c.Name != "" {
		section += "s." + c.Name
	}
	for _, s := range p.Config.Effective() {
		if s.Name == section {
			return s.Keys
		}
	}
	return nil
}
