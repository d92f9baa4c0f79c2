package broker

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/ledger"
	"github.com/wasmill/wasmill/sdk/abi"
)

// corruptions is how many random corruptions TestCorruption tries; WASMILL_CORRUPTIONS
// and WASMILL_SEED change it (make corrupt).
const corruptions = 16

// TestCorruption damages a store at random and opens it. Whatever was damaged,
// every event that is gone is reported, with its sequence, and nothing else is;
// everything else can be read as it was published; a consumer stands where it
// stood; and no sequence is used twice.
func TestCorruption(t *testing.T) {
	count, seed := envInt(t, "WASMILL_CORRUPTIONS", corruptions), uint64(envInt(t, "WASMILL_SEED", 1))
	stores := []*corruptible{newCorruptible(t, true), newCorruptible(t, false)}
	outcomes := map[string]int{}
	for i := range uint64(count) {
		rnd := rand.New(rand.NewPCG(seed, i))
		store := stores[rnd.IntN(len(stores))]
		t.Run(fmt.Sprintf("%d/%d", seed, i), func(t *testing.T) {
			outcomes[store.try(t, rnd)]++
		})
	}
	t.Logf("%d corruptions: %v", count, outcomes)
	if outcomes["lost, and reported"] == 0 || outcomes["mended or harmless"] == 0 {
		t.Errorf("the corruptions were all of one kind: %v", outcomes)
	}
}

func envInt(t *testing.T, name string, def int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// corruptible is a store on disk, and what is in it.
type corruptible struct {
	dir     string
	older   string // the same store at an earlier time
	clean   bool   // closed in order; else as a kill leaves it
	truth   map[string]map[uint64]uint64
	last    map[string]uint64
	deleted map[string][]uint64
	acked   uint64
}

// topicsOfStore are of several blocks, of one large block, at its limit so that
// the oldest were removed, and with single messages deleted.
var topicsOfStore = []TopicConfig{
	{Name: "blocks", Subjects: []string{"blocks.>"}, MaxBytes: 120_000},
	{Name: "large", Subjects: []string{"large.>"}},
	{Name: "full", Subjects: []string{"full.>"}, MaxBytes: 120_000},
	{Name: "deleted", Subjects: []string{"deleted.>"}, MaxBytes: 120_000},
}

func newCorruptible(t *testing.T, clean bool) *corruptible {
	t.Helper()
	ctx := testContext(t)
	c := &corruptible{clean: clean, dir: t.TempDir(), older: t.TempDir(), truth: map[string]map[uint64]uint64{}, last: map[string]uint64{}, deleted: map[string][]uint64{}}
	dir := filepath.Join(t.TempDir(), "data")
	b := New(Config{StoreDir: dir, Ledger: dir + ".ledger"}, Options{Log: logTo(t)})
	if err := b.Open(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	rnd := rand.New(rand.NewPCG(7, 7))
	fill := func(topic string, n int) {
		for i := range n {
			payload := make([]byte, 50+rnd.IntN(400))
			for j := range payload {
				payload[j] = byte(rnd.Uint32())
			}
			out := event.Output{Subject: topic + "." + strconv.Itoa(i%5), Payload: payload}
			if i%3 == 0 {
				out.Headers, out.HeaderCount = abi.AppendHeader(nil, "N", strconv.Itoa(i)), 1
			}
			if _, err := b.Publish(ctx, topic, out); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, cfg := range topicsOfStore {
		ensure(t, b, cfg)
		fill(cfg.Name, 100)
	}
	waitLedger(t, b)
	copyStore(t, dir, c.older)
	fill("blocks", 200)
	fill("large", 500)
	fill("full", 900)
	fill("deleted", 200)
	for range 60 {
		seq := 1 + rnd.Uint64N(290)
		if err := b.DeleteMessage(ctx, "deleted", seq); err == nil {
			c.deleted["deleted"] = append(c.deleted["deleted"], seq)
		}
	}
	cons, err := b.js.CreateConsumer(ctx, "blocks", jetstream.ConsumerConfig{Durable: consumerName("p"), AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := cons.FetchNoWait(150)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream == 120 {
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
			c.acked = 120
		}
	}
	for _, cfg := range topicsOfStore {
		c.truth[cfg.Name] = readAll(t, b, cfg.Name)
		top, err := b.Topic(ctx, cfg.Name)
		if err != nil {
			t.Fatal(err)
		}
		c.last[cfg.Name] = top.LastSeq
	}
	if clean {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		copyStore(t, dir, c.dir)
		return c
	}
	// What a kill leaves is what is on disk, with a ledger that has seen it.
	waitAcked(t, dir, c.acked)
	waitLedger(t, b)
	copyStore(t, dir, c.dir)
	return c
}

// waitLedger waits until the ledger was written twice from now on.
func waitLedger(t *testing.T, b *Broker) {
	t.Helper()
	path := filepath.Join(b.cfg.StoreDir, ledger.Name)
	start, err := ledger.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the ledger was written", func() bool {
		now, err := ledger.Load(path)
		return err == nil && now.Edition >= start.Edition+2
	})
}

// waitAcked waits until the server has flushed the consumer's place.
func waitAcked(t *testing.T, dir string, acked uint64) {
	t.Helper()
	waitUntil(t, "the ledger knows the consumer's place", func() bool {
		now, err := ledger.Load(filepath.Join(dir, ledger.Name))
		if err != nil {
			return false
		}
		c := now.Streams["blocks"].Consumers[consumerName("p")]
		return c != nil && c.Acked[1] == acked
	})
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for a minute: %s", what)
		}
	}
}

// copyStore copies a store and the ledger beside it to the directory to.
func copyStore(t *testing.T, dir, to string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(to, "data"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir + ".ledger")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "data.ledger"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a topic: the digest of subject, headers and payload by sequence.
func readAll(t *testing.T, b *Broker, topic string) map[uint64]uint64 {
	t.Helper()
	ctx := testContext(t)
	out := map[uint64]uint64{}
	top, err := b.Topic(ctx, topic)
	if errors.Is(err, ErrNotFound) {
		return out
	}
	if err != nil {
		t.Fatal(err)
	}
	for seq := top.FirstSeq; seq <= top.LastSeq; {
		m, err := b.Next(ctx, topic, seq, "")
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		fmt.Fprintf(h, "%s %v %s %x", m.Subject, m.Headers, m.Payload, m.Base64)
		out[m.Seq] = h.Sum64()
		seq = m.Seq + 1
	}
	return out
}

// try damages a copy of the store, opens it and compares.
func (c *corruptible) try(t *testing.T, rnd *rand.Rand) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(c.dir)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(to, "data")
	what := c.damage(t, rnd, dir)
	t.Logf("closed in order: %v; %s", c.clean, what)
	cfg := Config{StoreDir: dir, Ledger: dir + ".ledger"}
	outcome := "mended or harmless"
	reported := map[string][]ledger.Range{}
	b := New(cfg, Options{Log: logTo(t)})
	err := b.Open(testContext(t))
	var lost *LossError
	switch {
	case errors.As(err, &lost):
		outcome = "lost, and reported"
		for _, l := range lost.Losses {
			reported[l.Stream] = append(reported[l.Stream], l.Ranges...)
			t.Logf("reported: %s", describeLoss(&l))
		}
		cfg.AcceptLoss = true
		b = New(cfg, Options{Log: logTo(t)})
		err = b.Open(testContext(t))
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() { _ = b.Close() }()
	for _, topic := range topicsOfStore {
		c.compare(t, b, topic, reported[topic.Name])
	}
	cons, err := b.js.Consumer(testContext(t), "blocks", consumerName("p"))
	if err != nil {
		t.Fatalf("the consumer: %v", err)
	}
	// The server moves a consumer over what it had been given and is gone.
	floor, skipped := cons.CachedInfo().AckFloor.Stream, ledger.Count(reported["blocks"])
	for seq := c.acked + 1; seq <= floor && floor-c.acked <= skipped; seq++ {
		if !covers(reported["blocks"], seq) {
			skipped = 0
		}
	}
	if floor < c.acked || floor > c.acked+skipped {
		t.Errorf("the consumer is behind %d, want %d", floor, c.acked)
	}
	return outcome
}

func (c *corruptible) compare(t *testing.T, b *Broker, topic TopicConfig, reported []ledger.Range) {
	t.Helper()
	if err := b.EnsureTopic(testContext(t), topic); err != nil {
		t.Fatal(err)
	}
	got, want := readAll(t, b, topic.Name), c.truth[topic.Name]
	var silent, wrong, there []uint64
	for seq, digest := range want {
		switch have, ok := got[seq]; {
		case !ok && !covers(reported, seq):
			silent = append(silent, seq)
		case ok && have != digest:
			wrong = append(wrong, seq)
		case ok && covers(reported, seq):
			there = append(there, seq)
		}
	}
	for what, seqs := range map[string][]uint64{"lost and not reported": silent, "changed": wrong, "reported as lost and there": there} {
		if len(seqs) > 0 {
			slices.Sort(seqs)
			t.Errorf("topic %s: %s: %v", topic.Name, what, seqs)
		}
	}
	var never []uint64
	for _, r := range reported {
		for seq := r.First; seq <= r.Last; seq++ {
			if _, ok := want[seq]; !ok && !slices.Contains(c.deleted[topic.Name], seq) {
				never = append(never, seq)
			}
		}
	}
	if len(never) > 0 {
		t.Errorf("topic %s: reported as lost, and they were not there before: %v", topic.Name, never)
	}
	seq, err := b.Publish(testContext(t), topic.Name, event.Output{Subject: topic.Name + ".new", Payload: []byte("x")})
	if err != nil {
		t.Fatalf("topic %s: %v", topic.Name, err)
	}
	if seq <= c.last[topic.Name] {
		t.Errorf("topic %s: sequence %d is used again; it had got to %d", topic.Name, seq, c.last[topic.Name])
	}
}

func covers(ranges []ledger.Range, seq uint64) bool {
	return slices.ContainsFunc(ranges, func(r ledger.Range) bool { return r.First <= seq && seq <= r.Last })
}

// damage does one thing to a store and says what.
func (c *corruptible) damage(t *testing.T, rnd *rand.Rand, dir string) string {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	streams := streamsDir(dir)
	switch rnd.IntN(20) {
	case 0:
		must(os.RemoveAll(dir))
		return "the whole store removed"
	case 1:
		must(os.RemoveAll(dir))
		must(os.CopyFS(dir, os.DirFS(filepath.Join(c.older, "data"))))
		return "an older copy of the store put in its place"
	case 2:
		topic := topicsOfStore[rnd.IntN(len(topicsOfStore))].Name
		must(os.RemoveAll(filepath.Join(streams, topic)))
		return "the directory of topic " + topic + " removed"
	case 3:
		topic := topicsOfStore[rnd.IntN(len(topicsOfStore))].Name
		must(os.RemoveAll(filepath.Join(streams, topic, "msgs")))
		must(os.Mkdir(filepath.Join(streams, topic, "msgs"), 0o750))
		return "the directory of topic " + topic + " emptied"
	case 4:
		topic := topicsOfStore[rnd.IntN(len(topicsOfStore))].Name
		must(os.RemoveAll(filepath.Join(streams, topic)))
		must(os.CopyFS(filepath.Join(streams, topic), os.DirFS(filepath.Join(streamsDir(filepath.Join(c.older, "data")), topic))))
		return "an older copy of topic " + topic + " put in its place"
	}
	file := pick(t, rnd, dir)
	data, err := os.ReadFile(file)
	must(err)
	info, err := os.Stat(file)
	must(err)
	var what string
	switch rnd.IntN(6) {
	case 0:
		must(os.Remove(file))
		return "removed " + strings.TrimPrefix(file, dir)
	case 1:
		n := rnd.IntN(len(data))
		data, what = data[:n], fmt.Sprintf("cut at %d of %d", n, len(data))
	case 2:
		from := rnd.IntN(len(data))
		n := min(len(data)-from, 1+rnd.IntN(2000))
		clear(data[from : from+n])
		what = fmt.Sprintf("%d zeros at %d", n, from)
	case 3:
		from := rnd.IntN(len(data))
		n := min(len(data)-from, 1+rnd.IntN(2000))
		for i := range n {
			data[from+i] = byte(rnd.Uint32())
		}
		what = fmt.Sprintf("%d random bytes at %d", n, from)
	default:
		i, bit := rnd.IntN(len(data)), rnd.IntN(8)
		data[i] ^= 1 << bit
		what = fmt.Sprintf("bit %d flipped at %d of %d", bit, i, len(data))
	}
	must(os.WriteFile(file, data, 0o600))
	must(os.Chtimes(file, info.ModTime(), info.ModTime())) // as a disk that rots
	return what + " in " + strings.TrimPrefix(file, dir)
}

// pick chooses a file that is not empty, the kinds about equally often.
func pick(t *testing.T, rnd *rand.Rand, dir string) string {
	t.Helper()
	kinds := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() == 0 || d.Name() == lockFile {
			return err
		}
		kind := d.Name()
		if strings.HasSuffix(kind, ".blk") {
			kind = "blocks of " + filepath.Base(filepath.Dir(filepath.Dir(path)))
		}
		kinds[kind] = append(kinds[kind], path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, k)
	}
	slices.Sort(names)
	files := kinds[names[rnd.IntN(len(names))]]
	slices.Sort(files)
	return files[rnd.IntN(len(files))]
}
