package main

import (
	"cmp"
	"os"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// configuration is what is in effect, with what would be said of its file now.
func (in *instance) configuration(builtins []string) (status.Configuration, error) {
	p := cmp.Or(in.engine.Plan(), in.plan)
	out := status.Configuration{File: p.File, Hash: p.Hash, Sections: []status.Section{}, Findings: []status.Finding{}}
	if p.Config != nil {
		for _, s := range p.Config.Effective() {
			section := status.Section{Name: s.Name, Keys: []status.Setting{}}
			for _, k := range s.Keys {
				section.Keys = append(section.Keys, status.Setting{Key: k.Key, Value: k.Value, Default: k.Default, Doc: k.Doc})
			}
			out.Sections = append(out.Sections, section)
		}
	}
	src, err := os.ReadFile(p.File)
	if err != nil {
		out.Findings = append(out.Findings, status.Finding{
			File: p.File, Severity: config.SeverityError, Code: config.CodeFile, Message: err.Error(),
		})
		return out, nil //nolint:nilerr // it is one of the findings
	}
	cfg, findings := config.Parse(p.File, src, builtins...)
	out.Findings = append(out.Findings, toldFindings(findings)...)
	if findings.Err() == nil {
		next, err := plan.From(cfg, p.File)
		if err != nil {
			return out, err
		}
		out.FileHash = next.Hash
	}
	return out, nil
}

// toldFindings are findings as the API tells them.
func toldFindings(findings config.Findings) []status.Finding {
	out := make([]status.Finding, len(findings))
	for i, f := range findings {
		out[i] = status.Finding{
			File: f.File, Line: f.Line, Col: f.Col, Severity: f.Severity, Code: f.Code, Message: f.Message, Suggestion: f.Suggestion,
		}
	}
	return out
}
