package builtin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
)

// Every example in the documentation of the plugins is true: the modules that a
// binary carries, in the sandbox, make of the events of an example what it says.
func TestDocumentation(t *testing.T) {
	h := openHost(t)
	for _, name := range builtin.Names() {
		t.Run(name, func(t *testing.T) {
			doc, err := builtin.Doc(name)
			if err != nil {
				t.Fatal(err)
			}
			examples := examplesIn(t, doc)
			if len(examples) == 0 {
				t.Fatal("the documentation has no example")
			}
			if summary, _, _ := strings.Cut(doc, "\n"); summary != "# "+name {
				t.Errorf("it begins with %q", summary)
			}
			for i, x := range examples {
				x.run(t, h, fmt.Sprintf("%s, example %d", name, i+1), name)
			}
		})
	}
}

// example is a configuration (a toml block) and what it makes of events (the
// text block behind it). A line of that is a verb and what follows:
//
//	in           SUBJECT [key=KEY] [time=TIME] [NAME=VALUE …] PAYLOAD
//	out          OUTPUT [SUBJECT] [key=KEY] [NAME=VALUE …] PAYLOAD
//	drop         REASON
//	dead-letter  REASON
type example struct {
	config string
	lines  []string
}

func examplesIn(t *testing.T, doc string) []example {
	t.Helper()
	var all []example
	for rest := doc; ; {
		_, after, ok := strings.Cut(rest, "```toml\n")
		if !ok {
			return all
		}
		source, after, ok := strings.Cut(after, "```")
		if !ok {
			t.Fatal("a block does not end")
		}
		text, tail, ok := strings.Cut(strings.TrimPrefix(strings.TrimLeft(after, "\n"), "```text\n"), "\n```")
		if !ok || !strings.HasPrefix(strings.TrimLeft(after, "\n"), "```text\n") {
			t.Fatalf("no text block follows the configuration\n%s", source)
		}
		all = append(all, example{source, strings.Split(text, "\n")})
		rest = tail
	}
}

func (x *example) run(t *testing.T, h *host.Host, what, name string) {
	t.Helper()
	outputs := []string{"default"}
	var events []event
	var want []string
	for _, line := range x.lines {
		verb, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch verb {
		case "in":
			e := parseEvent(t, rest)
			e.seq = uint64(len(events) + 1)
			events = append(events, e)
			continue
		case "out":
			if output, _, _ := strings.Cut(rest, " "); !slices.Contains(outputs, output) {
				outputs = append(outputs, output)
			}
		}
		want = append(want, fmt.Sprintf("%d %s %s", len(events)-1, verb, rest))
	}
	g := open(t, h, name, tomlToJSON(t, x.config), outputs...)
	got := g.process(t, events...)
	if !slices.Equal(got, want) {
		t.Errorf("%s\n%s\ngot\n  %s\nwant\n  %s", what, x.config, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// parseEvent reads what stands behind "in".
func parseEvent(t *testing.T, s string) event {
	t.Helper()
	var e event
	e.subject, s, _ = strings.Cut(s, " ")
	for {
		field, rest, _ := strings.Cut(s, " ")
		name, value, ok := strings.Cut(field, "=")
		if !ok || rest == "" || strings.ContainsAny(name, `{["`) {
			e.payload = s
			return e
		}
		switch name {
		case "key":
			e.key = value
		case "time":
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				t.Fatal(err)
			}
			e.time = at
		default:
			e.headers = append(e.headers, name, value)
		}
		s = rest
	}
}

// tomlToJSON reads a plugin's configuration as the runtime does.
func tomlToJSON(t *testing.T, source string) string {
	t.Helper()
	var tree map[string]any
	if _, err := toml.Decode(source, &tree); err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	b, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
