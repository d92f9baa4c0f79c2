package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// diffLot is how many events are run at a time: each lot begins with fresh instances.
const diffLot = 500

// replayDifference is one event of which something else comes.
type replayDifference struct {
	Seq     uint64            `json:"seq"`
	Subject string            `json:"subject"`
	Before  []json.RawMessage `json:"before"`
	After   []json.RawMessage `json:"after"`
	Diff    string            `json:"diff"`
}

// replaySummary ends a comparison.
type replaySummary struct {
	Pipeline  string `json:"pipeline"`
	FromSeq   uint64 `json:"from_seq"`
	ToSeq     uint64 `json:"to_seq"`
	Events    int    `json:"events"`
	Same      int    `json:"same"`
	Different int    `json:"different"`
}

// replayDiff runs events through a pipeline as it runs and as it would.
func (a *app) replayDiff(ctx context.Context, cl *admin.Client, pipeline string, req admin.ReplayRequest, with []string) error {
	req.DryRun = true
	would, err := cl.Replay(ctx, pipeline, req)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	after, err := a.load(a.file(nil))
	if err != nil {
		return err
	}
	l := after.Pipeline(pipeline)
	if l == nil || l.From != would.Topic {
		return invalid("replay: %s has no pipeline %q that reads topic %s", after.File, pipeline, would.Topic)
	}
	dir, err := os.MkdirTemp("", "wasmill-replay-")
	if err != nil {
		return environment("replay: make a directory for the modules that run: %w", err)
	}
	defer os.RemoveAll(dir)
	before, err := runningPlan(ctx, cl, after, l, dir)
	if err != nil {
		return err
	}
	if err := setModules(after, l, with); err != nil {
		return err
	}
	h, err := a.openHost(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = h.Close(context.WithoutCancel(ctx)) }()
	runner := cases.New(cases.Options{Host: h, Builtins: a.builtins})
	defer func() { _ = runner.Close(context.WithoutCancel(ctx)) }()

	sum := replaySummary{Pipeline: pipeline, FromSeq: would.FromSeq, ToSeq: would.ToSeq}
	compare := func(events []cases.Event) error {
		was, err := runner.Play(ctx, before, pipeline, events)
		if err != nil {
			return fmt.Errorf("replay: what runs: %w", err)
		}
		now, err := runner.Play(ctx, after, pipeline, events)
		if err != nil {
			return fmt.Errorf("replay: what is new: %w", err)
		}
		for i := range events {
			sum.Events++
			text := cases.Compare("running", "new", was[i].Lines, now[i].Lines)
			if text == "" {
				sum.Same++
				continue
			}
			sum.Different++
			if err := a.showDifference(&events[i], was[i].Lines, now[i].Lines, text); err != nil {
				return err
			}
		}
		return nil
	}
	if err := eachEvent(ctx, cl, would, l, compare); err != nil {
		return err
	}
	if a.json() {
		if err := json.NewEncoder(a.stdout).Encode(map[string]replaySummary{"summary": sum}); err != nil {
			return err
		}
	} else {
		a.note("%s compared: %d the same, %d different", counted(uint64(sum.Events), "event"), sum.Same, sum.Different) //nolint:gosec // a count
	}
	if sum.Different > 0 {
		return &exitError{exitFailure, errSilent}
	}
	return nil
}

// eachEvent calls f with the events of the range that the pipeline reads, some
// at a time.
func eachEvent(ctx context.Context, cl *admin.Client, would status.Replayed, l *plan.Pipeline, f func([]cases.Event) error) error {
	if would.ToSeq < would.FromSeq {
		return nil
	}
	var lot []cases.Event
	errEnd := errors.New("end")
	err := cl.Tail(ctx, admin.TailRequest{Topic: would.Topic, From: strconv.FormatUint(would.FromSeq, 10)}, func(m status.Message) error {
		if m.Seq > would.ToSeq {
			return errEnd
		}
		if !reads(l, m.Subject) {
			return nil
		}
		if lot = append(lot, messageEvent(&m)); len(lot) < diffLot {
			return nil
		}
		err := f(lot)
		lot = lot[:0]
		return err
	})
	if err != nil && !errors.Is(err, errEnd) {
		return err
	}
	if len(lot) == 0 {
		return nil
	}
	return f(lot)
}

// setModules puts the modules of --with into a plan.
func setModules(p *plan.Plan, l *plan.Pipeline, with []string) error {
	for _, w := range with {
		name, file, ok := strings.Cut(w, "=")
		g := p.Plugin(name)
		if !ok || g == nil || !slices.Contains(l.Stages, name) {
			return invalid("replay: --with %q is not PLUGIN=FILE with a plugin of the pipeline: %s", w, strings.Join(l.Stages, ", "))
		}
		path, err := filepath.Abs(file)
		if err != nil {
			return invalid("replay: --with %q: %w", w, err)
		}
		if _, err := os.Stat(path); err != nil {
			return fileError("replay: read", file, err)
		}
		g.Path, g.Builtin, g.SHA256 = path, "", ""
	}
	return nil
}

// runningPlan is a copy of a plan with the modules that run.
func runningPlan(ctx context.Context, cl *admin.Client, p *plan.Plan, l *plan.Pipeline, dir string) (*plan.Plan, error) {
	out := *p
	out.Plugins = slices.Clone(p.Plugins)
	for _, name := range l.Stages {
		g := out.Plugin(name)
		if g.Builtin != "" {
			continue // of this binary, as it is of the one that runs
		}
		b, err := cl.Module(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("replay: the module that plugin %q runs: %w", name, err)
		}
		path := filepath.Join(dir, name+".wasm")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, fileError("replay: write", path, err)
		}
		g.Path, g.SHA256 = path, ""
	}
	return &out, nil
}

func (a *app) showDifference(e *cases.Event, was, now []cases.Line, text string) error {
	if !a.json() {
		a.printf("%s\n%s", a.paint(a.stdout, cyan, fmt.Sprintf("event %d %s", e.Seq, clean(e.Subject))), text)
		return nil
	}
	d := replayDifference{Seq: e.Seq, Subject: e.Subject, Before: linesJSON(was), After: linesJSON(now), Diff: text}
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

func linesJSON(lines []cases.Line) []json.RawMessage {
	out := make([]json.RawMessage, len(lines))
	for i, l := range lines {
		out[i] = l.JSON()
	}
	return out
}
