package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// What became of an event, as rows name it.
const (
	outcomeEmitted      = event.OutcomeEmitted
	outcomeDropped      = event.OutcomeDropped
	outcomeRetried      = event.OutcomeRetried
	outcomeDeadLettered = event.OutcomeDeadLettered
)

// samplesShown is how many events are run again after each change.
const samplesShown = 10

// sampleFile is where events are taken from when a topic has none.
const sampleFile = "events.ndjson"

// player runs sample events through pipelines, in memory, whenever these have
// changed, and knows what came the last time.
type player struct {
	d      *dev
	before map[string]map[string]row // by pipeline and event
	state  string                    // of plan and modules, the last time
}

// play runs the samples of every pipeline and shows what has changed; the first
// time, everything. It does nothing when plan and modules are those of the last
// time: one change may be told of in several steps.
func (p *player) play(ctx context.Context) {
	pl := p.d.in.engine.Plan()
	state := stateOf(pl)
	if state == p.state {
		return
	}
	p.state = state
	shown := false
	same := "" // of the pipelines of which nothing has changed, as it is told
	pipelines := 0
	p.each(ctx, pl, func(r *cases.Runner, l *plan.Pipeline, events []cases.Event, origin string) error {
		told, err := p.pipeline(ctx, r, pl, l, events, origin)
		shown = shown || told
		if !told && err == nil {
			same = l.Name + ": " + origin
			pipelines++
		}
		return err
	})
	if pipelines > 1 {
		same = plural(pipelines, "pipeline")
	}
	if !shown && same != "" {
		p.d.screen.say(cyan, "%s, run again: nothing has changed%s", same, p.d.sinceSave())
	}
}

// stateOf tells a plan and its modules from others.
func stateOf(pl *plan.Plan) string {
	var b strings.Builder
	b.WriteString(pl.Hash)
	for i := range pl.Plugins {
		if path := pl.Plugins[i].Path; path != "" {
			fmt.Fprintf(&b, " %x", digestOfFile(path))
		}
	}
	return b.String()
}

// remember runs the samples that have come since, for what the next change will
// be compared with. It shows nothing.
func (p *player) remember(ctx context.Context) {
	pl := p.d.in.engine.Plan()
	if stateOf(pl) != p.state {
		return // a change is under way, and would be taken for what was before
	}
	p.each(ctx, pl, func(r *cases.Runner, l *plan.Pipeline, events []cases.Event, _ string) error {
		played, err := r.Play(ctx, pl, l.Name, events)
		if err != nil {
			return nil //nolint:nilerr // it will be said when it matters
		}
		known := p.before[l.Name]
		if known == nil {
			known = map[string]row{}
			p.before[l.Name] = known
		}
		for i := range events {
			if key := string(events[i].JSON()); known[key].Where == "" {
				known[key] = playedRow(l, &events[i], &played[i])
			}
		}
		return nil
	})
}

// each calls f for every pipeline that has samples, with them and where they are from.
func (p *player) each(ctx context.Context, pl *plan.Plan, f func(r *cases.Runner, l *plan.Pipeline, events []cases.Event, origin string) error) {
	r := cases.New(cases.Options{Host: p.d.in.host, Builtins: p.d.a.builtins})
	defer func() { _ = r.Close(context.WithoutCancel(ctx)) }() // a module that is still used stays
	for i := range pl.Pipelines {
		l := &pl.Pipelines[i]
		events, origin, err := p.samples(ctx, pl, l)
		if err == nil && len(events) > 0 {
			err = f(r, l, events, origin)
		}
		if err != nil && ctx.Err() == nil {
			p.d.screen.say(red, "%s: %v", l.Name, err)
		}
	}
}

// pipeline runs the samples of one pipeline, and says whether there was anything
// to show.
func (p *player) pipeline(ctx context.Context, r *cases.Runner, pl *plan.Plan, l *plan.Pipeline, events []cases.Event, origin string) (told bool, err error) {
	played, err := r.Play(ctx, pl, l.Name, events)
	if err != nil {
		return false, err
	}
	known := p.before[l.Name]
	now := map[string]row{}
	var shown []int
	changed := 0
	rows := make([]row, len(events))
	for i := range events {
		rows[i] = playedRow(l, &events[i], &played[i])
		key := string(events[i].JSON())
		if was, ok := known[key]; !ok {
			shown = append(shown, i)
		} else if was.brief() != rows[i].brief() {
			rows[i].Again, rows[i].Before = true, &was
			shown = append(shown, i)
			changed++
		}
		now[key] = rows[i]
	}
	p.before[l.Name] = now
	switch {
	case len(shown)-changed == len(events): // the first time, or there are others now
		p.d.screen.say(cyan, "%s: %s, run in memory: nothing is stored%s", l.Name, origin, p.d.sinceSave())
	case len(shown) == 0:
		return false, nil
	default:
		also := ""
		if n := len(shown) - changed; n > 0 {
			also = fmt.Sprintf(", %d new", n)
		}
		p.d.screen.say(cyan, "%s: %s, run again: %d changed%s%s", l.Name, origin, changed, also, p.d.sinceSave())
	}
	for _, i := range shown {
		for _, line := range played[i].Logs {
			p.d.screen.from(l.Name, plain, line.Level+" "+line.Log)
		}
		p.d.screen.show(rows[i])
		if played[i].Detail != "" {
			p.d.screen.from(l.Name, red, played[i].Detail)
		}
	}
	return true, nil
}

// playedRow is what came of an event, as it is shown.
func playedRow(l *plan.Pipeline, e *cases.Event, played *cases.Played) row {
	r := row{Where: l.Name, Seq: e.Seq, Subject: e.Subject, Payload: string(e.Payload), Outcome: outcomeEmitted, Outputs: []rowOutput{}, complete: true, headers: e.Headers}
	for _, line := range played.Lines {
		switch line.Kind {
		case cases.LineOutput:
			r.Outputs = append(r.Outputs, rowOutput{Subject: line.Subject, Payload: string(line.Payload), complete: true, headers: line.Headers})
		case cases.LineOutcome, cases.LineFault:
			r.Outcome = strings.NewReplacer("drop", outcomeDropped, "dead-letter", outcomeDeadLettered).Replace(line.Outcome)
			r.Reason = line.Reason
			if line.Stage != "" {
				r.Reason = "in stage " + line.Stage + ": " + r.Reason
			}
		case cases.LineLog:
		}
	}
	return r
}

// samples are the events that a pipeline is tried on, and where they are from:
// --events, the last ones of its topic, or the file of events of a scaffold.
func (p *player) samples(ctx context.Context, pl *plan.Plan, l *plan.Pipeline) ([]cases.Event, string, error) {
	file := p.d.events
	if file == "" {
		events, err := p.stored(ctx, l)
		if err != nil || len(events) > 0 {
			return events, fmt.Sprintf("the last %s of topic %s", plural(len(events), "event"), l.From), err
		}
		if fed(pl, l.From) {
			return nil, "", nil // its events come from another pipeline
		}
		file = filepath.Join(pl.Dir, sampleFile)
		if _, err := os.Stat(file); err != nil {
			return nil, "", nil //nolint:nilerr // there are none
		}
	}
	subject := p.d.subject
	if subject == "" {
		subject = sampleSubject(pl, l)
	}
	t := pl.Topic(l.From)
	if t == nil || !slices.ContainsFunc(t.Subjects, func(s string) bool { return event.Match(s, subject) }) || !reads(l, subject) {
		return nil, "", nil // of another topic
	}
	events, err := eventsOf(file, subject)
	return events, fmt.Sprintf("%s of %s", plural(len(events), "event"), relative(file)), err
}

// fed says whether a pipeline publishes to a topic.
func fed(pl *plan.Plan, topic string) bool {
	return slices.ContainsFunc(pl.Pipelines, func(l plan.Pipeline) bool {
		return slices.ContainsFunc(l.Outputs, func(o plan.Output) bool { return o.Topic == topic })
	})
}

func reads(l *plan.Pipeline, subject string) bool {
	return len(l.Filter) == 0 || slices.ContainsFunc(l.Filter, func(f string) bool { return event.Match(f, subject) })
}

// sampleSubject is a subject that the pipeline reads.
func sampleSubject(pl *plan.Plan, l *plan.Pipeline) string {
	pattern := ""
	if t := pl.Topic(l.From); t != nil {
		pattern = t.Subjects[0]
	}
	if len(l.Filter) > 0 {
		pattern = l.Filter[0]
	}
	return strings.NewReplacer("*", "sample", ">", "sample").Replace(pattern)
}

// stored reads the last events of a pipeline's topic, without a consumer.
func (p *player) stored(ctx context.Context, l *plan.Pipeline) ([]cases.Event, error) {
	t, err := p.d.in.broker.Topic(ctx, l.From)
	if err != nil || t.Messages == 0 {
		return nil, err
	}
	var events []cases.Event
	for seq := max(t.FirstSeq, t.LastSeq-min(t.LastSeq-1, samplesShown-1)); seq <= t.LastSeq; {
		m, err := p.d.in.broker.Next(ctx, l.From, seq, "")
		if errors.Is(err, broker.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		seq = m.Seq + 1
		if reads(l, m.Subject) {
			events = append(events, messageEvent(&m))
		}
	}
	return events, nil
}

func messageEvent(m *status.Message) cases.Event {
	e := cases.Event{Seq: m.Seq, Time: m.Time, Subject: m.Subject, Payload: []byte(m.Payload)}
	if len(m.Base64) > 0 {
		e.Payload = m.Base64
	}
	for _, name := range sortedKeys(m.Headers) {
		for _, v := range m.Headers[name] {
			e.Headers = append(e.Headers, cases.Header{Name: name, Value: v})
		}
	}
	return e
}

// eventsOf reads a file of which each line is a payload.
func eventsOf(file, subject string) ([]cases.Event, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fileError("read", file, err)
	}
	defer f.Close()
	var events []cases.Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for len(events) < samplesShown && lines.Scan() {
		if b := bytes.TrimSpace(lines.Bytes()); len(b) > 0 {
			events = append(events, cases.Event{Subject: subject, Payload: bytes.Clone(b)})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fileError("read", file, err)
	}
	return events, nil
}

// looker shows the events that pass a running pipeline.
type looker struct {
	d       *dev
	watches map[string]*event.Watch // by pipeline and stage
}

// look shows what has passed since the last look, and begins to watch what is
// new. It says whether anything has passed.
func (k *looker) look() (passed bool) {
	pl := k.d.in.engine.Plan()
	if pl == nil {
		return false
	}
	have := map[string]bool{}
	for i := range pl.Pipelines {
		l := &pl.Pipelines[i]
		for _, stage := range l.StageNames() {
			where := l.Name
			if len(l.Stages) > 1 {
				where += "/" + stage
			}
			key := l.Name + "/" + stage
			have[key] = true
			w := k.watches[key]
			if w == nil {
				w = k.d.in.taps.Of(l.Name).Watch(stage, nil)
				k.watches[key] = w
			}
			samples, skipped := w.Fetch()
			passed = passed || len(samples) > 0 || skipped > 0
			for _, s := range samples {
				k.d.screen.show(sampleRow(where, s))
			}
			if skipped > 0 {
				k.d.screen.say(plain, "%s: %s more, not shown", where, plural(int(skipped), "event"))
			}
		}
	}
	for key, w := range k.watches {
		if !have[key] {
			w.Close()
			delete(k.watches, key)
		}
	}
	return passed
}

func (k *looker) close() {
	for _, w := range k.watches {
		w.Close()
	}
}

// sampleRow is an event that has passed a stage, as it is shown.
func sampleRow(where string, s *event.Sample) row {
	r := row{
		Where: where, Seq: s.Before.Seq, Subject: s.Before.Subject, Payload: string(s.Before.Payload), Outcome: s.Outcome, Reason: s.Reason,
		Outputs: []rowOutput{}, complete: len(s.Before.Payload) == s.Before.Bytes, headers: headersOf(s.Before.Headers),
	}
	if s.Attempt > 1 {
		r.Where += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	for i := range s.After {
		o := &s.After[i]
		r.Outputs = append(r.Outputs, rowOutput{
			Subject: o.Subject, Payload: string(o.Payload), Refused: o.Refused, complete: len(o.Payload) == o.Bytes, headers: headersOf(o.Headers),
		})
	}
	return r
}

func headersOf(block []byte) []cases.Header {
	var out []cases.Header
	for {
		k, v, rest, ok := abi.NextHeader(block)
		if !ok {
			return out
		}
		out = append(out, cases.Header{Name: string(k), Value: string(v)})
		block = rest
	}
}

// sinceSave says how long ago the source was saved of which this comes.
func (d *dev) sinceSave() string {
	at := d.saved.Swap(0)
	if at == 0 {
		return ""
	}
	return fmt.Sprintf(" (%.1f s after the save)", time.Since(time.Unix(0, at)).Seconds())
}
