package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// views are all views of the dashboard, with their titles.
var views = []struct{ name, hash, title string }{
	{"overview", "#/", "Overview"},
	{"topology", "#/topology", "Topology"},
	{"pipelines", "#/pipelines", "Pipelines"},
	{"pipeline", "#/pipelines/check", "check"},
	{"sources", "#/tail", "Live tail"},
	{"tail", "#/tail?w=topic%3Achecked&w=stage%3Acheck%2Fcheck", "Live tail"},
	{"letters", "#/dead-letters", "Dead letters"},
	{"letter", "", ""}, // of the newest, see everyView
	{"plugins", "#/plugins", "Plugins"},
	{"plugin", "#/plugins/check", "check"},
	{"logs", "#/logs", "Logs"},
	{"config", "#/config", "Configuration"},
	{"nothing", "#/nothing", ""},
}

func (s *station) keyboard(t *testing.T) {
	s.view(t, "#/", "Overview")
	eval[bool](t, s, `(document.activeElement?.blur(), true)`)
	s.do(t, chromedp.KeyEvent("2"))
	s.until(t, "2 is the topology", `document.querySelector("h1").textContent === "Topology"`)
	s.do(t, chromedp.KeyEvent("?"))
	s.until(t, "? lists the keys", `document.querySelector("dialog[open]")?.textContent.includes("Keyboard shortcuts")`)
	s.do(t, chromedp.KeyEvent("\x1b"))
	s.until(t, "escape closes it", `!document.querySelector("dialog[open]")`)
	theme := `document.documentElement.dataset.theme`
	if got := eval[string](t, s, theme); got != "light" {
		t.Errorf("the system is light, the page %s", got)
	}
	s.theme(t, "dark")
	s.until(t, "the page follows the system", theme+` === "dark"`)
	s.do(t, chromedp.KeyEvent("t"))
	s.until(t, "t switches", theme+` === "light"`)
	s.do(t, chromedp.KeyEvent("7"))
	s.until(t, "7 is the logs", `document.querySelector("h1").textContent === "Logs"`)
	s.do(t, chromedp.KeyEvent("/"))
	s.until(t, "/ goes to the search", `document.activeElement?.type === "search"`)
	s.do(t, chromedp.KeyEvent("2"))
	s.until(t, "where keys are text", `document.activeElement.value.endsWith("2")`)
	s.do(t, chromedp.KeyEvent("\t"))
	s.until(t, "the focus is seen", `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle === "solid"`)
	eval[bool](t, s, `(localStorage.clear(), true)`)
	s.theme(t, "light")
	s.do(t, chromedp.Reload())
	s.until(t, "the page is back", `document.querySelector("h1")`)
}

// everyView looks at each view in both themes and at 400 pixels. With
// WASMILL_SCREENSHOTS=DIR it keeps what it sees.
func (s *station) everyView(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join("..", "..", "runtime", "admin", "ui", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Skip("axe-core is not installed: `make ui` does it")
	}
	shots := os.Getenv("WASMILL_SCREENSHOTS")
	s.publish(t, "readings.ok.oslo", []byte(`{"value":"eight"}`))
	s.view(t, "#/dead-letters", "Dead letters")
	s.until(t, "there is a dead letter", `(() => { document.querySelector("[data-fresh]")?.click(); return document.querySelector("[data-letter]") })()`)
	newest := eval[string](t, s, `document.querySelector("[data-letter]").dataset.letter`)
	s.complaints()
	eval[bool](t, s, string(axe)+";true")
	for _, theme := range []string{"light", "dark", "narrow"} {
		if theme == "narrow" {
			s.do(t, chromedp.EmulateViewport(400, 800))
		} else {
			s.theme(t, theme)
		}
		for _, v := range views {
			if v.name == "letter" {
				v.hash, v.title = "#/dead-letters/"+newest, "Dead letter "+newest
			}
			t.Run(theme+" "+v.name, func(t *testing.T) {
				if v.title != "" {
					s.view(t, v.hash, v.title)
				} else {
					eval[string](t, s, fmt.Sprintf("location.hash = %q", v.hash))
					s.until(t, "it says so", `document.querySelector("main").textContent.includes("nothing at this address")`)
				}
				switch v.name {
				case "tail":
					s.until(t, "rows have come", `document.querySelectorAll(".tail li").length > 20`)
					eval[bool](t, s, `(document.querySelector("[data-freeze]").click(), document.querySelector(".tail summary").click(), true)`)
				case "letters":
					s.until(t, "the list is there", `document.querySelector("[data-letter]")`)
				case "letter":
					s.button(t, "Edit and redrive")
				case "config":
					s.until(t, "the tables are there", `document.querySelector("[data-section]")`)
				}
				if n := eval[int](t, s, `document.querySelectorAll("main li, main tr").length`); n > 500 && v.name != "config" {
					t.Errorf("%d rows are in the page", n)
				}
				if eval[bool](t, s, `document.documentElement.scrollWidth > innerWidth`) {
					t.Errorf("it is wider than the window: %s", eval[string](t, s,
						`[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join("\n")`))
				}
				if shots != "" {
					png, err := chromedp.Run(s.ctx, chromedp.FullScreenshot(100))
					if err == nil {
						err = os.WriteFile(filepath.Join(shots, v.name+"-"+theme+".png"), png, 0o600)
					}
					if err != nil {
						t.Error(err)
					}
				}
				if theme == "narrow" && v.name != "overview" && v.name != "tail" { // the same page, as axe sees it
					return
				}
				if bad := eval[string](t, s, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v => v.id + ": " + v.help + "\n  " + v.nodes.slice(0, 4).map(n => n.html.slice(0, 200) + "\n    " + n.failureSummary.replaceAll("\n", " ")).join("\n  ")).join("\n"))`); bad != "" {
					t.Errorf("axe finds\n%s", bad)
				}
			})
		}
	}
	s.do(t, chromedp.ResetViewport())
	s.theme(t, "light")
	if said := s.complaints(); len(said) > 0 {
		t.Errorf("the page complains:\n%s", strings.Join(said, "\n"))
	}
}

func (s *station) restart(t *testing.T) {
	s.view(t, "#/tail?w=topic%3Achecked", "Live tail")
	rows := `[...document.querySelectorAll(".rows .seq")].map(x => Number(x.textContent))`
	s.until(t, "rows come", rows+".length > 30")
	s.rate.Store(0)
	s.until(t, "they have stopped", `document.querySelector(".top .link.live")`)
	lines := eval[int](t, s, `(location.hash = "#/logs", new Promise(done => setTimeout(() => done(document.querySelectorAll(".log li").length), 300)))`)
	s.view(t, "#/tail?w=topic%3Achecked", "Live tail")
	s.until(t, "rows come", rows+".length > 30")
	before := eval[[]uint64](t, s, rows)
	s.stop(t)
	s.until(t, "the page says that the connection is lost", `document.querySelector(".top .link.lost") && document.querySelector(".tail .link.lost")`)
	if now := eval[[]uint64](t, s, rows); len(now) < len(before) {
		t.Errorf("%d rows became %d", len(before), len(now))
	}
	s.start(t)
	s.rate.Store(200)
	s.until(t, "it comes back by itself", `document.querySelector(".top .link.live") && document.querySelector(".tail .link.live")`)
	newest := before[0]
	s.until(t, "new rows come", rows+fmt.Sprintf("[0] > %d", newest))
	s.rate.Store(0)
	now := eval[[]uint64](t, s, rows)
	kept := map[uint64]int{}
	for _, seq := range now {
		kept[seq]++
		if kept[seq] > 1 {
			t.Errorf("row %d is there twice", seq)
		}
	}
	if len(now) < 150 && kept[newest] == 0 { // below its bound nothing is pushed out
		t.Errorf("the rows from before the restart are gone: %v", now)
	}
	s.view(t, "#/logs", "Logs")
	s.until(t, "the lines from before are still there", fmt.Sprintf(`document.querySelectorAll(".log li").length >= %d`, min(lines, 390)))
}

// cliIn is cli with something to read.
func (s *station) cliIn(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.bin, append(args, "--admin", s.admin)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wasmill %v: %v\n%s", args, err, out)
	}
}
