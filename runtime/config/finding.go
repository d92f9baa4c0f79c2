package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severities of a Finding.
const (
	SeverityError   = "error"
	SeverityWarning = "warning" // worth saying, but does not make the configuration invalid
)

// Codes of a Finding.
const (
	CodeSyntax       = "syntax"        // not TOML
	CodeUnknownKey   = "unknown-key"   // no such key at this place
	CodeWrongType    = "wrong-type"    // a number where a string belongs, and so on
	CodeBadValue     = "bad-value"     // the right type, but not a value of this key
	CodeOutOfRange   = "out-of-range"  // too small or too large
	CodeMissing      = "missing"       // a key that is required
	CodeConflict     = "conflict"      // two keys that exclude, or need, each other
	CodeBadName      = "bad-name"      // the name of a topic, plugin, pipeline or output
	CodeBadSubject   = "bad-subject"   // a subject, filter or subject template
	CodeReserved     = "reserved"      // a subject or name that is the runtime's own
	CodeDangling     = "dangling"      // a reference to something that is not defined
	CodeOverlap      = "overlap"       // two subjects of which each message may be in either
	CodeOutside      = "outside-topic" // a subject that its topic does not store
	CodeLoop         = "loop"          // outputs that reach their own input
	CodeFile         = "file"          // a file that is missing or unreadable
	CodeNotAvailable = "not-available" // not in this version
	CodePlugin       = "plugin"        // what a plugin says when it is loaded and opened
	CodeUnused       = "unused"        // warning: defined and never used
	CodeExposed      = "exposed"       // warning: open to the network without authentication
)

// Finding is one thing wrong with a configuration. Line and Col count from 1,
// Col in characters; both are 0 when the configuration was not read from text.
type Finding struct {
	File       string
	Line, Col  int
	Severity   string // SeverityError or SeverityWarning
	Code       string
	Message    string
	Suggestion string // what was probably meant, or ""
}

// String reads `file:line:col: code: message (did you mean "x"?)`; a warning
// has "warning: " before the code.
func (f Finding) String() string {
	var b strings.Builder
	if b.WriteString(f.File); f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Col)
	}
	b.WriteString(": ")
	if f.Severity == SeverityWarning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Code)
	b.WriteString(": ")
	b.WriteString(f.Message)
	if f.Suggestion != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", f.Suggestion)
	}
	return b.String()
}

// Findings is everything found in one run, sorted by position. It is an error
// value; Err says whether it is one in earnest.
type Findings []Finding

// Error is one line for each finding.
func (fs Findings) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns fs when a finding is more than a warning, else nil.
func (fs Findings) Err() error {
	for _, f := range fs {
		if f.Severity != SeverityWarning {
			return fs
		}
	}
	return nil
}

// Warnings returns only the warnings.
func (fs Findings) Warnings() Findings {
	return slices.DeleteFunc(slices.Clone(fs), func(f Finding) bool { return f.Severity != SeverityWarning })
}

func (fs Findings) sort() {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Message, b.Message))
	})
}

// report collects findings. A place has at most one error: what follows from a
// mistake is not reported beside it.
type report struct {
	file     string
	index    *index // nil without text
	findings Findings
	at       map[string]bool // paths with an error
}

func newReport(file string, x *index) *report {
	return &report{file: file, index: x, at: map[string]bool{}}
}

// path is a place in the configuration, as in index.
type path []string

// of returns the path of something below p.
func (p path) of(names ...string) path { return append(p[:len(p):len(p)], names...) }

// String is the path as TOML writes it, for messages.
func (p path) String() string {
	var b strings.Builder
	for _, name := range p {
		if b.Len() > 0 && !strings.HasPrefix(name, "[") {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// add records an error about the value at p.
func (r *report) add(p path, code, format string, args ...any) *Finding {
	line, col := r.index.at(p)
	return r.record(p, Finding{Line: line, Col: col, Code: code, Message: fmt.Sprintf(format, args...)})
}

// addKey records an error about the key at p.
func (r *report) addKey(p path, code, format string, args ...any) *Finding {
	line, col := r.index.atKey(p)
	return r.record(p, Finding{Line: line, Col: col, Code: code, Message: fmt.Sprintf(format, args...)})
}

// warn records a warning about the value at p.
func (r *report) warn(p path, code, format string, args ...any) {
	line, col := r.index.at(p)
	r.record(p, Finding{Line: line, Col: col, Code: code, Severity: SeverityWarning, Message: fmt.Sprintf(format, args...)})
}

func (r *report) record(p path, f Finding) *Finding {
	if r.bad(p) {
		return &Finding{} // takes a suggestion that nobody will see
	}
	f.File = r.file
	if f.Severity == "" {
		f.Severity = SeverityError
		r.at[joinPath(p)] = true
	}
	r.findings = append(r.findings, f)
	return &r.findings[len(r.findings)-1]
}

// bad reports whether one of these places has an error already.
func (r *report) bad(paths ...path) bool {
	for _, p := range paths {
		if r.at[joinPath(p)] {
			return true
		}
	}
	return false
}

// missing reports whether the value at p, which is zero, is not even written.
func (r *report) missing(p path) bool { return !r.index.has(p...) }

// suggest sets what of names is most like what was written.
func (f *Finding) suggest(written string, names []string) {
	f.Suggestion = nearest(written, names)
}

// Nearest returns the one of names that s was probably meant to be, or "".
func Nearest(s string, names []string) string { return nearest(s, names) }

// nearest returns the one of names with the smallest edit distance to s, or ""
// when none is near: at most a third of s may be wrong.
func nearest(s string, names []string) string {
	best, limit := "", len(s)/3
	for _, name := range slices.Sorted(slices.Values(names)) {
		if d := distance(strings.ToLower(s), strings.ToLower(name)); d <= limit {
			best, limit = name, d-1
		}
	}
	return best
}

// distance is how many characters must be inserted, deleted, replaced or
// swapped with their neighbour to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 100 || len(y) > 100 {
		return len(x) + len(y)
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}
