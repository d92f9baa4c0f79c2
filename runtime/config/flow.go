package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

func (v *validator) pipeline(name string, l Pipeline) {
	p := path{"pipelines", name}
	v.name(p, "a pipeline")
	if l.From == "" && v.missing(p.of("from")) {
		v.addKey(p.of("from"), CodeMissing, `the pipeline %q has no source: from = "TOPIC"`, name)
	} else {
		v.topicRef(p.of("from"), l.From)
	}
	v.stages(p, l)
	v.filters(p, l)
	v.outputs(p, l)
	if _, err := event.ParseKey(l.Key); err != nil {
		v.add(p.of("key"), CodeBadValue, "%v", err)
	}
	if l.Partitions > 1 && l.Key == "" && !v.bad(p.of("partitions"), p.of("key")) {
		v.add(p.of("partitions"), CodeConflict, "%d partitions need a key that divides the events: key = \"json:/id\"", l.Partitions)
	}
	if l.Delivery == "exactly-once" && v.c.Server.Durability == "async" && !v.bad(p.of("delivery"), path{"server", "durability"}) {
		v.add(p.of("delivery"), CodeConflict, `exactly-once is not possible with server.durability = "async": the server stores no atomic batches then; use "os" or "fsync"`)
	}
	if l.Start != "" && l.Start != "all" && l.Start != "new" {
		if _, err := time.Parse(time.RFC3339, string(l.Start)); err != nil {
			v.add(p.of("start"), CodeBadValue, `%s is %q; write "all", "new" or an RFC 3339 time`, p.of("start"), string(l.Start))
		}
	}
	if b, m := p.of("retry", "backoff"), p.of("retry", "max_backoff"); l.Retry.Backoff > l.Retry.MaxBackoff && !v.bad(b, m) {
		v.add(b, CodeConflict, "the first wait %s is longer than max_backoff %s", l.Retry.Backoff, l.Retry.MaxBackoff)
	}
}

// topicRef checks a reference to a topic and returns whether it is good.
func (v *validator) topicRef(p path, name string) bool {
	if v.bad(p) {
		return false
	}
	if _, ok := v.c.Topics[name]; ok {
		return true
	}
	v.add(p, CodeDangling, "there is no topic %q", name).suggest(name, slices.Collect(maps.Keys(v.c.Topics)))
	return false
}

func (v *validator) stages(p path, l Pipeline) {
	at := p.of("stages")
	if len(l.Stages) == 0 && !v.bad(at) {
		if v.missing(at) {
			v.addKey(at, CodeMissing, `the pipeline %q has no stages: stages = ["PLUGIN"]`, p[1])
		} else {
			v.add(at, CodeBadValue, `%s needs at least one plugin; a plugin with builtin = "pass" copies events`, at)
		}
	}
	for i, stage := range l.Stages {
		one := at.of(element(i))
		if v.bad(one) {
			continue
		}
		g, ok := v.c.Plugins[stage]
		if !ok {
			v.add(one, CodeDangling, "there is no plugin %q", stage).suggest(stage, slices.Collect(maps.Keys(v.c.Plugins)))
			continue
		}
		// Invariant A3: a batch must fit into what its plugins may hold.
		limits := path{"plugins", stage, "limits"}
		if b := p.of("batch", "max_events"); l.Batch.MaxEvents > g.Limits.MaxInFlight && !v.bad(b, limits.of("max_in_flight")) {
			v.add(b, CodeConflict, "batches of %d events cannot be filled: the plugin %q has max_in_flight %d",
				l.Batch.MaxEvents, stage, g.Limits.MaxInFlight)
		}
		if b := p.of("batch", "max_bytes"); l.Batch.MaxBytes > g.Limits.MaxInFlightBytes && !v.bad(b, limits.of("max_in_flight_bytes")) {
			v.add(b, CodeConflict, "batches of %s cannot be filled: the plugin %q has max_in_flight_bytes %s",
				l.Batch.MaxBytes, stage, g.Limits.MaxInFlightBytes)
		}
	}
}

func (v *validator) filters(p path, l Pipeline) {
	source, known := v.c.Topics[l.From]
	for i, f := range l.Filter {
		at := p.of("filter", element(i))
		if v.bad(at) {
			continue
		}
		if err := event.CheckFilter(f); err != nil {
			v.add(at, CodeBadSubject, "%v", err)
			continue
		}
		if known && v.sound(l.From) && !overlapsAny(f, source.Subjects) {
			v.add(at, CodeOutside, "filter %q selects nothing: the topic %q stores %s", f, l.From, orList(source.Subjects))
		}
		for j, earlier := range l.Filter[:i] {
			if !v.bad(p.of("filter", element(j))) && (event.Contains(earlier, f) || event.Contains(f, earlier)) {
				v.add(at, CodeOverlap, "filter %q overlaps %q; keep the wider one", f, earlier)
			}
		}
	}
}

// sound reports whether the subjects of a topic have no finding.
func (v *validator) sound(topic string) bool {
	p := path{"topics", topic, "subjects"}
	if v.bad(p) || len(v.c.Topics[topic].Subjects) == 0 {
		return false
	}
	for i := range v.c.Topics[topic].Subjects {
		if v.bad(p.of(element(i))) {
			return false
		}
	}
	return true
}

func (v *validator) outputs(p path, l Pipeline) {
	to := p.of("to")
	switch {
	case l.To != "" || !v.missing(to):
		if v.output(to, l.To) {
			v.subject(p, l, true, p.of("subject"), l.To, l.Subject)
		}
	case len(l.Outputs) == 0 && !v.bad(p.of("outputs")):
		v.addKey(to, CodeMissing, `the pipeline %q has no output: to = "TOPIC"`, p[1])
	}
	if l.Subject != "" && l.To == "" && v.missing(to) {
		v.addKey(p.of("subject"), CodeConflict, "%s is of the default output, which needs to = \"TOPIC\"", p.of("subject"))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Outputs)) {
		o, at := l.Outputs[name], p.of("outputs", name)
		v.name(at, "an output")
		if name == "default" {
			v.addKey(at, CodeReserved, `the output "default" is the one that to = "TOPIC" names`)
			continue
		}
		topic := at.of("topic")
		if !v.index.has(topic...) {
			topic = at // the short form
		}
		if o.Topic == "" && !v.bad(topic, at) {
			v.add(topic, CodeMissing, "the output %q names no topic", name)
			continue
		}
		if v.output(topic, o.Topic) {
			v.subject(p, l, false, at.of("subject"), o.Topic, o.Subject)
		}
	}
}

// output checks the topic that an output goes to.
func (v *validator) output(p path, topic string) bool {
	if !v.topicRef(p, topic) {
		return false
	}
	if topic == DeadLetters {
		v.add(p, CodeReserved, "only the runtime writes to the topic %s; a plugin sends an event there by its outcome", DeadLetters)
		return false
	}
	if topic == Audit {
		v.add(p, CodeReserved, "only the runtime writes to the topic %s", Audit)
		return false
	}
	return true
}

// subject checks that what an output is called lies in its topic.
func (v *validator) subject(p path, l Pipeline, byDefault bool, at path, topic, subject string) {
	if v.bad(at) || !v.sound(topic) {
		return
	}
	t, err := event.ParseTemplate(subject)
	if err != nil {
		v.add(at, CodeBadSubject, "%v", err)
		return
	}
	stored := v.c.Topics[topic].Subjects
	if !t.None() {
		switch pattern := t.Pattern(); {
		case !overlapsAny(pattern, stored):
			v.add(at, CodeOutside, "subject %q is outside the topic %q, which stores %s", subject, topic, orList(stored))
		case !containedInAny(pattern, stored):
			v.warn(at, CodeOutside, "some events may get a subject that the topic %q, which stores %s, refuses", topic, orList(stored))
		}
		return
	}
	// A named output's plugin may give every event a subject; the default
	// output is for those that have none of their own.
	if _, ok := v.c.Topics[l.From]; !byDefault || !ok || !v.sound(l.From) || v.names(l) {
		return
	}
	for _, s := range v.reads(l) {
		if overlapsAny(s, stored) {
			return
		}
	}
	v.addKey(p.of("to"), CodeOutside, "events would keep their subject, which the topic %q does not store: add subject = %q",
		topic, exampleSubject(stored[0]))
}

// names reports whether the pipeline's last stage gives every event a subject of
// its own: the ready-made plugin map does, when it is told one.
func (v *validator) names(l Pipeline) bool {
	if len(l.Stages) == 0 {
		return false
	}
	last := v.c.Plugins[l.Stages[len(l.Stages)-1]]
	subject, ok := last.Config["subject"].(string)
	return last.Builtin == "map" && ok && subject != ""
}

// exampleSubject is a subject template that fits into a topic's subject.
func exampleSubject(stored string) string {
	tokens := strings.Split(stored, ".")
	for i, t := range tokens {
		if t == "*" || t == ">" {
			tokens[i] = fmt.Sprintf("{subject.%d}", i+1)
		}
	}
	return strings.Join(tokens, ".")
}

// reads returns the subjects that a pipeline reads.
func (v *validator) reads(l Pipeline) []string {
	if len(l.Filter) > 0 {
		return l.Filter
	}
	return v.c.Topics[l.From].Subjects
}

func overlapsAny(s string, subjects []string) bool {
	return slices.ContainsFunc(subjects, func(t string) bool { return event.Overlap(s, t) })
}

func containedInAny(s string, subjects []string) bool {
	return slices.ContainsFunc(subjects, func(t string) bool { return event.Contains(t, s) })
}

// writes returns, by topic, the subjects that a pipeline publishes to as far as
// the configuration says: those of its outputs, and its dead letters. Subjects
// that a plugin gives itself cannot be known here; the pipeline refuses at run
// time those that its own input would select.
func (v *validator) writes(name string, l Pipeline) map[string][]string {
	out := map[string][]string{}
	add := func(topic, subject string) {
		t, err := event.ParseTemplate(subject)
		if _, ok := v.c.Topics[topic]; !ok || err != nil {
			return
		}
		if !t.None() {
			out[topic] = append(out[topic], t.Pattern())
			return
		}
		for _, s := range v.reads(l) {
			if overlapsAny(s, v.c.Topics[topic].Subjects) {
				out[topic] = append(out[topic], s)
			}
		}
	}
	add(l.To, l.Subject)
	for _, o := range l.Outputs {
		add(o.Topic, o.Subject)
	}
	if l.OnFailure == "dead-letter" {
		out[DeadLetters] = append(out[DeadLetters], "wasmill.dead."+name+".*")
	}
	return out
}

// loops finds pipelines whose outputs reach their own input, also over others.
// One that says loop = true breaks every circle it is in. Each circle is
// reported once, at the first pipeline in the text that is in it.
func (v *validator) loops() {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(v.c.Pipelines)) {
		if !v.c.Pipelines[name].Loop {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		la, _ := v.index.atKey(path{"pipelines", a})
		lb, _ := v.index.atKey(path{"pipelines", b})
		return la - lb
	})
	next := make(map[string][]string, len(names))
	for _, from := range names {
		writes := v.writes(from, v.c.Pipelines[from])
		for _, to := range names {
			reader := v.c.Pipelines[to]
			for _, s := range writes[reader.From] {
				if overlapsAny(s, v.reads(reader)) {
					next[from] = append(next[from], to)
					break
				}
			}
		}
	}
	told := map[string]bool{}
	for _, name := range names {
		circle := shortestCircle(next, name)
		members := strings.Join(slices.Sorted(slices.Values(circle)), " ")
		if circle == nil || told[members] {
			continue
		}
		told[members] = true
		p := path{"pipelines", name}
		if len(circle) == 1 {
			v.addKey(p, CodeLoop, "the outputs of the pipeline %q reach its own input; if that is meant, say loop = true", name)
			continue
		}
		v.addKey(p, CodeLoop, "events go round: %s; if that is meant, say loop = true in one of them",
			strings.Join(append(circle, name), " → "))
	}
}

// shortestCircle returns the nodes of a shortest way from start back to it.
func shortestCircle(next map[string][]string, start string) []string {
	came := map[string]string{}
	queue := []string{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, n := range next[at] {
			if n == start {
				circle := []string{at}
				for at != start {
					at = came[at]
					circle = append(circle, at)
				}
				slices.Reverse(circle)
				return circle
			}
			if _, seen := came[n]; !seen {
				came[n] = at
				queue = append(queue, n)
			}
		}
	}
	return nil
}
