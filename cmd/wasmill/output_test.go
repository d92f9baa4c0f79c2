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

func TestDeadLettersThatSayTheSameAreLoggedOnceInAWhile(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Now()
	trap, deadline := [3]string{"p", "s", "trap"}, [3]string{"p", "s", "deadline"}
	for i := range loggedAtOnce + 7 {
		if ok, _ := l.allow(trap, now.Add(time.Duration(i))); ok != (i < loggedAtOnce) {
			t.Errorf("line %d: %v", i+1, ok)
		}
	}
	if ok, missed := l.allow(deadline, now); !ok || missed != 0 {
		t.Errorf("another fault: %v, with %d not logged", ok, missed)
	}
	if ok, missed := l.allow(trap, now.Add(loggedEvery)); !ok || missed != 7 {
		t.Errorf("later: %v, with %d not logged", ok, missed)
	}
	if ok, _ := l.allow(trap, now.Add(loggedEvery)); ok {
		t.Error("one more passed")
	}
	if ok, missed := l.allow(trap, now.Add(2*loggedEvery)); !ok || missed != 1 {
		t.Errorf("later still: %v, with %d not logged", ok, missed)
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
