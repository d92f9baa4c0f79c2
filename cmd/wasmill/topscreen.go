package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/wasmill/wasmill/runtime/status"
)

// topScreen is the model of "wasmill top": what was last heard of the instance,
// and how it is looked at. Its methods are called by one goroutine.
type topScreen struct {
	a      *app
	source statusSource
	fl     topFlags

	width, height int
	last          status.Status
	heard         time.Time // when last was
	failed        error     // why there is nothing newer

	chosen  string // the name of a pipeline; the choice stays with it when rows move; "" is the first row
	top     int    // first row that is shown
	details bool   // of the chosen one
	typing  bool   // the filter
}

// Messages of the screen.
type (
	topHeard struct {
		st  status.Status
		err error
	}
	topTick struct{}
)

// topTimeout bounds one question to the instance.
const topTimeout = 10 * time.Second

func newTopScreen(a *app, source statusSource, fl topFlags, st status.Status) *topScreen {
	return &topScreen{a: a, source: source, fl: fl, width: 80, height: 24, last: st, heard: time.Now()}
}

// Init implements tea.Model.
func (s *topScreen) Init() tea.Cmd { return s.wait() }

func (s *topScreen) wait() tea.Cmd {
	return tea.Tick(s.fl.every, func(time.Time) tea.Msg { return topTick{} })
}

// ask is a question at a time: the next one waits for the answer.
func (s *topScreen) ask() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), topTimeout)
	defer cancel()
	st, err := s.source.Status(ctx)
	return topHeard{st, err}
}

// Update implements tea.Model.
func (s *topScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case topTick:
		return s, s.ask
	case topHeard:
		if s.failed = msg.err; msg.err == nil {
			s.last, s.heard = msg.st, time.Now()
		}
		next := s.wait()
		return s, next
	case tea.PasteMsg:
		if s.typing {
			s.fl.filter += clean(msg.Content)
		}
	case tea.KeyPressMsg:
		var next tea.Cmd
		if s.typing {
			next = s.typed(msg)
		} else {
			next = s.pressed(msg.String())
		}
		return s, next
	}
	return s, nil
}

// typed is a key while the filter is written.
func (s *topScreen) typed(key tea.KeyPressMsg) tea.Cmd {
	switch key.String() {
	case "ctrl+c":
		return tea.Quit
	case "enter":
		s.typing = false
	case "esc":
		s.typing, s.fl.filter = false, ""
	case "backspace":
		if r := []rune(s.fl.filter); len(r) > 0 {
			s.fl.filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		s.fl.filter = ""
	default:
		s.fl.filter += clean(key.Text)
	}
	return nil
}

// topKeys explains the keys, at the foot of the screen.
const topKeys = "q quit  ↑↓ choose  ⏎ details  s/S sort  r reverse  / filter  esc clear"

func (s *topScreen) pressed(key string) tea.Cmd {
	list := s.list()
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "up", "k":
		s.choose(list, -1)
	case "down", "j":
		s.choose(list, 1)
	case "pgup":
		s.choose(list, -max(s.height/2, 1))
	case "pgdown":
		s.choose(list, max(s.height/2, 1))
	case "home", "g":
		s.choose(list, -len(list))
	case "end", "G":
		s.choose(list, len(list))
	case "enter":
		s.details = !s.details
		s.choose(list, 0)
	case "s":
		s.sortBy(1)
	case "S":
		s.sortBy(-1)
	case "r":
		s.fl.reverse = !s.fl.reverse
	case "/":
		s.typing = true
	case "esc":
		s.fl.filter, s.details = "", false
	}
	return nil
}

func (s *topScreen) sortBy(step int) {
	names := topSorts()
	i := (slices.Index(names, s.fl.sort) + step + len(names)) % len(names)
	s.fl.sort, s.fl.reverse = names[i], false
}

func (s *topScreen) list() []status.Pipeline {
	return topList(s.last.Pipelines, s.fl.sort, s.fl.filter, s.fl.reverse)
}

// at is the place of the chosen pipeline, the first when it is gone.
func (s *topScreen) at(list []status.Pipeline) int {
	return max(slices.IndexFunc(list, func(p status.Pipeline) bool { return p.Name == s.chosen }), 0)
}

func (s *topScreen) choose(list []status.Pipeline, step int) {
	if len(list) == 0 {
		return
	}
	s.chosen = list[min(max(s.at(list)+step, 0), len(list)-1)].Name
}

// View implements tea.Model.
func (s *topScreen) View() tea.View {
	v := tea.NewView(strings.Join(s.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "wasmill top"
	return v
}

// lines is the screen, not more lines than it has and none wider than it.
func (s *topScreen) lines() []string {
	list := s.list()
	head := s.head(list)
	foot := s.foot(list)
	columns := shownColumns(s.width - 2)
	table := []string{"  " + topLine(columns, func(c topColumn) string { return s.title(c) }, func(_, t string) string { return t })}
	room := max(s.height-len(head)-len(foot)-1, 1)
	at := s.at(list)
	s.top = min(max(s.top, at-room+1), at, max(len(list)-room, 0))
	for i := s.top; i < min(s.top+room, len(list)); i++ {
		p := &list[i]
		mark := "  "
		if i == at {
			mark = s.a.paint(s.a.stdout, cyan, ">") + " "
		}
		table = append(table, mark+topLine(columns, func(c topColumn) string { return c.cell(p) }, func(column, text string) string {
			switch {
			case column == "state":
				return s.a.state(text)
			case column == "held" && text != "-":
				return s.a.paint(s.a.stdout, yellow, text)
			}
			return text
		}))
	}
	if len(list) == 0 {
		none := "no pipelines"
		if len(s.last.Pipelines) > 0 {
			none = "no pipeline has this in its name or state"
		}
		table = append(table, "  "+none)
	}
	for len(table) < room+1 {
		table = append(table, "")
	}
	all := slices.Concat(head, table, foot)
	for i := range all {
		all[i] = ansi.Truncate(all[i], s.width, "…")
	}
	return all[:min(len(all), max(s.height, 1))]
}

// title is the header of a column, with a mark on the one that sorts.
func (s *topScreen) title(c topColumn) string {
	name := strings.ToUpper(c.name)
	switch {
	case c.name != s.fl.sort:
		return name
	case s.fl.reverse:
		return name + "▴"
	}
	return name + "▾"
}

// mostProblems is how many problems are listed above the table.
const mostProblems = 3

// head is what stands above the table.
func (s *topScreen) head(list []status.Pipeline) []string {
	st := &s.last
	ready := s.a.paint(s.a.stdout, green, "ready")
	if !st.Ready {
		ready = s.a.paint(s.a.stdout, red, "not ready")
	}
	var in, out float64
	var lag uint64
	flight := 0
	for i := range st.Pipelines {
		p := &st.Pipelines[i]
		in, out, lag, flight = in+p.Rates.In, out+p.Rates.Out, lag+p.Lag, flight+p.InFlight
	}
	store := ""
	if st.Server.StoreDir != "" {
		store = ", store " + size(st.Server.StoreBytes)
	}
	lines := []string{
		fmt.Sprintf("wasmill %s %s, %s, up %s, %s", st.Version, st.State, ready, s.heard.Sub(st.Started).Round(time.Second), s.source.URL()),
		fmt.Sprintf("%s: in %s/s, out %s/s, lag %s, in flight %s%s", counted(len(st.Pipelines), "pipeline"),
			shortNumber(in), shortNumber(out), shortNumber(float64(lag)), shortNumber(float64(flight)), store),
	}
	if s.failed != nil {
		lines = append(lines, s.a.paint(s.a.stdout, red, fmt.Sprintf("these numbers are %s old: %s", time.Since(s.heard).Round(time.Second), clean(s.failed.Error()))))
	}
	for i, p := range st.Problems {
		if i == mostProblems {
			lines = append(lines, s.a.paint(s.a.stdout, red, fmt.Sprintf("and %s", counted(len(st.Problems)-i, "other problem"))))
			break
		}
		lines = append(lines, s.a.paint(s.a.stdout, red, clean(p)))
	}
	switch {
	case s.typing:
		lines = append(lines, fmt.Sprintf("filter: %s█ (%d of %d; enter keeps it, esc drops it)", s.fl.filter, len(list), len(st.Pipelines)))
	case s.fl.filter != "":
		lines = append(lines, fmt.Sprintf("filter: %s (%d of %d)", s.fl.filter, len(list), len(st.Pipelines)))
	}
	return append(lines, "")
}

// foot is what stands below it.
func (s *topScreen) foot(list []status.Pipeline) []string {
	lines := []string{""}
	if s.details && len(list) > 0 {
		lines = append(lines, s.describe(&list[s.at(list)])...)
	}
	return append(lines, topKeys)
}

// describe is what there is to say of one pipeline beside its row.
func (s *topScreen) describe(p *status.Pipeline) []string {
	lines := []string{fmt.Sprintf("%s: %s → %s → %s, %s", p.Name, p.From, strings.Join(p.Stages, " → "), outputs(*p), p.Delivery)}
	if p.Reason != "" {
		lines = append(lines, s.a.state(p.State)+": "+clean(p.Reason))
	}
	lines = append(lines, fmt.Sprintf("in flight %s of %s, dropped %s, retried %s, dead-lettered %s, held back: %s",
		count(p.InFlight), count(p.MaxInFlight), count(p.Dropped), count(p.Retried), count(p.DeadLettered), heldBack(p)))
	if f := lastFault(p.LastFault); f != "" {
		lines = append(lines, "last fault "+f)
	}
	for i := range p.StageStats {
		t := &p.StageStats[i]
		lines = append(lines, fmt.Sprintf("  %s: in %s/s, out %s/s, %s a batch, call p50 %s, p99 %s, busy %.2f", t.Name,
			shortNumber(t.RateIn), shortNumber(t.RateOut), shortNumber(t.Batch), shortSeconds(t.Call, t.Call.P50), shortSeconds(t.Call, t.Call.P99), t.Busy))
	}
	// The table keeps half of the screen.
	return lines[:min(len(lines), max(s.height/2, 1))]
}
