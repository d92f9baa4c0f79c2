package engine_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// What a plugin or an application may send that is wrong, against the real
// server and the real host. The rule is the same everywhere: the event or the
// module is refused with a readable cause, everything around it goes on, and
// nothing is lost.

const puppetConfig = `
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.other]
subjects = ["other.>"]
[plugins.puppet]
path = "puppet.wasm"
[pipelines.puppet]
from = "in"
filter = ["in.puppet.>"]
stages = ["puppet"]
to = "out"
subject = "out.{subject.3}"
key = "json:/id"
batch = { max_events = 1 }
retry = { attempts = 1 }
[pipelines.puppet.outputs]
side = "other"
`

// response builds what a correct guest answers to a batch of one event.
func response(write func(w *abi.ResponseWriter)) []byte {
	var w abi.ResponseWriter
	w.Reset()
	write(&w)
	return slices.Clone(w.Bytes())
}

// emits is a response with these outputs of the event.
func emits(outputs ...abi.Output) []byte {
	return response(func(w *abi.ResponseWriter) {
		for i := range outputs {
			w.Output(&outputs[i])
		}
	})
}

// patched is a response with one output, in which 32-bit words are replaced.
func patched(words map[int]uint32) []byte {
	b := emits(abi.Output{Payload: []byte("never seen")})
	for at, v := range words {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	return b
}

// decided is a response with one outcome, in which words are replaced.
func decided(words map[int]uint32) []byte {
	b := response(func(w *abi.ResponseWriter) { w.Outcome(0, abi.CodeDeadLetter, 0, "because") })
	for at, v := range words {
		binary.LittleEndian.PutUint32(b[abi.ResponseHeaderSize+at:], v)
	}
	return b
}

func header(pairs ...string) (block []byte, n uint16) {
	for i := 0; i < len(pairs); i += 2 {
		block = abi.AppendHeader(block, pairs[i], pairs[i+1])
		n++
	}
	return block, n
}

func withHeader(key, value string) abi.Output {
	block, n := header(key, value)
	return abi.Output{Headers: block, HeaderCount: n, Payload: []byte("never seen")}
}

func to(subject string) abi.Output {
	return abi.Output{Subject: []byte(subject), Payload: []byte("never seen")}
}

func returns(v uint64) []byte { return binary.LittleEndian.AppendUint64([]byte("R"), v) }

func TestWhateverAPluginAnswersOneEventIsRefusedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "")
	r.file("puppet", puppet{}.module())
	if err := r.Open(t.Context(), r.plan(puppetConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("puppet running")

	const record = abi.ResponseHeaderSize // offset of the first
	good := abi.Output{Payload: []byte("never seen")}
	many := slices.Repeat([]abi.Output{good}, 2000)
	reserved := withHeader("Nats-Rollup", "all")
	side := to("out.x")
	side.ID = 1
	cases := []struct {
		name    string
		payload []byte
		fault   string
		cause   string
	}{
		{"an empty payload as a response", nil, abi.FaultBadResponse, "shorter than its header"},
		{"a payload that is no response", []byte(`{"id": 1}`), abi.FaultBadResponse, "shorter than its header"},
		{"another magic", patched(map[int]uint32{0: 0}), abi.FaultBadResponse, "magic is not WMR1"},
		{"a header length of nothing", patched(map[int]uint32{4: 0}), abi.FaultBadResponse, "header length"},
		{"a header length beyond the response", patched(map[int]uint32{4: 1 << 31}), abi.FaultBadResponse, "header length"},
		{"more outcomes than fit", patched(map[int]uint32{8: ^uint32(0)}), abi.FaultBadResponse, "counts exceed"},
		{"more records than fit", patched(map[int]uint32{12: ^uint32(0)}), abi.FaultBadResponse, "counts exceed"},
		{"a total length beyond the response", patched(map[int]uint32{16: ^uint32(0)}), abi.FaultBadResponse, "total length"},
		{"a total length of nothing", patched(map[int]uint32{16: 0}), abi.FaultBadResponse, "total length"},
		{"a reserved field", patched(map[int]uint32{20: 1}), abi.FaultBadResponse, "reserved field"},
		{"a record length of nothing", patched(map[int]uint32{record: 0}), abi.FaultBadResponse, "record length"},
		{"a record length beyond the response", patched(map[int]uint32{record: 1 << 30}), abi.FaultBadResponse, "record length"},
		{"the source of another batch", patched(map[int]uint32{record + 4: 1}), abi.FaultBadResponse, "source index"},
		{"unknown flags", patched(map[int]uint32{record + 8: 1 << 7}), abi.FaultBadResponse, "flags"},
		{"an output that does not exist", patched(map[int]uint32{record + 12: 99}), abi.FaultBadResponse, "output id"},
		{"a header count without headers", patched(map[int]uint32{record + 12: 5 << 16}), abi.FaultBadResponse, "header"},
		{"a subject length beyond the record", patched(map[int]uint32{record + 16: ^uint32(0)}), abi.FaultBadResponse, "parts exceed"},
		{"a key length beyond the record", patched(map[int]uint32{record + 20: ^uint32(0)}), abi.FaultBadResponse, "parts exceed"},
		{"a headers length beyond the record", patched(map[int]uint32{record + 24: ^uint32(0)}), abi.FaultBadResponse, "parts exceed"},
		{"a payload length beyond the record", patched(map[int]uint32{record + 28: ^uint32(0)}), abi.FaultBadResponse, "parts exceed"},
		{"the outcome of another batch", decided(map[int]uint32{0: 1}), abi.FaultBadResponse, "outcome index"},
		{"an unknown outcome", decided(map[int]uint32{4: 9}), abi.FaultBadResponse, "outcome code"},
		{"a reason outside the response", decided(map[int]uint32{12: ^uint32(0)}), abi.FaultBadResponse, "reason is out of bounds"},
		{"a response outside memory", returns(uint64(0x7fff_0000)<<32 | 24), abi.FaultBadResponse, "memory ends at"},
		{"a response that ends outside memory", returns(uint64(puppetBuffer)<<32 | 0x7fff_ffff), abi.FaultBadResponse, "memory ends at"},
		{"a response longer than any memory", returns(uint64(puppetBuffer)<<32 | 0xffff_ffff), abi.FaultBadResponse, "more than 2 GiB"},
		{"a code instead of a response", []byte("E"), abi.FaultGuestError, "code -7"},
		{"a trap", []byte("T"), abi.FaultTrap, "unreachable"},
		{"all memory there is", []byte("M"), abi.FaultOutOfMemory, "memory limit of 64 MiB"},
		{"more outputs than an event may have", emits(many...), abi.FaultBadResponse, "too many outputs"},

		{"a wildcard", emits(to("out.*")), abi.FaultRefusedSubject, "wildcard"},
		{"a wildcard for everything behind", emits(to("out.>")), abi.FaultRefusedSubject, "wildcard"},
		{"everything", emits(to(">")), abi.FaultRefusedSubject, "wildcard"},
		{"the server's own subjects", emits(to("$JS.API.STREAM.DELETE.in")), abi.FaultRefusedSubject, "reserved"},
		{"a dead letter of its own making", emits(to("wasmill.dead.puppet.puppet")), abi.FaultRefusedSubject, "not one of the topic's"},
		{"NUL in the subject", emits(to("out.\x00")), abi.FaultRefusedSubject, "control character"},
		{"a command in the subject", emits(to("out.x 0\r\n\r\nPUB in.puppet.x 0\r\n")), abi.FaultRefusedSubject, "control character"},
		{"a subject of 5 kB", emits(to("out." + strings.Repeat("x", 5000))), abi.FaultRefusedSubject, "longer than 256 bytes"},
		{"an empty token", emits(to("out..x")), abi.FaultRefusedSubject, "token is empty"},
		{"no UTF-8", emits(to("out.\xff")), abi.FaultRefusedSubject, "UTF-8"},
		{"another topic's subject", emits(to("other.x")), abi.FaultRefusedSubject, "not one of the topic's"},
		{"another output's subject", emits(side), abi.FaultRefusedSubject, "not one of the topic's"},
		{"its own input", emits(to("in.puppet.x")), abi.FaultRefusedSubject, "not one of the topic's"},

		{"a header that commands the server", emits(reserved), abi.FaultRefusedSubject, `"Nats-Rollup" is reserved`},
		{"a header of the runtime's", emits(withHeader("Wasmill-Source", "in/1/0")), abi.FaultRefusedSubject, "is reserved"},
		{"a line break in a header", emits(withHeader("A", "b\r\nNats-Rollup: all")), abi.FaultBadResponse, "header value has a byte that is not allowed"},
		{"a header without a name", emits(withHeader("", "b")), abi.FaultBadResponse, "header key is empty"},
		{"more headers than are stored", emits(withHeader("A", strings.Repeat("x", 1<<16))), abi.FaultBadResponse, "too many bytes of headers"},
		{"a line break in the key", emits(abi.Output{Key: []byte("a\nb")}), abi.FaultRefusedSubject, "line break"},
		{"one bad output among good ones", emits(good, to("out.ok"), to("nowhere")), abi.FaultRefusedSubject, "not one of the topic's"},
		{"one output that cannot be stored among good ones", emits(good, withHeader("A", strings.Repeat("x", 1<<16)), good), abi.FaultBadResponse, "too many bytes of headers"},
	}
	for i, c := range cases {
		r.send("in.puppet.bad", c.payload)
		r.send("in.puppet.good", emits(abi.Output{Payload: fmt.Append(nil, i)}))
	}

	dead := r.read("dead-letters", 1, len(cases))
	for i, c := range cases {
		h := func(name string) string { return strings.Join(dead[i].Headers[name], "") }
		if h("Wasmill-Fault") != c.fault || !strings.Contains(h("Wasmill-Cause"), c.cause) {
			t.Errorf("%s: %s: %q, want %s with %q", c.name, h("Wasmill-Fault"), h("Wasmill-Cause"), c.fault, c.cause)
		}
		if seq := h("Wasmill-Source-Seq"); seq != fmt.Sprint(2*i+1) {
			t.Errorf("%s: the dead letter is of event %s, want %d", c.name, seq, 2*i+1)
		}
		if got := payloadOf(dead[i]); got != string(c.payload) {
			t.Errorf("%s: the dead letter has a payload of %d bytes, want %d", c.name, len(got), len(c.payload))
		}
	}
	for i, m := range r.read("out", 1, len(cases)) {
		if m.Payload != fmt.Sprint(i) {
			t.Fatalf("output %d is %q: the good events must come out whole and in order, and nothing else", i, m.Payload)
		}
	}
	r.unharmed("puppet")
}

func TestModulesThatCannotBePluginsAreRefusedAndTheOldOneStays(t *testing.T) {
	t.Parallel()
	r := newFixture(t, "")
	r.file("puppet", puppet{}.module())
	if err := r.Open(t.Context(), r.plan(puppetConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("puppet running")

	component := append([]byte("\x00asm\x0d\x00\x01\x00"), make([]byte, 64)...)
	whole := puppet{}.module()
	cases := []struct {
		name   string
		module []byte
		cause  string
	}{
		{"an empty file", nil, "empty"},
		{"a file that is not Wasm", []byte("#!/bin/sh\necho hello\n"), "is not WebAssembly"},
		{"half a module", whole[:len(whole)/2], "not a valid WebAssembly module"},
		{"a component", component, "component"},
		{"a command", puppet{start: true}.module(), "reactor"},
		{"the ABI of the future", puppet{version: 2 << 16}.module(), "version 2.0"},
		{"no ABI at all", puppet{without: abi.ExportABI}.module(), abi.ExportABI},
		{"no process", puppet{without: abi.ExportProcess}.module(), abi.ExportProcess},
		{"no memory", puppet{memory: []byte{}}.module(), "memory"},
		{"more memory than its limit", puppet{memory: []byte{0, 0x80, 0x20}}.module(), "limit is 64 MiB"},
		{"an unknown import", puppet{imports: [][2]string{{"env", "system"}}}.module(), "env.system"},
		{"an import that is not granted", puppet{imports: [][2]string{{"wasmill_v1", "now"}}}.module(), `grant "clock"`},
		{"open says no", puppet{open: []byte{0x41, 0x6a}}.module(), "code -22"},
		{"open traps", puppet{open: []byte{0x00}}.module(), "unreachable"},
		{"a buffer outside memory", puppet{memory: []byte{0, 1}}.module(), "memory ends at"},
	}
	for i, c := range cases {
		r.file("puppet", c.module)
		err := r.ReloadPlugin(t.Context(), "puppet")
		if err == nil {
			t.Errorf("%s was taken", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.cause) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `plugin "puppet"`) {
			t.Errorf("%s: %q, want one line that names the plugin and says %q", c.name, err, c.cause)
		}
		t.Log(c.name, "→", err)
		r.send("in.puppet.good", emits(abi.Output{Payload: fmt.Append(nil, i)}))
		r.want("out", uint64(i+1), fmt.Sprint(i))
	}
	r.unharmed("puppet")
}

func (r *fixture) send(subject string, payload []byte) {
	r.t.Helper()
	if _, err := r.broker.Publish(r.t.Context(), "in", event.Output{Subject: subject, Payload: payload}); err != nil {
		r.t.Fatal(err)
	}
}

// unharmed checks that nothing around the refused events noticed them.
func (r *fixture) unharmed(pipelines ...string) {
	r.t.Helper()
	for _, name := range pipelines {
		p, err := r.Pipeline(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if p.State != status.StateRunning || p.Restarts != 0 {
			r.t.Errorf("pipeline %s is %s after %d restarts: %s", name, p.State, p.Restarts, p.LastError)
		}
	}
}

func payloadOf(m status.Message) string {
	if m.Base64 != nil {
		return string(m.Base64)
	}
	return m.Payload
}
