package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/runtime/trace/tracetest"
)

const tracingTOML = `
[server]
listen = %q
[admin]
listen = %q
[tracing]
endpoint = %q
headers = { Authorization = "file:otlp.secret" }
sample_ratio = 0
service_name = "mill"
[topics.quakes]
subjects = ["quakes.>"]
[topics.checked]
subjects = ["checked.>"]
[topics.alerts]
subjects = ["alerts.>"]
[plugins.pass]
builtin = "pass"
[plugins.strong]
builtin = "filter"
[plugins.strong.config]
where = "payload.mag >= 4.5"
[pipelines.check]
from = "quakes"
stages = ["pass", "strong"]
to = "checked"
subject = "checked.{subject.2}"
[pipelines.alert]
from = "checked"
stages = ["pass"]
to = "alerts"
subject = "alerts.{subject.2}"
`

// A trace that an application begins over NATS goes through two stages, over a
// topic, through another pipeline, and is on the output and at the receiver.
func TestTracesGoFromTopicToTopic(t *testing.T) {
	rcv := tracetest.New()
	defer rcv.Close()
	dir := t.TempDir()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, tracingTOML, natsAddr, adminAddr, rcv.URL()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "otlp.secret"), []byte("Bearer abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t)}
	p.start()
	nc, err := nats.Connect("nats://" + natsAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	alerts, err := nc.SubscribeSync("alerts.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	publish := func(payload string, headers nats.Header) {
		t.Helper()
		if _, err := nc.RequestMsg(&nats.Msg{Subject: "quakes.us", Data: []byte(payload), Header: headers}, 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	publish(`{"mag":5}`, nil)
	publish(`{"mag":6}`, nats.Header{"traceparent": {"00-" + trace + "-" + span + "-01"}, "tracestate": {"vendor=1"}})

	var traced *nats.Msg
	for traced == nil {
		m, err := alerts.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == `{"mag":6}` {
			traced = m
		} else if len(m.Header["traceparent"]) > 0 {
			t.Errorf("an event that is not traced got %v", m.Header)
		}
	}
	parent := traced.Header["traceparent"]
	if len(parent) != 1 || !strings.HasPrefix(parent[0], "00-"+trace+"-") || strings.Contains(parent[0], span) || traced.Header["tracestate"][0] != "vendor=1" {
		t.Fatalf("the output bears %v", traced.Header)
	}

	poll(t, 30*time.Second, "the spans of both pipelines arrive", func() bool { return len(rcv.Spans()) >= 7 })
	byName := map[string]tracetest.Span{}
	for _, s := range rcv.Spans() {
		if s.Trace != trace || s.Failed || s.Resource["service.name"] != "mill" {
			t.Errorf("span %+v", s)
		}
		name := s.Name
		if _, twice := byName[name]; twice && name == "stage pass" { // each pipeline has one
			name += " again"
		}
		byName[name] = s
	}
	if len(byName) != 7 {
		t.Fatalf("spans: %+v", byName)
	}
	for child, of := range map[string]string{
		"stage strong": "process quakes", "publish checked": "process quakes",
		"process checked": "publish checked", "publish alerts": "process checked",
	} {
		if byName[child].Parent != byName[of].ID || byName[of].ID == "" {
			t.Errorf("%s is not below %s: %+v", child, of, byName)
		}
	}
	if byName["process quakes"].Parent != span {
		t.Errorf("the first span does not continue what came: %+v", byName["process quakes"])
	}
	if want := "00-" + trace + "-" + byName["publish alerts"].ID + "-01"; parent[0] != want {
		t.Errorf("the output bears %q, want the span that published it: %q", parent[0], want)
	}
	if got := rcv.Headers()[0].Get("Authorization"); got != "Bearer abc" {
		t.Errorf("Authorization: %q", got)
	}

	poll(t, 30*time.Second, "latencies have the trace as an exemplar", func() bool {
		metrics := openMetrics(t, p.admin+"/metrics")
		return strings.Contains(metrics, `# {trace_id="`+trace+`"}`) && strings.Contains(metrics, `wasmill_traces_total{result="sent"} 2`)
	})
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v\n%s", err, p.log)
	}
}

func openMetrics(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
