package config

import (
	"fmt"
	"strings"
	"testing"
)

// What is in effect is listed with every default and without any secret.
func TestEffective(t *testing.T) {
	text := `
[server]
url = "nats://user:hidden1@nats.example:4222"
user = "u"
password = "env:NATS_PASSWORD"
[admin]
token = "file:token.txt"
[admin.tokens.grafana]
token = "env:GRAFANA"
role = "view"
[topics.a]
subjects = ["a.>"]
max_age = "7d"
[topics.b]
subjects = ["b.>"]
[plugins.p]
builtin = "pass"
grants = ["secret"]
[plugins.p.limits]
rate = "20/s"
[plugins.p.secrets]
key = "env:KEY"
[plugins.p.config]
db_password = "hidden2"
nested = { api_key = "hidden3", size = 3, list = [ { token = "hidden4" } ] }
[pipelines.x]
from = "a"
stages = ["p"]
to = "b"
subject = "b.{subject.2}"
[pipelines.x.outputs]
more = { topic = "b", subject = "b.more" }
`
	cfg, _ := Parse("x.toml", []byte(text), "pass")
	if cfg == nil {
		// Credentials in the URL may be refused; what is shown must be safe all the same.
		var findings Findings
		cfg, findings = Parse("x.toml", []byte(strings.Replace(text, "user:hidden1@", "", 1)), "pass")
		if cfg == nil {
			t.Fatal(findings)
		}
		cfg.Server.URL = "nats://user:hidden1@nats.example:4222"
	}
	var b strings.Builder
	for _, s := range cfg.Effective() {
		fmt.Fprintf(&b, "[%s]\n", s.Name)
		for _, k := range s.Keys {
			mark := ""
			if k.Default {
				mark = "  # default"
			}
			fmt.Fprintf(&b, "%s = %s%s\n", k.Key, k.Value, mark)
		}
	}
	got := b.String()
	for _, want := range []string{
		`url = "nats://nats.example:4222"`, `password = "env:NATS_PASSWORD"`, `token = "file:token.txt"`, `tokens.grafana.token = "env:GRAFANA"`, `tokens.grafana.role = "view"`,
		`subjects = ["a.>"]`, `max_age = "7d"`, `full = "drop-oldest"  # default`,
		`limits.rate = "20/s"`, `limits.memory = "64MiB"  # default`, `limits.max_in_flight = 4096  # default`,
		`secrets.key = "env:KEY"`, `config.db_password = "[secret]"`,
		`config.nested = { api_key = "[secret]", list = [{ token = "[secret]" }], size = 3 }`,
		"[pipelines.x]", `outputs.more.topic = "b"`, `batch.max_wait = "2ms"  # default`, `delivery = "at-least-once"  # default`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(got, "hidden") {
		t.Error("a secret is shown")
	}
	if t.Failed() {
		t.Log(got)
	}
}
