package hosttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// maxKeys is how many keys of a configuration are tried with wrong values.
const maxKeys = 24

// configuration looks at how the module takes configurations, also wrong ones.
func (s *suite) configuration() {
	s.running("open again", "opened again and again: instance after instance, and one twice", s.openings)
	s.running("wrong configuration", "a configuration that will not do is refused with a message, never by a trap", func(c *Check) {
		if !s.exports[abi.ExportOpen] {
			c.skip("the module does not export wasmill_open")
			return
		}
		tried, refused := 0, 0
		for what, config := range s.wrongConfigurations() {
			tried++
			said, err := s.tryConfiguration(config)
			var f *host.Fault
			switch {
			case err == nil:
			case errors.As(err, &f) && f.Kind == abi.FaultGuestError:
				if refused++; !said {
					c.fail("log what is wrong before wasmill_open returns its code: operators see the last line",
						"it refuses a configuration with %s without a word", what)
				}
			default:
				c.fault(err, "a configuration with %s", what)
				if f != nil && f.Kind == abi.FaultTrap {
					c.Advice = "check the configuration, log what is wrong with it, and return a negative code"
				}
			}
		}
		if refused == 0 {
			c.skip("it takes all of %d configurations, whatever they say", tried)
			return
		}
		c.note("%d of %d wrong configurations refused", refused, tried)
	})
}

// tryConfiguration opens an instance with config; said tells whether it logged something.
func (s *suite) tryConfiguration(config json.RawMessage) (said bool, err error) {
	p, err := s.probe(func(int, string) { said = true })
	if err != nil {
		return false, err
	}
	defer p.Close()
	doc, err := p.Document(config)
	if err != nil {
		return false, err
	}
	return said, p.Open(doc)
}

// wrongConfigurations are variations of the one that the module takes. A host
// always hands over an object, as TOML tables are.
func (s *suite) wrongConfigurations() map[string]json.RawMessage {
	all := map[string]json.RawMessage{
		"nothing in it":             json.RawMessage(`{}`),
		"a key that nobody knows":   json.RawMessage(`{"wasmill-verify":{"a":[1,null,"\u0000"]}}`),
		"nesting of 200 levels":     json.RawMessage(`{"a":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `}`),
		"a text of a hundred KiB":   json.RawMessage(`{"a":"` + strings.Repeat("x", 100<<10) + `"}`),
		"numbers at their extremes": json.RawMessage(`{"a":-9223372036854775808,"b":1e308,"c":-0.0}`),
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(s.o.Config, &object) != nil {
		return all
	}
	keys := slices.Sorted(maps.Keys(object))
	for _, key := range keys[:min(len(keys), maxKeys)] {
		vary := func(what string, value json.RawMessage) {
			changed := maps.Clone(object)
			if changed[key] = value; value == nil {
				delete(changed, key)
			}
			if b, err := json.Marshal(changed); err == nil {
				all[fmt.Sprintf(what, key)] = b
			}
		}
		vary("no %q", nil)
		vary("a text for %q", json.RawMessage(`"wasmill-verify ("`))
		vary("an empty text for %q", json.RawMessage(`""`))
		vary("a number for %q", json.RawMessage(`-1e300`))
		vary("a truth value for %q", json.RawMessage(`true`))
		vary("a list for %q", json.RawMessage(`[[],{},"x"]`))
		vary("an object for %q", json.RawMessage(`{"wasmill-verify":0}`))
	}
	return all
}
