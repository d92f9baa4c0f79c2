package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The dashboard is given a token once. When its session ends, it says so and
// asks again, over what it shows, and loses nothing of it.
func TestDashboardSession(t *testing.T) {
	s := newStation(t)
	s.stop(t)
	plain, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	tokens := func(role string) {
		t.Helper()
		text := string(plain) + "[admin.tokens.anna]\ntoken = 'file:anna.token'\nrole = '" + role + "'\n[admin.tokens.test]\ntoken = 'file:test.token'\nrole = 'admin'\n"
		if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{"anna.token": "first", "test.token": "of the test"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tokens("view")
	s.token = "of the test"
	s.start(t)

	s.do(t, chromedp.Navigate(s.admin+"/#/tail?w=topic%3Achecked"))
	s.until(t, "a token is wanted", `document.querySelector(".login h1")?.textContent.includes("Wasmill")`)
	signIn := func(token string) {
		t.Helper()
		s.fill(t, ".signin input", token)
		s.click(t, ".signin button")
	}
	signIn("wrong")
	s.until(t, "a wrong one is refused", `document.querySelector(".signin [role=alert]")?.textContent.includes("not one of this instance")`)
	signIn("first")
	s.until(t, "it goes on where it was", `document.querySelector("h1")?.textContent === "Live tail"`)
	rows := `[...document.querySelectorAll(".rows .seq")].map(x => Number(x.textContent))`
	s.until(t, "rows come", rows+".length > 30")
	s.until(t, "it says who is there", `document.querySelector("[data-who]")?.title === "anna has the role view"`)
	if kept := eval[string](t, s, `JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])`); strings.Contains(kept, "first") || !strings.Contains(kept, "wms-") {
		t.Errorf("the page keeps %s", kept)
	}
	s.do(t, chromedp.Reload())
	s.until(t, "rows come after the page was loaded again", rows+".length > 30")
	s.until(t, "it still knows who is there", `document.querySelector("[data-who]")?.textContent === "Sign out anna"`)

	s.rate.Store(0)
	s.until(t, "it is live", `document.querySelector(".tail .link.live")`)
	before := eval[[]uint64](t, s, rows)
	tokens("operate") // a session has the role that its token had
	s.until(t, "it says that the session has ended", `document.querySelector("dialog[data-ended] h1")?.textContent.includes("The session has ended")`)
	if now := eval[[]uint64](t, s, rows); len(now) < len(before) {
		t.Errorf("%d rows became %d", len(before), len(now))
	}
	signIn("first")
	s.until(t, "it goes on", `!document.querySelector("dialog[data-ended]") && document.querySelector(".tail .link.live") && document.querySelector(".top .link.live")`)
	if now := eval[[]uint64](t, s, rows); len(now) < len(before) {
		t.Errorf("%d rows became %d", len(before), len(now))
	}
	s.rate.Store(200)
	s.until(t, "new rows come", rows+fmt.Sprintf("[0] > %d", before[0]))

	s.click(t, "[data-who]")
	poll(t, time.Minute, "who signs out sees nothing any more", func() bool { // the page is loaded again meanwhile
		gone, err := chromedp.Run(s.ctx, chromedp.Evaluate[bool](`!!document.querySelector(".login .signin") && !document.querySelector(".rows")`))
		return err == nil && gone
	})
}
