package webhooks_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

// Every message of every topic is what a second computation, in plain Go on
// decoded JSON, says; and nothing of what is private is in any of them.
func TestEveryOutput(t *testing.T) {
	lines := exampletest.Lines(t, "webhooks.ndjson")
	want := map[string][]message{}
	pushes := 0
	for _, line := range lines {
		kind, payload := clean(t, line)
		want["events"] = append(want["events"], message{"events." + kind, payload})
		for topic := range receivers(kind, payload) {
			want[topic] = append(want[topic], message{topic + "." + kind, payload})
		}
		if kind == "push" {
			pushes++
			want["commits"] = append(want["commits"], commits(payload)...)
		}
	}
	for _, topic := range []string{"chat", "ci", "security", "commits"} {
		if len(want[topic]) == 0 {
			t.Errorf("nothing is expected in %s", topic)
		}
	}

	e := exampletest.Start(t)
	t.Run("its cases pass", e.Cases)
	e.Publish(t, "hooks", "hooks.in", lines, "Authorization", "Bearer s3cret", "X-Hub-Signature-256", "sha256=ab", "X-GitHub-Delivery", "72d3162e")
	e.Await(t, map[string]int{"clean": len(lines), "fan-out": len(lines), "commits": pushes})

	for topic, messages := range want {
		t.Run("topic "+topic, func(t *testing.T) {
			var got []message
			for _, m := range e.Messages(t, topic) {
				var payload any
				if err := json.Unmarshal([]byte(m.Payload), &payload); err != nil {
					t.Fatal(err)
				}
				got = append(got, message{m.Subject, payload})
			}
			if diff := cmp.Diff(messages, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
		t.Run("nothing private is in "+topic, func(t *testing.T) {
			for _, m := range e.Read(t, topic) {
				for _, private := range []string{"@users.noreply", "gravatar_id", "node_id", "s3cret"} {
					if strings.Contains(m.Payload, private) {
						t.Errorf("%s has %s: %s", m.Subject, private, m.Payload)
					}
				}
				headers := maps.Clone(m.Headers)
				maps.DeleteFunc(headers, func(name string, _ []string) bool {
					return strings.HasPrefix(name, "Wasmill-") || strings.HasPrefix(name, "Nats-")
				})
				if diff := cmp.Diff(map[string][]string{"Authorization": {"***"}, "X-GitHub-Delivery": {"72d3162e"}}, headers); diff != "" {
					t.Errorf("%s (-want +got)\n%s", m.Subject, diff)
				}
			}
		})
	}
}

// message is what a topic should hold, as decoded JSON.
type message struct {
	Subject string
	Payload any
}

// clean returns the kind of a webhook and its payload without what is private.
func clean(t *testing.T, line []byte) (kind string, payload object) {
	t.Helper()
	var hook struct {
		Event   string
		Payload object
	}
	if err := json.NewDecoder(bytes.NewReader(line)).Decode(&hook); err != nil {
		t.Fatal(err)
	}
	return hook.Event, redacted(hook.Payload).(object)
}

var address = regexp.MustCompile(`[\w.+-]+@users\.noreply\.[\w.-]+`)

func redacted(v any) any {
	switch v := v.(type) {
	case object:
		delete(v, "gravatar_id")
		delete(v, "node_id")
		for name, member := range v {
			if text, ok := member.(string); ok && name == "email" {
				mac := hmac.New(sha256.New, []byte("an example's salt"))
				mac.Write([]byte(text))
				v[name] = hex.EncodeToString(mac.Sum(nil))
				continue
			}
			v[name] = redacted(member)
		}
	case []any:
		for i := range v {
			v[i] = redacted(v[i])
		}
	case string:
		return address.ReplaceAllString(v, "***")
	}
	return v
}

// receivers returns the topics that an event goes to.
func receivers(kind string, payload object) map[string]bool {
	to := map[string]bool{}
	action, _ := payload["action"].(string)
	switch kind {
	case "issues", "issue_comment", "release", "star":
		to["chat"] = true
	case "pull_request":
		if slices.Contains([]string{"opened", "synchronize", "reopened"}, action) {
			to["ci"] = true
		}
	case "push":
		if payload["deleted"] != true {
			to["ci"] = true
		}
	case "security_advisory", "member":
		to["security"] = true
	}
	if issue, ok := payload["issue"].(object); ok {
		labels, _ := issue["labels"].([]any)
		for _, l := range labels {
			if l.(object)["name"] == "bug" {
				to["security"] = true
			}
		}
	}
	return to
}

// commits returns the events that become of a push.
func commits(push object) []message {
	repository := push["repository"].(object)["full_name"].(string)
	_, name, _ := strings.Cut(strings.ToLower(repository), "/")
	var all []message
	for _, c := range push["commits"].([]any) {
		c := c.(object)
		title, _, _ := strings.Cut(c["message"].(string), "\n")
		changed := 0
		for _, list := range []string{"added", "removed", "modified"} {
			changed += len(c[list].([]any))
		}
		all = append(all, message{"commits." + name, object{
			"id": c["id"].(string)[:10], "branch": strings.TrimPrefix(push["ref"].(string), "refs/heads/"),
			"author": c["author"].(object)["email"], "title": title, "changed": float64(changed),
		}})
	}
	return all
}
