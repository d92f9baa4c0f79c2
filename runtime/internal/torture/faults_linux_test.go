package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
)

// fault is one way to break a world.
type fault struct {
	name string
	// strike does it and returns how long it took, after the cause was gone,
	// until events flowed again.
	strike func(w *world) time.Duration
	// repeats is how often what is in flight may be done again by at-least-once;
	// -1 when that is not known beforehand.
	repeats int
	mayLose bool          // only reported
	within  time.Duration // the longest recovery; 0 is as long as anything may take
}

func kinds() []*kind {
	return []*kind{plain(), diskOS(), diskFsync(), powerOS(), external(), cluster()}
}

// plain is the embedded server on the machine's disk.
func plain() *kind {
	k := &kind{name: "plain", durability: "os", every: 500 * time.Microsecond}
	for _, name := range event.Failpoints() {
		k.faults = append(k.faults, failpoint(name))
	}
	k.faults = append(k.faults,
		fault{name: "kill -9 at a random moment", repeats: 1, strike: killed},
		fault{name: "kill -9 while it starts", repeats: 3, strike: killedWhileStarting},
		fault{name: "SIGSTOP, SIGCONT", strike: func(w *world) time.Duration { return w.frozen(3 * time.Second) }},
		fault{name: "reload storm", strike: reloaded},
		fault{name: "rollback storm", strike: rolledBack},
	)
	return k
}

func failpoint(name string) fault {
	f := fault{name: "kill -9 at " + name, repeats: 1}
	f.strike = func(w *world) time.Duration {
		count := 1 + w.rng.IntN(100)
		switch name {
		case event.FailExactClaim, event.FailExactClaimed, event.FailExactComplete:
			count = 1 // passed once a start
		case event.FailExactSweep:
			count = 1 + w.rng.IntN(2) // once a second
		}
		w.p.stop()
		if name == event.FailExactComplete { // needs something to complete
			w.p.start(fmt.Sprintf("%s:%d", event.FailExactApply, 1+w.rng.IntN(100)))
			w.p.diesAtFailpoint()
		}
		w.p.start(fmt.Sprintf("%s:%d", name, count))
		w.p.diesAtFailpoint()
		return w.again()
	}
	if name == event.FailExactComplete {
		f.repeats = 2
	}
	return f
}

// again starts the process after its death.
func (w *world) again(flags ...string) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.p.start("", flags...)
	return w.flows(began)
}

// pause lets a fault last, or chooses the moment of one.
func (w *world) pause(atMost time.Duration) { time.Sleep(time.Duration(w.rng.Int64N(int64(atMost)))) }

func killed(w *world) time.Duration {
	w.pause(time.Second)
	w.p.kill()
	return w.again()
}

func killedWhileStarting(w *world) time.Duration {
	w.p.kill()
	for range 2 {
		w.p.start("")
		w.pause(400 * time.Millisecond)
		w.p.kill()
	}
	return w.again()
}

func (w *world) frozen(atMost time.Duration) time.Duration {
	w.p.signal(syscall.SIGSTOP)
	w.pause(atMost)
	w.p.signal(syscall.SIGCONT)
	return w.flows(time.Now())
}

func reloaded(w *world) time.Duration {
	for range 10 {
		w.edit(w.version())
		w.reload()
	}
	return w.flows(time.Now())
}

func (w *world) reload() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if _, err := w.p.admin.Reload(ctx); err != nil {
		w.t.Fatalf("reload: %v\n%s", err, w.p.tail())
	}
}

// rolledBack has versions in turn that cannot be loaded, that fail on every
// event, and that work and are rolled back by an operator.
func rolledBack(w *world) time.Duration {
	for i := range 6 {
		before := w.generation()
		switch i % 3 {
		case 0:
			w.edit([]byte("no module"))
			if _, err := w.p.admin.Reload(w.t.Context()); err == nil {
				w.t.Error("a file that is no module was loaded")
			}
		case 1:
			w.edit(w.trap())
			w.reload()
			w.p.await("the version that fails is rolled back", func(context.Context) bool { return w.generation() == before })
		default:
			w.edit(w.version())
			w.reload()
			for _, plugin := range pipelines {
				if _, err := w.p.admin.Rollback(w.t.Context(), plugin); err != nil {
					w.t.Errorf("rollback: %v", err)
				}
			}
		}
	}
	w.edit(w.version()) // for the next start
	w.reload()
	return w.flows(time.Now())
}

// generation is what both plugins run, by digest.
func (w *world) generation() (digests string) {
	for _, plugin := range pipelines {
		st, err := w.p.admin.Plugin(w.t.Context(), plugin)
		if err != nil {
			w.t.Fatalf("%v\n%s", err, w.p.tail())
		}
		digests += st.Generation.Digest + " "
	}
	return digests
}

// diskOS and diskFsync are the embedded server on a disk that fails on request.
func diskOS() *kind {
	return &kind{name: "disk", durability: "os", disk: true, every: time.Millisecond, faults: []fault{
		{name: "disk full", repeats: -1, within: 10 * time.Second, strike: diskFull},
		{name: "EIO on write", repeats: -1, strike: func(w *world) time.Duration { return w.fails(lossyfs.Write) }},
	}}
}

func diskFsync() *kind {
	return &kind{name: "disk-fsync", durability: "fsync", disk: true, every: time.Millisecond, faults: []fault{
		{name: "disk full, fsync", repeats: -1, within: 10 * time.Second, strike: diskFull},
		{name: "EIO on write, fsync", repeats: -1, strike: func(w *world) time.Duration { return w.fails(lossyfs.Write) }},
		{name: "EIO on fsync", repeats: -1, strike: func(w *world) time.Duration { return w.fails(lossyfs.Sync) }},
		{name: "power loss, fsync", repeats: 1, strike: powerLoss},
	}}
}

func diskFull(w *world) time.Duration {
	w.disk.Resize(w.disk.Used() + w.rng.Int64N(1<<20) - 256<<10)
	w.storing(false)
	w.pause(2 * time.Second)
	w.disk.Resize(diskSize)
	return w.flows(time.Now())
}

func (w *world) fails(op lossyfs.Op) time.Duration {
	w.disk.Fail(op, "", syscall.EIO)
	w.storing(false)
	w.pause(2 * time.Second)
	w.disk.Heal()
	return w.flows(time.Now())
}

func (w *world) storing(want bool) {
	w.t.Helper()
	w.p.await(fmt.Sprintf("the status says storing=%v", want), func(ctx context.Context) bool {
		st, err := w.p.admin.Status(ctx)
		return err == nil && st.Server.Storing == want
	})
}

func powerLoss(w *world) time.Duration {
	w.pause(time.Second)
	w.p.kill()
	w.disk.PowerLoss()
	return w.again()
}

// powerOS is a world whose power fails once: what the store may lose then would
// be missing from what was looked for before.
func powerOS() *kind {
	return &kind{name: "power-os", durability: "os", disk: true, every: time.Millisecond, faults: []fault{
		{name: "power loss, os", repeats: -1, mayLose: true, strike: func(w *world) time.Duration {
			w.pause(2 * time.Second)
			w.p.kill()
			w.disk.PowerLoss()
			return w.again("--accept-loss")
		}},
	}}
}

// external is one NATS server of somebody else's.
func external() *kind {
	restart := func(kill bool) func(w *world) time.Duration {
		return func(w *world) time.Duration {
			w.nats[0].end(kill)
			w.pause(2 * time.Second)
			w.nats[0].start()
			return w.flows(time.Now())
		}
	}
	return &kind{name: "external", servers: 1, every: time.Millisecond, faults: []fault{
		{name: "external server restarts", repeats: -1, strike: restart(false)},
		{name: "external server, kill -9", repeats: -1, strike: restart(true)},
		{name: "external, kill -9", repeats: 1, strike: killed},
		{name: "external, SIGSTOP for up to 12 s", repeats: -1, strike: func(w *world) time.Duration { return w.frozen(12 * time.Second) }},
	}}
}

// cluster is three NATS servers that replicate every topic.
func cluster() *kind {
	k := &kind{name: "cluster", servers: 3, every: 4 * time.Millisecond, faults: []fault{
		{name: "cluster, a server restarts", repeats: -1, strike: func(w *world) time.Duration { return w.node(false) }},
		{name: "cluster, kill -9 of a server", repeats: -1, strike: func(w *world) time.Duration { return w.node(true) }},
	}}
	for _, what := range []string{
		"STREAM.LEADER.STEPDOWN.in", "STREAM.LEADER.STEPDOWN." + least, "STREAM.LEADER.STEPDOWN." + once, "STREAM.LEADER.STEPDOWN.wasmill-state",
		"CONSUMER.LEADER.STEPDOWN.in.wasmill-" + least, "CONSUMER.LEADER.STEPDOWN.in.wasmill-" + once,
	} {
		kind, of, _ := strings.Cut(what, ".LEADER.STEPDOWN.")
		k.faults = append(k.faults, fault{
			name: "new leader, " + strings.ToLower(kind) + " " + of, repeats: -1,
			strike: func(w *world) time.Duration { return w.stepDown(what) },
		})
	}
	return k
}

func (w *world) node(kill bool) time.Duration {
	n := w.nats[w.rng.IntN(len(w.nats))]
	n.end(kill)
	began := time.Now()
	w.flows(began) // two of three go on
	n.start()
	w.flows(time.Now())
	return time.Since(began)
}

// stepDown has the leader of a stream or a consumer make room for another.
func (w *world) stepDown(what string) time.Duration {
	w.p.await("the leader steps down: "+what, func(ctx context.Context) bool {
		m, err := w.pub.nc.RequestWithContext(ctx, "$JS.API."+what, nil)
		if err != nil {
			return false
		}
		var answer struct {
			Success bool `json:"success"`
		}
		return json.Unmarshal(m.Data, &answer) == nil && answer.Success
	})
	return w.flows(time.Now())
}
