package earthquakes_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/examples/internal/exampletest"
	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The whole example, as `make run` runs it: the plugins are compiled, an
// embedded server and the engine run wasmill.toml, the whole week is published,
// and every message of every topic is compared with the second computation.
func TestEveryOutput(t *testing.T) {
	lines := feed(t)
	want := compute(t, lines)
	e := exampletest.Start(t)
	e.Publish(t, "quakes", "quakes.raw", lines)
	e.Await(t, map[string]int{"parse": len(lines), "alerts": len(want.parsed), "california": len(want.parsed)})

	t.Run("the reference finds something of everything", func(t *testing.T) {
		for name, n := range map[string]int{
			"parsed": len(want.parsed), "alerts": len(want.alerts), "tsunami": len(want.tsunami),
			"california": len(want.california), "dead letters": len(want.dead), "dropped": want.dropped,
		} {
			if n == 0 {
				t.Errorf("it expects no %s", name)
			}
		}
	})

	for topic, messages := range map[string][]message{
		"parsed": want.parsed, "alerts": want.alerts, "tsunami": want.tsunami, "california": want.california,
	} {
		t.Run("topic "+topic+" holds what the file says, in the order of each network", func(t *testing.T) {
			if diff := cmp.Diff(byNetwork(messages), byNetwork(e.Messages(t, topic))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}

	t.Run("dead letters hold what was wrong, with the reason and the original", func(t *testing.T) {
		var got []deadLetter
		for _, m := range e.Read(t, plan.DeadLetters) {
			header := func(name string) string { return strings.Join(m.Headers[name], "|") }
			if m.Subject != "wasmill.dead.parse.parse" || header("Wasmill-Fault") != "handler_error" || header("Wasmill-Plugin") != "parse" {
				t.Errorf("%s has the headers %v", m.Subject, m.Headers)
			}
			got = append(got, deadLetter{"parse", header("Wasmill-Cause"), header("Wasmill-Source-Subject"), m.Payload})
		}
		order := func(a, b deadLetter) int { return strings.Compare(a.Cause+a.Payload, b.Cause+b.Payload) }
		slices.SortFunc(got, order)
		slices.SortFunc(want.dead, order)
		if diff := cmp.Diff(want.dead, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})

	t.Run("the plugins conform to the ABI, on events of their own", func(t *testing.T) {
		for _, plugin := range e.Plan.Plugins {
			module, err := os.ReadFile(plugin.Path)
			if err != nil {
				t.Fatal(err)
			}
			events := lines
			if plugin.Name != "parse" {
				events = nil
				for _, m := range want.parsed {
					events = append(events, []byte(m.Payload))
				}
			}
			t.Run(plugin.Name, func(t *testing.T) {
				hosttest.Run(t, module, hosttest.Options{
					Host: e.Host, Name: plugin.Name, Config: plugin.Config, Outputs: []string{"tsunami"}, Events: hosttest.Payloads(events...), Steady: 20_000,
				})
			})
		}
	})

	t.Run("its cases pass", e.Cases)

	t.Run("the counters agree", func(t *testing.T) {
		for _, c := range []struct {
			pipeline                string
			in, out, dropped, faint int
		}{
			{"parse", len(lines), len(want.parsed), want.dropped, len(want.dead)},
			{"alerts", len(want.parsed), len(want.alerts) + len(want.tsunami), len(want.parsed) - len(want.alerts), 0},
			{"california", len(want.parsed), len(want.california), len(want.parsed) - len(want.california), 0},
		} {
			s, err := e.Engine.Pipeline(c.pipeline)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(s.In, s.Out, s.Dropped, s.DeadLettered, s.Retried)
			if wanted := fmt.Sprint(c.in, c.out, c.dropped, c.faint, 0); got != wanted {
				t.Errorf("%s: in, out, dropped, dead-lettered, retried are %s, want %s", c.pipeline, got, wanted)
			}
		}
	})
}

// byNetwork groups messages by the network, which is the second token of every
// subject here: the order within a network is promised, the one between them is not.
func byNetwork(messages []message) map[string][]message {
	groups := map[string][]message{}
	for _, m := range messages {
		network := strings.Split(m.Subject, ".")[1]
		groups[network] = append(groups[network], m)
	}
	return groups
}
