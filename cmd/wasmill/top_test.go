package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/wasmill/wasmill/runtime/status"
)

// unasked is an instance that nobody asks.
type unasked struct{}

func (unasked) Status(context.Context) (status.Status, error) { return status.Status{}, nil }
func (unasked) URL() string                                   { return "http://127.0.0.1:7422" }

func topPicture() status.Status {
	measured := func(p50, p99 float64) status.Quantiles { return status.Quantiles{Count: 1, P50: p50, P99: p99} }
	return status.Status{
		Version: "v1", State: "running", Started: time.Now().Add(-time.Hour), Problems: []string{`pipeline "halts" is halted: no`},
		Pipelines: []status.Pipeline{
			{Name: "busy", State: status.StateRunning, Lag: 5, InFlight: 7, Rates: status.Rates{In: 12_345, Out: 99.4}, EndToEnd: measured(0.0012, 0.25)},
			{Name: "full", State: status.StateRunning, Rates: status.Rates{In: 3}, Blocked: map[string]float64{"plugin_rate": 0.83, "paused": 1}},
			{
				Name: "halts", State: status.StateHalted, Reason: "no\x1b[2J", Lag: 1_234_567, Faults: map[string]uint64{"trap": 2, "deadline": 1}, Stages: []string{"p"},
				LastFault:  &status.Fault{Stage: "p", Message: "unreachable"},
				StageStats: []status.Stage{{Name: "p", RateIn: 2, Batch: 3, Call: measured(0.5, 90)}},
			},
			{Name: "idle", State: status.StateRunning},
			{Name: "rests-" + strings.Repeat("x", 60), State: status.StateQuarantined},
			{Name: "sleeps", State: status.StatePaused},
			{Name: "waits", State: status.StateStandby},
		},
	}
}

func TestTopList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sort, filter string
		reverse      bool
		want         string
	}{
		{sort: "state", want: "halts rests full sleeps busy idle waits"},
		{sort: "state", reverse: true, want: "waits idle busy sleeps full rests halts"},
		{sort: "pipeline", want: "busy full halts idle rests sleeps waits"},
		{sort: "in/s", filter: "running", want: "busy full idle"},
		{sort: "lag", filter: " S ", want: "halts busy rests sleeps waits"},
		{sort: "p99", filter: "l", want: "full halts idle sleeps"},
		{sort: "faults", filter: "HALT", want: "halts"},
		{sort: "held", filter: "u", want: "full busy idle rests sleeps"}, // running, quarantined, paused
		{sort: "state", filter: "nothing", want: ""},
	} {
		var got []string
		for _, p := range topList(topPicture().Pipelines, tt.sort, tt.filter, tt.reverse) {
			got = append(got, strings.TrimRight(p.Name, "-x"))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestTopNumbers(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 0.01: "<0.1", 0.5: "0.5", 3: "3", 3.25: "3.2", 12.7: "13", 999: "999", 999.7: "1.0k", 12345: "12k", 1_234_567: "1.2M", 999_600: "1.0M", math.MaxFloat64: "many",
	} {
		if got := shortNumber(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0.0000005: "0.5µs", 0.00035: "350µs", 0.0012: "1.2ms", 0.9996: "1.0s", 90: "90s", 150: "2.5m", 7300: "2.0h", 1e9: "long"} {
		if got := shortSeconds(status.Quantiles{Count: 1}, v); got != want {
			t.Errorf("%v s is %q, want %q", v, got, want)
		}
	}
	if got := shortSeconds(status.Quantiles{}, 1); got != "-" {
		t.Errorf("nothing is %q", got)
	}
}

// topModel is a screen without a terminal.
func topModel(width, height int) *topScreen {
	a := &app{stdout: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	a.flags.color = "always"
	s := newTopScreen(a, unasked{}, topFlags{sort: "state", every: time.Second}, topPicture())
	s.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

func (s *topScreen) text() string { return ansi.Strip(strings.Join(s.lines(), "\n")) }

// keys presses named keys, and types others one by one.
func (s *topScreen) keys(names ...string) tea.Cmd {
	var last tea.Cmd
	special := map[string]rune{"up": tea.KeyUp, "down": tea.KeyDown, "enter": tea.KeyEnter, "esc": tea.KeyEscape, "end": tea.KeyEnd, "backspace": tea.KeyBackspace}
	for _, name := range names {
		if code, ok := special[name]; ok {
			_, last = s.Update(tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range name {
			_, last = s.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
	return last
}

func TestTopScreen(t *testing.T) {
	t.Parallel()
	t.Run("it fits, whatever the size", func(t *testing.T) {
		t.Parallel()
		for _, size := range [][2]int{{80, 24}, {200, 50}, {40, 10}, {80, 12}, {10, 3}, {1, 1}} {
			s := topModel(size[0], size[1])
			for _, keys := range []string{"", "enter", "end", "/"} {
				s.keys(keys)
				lines := s.lines()
				if len(lines) > size[1] {
					t.Errorf("%v: %d lines after %q", size, len(lines), keys)
				}
				for _, l := range lines {
					if w := ansi.StringWidth(l); w > size[0] {
						t.Errorf("%v: a line of %d after %q: %s", size, w, keys, l)
					}
				}
			}
		}
	})
	t.Run("80 columns have everything that matters, problems first", func(t *testing.T) {
		t.Parallel()
		s := topModel(80, 24)
		text := s.text()
		for _, want := range []string{
			"wasmill v1 running, not ready, up 1h0m0s, http://127.0.0.1:7422",
			"7 pipelines: in 12k/s, out 99/s, lag 1.2M, in flight 7",
			`pipeline "halts" is halted: no`,
			"  PIPELINE        STATE▾        IN/S  OUT/S    LAG    P50    P99  FLIGHT  FAULTS",
			"> halts           halted           0      0   1.2M      -      -       0       3",
			"  rests-xxxxxxx…  quarantined      0      0      0      -      -       0       0",
			"  busy            running        12k     99      5  1.2ms  250ms       7       0",
			topKeys,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q in\n%s", want, text)
			}
		}
		if i, j := strings.Index(text, "> halts"), strings.Index(text, "  full"); i > j {
			t.Errorf("problems are not first:\n%s", text)
		}
		if wide := topModel(140, 24); !strings.Contains(wide.text(), "83% plugin_rate") || !strings.Contains(wide.text(), "DEAD") {
			t.Errorf("a wide screen has no more:\n%s", wide.text())
		}
	})
	t.Run("the choice stays with its pipeline, and has details without what a terminal obeys", func(t *testing.T) {
		t.Parallel()
		s := topModel(80, 24)
		s.keys("down", "up", "s")
		if text := s.text(); !strings.Contains(text, "> halts") || !strings.Contains(text, "IN/S▾") {
			t.Errorf("got\n%s", text)
		}
		s.keys("enter")
		for _, want := range []string{"halts:  → p → , ", "halted: no [2J", "last fault", "p: in 2/s, out 0/s, 3 a batch, call p50 500ms, p99 90s"} {
			if !strings.Contains(s.text(), want) {
				t.Errorf("there is no %q in\n%s", want, s.text())
			}
		}
		s.keys("end", "r")
		if s.chosen == "halts" || !strings.Contains(s.text(), "> "+s.chosen) {
			t.Errorf("%q is chosen in\n%s", s.chosen, s.text())
		}
	})
	t.Run("rows that do not fit are scrolled to", func(t *testing.T) {
		t.Parallel()
		s := topModel(80, 9)
		if strings.Contains(s.text(), "waits") {
			t.Fatal("everything fits")
		}
		s.keys("end")
		if !strings.Contains(s.text(), "> waits") {
			t.Errorf("got\n%s", s.text())
		}
		s.keys("g")
		if !strings.Contains(s.text(), "> halts") {
			t.Errorf("got\n%s", s.text())
		}
	})
	t.Run("a filter is typed, kept and dropped; its letters are no keys", func(t *testing.T) {
		t.Parallel()
		s := topModel(80, 24)
		s.keys("/", "qx", "backspace", "uar")
		if text := s.text(); !strings.Contains(text, "filter: quar█ (1 of 7;") || !strings.Contains(text, "> rests") {
			t.Errorf("got\n%s", text)
		}
		s.keys("enter")
		if text := s.text(); !strings.Contains(text, "filter: quar (1 of 7)") {
			t.Errorf("got\n%s", text)
		}
		s.keys("/", "zzz")
		if text := s.text(); !strings.Contains(text, "no pipeline has this") {
			t.Errorf("got\n%s", text)
		}
		s.keys("down", "enter", "enter", "esc")
		if text := s.text(); strings.Contains(text, "filter:") {
			t.Errorf("got\n%s", text)
		}
	})
	t.Run("an instance that has gone is told, with how old the numbers are, and comes back", func(t *testing.T) {
		t.Parallel()
		s := topModel(120, 24)
		s.heard = time.Now().Add(-time.Minute)
		_, next := s.Update(topHeard{err: errors.New("nobody answers")})
		if text := s.text(); next == nil || !strings.Contains(text, "these numbers are 1m0s old: nobody answers") || !strings.Contains(text, "busy") {
			t.Errorf("got\n%s", text)
		}
		st := topPicture()
		st.Pipelines = st.Pipelines[:1]
		s.Update(topHeard{st: st})
		if text := s.text(); strings.Contains(text, "old") || !strings.Contains(text, "1 pipeline: ") {
			t.Errorf("got\n%s", text)
		}
	})
	t.Run("q and Ctrl-C end it, also while a filter is typed", func(t *testing.T) {
		t.Parallel()
		for _, typing := range []bool{false, true} {
			s := topModel(80, 24)
			s.typing = typing
			_, cmd := s.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl})
			if cmd == nil || fmt.Sprintf("%T", cmd()) != "tea.QuitMsg" {
				t.Errorf("typing %t: it does not end", typing)
			}
		}
		if cmd := topModel(80, 24).keys("q"); cmd == nil {
			t.Error("q does not end it")
		}
	})
}
