package hosttest_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/host/hosttest/broken"
)

// enough is how many events show a leak in these tests.
const enough = 100_000

func openHost(t *testing.T) *host.Host {
	t.Helper()
	h := host.New(host.Options{CacheDir: filepath.Join(t.TempDir(), "cache")})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func find(t *testing.T, checks []hosttest.Check, name string) hosttest.Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c hosttest.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no check %q", name)
	}
	return checks[i]
}

// TestModel: the guest that the broken ones are made of passes all but what it
// gives no occasion for.
func TestModel(t *testing.T) {
	checks := hosttest.Run(t, broken.Model(), hosttest.Options{Steady: enough})
	for _, name := range []string{"open", "open again", "close", "snapshot", "memory growth", "determinism", "unknown flags", "answer: own payload"} {
		if c := find(t, checks, name); c.Result != hosttest.Passed {
			t.Errorf("%s is %s: %s", name, c.Result, c.Reason)
		}
	}
}

// TestBroken: each is told apart by the check that is for it, with a reason that
// says what is wrong and an advice what to do.
func TestBroken(t *testing.T) {
	h := openHost(t)
	for _, b := range broken.Cases() {
		t.Run(b.Name, func(t *testing.T) {
			o := hosttest.Options{Host: h, Config: b.Config, Steady: enough}
			o.Limits.Deadline = b.Deadline
			checks, err := hosttest.Verify(t.Context(), b.Module, o)
			if err != nil {
				t.Fatal(err)
			}
			c := find(t, checks, b.Check)
			if c.Result != hosttest.Failed || !strings.Contains(c.Reason, b.Says) {
				t.Errorf("%s is %s: %q; want a failure that says %q", b.Check, c.Result, c.Reason, b.Says)
			}
			if c.Result == hosttest.Failed && c.Advice == "" {
				t.Error("it does not say what to do")
			}
			for _, f := range hosttest.Failures(checks) {
				t.Logf("%s: %s; %s", f.Name, f.Reason, f.Advice)
			}
		})
	}
}
