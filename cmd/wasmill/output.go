package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// color is an SGR code. All have the same length, so that a column of which
// every cell is painted stays aligned in a tabwriter.
type color string

const (
	plain  color = "39"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

func (a *app) paint(w io.Writer, c color, s string) string {
	if !a.colored(w) {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

func (a *app) json() bool { return a.flags.output == "json" }

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// note prints to stderr what is not data.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// printJSON prints v indented, as the API has it.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows under a header in aligned columns. Cells must not hold tabs
// or line breaks; clean sees to it for what comes from outside.
func (a *app) table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	write := func(cells []string) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	}
	if len(header) > 0 {
		write(header)
	}
	for _, r := range rows {
		write(r)
	}
	return w.Flush()
}

// rows prints rows as table does, without a header.
func (a *app) rows(rows [][]string) error { return a.table(nil, rows) }

// fields prints names and values, one pair a line. Empty values are left out.
func (a *app) fields(pairs ...string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	return w.Flush()
}

// state paints the state of a pipeline; heading is the header of that column.
func (a *app) state(s string) string {
	switch s {
	case status.StateRunning:
		return a.paint(a.stdout, green, s)
	case status.StateHalted, status.StateQuarantined, status.StateStalled, status.StateBackoff:
		return a.paint(a.stdout, red, s)
	case status.StatePaused, status.StateStandby, status.StateStarting, status.StateDraining:
		return a.paint(a.stdout, yellow, s)
	}
	return a.paint(a.stdout, plain, s)
}

func (a *app) heading(s string) string { return a.paint(a.stdout, plain, s) }

// clean makes text from outside fit for a terminal line: no control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// clip cuts s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func count[T ~int | ~int64 | ~uint64](n T) string {
	s := strconv.FormatUint(uint64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted prints a number and what it counts, whose plural ends in s.
func counted[T ~int | ~int64 | ~uint64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// size prints bytes in IEC units.
func size[T ~int | ~int64 | ~uint64](n T) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f /= 1024
		unit++
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	if unit == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[unit])
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

// age prints how long ago t was; "-" for the zero time.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

func short(digest string) string { return digest[:min(12, len(digest))] }

// confirm asks before something that cannot be undone. Without a terminal it
// never asks: --yes must say so.
func (a *app) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) || !isTerminal(a.stderr) {
		return invalid("%s: this cannot be undone: say --yes to do it without being asked", what)
	}
	fmt.Fprintf(a.stderr, "%s: this cannot be undone. Go on? [y/N] ", what)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && line == "" {
		return invalid("%s: not confirmed", what)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return invalid("%s: not confirmed", what)
}
