package cases

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/sdk/abi"
)

func (p *parser) head(o *object) Head {
	p.keys(o, "case", "plugin", "pipeline", "module", "config", "secrets", "grants", "outputs", "plugins", "now")
	var h Head
	targets := 0
	for _, f := range []struct {
		key string
		to  *string
	}{{"plugin", &h.Plugin}, {"pipeline", &h.Pipeline}, {"module", &h.Module}} {
		m := o.member(f.key)
		if m == nil {
			continue
		}
		p.text(m, f.to)
		if targets++; targets > 1 {
			p.fail(m.at, config.CodeConflict, "a case runs one of plugin, pipeline and module")
		}
	}
	if m := o.member("case"); m != nil {
		p.text(m, &h.About)
	}
	h.Setting = p.setting(o)
	if m := o.member("grants"); m != nil {
		p.decode(m, &h.Grants, "a list of grants")
		if h.Grants == nil {
			h.Grants = []string{}
		}
		all := []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret}
		for _, g := range h.Grants {
			if !slices.Contains(all, g) {
				p.fail(m.value, config.CodeBadValue, "there is no grant %q; there are %s", g, strings.Join(all, ", ")).Suggestion = config.Nearest(g, all)
			}
		}
	}
	if m := o.member("outputs"); m != nil {
		p.decode(m, &h.Outputs, "a list of names of outputs")
		if h.Outputs == nil {
			h.Outputs = []string{}
		}
		h.Outputs = slices.DeleteFunc(h.Outputs, func(s string) bool { return s == defaultOutput })
	}
	if m := o.member("plugins"); m != nil {
		h.Plugins = map[string]Setting{}
		p.each(m, func(m *member) {
			one := object{span: span{m.value, m.value + len(m.raw)}}
			if m.raw[0] != '{' {
				p.fail(m.value, config.CodeWrongType, "plugins.%s: want an object with config and secrets", m.key)
				return
			}
			one.members = members(m.raw, m.value)
			p.keys(&one, "config", "secrets")
			h.Plugins[m.key] = p.setting(&one)
		})
	}
	h.Now = p.time(o, "now")
	for _, key := range []string{"config", "secrets", "grants", "outputs"} {
		if m := o.member(key); m != nil && h.Pipeline != "" {
			p.fail(m.at, config.CodeConflict, "%s is a plugin's; in the case of a pipeline write \"plugins\": {\"NAME\": {\"config\": {}, \"secrets\": {}}}", key)
		}
	}
	if m := o.member("plugins"); m != nil && h.Pipeline == "" {
		p.fail(m.at, config.CodeConflict, "plugins is for the case of a pipeline; write config and secrets themselves")
	}
	return h
}

func (p *parser) setting(o *object) (s Setting) {
	if m := o.member("config"); m != nil {
		if m.raw[0] != '{' {
			p.fail(m.value, config.CodeWrongType, "config is %s; want an object, as in [plugins.NAME.config]", jsonType(m.raw))
		}
		s.Config = m.raw
	}
	if m := o.member("secrets"); m != nil {
		p.decode(m, &s.Secrets, "an object of names and values")
		if s.Secrets == nil {
			s.Secrets = map[string]string{}
		}
	}
	return s
}

// eventKeys are those of an event, in the order in which they are written.
var eventKeys = []string{"subject", "key", "headers", "time", "now", "seq", "attempt", "payload", "text", "base64"}

func (p *parser) event(o *object) (e Event) {
	for i := range o.members {
		p.known(&o.members[i], eventKeys, append(kinds[:len(kinds):len(kinds)], eventKeys...))
	}
	if len(o.members) == 0 {
		p.fail(o.start, config.CodeMissing, "an event has at least a payload")
	}
	p.message(o, &e.Subject, &e.Key, &e.Headers, &e.Payload)
	e.Time, e.Now = p.time(o, "time"), p.time(o, "now")
	if m := o.member("seq"); m != nil {
		p.decode(m, &e.Seq, "a number of at least 1")
	}
	if m := o.member("attempt"); m != nil {
		if p.decode(m, &e.Attempt, "a number of at least 1"); e.Attempt < 1 {
			p.fail(m.value, config.CodeOutOfRange, "attempt is %s; the least is 1", clip(m.raw))
		}
	}
	return e
}

func (p *parser) output(o *object) Line {
	p.keys(o, "output", "subject", "key", "headers", "payload", "text", "base64")
	l := Line{Kind: LineOutput}
	p.text(o.member("output"), &l.Output)
	p.message(o, &l.Subject, &l.Key, &l.Headers, &l.Payload)
	return l
}

// outcomes are what may stand behind "outcome".
var outcomes = []string{outcomeDrop, outcomeRetry, outcomeDeadLetter, outcomeHalt, outcomeRefused}

func (p *parser) outcome(o *object, in StepKind) Line {
	p.keys(o, "outcome", "delay", "stage", "fault", "reason")
	l := Line{Kind: LineOutcome}
	m := o.member("outcome")
	p.text(m, &l.Outcome)
	p.optional(o, "reason", &l.Reason)
	p.optional(o, "stage", &l.Stage)
	p.optional(o, "fault", &l.Fault)
	if !slices.Contains(outcomes, l.Outcome) {
		p.fail(m.value, config.CodeBadValue, "outcome is %s; it can be %s", clip(m.raw), strings.Join(outcomes, ", ")).Suggestion = config.Nearest(l.Outcome, outcomes)
	} else if (l.Outcome == outcomeRefused) != (in == StepOpen) {
		p.fail(m.value, config.CodeConflict, `"refused" stands below the head, before the first event; the other outcomes below an event`)
	}
	if d := o.member("delay"); d != nil {
		var s string
		p.text(d, &s)
		v, err := time.ParseDuration(s)
		if err != nil || v < 0 {
			p.fail(d.value, config.CodeBadValue, `delay is %s; want a duration such as "500ms"`, clip(d.raw))
		}
		l.Delay = v
	}
	return l
}

func (p *parser) fault(o *object) Line {
	p.keys(o, "fault", "reason")
	l := Line{Kind: LineFault}
	m := o.member("fault")
	p.text(m, &l.Fault)
	p.optional(o, "reason", &l.Reason)
	all := []string{abi.FaultTrap, abi.FaultDeadline, abi.FaultOutOfMemory, abi.FaultBadResponse, abi.FaultGuestError}
	if !slices.Contains(all, l.Fault) {
		p.fail(m.value, config.CodeBadValue, "fault is %s; it can be %s", clip(m.raw), strings.Join(all, ", ")).Suggestion = config.Nearest(l.Fault, all)
	}
	return l
}

func (p *parser) log(o *object) Line {
	p.keys(o, "log", "level")
	l := Line{Kind: LineLog}
	p.text(o.member("log"), &l.Log)
	if m := o.member("level"); m != nil {
		p.text(m, &l.Level)
		if all := []string{"debug", "info", "warn", "error"}; !slices.Contains(all, l.Level) {
			p.fail(m.value, config.CodeBadValue, "level is %s; it can be %s", clip(m.raw), strings.Join(all, ", ")).Suggestion = config.Nearest(l.Level, all)
		}
	}
	return l
}

// message reads what events and outputs have in common.
func (p *parser) message(o *object, subject, key *string, headers *[]Header, payload *[]byte) {
	p.optional(o, "subject", subject)
	p.optional(o, "key", key)
	if m := o.member("headers"); m != nil {
		*headers = p.headers(m)
	}
	given := 0
	for _, kind := range []string{"payload", "text", "base64"} {
		m := o.member(kind)
		if m == nil {
			continue
		}
		if given++; given > 1 {
			p.fail(m.at, config.CodeConflict, "a message has one of payload, text and base64")
			continue
		}
		switch kind {
		case "payload":
			*payload = m.raw
		case "text":
			var s string
			p.text(m, &s)
			*payload = []byte(s)
		case "base64":
			var s string
			p.text(m, &s)
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				p.fail(m.value, config.CodeBadValue, "base64: %v", err)
			}
			*payload = b
		}
	}
	if bytes.ContainsRune(*payload, '\n') && o.member("payload") != nil {
		var one bytes.Buffer // written over several lines to be read; the event is what it would be in one
		if json.Compact(&one, *payload) == nil {
			*payload = one.Bytes()
		}
	}
}

// headers reads {"A": "1"} or, where order or a name that is there twice
// matters, [["A", "1"], ["A", "2"]].
func (p *parser) headers(m *member) []Header {
	out := []Header{}
	if m.raw[0] == '{' {
		p.each(m, func(m *member) {
			var h Header
			h.Name = m.key
			p.text(m, &h.Value)
			out = append(out, h)
		})
		return out
	}
	var pairs [][2]string
	p.decode(m, &pairs, `an object {"Name": "value"}, or a list of pairs [["Name", "value"]]`)
	for _, h := range pairs {
		out = append(out, Header{h[0], h[1]})
	}
	return out
}

// each calls f for the keys of an object, each once.
func (p *parser) each(m *member, f func(*member)) {
	if m.raw[0] != '{' {
		p.fail(m.value, config.CodeWrongType, "%s is %s; want an object", m.key, jsonType(m.raw))
		return
	}
	seen := map[string]bool{}
	for _, one := range members(m.raw, m.value) {
		if seen[one.key] {
			p.fail(one.at, config.CodeConflict, "the key %q is there twice", one.key)
			continue
		}
		seen[one.key] = true
		f(&one)
	}
}

func (p *parser) optional(o *object, key string, to *string) {
	if m := o.member(key); m != nil {
		p.text(m, to)
	}
}

func (p *parser) text(m *member, to *string) { p.decode(m, to, "a string") }

func (p *parser) decode(m *member, to any, want string) {
	if err := json.Unmarshal(m.raw, to); err != nil || string(m.raw) == "null" {
		p.fail(m.value, config.CodeWrongType, "%s is %s; want %s", m.key, jsonType(m.raw), want)
	}
}

func (p *parser) time(o *object, key string) time.Time {
	m := o.member(key)
	if m == nil {
		return time.Time{}
	}
	var s string
	p.text(m, &s)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil && s != "" {
		p.fail(m.value, config.CodeBadValue, `%s is %s; want an RFC 3339 time such as "2026-01-31T12:00:00Z"`, key, clip(m.raw))
	}
	return t
}

func jsonType(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
