package inspect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/plugins/builtin"
)

// decodeAll decodes every body again and checks that offsets tile it.
func decodeAll(t testing.TB, m *inspect.Module) (n int) {
	t.Helper()
	for i, b := range m.Bodies {
		d := m.Decode(i)
		at := b.Code
		last := false
		for d.Next() {
			if d.At != at || d.End <= d.At || last {
				t.Fatalf("body %d: instruction at %d…%d, expected at %d", i, d.At, d.End, at)
			}
			at, last = d.End, d.Last
			n++
		}
		if d.Err() != nil || at != b.End || !last {
			t.Fatalf("body %d: ends at %d of %d: %v", i, at, b.End, d.Err())
		}
	}
	return n
}

func TestParsePlugins(t *testing.T) {
	for name, read := range builtin.Modules() {
		b, err := read()
		if err != nil {
			t.Fatal(err)
		}
		m, err := inspect.Parse(b, inspect.Caps{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := decodeAll(t, m)
		if len(m.Bodies) < 1000 || n < 100_000 || len(m.Memories) != 1 || len(m.Data) == 0 || len(m.Elements) == 0 {
			t.Errorf("%s: %d functions, %d instructions, %d memories", name, len(m.Bodies), n, len(m.Memories))
		}
		e, ok := m.Export("wasmill_process")
		if !ok || e.Kind != inspect.ExternFunc || m.TypeOf(e.Index).String() != "(i32, i32) -> i64" {
			t.Errorf("%s: wasmill_process is %+v", name, e)
		}
		var copied bytes.Buffer // the sections tile the module
		copied.Write(b[:8])
		for _, s := range m.Sections {
			copied.Write(b[s.Head:s.End])
		}
		if !bytes.Equal(copied.Bytes(), b) {
			t.Errorf("%s: its sections are not the whole module", name)
		}
	}
}

// suite calls fn for each binary module of a part of the core specification's
// suite, which wazero carries as test data.
func suite(t *testing.T, part string, fn func(kind, where string, b []byte)) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest", part, "testdata/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data of %s: %v", part, err)
	}
	for _, file := range files {
		var script struct {
			Commands []struct {
				Type, Filename, Text string
				Line                 int
			}
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &script); err != nil {
			t.Fatal(err)
		}
		for _, c := range script.Commands {
			if !strings.HasSuffix(c.Filename, ".wasm") {
				continue
			}
			b, err := os.ReadFile(filepath.Join(filepath.Dir(file), c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			fn(c.Type, fmt.Sprintf("%s (line %d, %s)", c.Filename, c.Line, c.Text), b)
		}
	}
}

// TestSpecification: what the suite of the core specification 2.0 holds for
// valid passes, what it holds for malformed does not. (Most of what is only
// invalid are operand types, which are wazero's to check.)
func TestSpecification(t *testing.T) {
	valid, malformed := 0, 0
	suite(t, "v2", func(kind, where string, b []byte) {
		m, err := inspect.Parse(b, inspect.Caps{})
		switch kind {
		case "module", "assert_uninstantiable", "assert_unlinkable":
			valid++
			if err != nil {
				t.Errorf("%s: %v", where, err)
			}
		case "assert_malformed":
			malformed++
			if err == nil {
				t.Errorf("%s passes", where)
			}
		}
		if err == nil {
			decodeAll(t, m)
		}
	})
	t.Logf("%d valid modules pass, %d malformed ones are refused", valid, malformed)
	if valid < 1000 || malformed < 500 {
		t.Error("that is not the whole suite")
	}
}

// TestProposals: modules of proposals that the host does not have are refused
// with the proposal's name.
func TestProposals(t *testing.T) {
	for part, rules := range map[string][]string{
		"threads":                   {"threads"},
		"tail-call":                 {"tail calls"},
		"exception-handling":        {"exception handling", "tail calls", "function references", "garbage collection"},
		"extended-const":            {"extended constant expressions"},
		"typed-function-references": {"function references", "tail calls", "exception handling", "garbage collection"},
	} {
		named := 0
		suite(t, part, func(kind, where string, b []byte) {
			if kind != "module" {
				return
			}
			_, err := inspect.Parse(b, inspect.Caps{})
			var e *inspect.Error
			switch {
			case err == nil: // the suite has modules of the core specification as well
			case !errors.As(err, &e) || e.Kind != inspect.Unsupported || !slices.Contains(rules, e.Rule):
				t.Errorf("%s: %s: %v", part, where, err)
			case e.Rule == rules[0]:
				named++
			}
		})
		t.Logf("%s: %d modules are refused by its name", part, named)
		if named == 0 {
			t.Errorf("%s: no module is refused by its name", part)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	_, err := inspect.Parse([]byte("\x00asm\x01\x00\x00\x00\x0d\x01\x00"), inspect.Caps{})
	var e *inspect.Error
	if !errors.As(err, &e) || e.Kind != inspect.Unsupported || e.Rule != "exception handling" {
		t.Errorf("error is %#v", err)
	}
}

func BenchmarkParse(b *testing.B) {
	module, err := builtin.Module("pass")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(module)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inspect.Parse(module, inspect.Caps{}); err != nil {
			b.Fatal(err)
		}
	}
}
