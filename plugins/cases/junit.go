package cases

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// The elements of a JUnit report, as continuous-integration servers read it.
type (
	junitSuites struct {
		XMLName  xml.Name   `xml:"testsuites"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Time     string     `xml:"time,attr"`
		Suite    junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure,omitempty"`
		Error   *junitProblem `xml:"error,omitempty"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes reports as a JUnit XML file; took is how long all of them took.
func JUnit(w io.Writer, reports []Report, took time.Duration) error {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	suite := junitSuite{Name: "wasmill test", Tests: len(reports), Time: seconds(took)}
	for i := range reports {
		r := &reports[i]
		dir, name := "", r.Name
		if n := strings.LastIndexByte(name, '/'); n >= 0 {
			dir, name = name[:n], name[n+1:]
		}
		one := junitCase{Name: printable(name), Class: printable(dir), File: printable(r.File), Time: seconds(r.Duration), Out: printable(strings.Join(r.Logs, "\n"))}
		switch {
		case r.Err != nil:
			suite.Errors++
			one.Error = &junitProblem{Message: "the case is not valid", Text: printable(r.Err.Error())}
		case !r.Passed():
			suite.Failures++
			var text strings.Builder
			for _, d := range r.Differences {
				text.WriteString(d.Diff)
				if d.Detail != "" {
					text.WriteString(d.Detail + "\n")
				}
			}
			one.Failure = &junitProblem{
				Message: fmt.Sprintf("%s:%d: not what was expected", r.File, r.Differences[0].Line),
				Text:    printable(text.String()),
			}
		}
		suite.Cases = append(suite.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	all := junitSuites{Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Time: suite.Time, Suite: suite}
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// printable takes out what XML cannot hold.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' && c != '\t' || c == unicode.ReplacementChar {
			return '?'
		}
		return c
	}, s)
}
