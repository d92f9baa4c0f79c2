package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The dashboard in a real browser, against the real binary under load: every
// view says what is so, and does what its buttons say.
func TestDashboard(t *testing.T) {
	s := newStation(t)
	s.do(t, chromedp.Navigate(s.admin+"/"))
	s.until(t, "the overview is shown", `document.querySelector("h1")?.textContent === "Overview"`)
	t.Logf("first contentful paint after %.0f ms", eval[float64](t, s, `performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1`))

	t.Run("overview", s.overview)
	t.Run("topology", s.topology)
	t.Run("pipeline", s.pipeline)
	t.Run("tail of a topic", s.tailTopic)
	t.Run("tail of a stage", s.tailStage)
	t.Run("dead letters", s.deadLetters)
	t.Run("ten thousand dead letters", s.manyDeadLetters)
	t.Run("plugins", s.plugins)
	t.Run("logs", s.logs)
	t.Run("configuration", s.config)
	t.Run("keyboard and themes", s.keyboard)
	t.Run("every view is accessible, fits 400 pixels and is small", s.everyView)
	t.Run("a restart of the server keeps the rows", s.restart)

	if pwned := eval[bool](t, s, "'pwned' in window"); pwned {
		t.Error("a payload has run as code")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, url := range s.requests {
		if !strings.HasPrefix(url, s.admin+"/") && url != "about:blank" {
			t.Errorf("the page asked for %s", url)
		}
	}
}

func (s *station) overview(t *testing.T) {
	s.until(t, "the pipeline that waits is a problem", `[...document.querySelectorAll(".problems li.warn")].some(li => li.textContent.includes("narrow") && li.textContent.includes("at a plugin's rate"))`)
	look := func(name string) string {
		return fmt.Sprintf(`document.querySelector('[data-pipeline="%s"] [data-look]')?.dataset.look`, name)
	}
	s.until(t, "one with nothing to do is idle", look("idle")+` === "idle"`)
	s.until(t, "one that works is running", look("check")+` === "running"`)
	s.publish(t, "readings.halt", []byte(`{"no":"number","panic":1}`))
	s.until(t, "one that has failed is halted", look("broken")+` === "halted"`)
	s.until(t, "and the first of the problems", `document.querySelector(".problems li")?.classList.contains("bad") && document.querySelector(".problems li").textContent.includes("pipeline broken is halted")`)
	// Each state has a shape of its own.
	shape := func(name string) string {
		return eval[string](t, s, fmt.Sprintf(`(() => { const c = getComputedStyle(document.querySelector('[data-pipeline="%s"] [data-look]'), "::before"); return [c.backgroundColor, c.borderRadius, c.borderStyle].join() })()`, name))
	}
	if idle, halted, runs, busy := shape("idle"), shape("broken"), shape("check"), shape("narrow"); idle == halted || idle == runs || halted == runs || busy == runs {
		t.Errorf("states look the same: idle %s, halted %s, running %s, held back %s", idle, halted, runs, busy)
	}
}

func (s *station) topology(t *testing.T) {
	s.view(t, "#/topology", "Topology")
	want := map[string]bool{}
	for _, name := range []string{"check", "narrow", "idle", "broken"} {
		var p struct {
			Name, From string
			Stages     []string
			Outputs    map[string]string
		}
		if err := json.Unmarshal([]byte(s.cli(t, "pipelines", "show", name, "-o", "json")), &p); err != nil {
			t.Fatal(err)
		}
		want["t "+p.From+" > p "+p.Name] = true
		for _, topic := range p.Outputs {
			want["p "+p.Name+" > t "+topic] = true
		}
		stages := eval[[]string](t, s, fmt.Sprintf(`[...document.querySelectorAll('svg [data-pipeline="%s"] [data-stage]')].map(n => n.dataset.stage)`, name))
		if !slices.Equal(stages, p.Stages) {
			t.Errorf("pipeline %s has stages %v, drawn are %v", name, p.Stages, stages)
		}
	}
	drawn := eval[[]string](t, s, `[...document.querySelectorAll("svg .way")].map(n => n.dataset.from + " > " + n.dataset.to)`)
	for _, way := range drawn {
		if !want[way] {
			t.Errorf("%s is drawn and not so", way)
		}
		delete(want, way)
	}
	if len(want) > 0 {
		t.Errorf("not drawn: %v; drawn: %v", want, drawn)
	}
	s.until(t, "the saturated plugin is marked", `document.querySelector('svg [data-pipeline="narrow"] [data-stage="narrow"]')?.dataset.saturated === "rate"`)
	if eval[bool](t, s, `!!document.querySelector('svg [data-pipeline="check"] [data-saturated]')`) {
		t.Error("a plugin with room is marked, too")
	}
	rate := `Number(document.querySelector('[data-row="check"] td:nth-child(6)')?.textContent.replace(",", ""))`
	s.until(t, "the rate of the load is shown", rate+" > 100")
	s.rate.Store(0)
	before := eval[float64](t, s, rate)
	t.Logf("the rate followed after %s", s.until(t, "the rate falls", fmt.Sprintf("%s < %f", rate, before*0.8)))
	s.until(t, "and is nothing when nothing comes", rate+" === 0")
	s.rate.Store(200)
	s.until(t, "it rises again", rate+" > 100")
}

func (s *station) pipeline(t *testing.T) {
	s.view(t, "#/pipelines/check", "check")
	s.until(t, "six charts are drawn, each with its table", `document.querySelectorAll(".chart canvas").length === 6 && document.querySelectorAll(".chart table").length === 6`)
	cell := func(n int) string {
		return fmt.Sprintf(`document.querySelector('tr[data-stage="check"] :nth-child(%d)').textContent`, n)
	}
	s.until(t, "the stage has a rate", "Number("+cell(3)+") > 50")
	s.until(t, "and a p50", cell(6)+`.endsWith("s")`)
	s.until(t, "and a batch size", "Number("+cell(5)+") >= 1")
	s.button(t, "Pause")
	s.click(t, "dialog [data-confirm]")
	s.until(t, "it is paused", `document.querySelector("main [data-look]").dataset.look === "paused"`)
	s.button(t, "Resume")
	s.click(t, "dialog [data-confirm]")
	s.until(t, "it runs again", `["running", "busy"].includes(document.querySelector("main [data-look]").dataset.look)`)
	s.view(t, "#/pipelines/narrow", "narrow")
	s.until(t, "the saturated plugin is marked", `document.querySelector('tr[data-stage="narrow"] [data-saturated]')`)
}

func (s *station) tailTopic(t *testing.T) {
	s.rate.Store(2000)
	defer s.rate.Store(200)
	s.view(t, "#/tail?w=topic:readings", "Live tail")
	rows := `document.querySelectorAll(".rows > li").length`
	s.until(t, "rows come", rows+" > 20")
	s.until(t, "what comes too fast is counted", `Number(document.querySelector("[data-skipped]").dataset.skipped) > 100`)
	if eval[bool](t, s, `!!document.querySelector(".rows script, .rows img")`) {
		t.Error("a payload has become markup")
	}
	if !strings.Contains(eval[string](t, s, `document.querySelector(".rows .payload").textContent`), "<script>") {
		t.Error("the payload is not shown as it is")
	}
	s.button(t, "Freeze")
	first := eval[string](t, s, `document.querySelector(".rows summary").textContent`)
	s.until(t, "new rows wait", `Number(document.querySelector("[data-waiting]")?.dataset.waiting) > 5`)
	if now := eval[string](t, s, `document.querySelector(".rows summary").textContent`); now != first {
		t.Errorf("frozen, but %q became %q", first, now)
	}
	s.button(t, "Go on")
	s.until(t, "it goes on", fmt.Sprintf(`document.querySelector(".rows summary").textContent !== %q`, first))

	s.rate.Store(0) // what comes faster than it is read is passed over, also by a search
	t.Run("search", func(t *testing.T) {
		s.publish(t, "readings.other", []byte("a needle in the hay"))
		s.fill(t, ".tail input[type=search]", "needle in")
		s.publish(t, "readings.other", []byte("another needle in the hay"))
		s.until(t, "only what holds the text is shown", rows+` >= 1 && [...document.querySelectorAll(".rows .payload")].every(p => p.textContent.includes("needle in"))`)
		s.fill(t, ".tail input[type=search]", "")
	})
	t.Run("payloads of every kind", func(t *testing.T) {
		s.publish(t, "readings.other", append([]byte{0xff, 0xfe, 0}, bytes.Repeat([]byte("\x01\x80"), 300)...))
		s.publish(t, "readings.other", bytes.Repeat([]byte("x"), 1<<20-4096))
		s.until(t, "binary is said to be", `[...document.querySelectorAll(".rows .payload")].some(p => p.textContent.startsWith("binary, 603 B"))`)
		s.until(t, "a megabyte is shown in part", `[...document.querySelectorAll(".rows .payload")].some(p => p.textContent.startsWith("xxxx") && p.textContent.length <= 300)`)
		open := `[...document.querySelectorAll(".rows details")].find(d => d.querySelector(".payload").textContent.startsWith(%q))`
		eval[bool](t, s, fmt.Sprintf("("+open+".querySelector('summary').click(), true)", "xxxx"))
		s.until(t, "it is asked for", `[...document.querySelectorAll(".detail button")].some(b => b.textContent === "Load it all")`)
		s.button(t, "Load it all")
		s.until(t, "all of it is there", fmt.Sprintf(`[...document.querySelectorAll(".detail pre")].some(p => p.textContent.length === %d)`, 1<<20-4096))
		eval[bool](t, s, fmt.Sprintf("("+open+".querySelector('summary').click(), true)", "binary"))
		s.until(t, "binary is dumped", `[...document.querySelectorAll(".detail pre")].some(p => p.textContent.startsWith("000000  ff fe 00 01"))`)
	})
}

func (s *station) tailStage(t *testing.T) {
	s.view(t, "#/tail?w=stage%3Acheck%2Fcheck&w=stage%3Acheck%2Fpass&w=topic%3Achecked", "Live tail")
	s.until(t, "three tails have rows", `document.querySelectorAll(".tail").length === 3 && [...document.querySelectorAll(".tail")].every(x => x.querySelectorAll("li").length > 10)`)
	s.until(t, "dropped events are told from emitted ones", `document.querySelector('details[data-outcome="dropped"]') && document.querySelector('details[data-outcome="emitted"]')`)
	// The newest row moves; what is opened stays.
	s.button(t, "Freeze")
	eval[bool](t, s, `(document.querySelector('.tail details[data-outcome="emitted"] summary').click(), true)`)
	s.until(t, "the difference is shown", `[...document.querySelectorAll(".diff ins")].some(i => i.textContent.includes("+ Checked: one")) && document.querySelector(".diff del")`)
	if eval[bool](t, s, `!!document.querySelector(".diff script, .diff img")`) {
		t.Error("a payload has become markup")
	}
	s.until(t, "the tap is as full as it gets, and the page stays small", `document.querySelectorAll(".rows > li").length <= 500`)
	s.button(t, "Go on")
}

func (s *station) deadLetters(t *testing.T) {
	s.publish(t, "readings.ok.oslo", []byte(`{"value":"seven"}`))
	s.view(t, "#/dead-letters", "Dead letters")
	s.until(t, "the dead letter is listed", `(() => { const b = document.querySelector("[data-fresh]"); if (b) b.click(); return [...document.querySelectorAll("[data-letter]")].some(r => r.textContent.includes("there is no number at /value")) })()`)
	eval[bool](t, s, `(document.querySelector("[data-letter] a").click(), true)`)
	s.until(t, "its payload is shown", `document.querySelector("[data-payload]")?.textContent.includes("seven")`)
	var id uint64
	if _, err := fmt.Sscanf(eval[string](t, s, `document.querySelector("h1").textContent`), "Dead letter %d", &id); err != nil {
		t.Fatal(err)
	}
	s.button(t, "Edit and redrive")
	s.fill(t, "[data-edit-payload]", `{"value":7,"mended":true}`)
	s.click(t, "[data-send]")
	s.until(t, "the list is shown again", `document.querySelector("h1").textContent === "Dead letters"`)
	s.until(t, "it says where the event went", `document.querySelector(".note")?.textContent.includes("of topic readings")`)
	poll(t, time.Minute, "the mended event is through", func() bool {
		_, body, err := fetch(s.admin + "/api/v1/topics/checked/tail?from=-500&follow=false")
		return err == nil && strings.Contains(body, `mended\":true`)
	})
	var gone map[string]any
	if err := s.get(fmt.Sprintf("/api/v1/dead-letters/%d", id), &gone); err == nil {
		t.Error("the record is still there")
	}
	t.Run("a stack is shown, and one is purged", func(t *testing.T) {
		s.publish(t, "readings.ok.oslo", []byte(`{"panic":1}`))
		s.until(t, "the fault is listed", `(() => { const b = document.querySelector("[data-fresh]"); if (b) b.click(); return [...document.querySelectorAll("[data-letter]")].some(r => r.textContent.includes("the test wants it")) })()`)
		eval[bool](t, s, `([...document.querySelectorAll("[data-letter]")].find(r => r.textContent.includes("the test wants it")).querySelector("a").click(), true)`)
		s.until(t, "the place in the plugin is shown", `document.querySelector("main .banner")?.textContent.includes("main.go")`)
		s.button(t, "Purge")
		s.click(t, "dialog [data-confirm]")
		s.until(t, "it is gone", `document.querySelector("h1").textContent === "Dead letters" && ![...document.querySelectorAll("[data-letter]")].some(r => r.textContent.includes("the test wants it"))`)
	})
}

func (s *station) manyDeadLetters(t *testing.T) {
	const n = 10_000
	lines := strings.Repeat("{}\n", n)
	s.cliIn(t, lines, "topics", "publish", "readings", "--subject", "readings.ok.many", "--file", "-")
	poll(t, 2*time.Minute, "ten thousand events failed", func() bool {
		var topics struct{ Messages int }
		return s.get("/api/v1/topics/dead-letters", &topics) == nil && topics.Messages >= n
	})
	s.view(t, "#/dead-letters?fault=handler_error", "Dead letters")
	page := `document.querySelectorAll("[data-letter]").length`
	s.until(t, "a page of them is shown", page+" === 50")
	first := eval[string](t, s, `document.querySelector("[data-letter]").dataset.letter`)
	s.button(t, "Older")
	s.until(t, "older ones are shown", page+fmt.Sprintf(` === 50 && document.querySelector("[data-letter]").dataset.letter !== %q`, first))
	s.button(t, "Purge all that match")
	s.click(t, "dialog [data-confirm]")
	s.until(t, "all are purged", `document.querySelector(".note")?.textContent.includes("events were purged")`)
	s.until(t, "none is left", page+" === 0")
}

func (s *station) plugins(t *testing.T) {
	file := filepath.Join(s.dir, "check.wasm")
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.view(t, "#/plugins/check", "check")
	digest := `document.querySelector("[data-digest]").textContent`
	before := eval[string](t, s, digest)
	next := bytes.ReplaceAll(module, []byte("mark=one  "), []byte("mark=two  "))
	if bytes.Equal(next, module) {
		t.Fatal("the plugin has no mark")
	}
	if err := os.WriteFile(file+".new", next, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the new generation is active", digest+fmt.Sprintf(` !== %q && document.querySelectorAll("[data-generation]").length === 2`, before))
	s.until(t, "the reload is told", `document.querySelector(".timeline")?.textContent.includes("was reloaded")`)
	s.button(t, "Roll back")
	s.click(t, "dialog [data-confirm]")
	s.until(t, "the version before is back", digest+fmt.Sprintf(" === %q", before))
	s.until(t, "the history has it", `document.querySelector("[data-generation]").textContent.includes("rollback")`)
	s.view(t, "#/plugins", "Plugins")
	s.until(t, "the saturated plugin is marked", `document.querySelector('[data-plugin="narrow"] [data-saturated]')`)
}

func (s *station) logs(t *testing.T) {
	s.view(t, "#/logs?plugin=check", "Logs")
	s.until(t, "the plugin's lines are shown", `[...document.querySelectorAll(".log li")].some(l => l.textContent.includes("still checking"))`)
	s.fill(t, "input[type=search]", "no such line")
	s.until(t, "none matches", `document.querySelector("main").textContent.includes("No line matches.")`)
	s.fill(t, "input[type=search]", "mark=two")
	s.until(t, "those of the version that was rolled back are there", `document.querySelectorAll(".log li").length >= 1`)
}

func (s *station) config(t *testing.T) {
	s.view(t, "#/config", "Configuration")
	s.until(t, "the tables are shown", `document.querySelector('[data-section="plugins.check"]')`)
	if text := s.text(); strings.Contains(text, "not to be seen") || !strings.Contains(text, "[secret]") {
		t.Error("a secret is shown")
	}
	if strings.Contains(s.text(), "durability") {
		t.Error("defaults are shown unasked")
	}
	s.click(t, `input[type=checkbox]`)
	s.until(t, "defaults are shown", `document.body.innerText.includes("durability")`)
	t.Run("findings of the file", func(t *testing.T) {
		text, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.file, append(text, "\n[pipelines.extra]\nfrom = \"reading\"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		s.until(t, "they are told, with what was meant", `[...document.querySelectorAll(".findings li.bad")].some(li => li.textContent.includes("dangling") && li.textContent.includes("readings"))`)
		if err := os.WriteFile(s.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		eval[bool](t, s, `(location.hash = "#/", true)`)
		s.view(t, "#/config", "Configuration")
		s.until(t, "the file is fine again", `document.querySelector(".fine")`)
	})
}
