package accesslogs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/examples/internal/exampletest"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The log is what generate prints.
func TestTheLogIsMadeByGenerate(t *testing.T) {
	made, err := exec.CommandContext(t.Context(), "go", "run", "./generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("access.log")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, log) {
		t.Error("access.log is another: go run ./generate > access.log")
	}
}

// minute is what is counted.
type minute struct {
	Host     string `json:"host"`
	From     string `json:"from"`
	Requests int    `json:"requests"`
	Errors   int    `json:"errors"`
	Worst    string `json:"worst,omitempty"`
	Partial  bool   `json:"partial,omitempty"`
}

var lineFormat = regexp.MustCompile(`^(\S+) \S+ \S+ \S+ \[([^\]]+)\] "\S+ (\S+) \S+" (\d+) `)

// count counts the log with regular expressions and maps, host by host. The log
// has no line so late that its minute is over.
func count(t *testing.T, lines [][]byte) map[string][]minute {
	t.Helper()
	type key struct {
		host string
		from time.Time
	}
	all := map[key]*minute{}
	paths := map[key]map[string]int{}
	latest := map[string]time.Time{}
	for _, line := range lines {
		m := lineFormat.FindSubmatch(line)
		if m == nil {
			t.Fatalf("%s", line)
		}
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(m[2]))
		if err != nil {
			t.Fatal(err)
		}
		k := key{string(m[1]), at.UTC().Truncate(time.Minute)}
		if all[k] == nil {
			all[k] = &minute{Host: k.host, From: k.from.Format(time.RFC3339)}
			paths[k] = map[string]int{}
		}
		all[k].Requests++
		if status, _ := strconv.Atoi(string(m[4])); status >= 500 {
			all[k].Errors++
			paths[k][string(m[3])]++
		}
		if at.After(latest[k.host]) {
			latest[k.host] = at
		}
	}
	want := map[string][]minute{}
	for k, m := range all {
		for path, n := range paths[k] {
			if most := paths[k][m.Worst]; n > most || n == most && path < m.Worst {
				m.Worst = path
			}
		}
		m.Partial = latest[k.host].Before(k.from.Add(70 * time.Second))
		want[k.host] = append(want[k.host], *m)
	}
	for _, minutes := range want {
		slices.SortFunc(minutes, func(a, b minute) int { return strings.Compare(a.From, b.From) })
	}
	return want
}

// Every message of every topic is what a second computation says.
func TestEveryOutput(t *testing.T) {
	lines := exampletest.Lines(t, "access.log")
	want := count(t, lines)
	whole, alerts := 0, map[string][]string{}
	for host, minutes := range want {
		for _, m := range minutes {
			if m.Partial {
				continue
			}
			whole++
			if m.Errors >= 3 && float64(m.Errors)/float64(m.Requests) >= 0.05 {
				text := fmt.Sprintf("%d of %d requests failed, most at %s", m.Errors, m.Requests, m.Worst)
				alerts[host] = append(alerts[host], fmt.Sprintf(`{"from":%q,"host":%q,"text":%q}`, m.From, host, text))
			}
		}
	}
	if len(want) != 4 || len(alerts) != 2 {
		t.Fatalf("%d hosts, alerts of %v", len(want), alerts)
	}

	e := exampletest.Start(t)
	odd := [][]byte{[]byte("no log"), []byte(`shop.example 192.0.2.1 - - [yesterday] "GET / HTTP/1.1" 200 1`), []byte(`shop.example 192.0.2.1 - - [06/Feb/2018:18:36:20 +0000] "GET / HTTP`)}
	e.Publish(t, "logs", "logs.web", slices.Concat(lines[:200], odd, lines[200:]))
	e.Await(t, map[string]int{"parse": len(lines) + len(odd), "count": len(lines), "alert": whole})

	t.Run("its cases pass", e.Cases)
	t.Run("alerts", func(t *testing.T) {
		got := map[string][]string{}
		for _, m := range e.Messages(t, "alerts") {
			host := strings.TrimPrefix(m.Subject, "alerts.")
			got[host] = append(got[host], m.Payload)
		}
		if diff := cmp.Diff(alerts, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("dead letters", func(t *testing.T) {
		var causes []string
		for _, m := range e.Read(t, plan.DeadLetters) {
			causes = append(causes, strings.Join(m.Headers["Wasmill-Cause"], "|"))
		}
		if diff := cmp.Diff([]string{"a line has at least 8 fields, this one has 2", `"yesterday" is no time of a log`, "a bracket or a quote does not end"}, causes); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	e.Stop(t)
	t.Run("minutes, those that were open at the end as parts", func(t *testing.T) {
		got := map[string][]minute{}
		for _, m := range e.Messages(t, "minutes") {
			var c minute
			if err := json.Unmarshal([]byte(m.Payload), &c); err != nil {
				t.Fatal(err)
			}
			if m.Subject != "minutes."+c.Host {
				t.Errorf("%s has %s", m.Subject, m.Payload)
			}
			got[c.Host] = append(got[c.Host], c)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
