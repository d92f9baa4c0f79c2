package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/freeport"
	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
	"github.com/wasmill/wasmill/runtime/status"
)

// inFlight is max_in_flight of each plugin: what may be done twice after a crash.
const inFlight = 1024

const diskSize = 512 << 20

// kind is a kind of world.
type kind struct {
	name       string
	durability string // of the embedded server
	disk       bool   // the store lies on a disk that fails on request
	servers    int    // of somebody else's, instead of the embedded one
	every      time.Duration
	faults     []fault
}

// world is a process and what it depends on.
type world struct {
	t               *testing.T
	run             *run
	kind            *kind
	rng             *rand.Rand
	dir             string
	disk            *lossyfs.FS // nil unless the kind has one
	mount           string
	nats            []*natsd
	p               *process
	pub             *publisher
	book            *book
	edits, versions int // of the module
}

func newWorld(r *run, k *kind, dir string) *world {
	t := r.t
	t.Helper()
	w := &world{t: t, run: r, kind: k, rng: r.rng, dir: dir}
	t.Cleanup(w.close) // also when the test ends in the middle
	store := filepath.Join(dir, "disk")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if k.disk {
		var err error
		if w.disk, err = lossyfs.Mount(store, lossyfs.Options{Size: diskSize}); err != nil {
			t.Fatal(err)
		}
		w.mount = store
	}
	var server, url string
	if k.servers > 0 {
		url = w.serve(k.servers)
		server = fmt.Sprintf("url = %q", url)
	} else {
		addr := w.address()
		url = "nats://" + addr
		server = fmt.Sprintf("store_dir = %q\nlisten = %q\ndurability = %q", filepath.Join(store, "data"), addr, k.durability)
	}
	w.edit(w.version())
	listen, file := w.address(), filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, []byte(configuration(server, listen, max(1, k.servers))), 0o600); err != nil {
		t.Fatal(err)
	}
	w.p = &process{
		t: t, bin: r.bin, file: file, admin: admin.NewClient(listen, ""),
		env: []string{"WASMILL_CACHE=" + filepath.Join(r.dir, "cache")},
	}
	w.pub = newPublisher(t, url, k.every)
	w.book = newBook(w.pub.js)
	return w
}

func (w *world) address() string {
	w.t.Helper()
	addr, err := freeport.Address(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return addr
}

// configuration is a TOML file with two pipelines that differ in their delivery alone.
func configuration(server, admin string, replicas int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\n%s\n[admin]\nlisten = %q\n[topics.%s]\nreplicas = %d\n", server, admin, deadLetters, replicas)
	for _, topic := range []string{"in", least, least + "-high", once, once + "-high"} {
		fmt.Fprintf(&b, "[topics.%s]\nsubjects = [\"%s.>\"]\nreplicas = %d\n", topic, topic, replicas)
	}
	for p, delivery := range map[string]string{least: "at-least-once", once: "exactly-once"} {
		fmt.Fprintf(&b, `
[plugins.%[1]s]
path   = "split.wasm"
limits = { max_in_flight = %[2]d, deadline = "10s" }
config = { pointer = "/n", max = 6, else = "high" }
[pipelines.%[1]s]
from       = "in"
stages     = ["%[1]s"]
to         = "%[1]s"
subject    = "%[1]s.{subject.2}.{subject.3}"
outputs    = { high = { topic = "%[1]s-high", subject = "%[1]s-high.{subject.2}" } }
key        = "subject:2"
partitions = 2
delivery   = %[3]q
`, p, inFlight, delivery)
	}
	return b.String()
}

// serve starts NATS servers and returns their URLs.
func (w *world) serve(n int) (urls string) {
	w.t.Helper()
	var routes, all []string
	for range n {
		routes = append(routes, w.address())
	}
	for i := range n {
		s := natsdSpec{Name: fmt.Sprintf("n%d", i), Addr: w.address(), Dir: filepath.Join(w.dir, fmt.Sprintf("nats%d", i))}
		if n > 1 {
			s.Cluster, s.Routes = routes[i], routes
		}
		if err := os.MkdirAll(s.Dir, 0o700); err != nil {
			w.t.Fatal(err)
		}
		d := &natsd{t: w.t, spec: s}
		w.nats = append(w.nats, d)
		d.start()
		all = append(all, "nats://"+s.Addr)
	}
	return strings.Join(all, ",")
}

// version is the module, as the next of a few versions that differ in nothing but their digest.
func (w *world) version() []byte {
	w.versions++
	threshold, err := builtin.Module("threshold")
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Concat(threshold, wasmtest.Custom("version", []byte{byte(w.versions % 3)}))
}

// trap is a version that fails on every event.
func (w *world) trap() []byte {
	m := new(wasmtest.Module).Plugin(wasmtest.Plugin{Process: wasmtest.OnData(wasmtest.Unreachable())})
	return append(m.Bytes(), wasmtest.Custom("version", fmt.Append(nil, w.edits))...)
}

// edit puts another module in the place of the one that both pipelines use.
func (w *world) edit(module []byte) {
	w.t.Helper()
	w.edits++
	name := filepath.Join(w.dir, "split.wasm")
	if err := os.WriteFile(name+".new", module, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		w.t.Fatal(err)
	}
}

// begin starts the process and waits until events flow.
func (w *world) begin() {
	w.t.Helper()
	w.answers()
	w.p.start("")
	w.pub.start()
	w.flows(time.Now())
}

// answers waits until servers of somebody else's have elected whom they need.
func (w *world) answers() {
	w.t.Helper()
	if len(w.nats) == 0 {
		return
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
		_, err := w.pub.js.AccountInfo(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("JetStream of the servers does not answer: %v", err)
		}
	}
}

// suffer has a fault strike under load, and counts what came of it.
func (w *world) suffer(f *fault) {
	w.t.Helper()
	if w.pub.stop == nil {
		w.pub.start()
	}
	w.more(200)
	recovery := f.strike(w)
	w.more(200)
	w.pub.stop()
	c := w.settle()
	w.run.table.add(f, c, recovery)
	w.judge(f, c, recovery)
}

// more waits until more events are acknowledged.
func (w *world) more(n int) {
	w.t.Helper()
	n += w.pub.count()
	w.p.await(fmt.Sprintf("%d events are acknowledged", n), func(context.Context) bool { return w.pub.count() >= n })
}

// flows waits until both pipelines have finished an event that was stored after
// the fault, and returns how long that was after it.
func (w *world) flows(since time.Time) time.Duration {
	w.t.Helper()
	var stored uint64
	marked := false
	w.p.await("events flow again", func(ctx context.Context) bool {
		if !marked {
			topic, err := w.p.admin.Topic(ctx, "in")
			if err != nil {
				return false
			}
			stored, marked = topic.LastSeq, true
		}
		return w.finished(ctx, stored+1)
	})
	return time.Since(since)
}

// finished is whether both pipelines have finished all events up to a sequence.
func (w *world) finished(ctx context.Context, seq uint64) bool {
	for _, name := range pipelines {
		st, err := w.p.admin.Pipeline(ctx, name)
		if err != nil || st.State != status.StateRunning || st.AckedSeq < seq {
			return false
		}
	}
	return true
}

// settle waits until all is finished that is stored, and compares.
func (w *world) settle() *tally {
	w.t.Helper()
	var in []message
	w.p.await("all that is stored is finished", func(ctx context.Context) bool {
		late, err := w.book.read(ctx, "in")
		in = append(in, late...)
		return err == nil && len(late) == 0 && w.finished(ctx, w.book.at["in"])
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c, err := w.book.compare(ctx, in, w.pub.take())
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.p.tail())
	}
	return c
}

// judge fails the test for what must not be.
func (w *world) judge(f *fault, c *tally, recovery time.Duration) {
	w.t.Helper()
	bad := func(format string, args ...any) {
		w.t.Errorf("%s in %s: %s", f.name, filepath.Base(w.dir), fmt.Sprintf(format, args...))
	}
	if !f.mayLose {
		for _, p := range pipelines {
			if c.lost[p]+c.reordered[p] > 0 {
				bad("%s: lost %d (%d acknowledged and not stored), reordered %d", p, c.lost[p], c.swallowed, c.reordered[p])
			}
		}
		if n := c.repeated[once]; n > 0 {
			bad("%d outputs of exactly-once repeat another", n)
		}
	}
	if n := c.repeated[least]; f.repeats >= 0 && n > f.repeats*inFlight {
		bad("%d outputs of at-least-once repeat another; %d at most are explained", n, f.repeats*inFlight)
	}
	limit := f.within
	if w.run.short {
		limit *= 6
	}
	if limit > 0 && recovery > limit {
		bad("flowed again after %s, not within %s", recovery, limit)
	}
}

// end stops the process, and wants it to end well.
func (w *world) end() {
	w.t.Helper()
	w.p.stop()
}

// close ends everything that is left. What a mounted disk holds is kept when the test has failed.
func (w *world) close() {
	if w.p != nil {
		w.p.close()
		w.pub.close()
	}
	for _, n := range w.nats {
		n.end(true)
	}
	w.nats = nil
	if w.disk == nil {
		w.forget()
		return
	}
	if w.t.Failed() {
		w.disk.Heal()
		if err := os.CopyFS(filepath.Join(w.dir, "kept"), os.DirFS(w.mount)); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.disk.Unmount(); err != nil {
		w.t.Error(err)
	}
	w.disk = nil
	w.forget()
}

// forget removes the directory of a world in which nothing went wrong.
func (w *world) forget() {
	if !w.t.Failed() {
		if err := os.RemoveAll(w.dir); err != nil {
			w.t.Error(err)
		}
	}
}
