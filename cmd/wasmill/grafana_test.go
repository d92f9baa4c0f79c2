package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every query of the dashboard has data in a real Prometheus that scrapes a
// real Wasmill under load, and Prometheus accepts the alert rules.
func TestGrafana(t *testing.T) {
	needs(t, "prometheus", "promtool")
	dir := t.TempDir()
	bin := buildBinary(t)
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rules := write("alerts.yaml", command(t, bin, "grafana", "--alerts"))
	if out := command(t, "promtool", "check", "rules", "--lint-fatal", rules); !strings.Contains(out, "SUCCESS") {
		t.Errorf("promtool does not accept the rules:\n%s", out)
	}

	nats, at, prom := freeAddress(t), freeAddress(t), freeAddress(t)
	// An event whose subject is too short for the template becomes a fault and
	// a dead letter; the rate makes the pipeline wait.
	file := write("wasmill.toml", fmt.Sprintf(`
[server]
listen = %q
[admin]
listen = %q
[topics.events]
subjects = ["events.>"]
[topics.results]
subjects = ["results.>"]
[plugins.all]
builtin = "pass"
limits = { rate = "500/s" }
[pipelines.results]
from    = "events"
stages  = ["all"]
to      = "results"
subject = "results.{subject.3}"
`, nats, at))
	p := &victim{t: t, file: file, admin: "http://" + at, bin: bin}
	p.start()
	t.Cleanup(p.kill)
	config := write("prometheus.yml", fmt.Sprintf(`
global: { scrape_interval: 250ms, evaluation_interval: 250ms }
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: wasmill
    static_configs: [{ targets: [%q] }]
`, at))
	server := exec.CommandContext(t.Context(), "prometheus", "--config.file="+config, //nolint:gosec // Debian's
		"--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+prom, "--log.level=error")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })

	var good, bad strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&good, "{\"i\":%d}\n", i)
	}
	bad.WriteString("{}\n{}\n")
	load := []string{"topics", "publish", "events", "-c", file, "--file", write("good.ndjson", good.String()), "--subject", "events.a.b"}
	broken := []string{"topics", "publish", "events", "-c", file, "--file", write("bad.ndjson", bad.String()), "--subject", "events.a"}

	queries := dashboardQueries(t, bin)
	if len(queries) < 25 {
		t.Fatalf("the dashboard has only %d queries", len(queries))
	}
	deadline := time.Now().Add(2 * time.Minute)
	for len(queries) > 0 {
		// Rates need something that goes on.
		command(t, bin, load...)
		command(t, bin, broken...)
		for q := range queries {
			if hasData(t, prom, q) {
				delete(queries, q)
			}
		}
		if time.Now().After(deadline) {
			for q := range queries {
				t.Errorf("no data: %s", q)
			}
			return
		}
	}
}

// dashboardQueries returns the expressions of all panels, with Grafana's
// variables replaced as Grafana would for "All" and a range of some seconds.
func dashboardQueries(t *testing.T, bin string) map[string]bool {
	t.Helper()
	var board struct {
		Panels []struct {
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(command(t, bin, "grafana")), &board); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	all := strings.NewReplacer("$__rate_interval", "15s", "$job", ".*", "$instance", ".*", "$pipeline", ".*")
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			out[all.Replace(target.Expr)] = true
		}
	}
	return out
}

// hasData asks Prometheus for an expression; a value that is not a number is no data.
func hasData(t *testing.T, prom, expr string) bool {
	t.Helper()
	code, body, err := fetch("http://" + prom + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil || code == http.StatusServiceUnavailable {
		return false // it is still starting
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %d %s", expr, code, body)
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			return true
		}
	}
	return false
}
