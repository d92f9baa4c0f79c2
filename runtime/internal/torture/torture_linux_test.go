// Package torture breaks the real binary under load, in every way that it can
// think of, and counts what became of each event.
//
// A world is a process (the binary, built with the tag "torture") in its
// surroundings: a disk, or NATS servers of somebody else's. It runs one pipeline
// at least once and one exactly once, side by side on the same topic, each with
// two output topics, dead letters and drops. A fault strikes it while events are
// published; when events flow again the publisher pauses, everything is finished,
// and every event since the last fault is looked for in the topics. So whatever
// is lost, repeated or out of order belongs to one fault.
//
// TORTURE_TIME is for how long it goes on (without it, once through a few
// faults); every fault strikes at least once. TORTURE_WORLDS names the worlds
// (plain,disk,disk-fsync,power-os,external,cluster) when it should not be all.
// TORTURE_SEED repeats the choices of a run, though not the timing of the machine.
package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(natsdEnv); spec != "" {
		serveNATS(spec)
		return
	}
	goleak.VerifyTestMain(m)
}

// short is how many faults strike the first world when there is no TORTURE_TIME.
const short = 3

func TestTorture(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TORTURE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("TORTURE_SEED=%s: %v", s, err)
		}
	}
	var limit time.Duration
	if s := os.Getenv("TORTURE_TIME"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil || limit <= 0 {
			t.Fatalf("TORTURE_TIME=%s is not a duration such as 5m", s)
		}
	}
	dir, err := os.MkdirTemp("", "wasmill-torture-") //nolint:usetesting // kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 0)), short: limit == 0} //nolint:gosec // a test's choices, to be repeated
	began := time.Now()
	t.Cleanup(func() {
		r.table.write(os.Stdout, time.Since(began), seed)
		if t.Failed() {
			t.Logf("TORTURE_SEED=%d; logs and stores are kept in %s", seed, dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.bin = filepath.Join(dir, "wasmill")
	out, err := exec.Command("go", "build", "-tags", "torture", "-o", r.bin, "github.com/wasmill/wasmill/cmd/wasmill").CombinedOutput() //nolint:gosec // the go command
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if r.short {
		r.visit(plain(), short, never)
		r.visit(diskOS(), 1, never)
		return
	}
	late := func() bool { return time.Since(began) > limit }
	for round := 0; round == 0 || !late(); round++ {
		for _, k := range chosen(t, os.Getenv("TORTURE_WORLDS")) {
			if round == 0 {
				r.visit(k, len(k.faults), never)
			} else if !late() {
				r.visit(k, len(k.faults), late)
			}
		}
	}
}

func never() bool { return false }

// chosen are the kinds of worlds that are named, separated by commas; "" = all.
func chosen(t *testing.T, names string) []*kind {
	t.Helper()
	all := kinds()
	if names == "" {
		return all
	}
	var some []*kind
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(k *kind) bool { return k.name == name })
		if i < 0 {
			t.Fatalf("TORTURE_WORLDS=%s: there is no world %q", names, name)
		}
		some = append(some, all[i])
	}
	return some
}

// run is one run of the harness.
type run struct {
	t      *testing.T
	dir    string
	bin    string
	rng    *rand.Rand
	short  bool
	worlds int
	table  table
}

// visit makes a world and has n of its faults strike it, until it is over.
func (r *run) visit(k *kind, n int, over func() bool) {
	r.t.Helper()
	r.worlds++
	w := newWorld(r, k, filepath.Join(r.dir, fmt.Sprintf("%03d-%s", r.worlds, k.name)))
	defer w.close()
	w.begin()
	for _, i := range r.rng.Perm(len(k.faults))[:n] {
		if over() {
			break
		}
		w.suffer(&k.faults[i])
	}
	w.end()
}
