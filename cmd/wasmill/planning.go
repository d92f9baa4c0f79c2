package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/reload"
	"github.com/wasmill/wasmill/runtime/status"
)

// planned is what POST /api/v1/plan answers: it changes nothing.
func (in *instance) planned(ctx context.Context, text *string, builtins []string) (status.Plan, error) {
	file := in.plan.File
	out := status.Plan{File: file, Changes: []status.Change{}, Findings: []status.Finding{}}
	src, err := sourceOf(file, text)
	if err != nil {
		out.Findings = append(out.Findings, status.Finding{File: file, Severity: config.SeverityError, Code: config.CodeFile, Message: err.Error()})
		return out, nil //nolint:nilerr // it is one of the findings
	}
	cfg, findings := config.Parse(file, src, builtins...)
	out.Findings = toldFindings(findings)
	if cfg == nil { // a finding is an error
		return out, nil
	}
	next, err := plan.From(cfg, file)
	if err != nil {
		return out, err
	}
	if err := checkAccess(next); err != nil {
		out.Findings = append(out.Findings, refusals(file, err)...)
		return out, nil
	}
	p, err := in.engine.Preview(ctx, next)
	if err != nil {
		return out, err
	}
	out.Changes = p.Changes
	out.Findings = append(out.Findings, warnings(file, p)...)
	warning, err := in.engine.CheckPreview(ctx, next, p)
	if warning != nil {
		for _, f := range refusals(file, config.PlaceIn(file, src, warning)) {
			f.Severity = config.SeverityWarning
			out.Findings = append(out.Findings, f)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		out.Findings = append(out.Findings, refusals(file, config.PlaceIn(file, src, err))...)
		return out, nil
	}
	out.Valid, out.Hash = true, p.Hash
	return out, nil
}

func sourceOf(file string, text *string) ([]byte, error) {
	if text != nil {
		return []byte(*text), nil
	}
	return os.ReadFile(file)
}

// errOtherFile says that the text of a request is not what the instance reads.
var errOtherFile = errors.New("nothing was changed")

// apply is what POST /api/v1/apply does. What it returns with an error is the
// plan that was refused, as far as there is one.
func (in *instance) apply(ctx context.Context, r admin.ApplyRequest, builtins []string) (status.Applied, error) {
	file := in.plan.File
	out := status.Applied{Restart: []string{}, Plan: status.Plan{File: file, Changes: []status.Change{}, Findings: []status.Finding{}}}
	if !in.watching.Load() {
		return out, reload.ErrClosed
	}
	type attempt struct {
		preview  engine.Preview
		warnings config.Findings
	}
	tried := make(chan attempt, 1) // the function may run on when ctx has ended
	_, err := in.watch.ReloadWith(ctx, func(ctx context.Context, next *plan.Plan) ([]plan.Change, error) {
		if r.Config != nil {
			if err := sameConfiguration(*r.Config, next, builtins); err != nil {
				return nil, &reload.DeclinedError{Err: err}
			}
		}
		p, err := in.engine.ApplyIf(ctx, next, func(p engine.Preview) error {
			if r.Hash == "" {
				return nil
			}
			if err := in.engine.Agree(p, r.Hash); err != nil {
				return &reload.DeclinedError{Err: err}
			}
			return nil
		})
		tried <- attempt{p, next.Config.Warnings}
		return p.Diff, err
	})
	select {
	case a := <-tried:
		out.Hash, out.Changes = a.preview.Hash, a.preview.Changes
		out.Findings = append(toldFindings(a.warnings), warnings(file, a.preview)...)
		if err == nil {
			out.Restart = waiting(a.preview.Diff)
		}
	default:
	}
	if err != nil {
		var declined *reload.DeclinedError
		if out.Valid = errors.As(err, &declined); !out.Valid && httpStatus(err) == http.StatusUnprocessableEntity {
			out.Hash = ""
			out.Findings = append(out.Findings, refusals(file, err)...)
		}
		return out, err
	}
	out.Valid = true
	for _, c := range out.Changes {
		out.Applied = out.Applied || c.Effect != status.EffectProcess
	}
	return out, nil
}

// waiting lists what is not in effect until the process starts again.
func waiting(diff []plan.Change) []string {
	out := []string{}
	for _, c := range diff {
		if c.Restart {
			for _, f := range c.Fields {
				out = append(out, c.What+"."+f)
			}
		}
	}
	return out
}

// sameConfiguration says when a text means something else than the file of next.
func sameConfiguration(text string, next *plan.Plan, builtins []string) error {
	cfg, findings := config.Parse(next.File, []byte(text), builtins...)
	if err := findings.Err(); err != nil {
		return err
	}
	p, err := plan.From(cfg, next.File)
	if err != nil {
		return err
	}
	if p.Hash == next.Hash {
		return nil
	}
	return fmt.Errorf("%w: the instance reads %s, now and when it starts again, and that says something else: put the new file in its place first", errOtherFile, next.File)
}

// warnings are the findings of a preview that are no errors.
func warnings(file string, p engine.Preview) []status.Finding {
	out := make([]status.Finding, len(p.Warnings))
	for i, w := range p.Warnings {
		out[i] = status.Finding{File: file, Severity: config.SeverityWarning, Code: config.CodePlugin, Message: w}
	}
	return out
}

// refusals makes findings of what was said when plugins were loaded.
func refusals(file string, err error) []status.Finding {
	var findings config.Findings
	if errors.As(err, &findings) {
		return toldFindings(findings)
	}
	out := []status.Finding{}
	for _, line := range lines(err) {
		out = append(out, status.Finding{File: file, Severity: config.SeverityError, Code: config.CodePlugin, Message: line})
	}
	return out
}
