package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

func TestStatusNamesAPluginsVersionThatDidNotMakeIt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
	used := status.Generation{Number: 1, State: "active"}
	refused := status.Generation{Number: 2, State: "refused", Loaded: time.Now(), Reason: "is not\nWebAssembly"}
	if err := a.printPlugins([]status.Plugin{
		{Name: "good", Generation: used, History: []status.Generation{used}},
		{Name: "bad", Generation: used, History: []status.Generation{refused, used}},
	}); err != nil {
		t.Fatal(err)
	}
	if notes := out.String()[strings.Index(out.String(), "note:"):]; notes != "note: generation 2 of bad was refused now: is not WebAssembly\n" {
		t.Errorf("it ends with %q", notes)
	}
}

func TestDeadLettersAreLoggedAFewASecond(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Now()
	for i := range logged + 3 {
		if ok, _ := l.allow(now); ok != (i < logged) {
			t.Errorf("line %d: %v", i+1, ok)
		}
	}
	if ok, missed := l.allow(now.Add(time.Second)); !ok || missed != 3 {
		t.Errorf("a second later: %v, with %d not logged", ok, missed)
	}
	if _, missed := l.allow(now.Add(time.Second)); missed != 0 {
		t.Errorf("%d not logged are said again", missed)
	}
}

func TestDays(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"168h0m0s": "7d", "24h0m0s": "1d", "25h0m0s": "25h0m0s", "1h0m0s": "1h0m0s", "": ""} {
		if got := days(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
