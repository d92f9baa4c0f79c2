package c_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/internal/guesttest"
)

// native is testdata/native.c, a process that runs the test plugin natively.
type native struct {
	in  io.Writer
	out *bufio.Reader
}

// Requests of native.c.
const (
	nativeOpen = iota
	nativeProcess
	nativeClose
	nativeBuffer
)

// startNative compiles native.c with those arguments and starts it. That the
// process ends well, and thus that no sanitizer spoke, is checked at the end.
func startNative(t *testing.T, compiler string, args ...string) *native {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "native")
	args = append(args, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.", "-o", exe, "testdata/native.c")
	if text, err := exec.CommandContext(t.Context(), compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", compiler, strings.Join(args, " "), err, text)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), exe) // it ends when its input does
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("%s: %v\n%s", compiler, err, text[max(0, len(text)-4000):])
		}
		_ = log.Close()
	})
	return &native{in: stdin, out: bufio.NewReader(stdout)}
}

// ask sends a request and returns the answer; false when the call failed.
func (n *native) ask(t *testing.T, kind uint32, data []byte) ([]byte, bool) {
	t.Helper()
	head := binary.LittleEndian.AppendUint32(nil, kind)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(data)))
	if _, err := n.in.Write(append(head, data...)); err != nil {
		t.Fatalf("the native guest has ended: %v", err)
	}
	var size uint32
	if err := binary.Read(n.out, binary.LittleEndian, &size); err != nil {
		t.Fatalf("the native guest has ended: %v", err)
	}
	if size == 1<<32-1 {
		return nil, false
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(n.out, answer); err != nil {
		t.Fatalf("the native guest has ended: %v", err)
	}
	return answer, true
}

// frame encodes a batch of events with these payloads.
func frame(payloads ...string) []byte {
	headers := abi.AppendHeader(abi.AppendHeader(nil, "A", "1"), "B", "")
	var records []byte
	for i, p := range payloads {
		e := abi.Event{Seq: uint64(i + 1), Time: 5, Attempt: 1, Subject: []byte("a.b"), Key: []byte("k"), HeaderCount: 2, Headers: headers, Payload: []byte(p)}
		record := make([]byte, abi.EventSize(&e))
		abi.PutEvent(record, &e)
		records = append(records, record...)
	}
	b := make([]byte, abi.BatchHeaderSize, abi.BatchHeaderSize+len(records))
	abi.PutBatchHeader(b, abi.BatchHeader{Count: uint32(len(payloads)), ID: 9}, len(b)+len(records))
	return append(b, records...)
}

var limits = abi.ResponseLimits{Outputs: 2}

func (n *native) process(t *testing.T, payloads ...string) *abi.Result {
	t.Helper()
	answer, ok := n.ask(t, nativeProcess, frame(payloads...))
	if !ok {
		t.Fatalf("the guest failed on %.200q", payloads)
	}
	lim, res := limits, &abi.Result{}
	lim.Events = len(payloads)
	if err := abi.DecodeResponse(answer, lim, res); err != nil {
		t.Fatalf("%.200q: %v", payloads, err)
	}
	return res
}

// TestNative runs the codec and the JSON reader under the sanitizers of gcc. What
// the guest reads lies in memory of exactly its size, so that a byte too much ends
// the process.
func TestNative(t *testing.T) {
	document := []byte(`{"plugin":"guest","pipeline":"line","partition":2,"outputs":["default","other"],"grants":["random"],"config":` + guesttest.Config + `}`)
	n := startNative(t, "gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

	t.Run("refuses what is no document", func(t *testing.T) {
		for _, doc := range []string{`[]`, `{"outputs":["default"`, `{"config":{"greeting":1}}`, string(document[:len(document)/2]), `{"plugin":`} {
			if _, ok := n.ask(t, nativeOpen, []byte(doc)); ok {
				t.Errorf("%s was taken", doc)
			}
		}
	})
	n = startNative(t, "gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	if _, ok := n.ask(t, nativeOpen, document); !ok {
		t.Fatal("the document was refused")
	}

	t.Run("reads every document byte by byte", func(t *testing.T) {
		guesttest.Finds(t, func(t *testing.T, payload string) string {
			t.Helper()
			r := n.process(t, payload)
			if len(r.Outputs) != 1 {
				t.Fatalf("%.200q: got %+v", payload, r)
			}
			return string(r.Outputs[0].Payload)
		})
	})

	t.Run("copies batches of any size", func(t *testing.T) {
		for _, size := range []int{0, 1, 7, 8, 9, 1 << 10, 1<<16 - 100, 1 << 16, 1<<20 + 1} {
			for _, count := range []int{0, 1, 2, 100} {
				if size*count > 8<<20 {
					continue
				}
				payloads := make([]string, count)
				for i := range payloads {
					payloads[i] = strings.Repeat("x", size)
				}
				if r := n.process(t, payloads...); len(r.Outputs) != count || count > 0 && len(r.Outputs[count-1].Payload) != size {
					t.Fatalf("%d events of %d bytes: %d outputs", count, size, len(r.Outputs))
				}
			}
		}
		if r := n.process(t, "fan 20000", "drop "+strings.Repeat("x", 1<<20), "dead y", "fan 3"); len(r.Outputs) != 20003 || len(r.Outcomes) != 2 {
			t.Errorf("%d outputs, %d outcomes", len(r.Outputs), len(r.Outcomes))
		}
	})

	t.Run("does what an event says", func(t *testing.T) {
		r := n.process(t, "pass", "twice", "pass-to other", "pass-as", "fields", "greet", "quote \x00\"", "log", "random", "garbage 100000", "drop", "later", "bad output", "bad header")
		if len(r.Outputs) != 9 || len(r.Outcomes) != 4 {
			t.Errorf("got %d outputs and %+v", len(r.Outputs), r.Outcomes)
		}
	})

	t.Run("gives a buffer of any size", func(t *testing.T) {
		for _, size := range []int{0, 1, 1 << 16, 1<<16 + 1, 1 << 22} {
			if _, ok := n.ask(t, nativeBuffer, make([]byte, size)); !ok {
				t.Errorf("no buffer for %d bytes", size)
			}
		}
	})

	t.Run("refuses frames that lie, and bears them", func(t *testing.T) {
		whole := frame("pass", "copy", "drop no use", "find /a\n{\"a\":1}", "fields")
		for cut := range whole {
			if _, ok := n.ask(t, nativeProcess, whole[:cut]); ok {
				t.Fatalf("a frame cut off at byte %d of %d was taken", cut, len(whole))
			}
		}
		r := rand.New(rand.NewPCG(3, 4))
		refused := 0
		for range 5000 {
			bad := append([]byte(nil), whole...)
			for range 1 + r.IntN(3) {
				at := r.IntN(len(bad))
				if r.IntN(2) == 0 {
					bad[at] ^= 1 << r.IntN(8)
				} else {
					binary.LittleEndian.PutUint32(bad[min(at&^3, len(bad)-4):], []uint32{0, 1, 47, 0x7fffffff, 0x80000000, 0xffffffff, uint32(len(bad))}[r.IntN(7)])
				}
			}
			answer, ok := n.ask(t, nativeProcess, bad)
			if !ok {
				refused++
				continue
			}
			lim := limits
			lim.Events = int(binary.LittleEndian.Uint32(bad[8:]))
			if err := abi.DecodeResponse(answer, lim, &abi.Result{}); err != nil {
				t.Fatalf("the answer to a frame that was taken: %v", err)
			}
		}
		if refused < 1000 {
			t.Errorf("only %d frames were refused", refused)
		}
	})

	t.Run("closes", func(t *testing.T) {
		answer, ok := n.ask(t, nativeClose, nil)
		res := &abi.Result{}
		if err := abi.DecodeResponse(answer, limits, res); !ok || err != nil || len(res.Outputs) != 1 {
			t.Errorf("got %v, %+v", err, res)
		}
		if _, ok := n.ask(t, nativeProcess, frame("pass")); ok {
			t.Error("a closed instance processes")
		}
	})
}

// TestTheHeaderCompilesEverywhere has compilers read the test plugin in every language
// that can include the header, without a warning.
func TestTheHeaderCompilesEverywhere(t *testing.T) {
	for _, c := range []struct{ compiler, language, standard string }{
		{"gcc", "c", "c99"},
		{"gcc", "c", "c11"},
		{"g++", "c++", "c++11"},
		{"g++", "c++", "c++20"},
		{"clang --target=wasm32 -mbulk-memory", "c", "c99"},
		{"clang --target=wasm32 -ffreestanding", "c", "c11"},
		{"clang++ --target=wasm32 -fno-exceptions", "c++", "c++11"},
		{"clang++ --target=wasm32 -fno-exceptions", "c++", "c++20"},
	} {
		t.Run(c.compiler+" "+c.standard, func(t *testing.T) {
			args := append(strings.Fields(c.compiler), "-x", c.language, "-std="+c.standard, "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.", "testdata/guest.c")
			if _, err := exec.LookPath(args[0]); err != nil {
				t.Skip(err)
			}
			if text, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, text)
			}
		})
	}
}
