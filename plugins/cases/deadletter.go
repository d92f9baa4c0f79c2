package cases

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// FromDeadLetter writes the case of an event that was given up, with the
// configuration that the plan has for what it failed in. Nothing is expected of
// the event yet, so that a run of the case shows the failure again.
//
// A dead letter holds the event that the pipeline read. Where the stage at fault
// got it as it was, the case is about that plugin; else about the pipeline.
func FromDeadLetter(p *plan.Plan, d status.DeadLetter) ([]byte, error) {
	l := p.Pipeline(d.Pipeline)
	if l == nil {
		return nil, fmt.Errorf("there is no pipeline %q in %s any more", d.Pipeline, p.File)
	}
	head := []string{`{"case":` + string(marshal(fmt.Sprintf("dead letter %d: %s", d.ID, d.Cause)))}
	note := ""
	if l.StageNames()[0] == d.Stage && d.Fault != abi.FaultRefusedSubject {
		g := p.Plugin(l.Stages[0])
		setting, hint := settingOf(g)
		head, note = append(head, `"plugin":`+string(marshal(g.Name))), hint
		if setting != "" {
			head = append(head, setting)
		}
	} else {
		var plugins []string
		for _, name := range slices.Compact(slices.Sorted(slices.Values(l.Stages))) {
			setting, hint := settingOf(p.Plugin(name))
			note += hint
			if setting != "" {
				plugins = append(plugins, string(marshal(name))+":{"+setting+"}")
			}
		}
		head = append(head, `"pipeline":`+string(marshal(l.Name)))
		if plugins != nil {
			head = append(head, `"plugins":{`+strings.Join(plugins, ",")+"}")
		}
	}
	e := Event{Subject: d.SourceSubject, Payload: []byte(d.Payload)}
	if len(d.Base64) > 0 {
		e.Payload = d.Base64
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		for _, v := range d.Headers[name] {
			e.Headers = append(e.Headers, Header{name, v})
		}
	}
	attempts := "1 attempt"
	if d.Attempts != 1 {
		attempts = fmt.Sprintf("%d attempts", d.Attempts)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Sequence %d of topic %s, given up in stage %s of pipeline %s after %s: %s\n",
		d.SourceSeq, d.SourceTopic, d.Stage, d.Pipeline, attempts, d.Fault)
	fmt.Fprintf(&out, "# A run shows the failure again. Write below the event what should come of it instead.\n%s", note)
	fmt.Fprintf(&out, "%s}\n\n%s\n", strings.Join(head, ","), e.exactJSON())
	return out.Bytes(), nil
}

// settingOf is the configuration of a plugin as a case has it, without braces.
func settingOf(g *plan.Plugin) (setting, hint string) {
	var parts []string
	if len(g.Config) > 0 && string(g.Config) != "{}" {
		parts = append(parts, `"config":`+string(g.Config))
	}
	if len(g.Secrets) > 0 {
		values := map[string]string{}
		for name := range g.Secrets {
			values[name] = "test"
		}
		parts = append(parts, `"secrets":`+string(marshal(values)))
		hint = fmt.Sprintf("# The secrets of plugin %s are not the real ones.\n", g.Name)
	}
	return strings.Join(parts, ","), hint
}

// exactJSON is JSON with a payload that is the same byte for byte when it is
// read: JSON as it is, unless a line break in it keeps it from being one line.
func (e Event) exactJSON() []byte {
	w := written{}
	w.message("", "", nil, e.Payload)
	if w.Payload == nil {
		return e.JSON()
	}
	payload := append([]byte(`"payload":`), e.Payload...)
	if bytes.ContainsAny(e.Payload, "\r\n") {
		payload = append([]byte(`"text":`), marshal(string(e.Payload))...)
	}
	e.Payload = nil
	out := bytes.TrimSuffix(e.JSON(), []byte("}"))
	if len(out) > 1 {
		out = append(out, ',')
	}
	return append(append(out, payload...), '}')
}
