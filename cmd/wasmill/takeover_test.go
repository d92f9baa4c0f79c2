package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/status"
)

// takeovers is how often TestAnOwnerThatWakesUpWritesNothing does each of the
// things it does to an owner; WASMILL_TAKEOVERS overrides it.
const takeovers = 1

// The owner of a pipeline is frozen under load for longer than its lease lives,
// and is cut off from the server, until the other process has taken over. When
// it wakes up, or the network is back, nothing of it may arrive any more: every
// output from then on continues the order of its key.
func TestAnOwnerThatWakesUpWritesNothing(t *testing.T) {
	t.Parallel()
	rounds := takeovers
	if s := os.Getenv("WASMILL_TAKEOVERS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddress(t)
	operatorsServer(t, addr, t.TempDir())
	bin := buildBinary(t)
	process := func(name string) *tenant {
		net := newGate(t, addr)
		admin := freeAddress(t)
		file := filepath.Join(t.TempDir(), name+".toml")
		if err := os.WriteFile(file, fmt.Appendf(nil, standbyTOML, "nats://"+net.Addr().String(), admin), 0o600); err != nil {
			t.Fatal(err)
		}
		return &tenant{victim: &victim{t: t, file: file, admin: "http://" + admin, bin: bin}, net: net}
	}
	owner, other := process("one"), process("two")
	owner.start()
	owner.reaches(status.StateRunning)
	other.start()
	other.reaches(status.StateStandby)

	book := &ledger{acked: map[string]bool{}, every: time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { book.publish(ctx, t, "nats://"+addr) })

	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var calm []span
	for range rounds {
		for _, trouble := range []struct {
			name       string
			begin, end func(p *tenant)
		}{
			{"frozen", func(p *tenant) { p.signal(syscall.SIGSTOP) }, func(p *tenant) { p.signal(syscall.SIGCONT) }},
			{"cut off", func(p *tenant) { p.net.cut() }, func(p *tenant) { p.net.heal() }},
		} {
			book.waitFor(t, book.count()+500)
			began := time.Now()
			trouble.begin(owner)
			other.reaches(status.StateRunning)
			t.Logf("taken over %s after the owner was %s", time.Since(began).Round(time.Millisecond), trouble.name)
			// What was in flight is done again now, in all partitions.
			backlog := lastOf(t, js, "in")
			poll(t, time.Minute, "the new owner has caught up", func() bool { return other.pipeline().AckedSeq >= backlog })
			at := span{after: trouble.name, from: lastOf(t, js, "out")}
			trouble.end(owner)
			owner.reaches(status.StateStandby)
			book.waitFor(t, book.count()+500)
			at.to = lastOf(t, js, "out")
			calm = append(calm, at)
			owner, other = other, owner
		}
	}
	stop()
	wg.Wait()
	in := readTopic(t, js, "in")
	poll(t, time.Minute, "all events finished", func() bool { return owner.pipeline().AckedSeq == in[len(in)-1].seq })
	out := readTopic(t, js, "out")
	repeated := book.compare(t, in, out)
	if limit := len(calm) * inFlight; repeated > limit {
		t.Errorf("%d outputs repeat another; %d takeovers explain %d at most", repeated, len(calm), limit)
	}
	n := zombies(t, out, calm)
	t.Logf("%d takeovers, %d writes of a former owner", len(calm), n)
	if n > 0 {
		t.Errorf("%d outputs of a former owner arrived after it had woken up", n)
	}
	for _, p := range []*tenant{owner, other} {
		p.signal(syscall.SIGINT)
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("after SIGINT: %v\n%s", err, p.log)
		}
	}
}

// tenant is a process with a network of its own.
type tenant struct {
	*victim
	net *gate
}

func (p *tenant) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// span is a range of sequences of the output topic in which one process alone
// had reason to write.
type span struct {
	after    string
	from, to uint64
}

// zombies counts the outputs within the spans that do not continue the order of
// their key: the owner at that time only went ahead.
func zombies(t *testing.T, out []message, calm []span) (n int) {
	t.Helper()
	last := map[string]uint64{}
	for _, m := range out {
		num, _, _ := strings.Cut(strings.TrimPrefix(m.source, "in/"), "/")
		seq, err := strconv.ParseUint(num, 10, 64)
		if err != nil {
			t.Fatalf("Wasmill-Source is %q", m.source)
		}
		for _, c := range calm {
			if m.seq > c.from && m.seq <= c.to && seq <= last[m.subject] {
				n++
				t.Logf("output %d of event %d arrived after the owner was %s, behind that of event %d", m.seq, seq, c.after, last[m.subject])
			}
		}
		last[m.subject] = seq
	}
	return n
}

func lastOf(t *testing.T, js jetstream.JetStream, topic string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// gate forwards connections. While it is cut nothing passes and nothing is
// closed, as on a network that loses every packet: the sender repeats them until
// they pass, or has taken them back by resetting the connection.
type gate struct {
	net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while traffic passes
	ended bool
	conns map[net.Conn]struct{}
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, target: target, open: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(g.open)
	g.wg.Go(g.accept)
	t.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		g.ended = true
		for c := range g.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		g.heal()
		g.wg.Wait()
	})
	return g
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
	for c := range g.conns {
		_ = c.SetReadDeadline(time.Now()) // takes readers out of their reads
	}
}

func (g *gate) heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

func (g *gate) accept() {
	for {
		in, err := g.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		g.conns[in], g.conns[out] = struct{}{}, struct{}{}
		if g.ended {
			_, _ = in.Close(), out.Close()
		}
		g.mu.Unlock()
		g.wg.Go(func() { g.forward(in, out) })
		g.wg.Go(func() { g.forward(out, in) })
	}
}

func (g *gate) forward(from, to net.Conn) {
	defer func() {
		g.mu.Lock()
		delete(g.conns, from)
		g.mu.Unlock()
		_, _ = from.Close(), to.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		g.mu.Lock()
		open := g.open
		g.mu.Unlock()
		select {
		case <-open:
		default:
			<-open
			// The kernel has taken what a network that is cut would not have
			// delivered. It counts only if the sender still has the connection.
			held, err := readSoon(from)
			if err != nil {
				return
			}
			if _, err := to.Write(held); err != nil {
				return
			}
		}
		_ = from.SetReadDeadline(time.Time{})
		g.mu.Lock()
		again := open != g.open
		g.mu.Unlock()
		if again {
			continue
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// readSoon returns what a connection has to read now, or the error that ends it.
func readSoon(from net.Conn) (held []byte, err error) {
	buf := make([]byte, 64<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := from.Read(buf)
		held = append(held, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return held, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
