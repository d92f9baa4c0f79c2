package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const secretsTOML = `
[server]
listen = %q
[server.users.sensor]
password = "env:SENSOR_PASSWORD"
publish = ["in.>"]
[server.users.reader]
password = "file:reader.password"
subscribe = ["out"]
[admin]
listen = %q
token = "env:ADMIN_TOKEN"
[admin.tokens.grafana]
token = "file:grafana.token"
role = "view"
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out"]
[plugins.tell]
path = "tell.wasm"
grants = ["secret"]
secrets = { key = "env:PLUGIN_KEY" }
config = { api_token = "config-70c1e5", address = "example.org" }
[pipelines.p]
from = "in"
stages = ["tell"]
to = "out"
subject = "out"
retry = { attempts = 1 }
`

// Known secrets are put wherever secrets go, and then looked for wherever
// something is told: nothing that Wasmill says has one in it, also when a plugin
// tells its own by accident.
func TestSecretsAreNowhere(t *testing.T) {
	secrets := map[string]string{
		"ADMIN_TOKEN": "admin-9f3a61c4", "grafana.token": "grafana-52d7e0b8", "SENSOR_PASSWORD": "sensor-c81b3f07",
		"reader.password": "reader-1e6a94d2", "PLUGIN_KEY": "plugin-b7405ac9", "config": "config-70c1e5",
	}
	bin, dir := buildBinary(t), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath", "-o", filepath.Join(dir, "tell.wasm"), "./testdata/secrets/tell")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "wasmill.toml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wasmill.toml", fmt.Sprintf(secretsTOML, natsAddr, adminAddr))
	env := append(os.Environ(), "WASMILL_CACHE="+filepath.Join(dir, "cache"))
	for name, value := range secrets {
		if strings.Contains(name, ".") {
			write(name, value+"\n")
		} else {
			env = append(env, name+"="+value)
		}
	}
	told := map[string]string{} // what was said, by where
	var log strings.Builder
	run := exec.CommandContext(t.Context(), bin, "run", "--log-level", "debug", file)
	run.Env, run.Dir = env, dir
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = run.Process.Kill()
			_ = run.Wait()
		}
	}()
	cli := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env, cmd.Dir = env, dir
		out, _ := cmd.CombinedOutput() // also what it says of a failure
		told["wasmill "+strings.Join(args, " ")] = string(out)
		return string(out)
	}
	poll(t, time.Minute, "it is ready", func() bool { return strings.Contains(cli("status"), "running, ready") })

	nc, err := nats.Connect("nats://"+natsAddr, nats.UserInfo("sensor", secrets["SENSOR_PASSWORD"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, word := range []string{"panic", "fail", "refuse", "pass"} {
		if err := nc.Publish("in."+word, []byte(word)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect("nats://"+natsAddr, nats.UserInfo("sensor", secrets["reader.password"])); err == nil {
		nc.Close()
		t.Error("let in with the password of another")
	}
	poll(t, time.Minute, "three events are dead letters", func() bool { return strings.Count(cli("dlq", "list", "-o", "json"), `"cause"`) >= 3 })

	for _, args := range [][]string{
		{"status", "-o", "json"},
		{"validate"},
		{"plan"},
		{"apply"},
		{"topics", "list", "-o", "json"},
		{"pipelines", "show", "p", "-o", "json"},
		{"plugins", "list", "-o", "json"},
		{"plugins", "history", "tell", "-o", "json"},
		{"plugins", "inspect", "tell"},
		{"doctor"},
		{"dlq", "show", "1", "-o", "json"},
		{"dlq", "show", "2", "-o", "json"},
		{"dlq", "show", "3"},
		{"dlq", "show", "1", "--as-test"},
		{"topics", "tail", "dead-letters", "--from", "all", "--no-follow", "-o", "json"},
		{"audit", "list", "-o", "json"},
		{"status", "--token", "wrong"},
		{"pipelines", "pause", "p", "--token", secrets["grafana.token"]},
		{"schema"},
	} {
		cli(args...)
	}
	if !strings.Contains(told["wasmill dlq list -o json"], "the key is") || !strings.Contains(told["wasmill status -o json"], "tell") {
		t.Errorf("nothing was told at all: %s", told["wasmill dlq list -o json"])
	}
	for _, path := range []string{
		"/api/v1/status", "/api/v1/config", "/api/v1/topics", "/api/v1/pipelines/p", "/api/v1/plugins/tell", "/api/v1/dead-letters",
		"/api/v1/dead-letters/1", "/api/v1/session", "/metrics", "/healthz", "/readyz", "/", "/api/v1/topics/dead-letters/tail?from=all&follow=false",
	} {
		_, body, err := fetch("http://"+adminAddr+path, secrets["ADMIN_TOKEN"])
		if err != nil {
			t.Fatal(err)
		}
		told["GET "+path] = body
	}
	told["the stream of events"] = firstOf(t, "http://"+adminAddr+"/api/v1/events", secrets["ADMIN_TOKEN"])
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, &log)
	}
	ended = true
	told["the log"] = log.String()
	if !strings.Contains(log.String(), "opened with") || !strings.Contains(log.String(), "the key is") {
		t.Errorf("the plugin has told nothing, so this shows nothing:\n%s", &log)
	}
	for _, where := range slices.Sorted(maps.Keys(told)) {
		for name, value := range secrets {
			if strings.Contains(told[where], value) {
				t.Errorf("%s has the secret of %s:\n%s", where, name, told[where])
			}
		}
	}
}

// firstOf reads the beginning of a stream, until the plugin's lines are in it.
func firstOf(t *testing.T, url, token string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var got strings.Builder
	buf := make([]byte, 32<<10)
	for !strings.Contains(got.String(), "event: logs") || !strings.Contains(got.String(), "event: status") {
		n, err := res.Body.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return got.String()
}
