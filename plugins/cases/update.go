package cases

import (
	"bytes"
	"slices"

	"github.com/wasmill/wasmill/sdk/abi"
)

// replacement is a part of a file that becomes another text.
type replacement struct {
	span
	text []byte
}

// updated returns the file with what came in place of what was expected. Steps
// that are as expected keep their lines as they are written, and so do comments.
func (c *Case) updated(results []result) []byte {
	if n := len(c.src); n > 0 && c.src[n-1] != '\n' {
		c.src = append(c.src[:n:n], '\n')
	}
	var edits []replacement
	end := 0 // of the value behind which lines of the step go
	for i := range results {
		var step *Step
		if i < len(c.Steps) {
			step = &c.Steps[i]
			end = max(end, step.at.end)
		} else { // an end of the instance that the file does not have, but that emits something
			step = &Step{Kind: StepClose}
			if len(results[i].lines) == 0 {
				continue
			}
			last := &c.Steps[len(c.Steps)-1]
			if n := len(last.want); n > 0 && last.compare("", results[i-1]) == nil {
				end = last.want[n-1].end
			}
		}
		if step.compare("", results[i]) == nil {
			continue
		}
		for _, w := range step.want {
			edits = append(edits, replacement{span: c.wholeLines(w)})
		}
		var text []byte
		if step.Kind == StepClose && step.at.end == 0 {
			text = append(text, "{\"close\":true}\n"...)
		}
		logs := slices.ContainsFunc(step.Expect, func(l Line) bool { return l.Kind == LineLog })
		for _, l := range results[i].lines {
			if l.Kind == LineLog && !logs {
				continue
			}
			if l.Fault != "" && l.Fault != abi.FaultRefusedSubject {
				l.Reason = "" // it has places in the source, which move
			}
			text = append(append(text, l.JSON()...), '\n')
		}
		at := c.lineAfter(end)
		edits = append(edits, replacement{span{at, at}, text})
	}
	slices.SortStableFunc(edits, func(a, b replacement) int { return a.start - b.start })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(c.src[at:max(at, e.start)])
		out.Write(e.text)
		at = max(at, e.end)
	}
	out.Write(c.src[at:])
	return out.Bytes()
}

// lineAfter is where the line behind the one with offset end begins; 0 stays 0.
func (c *Case) lineAfter(end int) int {
	if end == 0 {
		return 0
	}
	if n := bytes.IndexByte(c.src[end:], '\n'); n >= 0 {
		return end + n + 1
	}
	return len(c.src)
}

// wholeLines widens a span to the lines that it is on.
func (c *Case) wholeLines(s span) span {
	s.start = bytes.LastIndexByte(c.src[:s.start], '\n') + 1
	s.end = c.lineAfter(s.end)
	return s
}
