package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wasmill/wasmill"

// house is the import table: what each room may import besides the standard
// library. A name without a dot in its first element is a room of this module,
// the others are modules. "x/…" stands for every package below x. Tests may
// import what they like.
var house = map[string][]string{
	// What a plugin is compiled from. Dependencies here end up in every guest.
	"sdk/abi":     {},
	"sdk/jsonptr": {},
	"sdk":         {"sdk/abi", "sdk/jsonptr"},
	"sdk/sdktest": {"sdk", "sdk/abi"},
	"sdk/rust":    {}, // holds the source of the crate
	"sdk/c":       {}, // holds the header

	"sdk/assemblyscript":     {}, // holds the source of the package
	"sdk/internal/guesttest": {"host", "plugins/build", "sdk/abi", "sdk/jsonptr"},

	// The sandbox knows neither topics nor pipelines.
	"host":                 {"host/inspect", "host/rewrite", "sdk/abi", "github.com/tetratelabs/wazero", "golang.org/x/sys"},
	"host/inspect":         {},
	"host/rewrite":         {"host/inspect"},
	"host/wasmtest":        {"sdk/abi"},
	"host/hostile":         {"host/wasmtest", "sdk/abi"},
	"host/hosttest":        {"host", "sdk/abi"},
	"host/hosttest/broken": {"host/wasmtest", "sdk/abi"},

	// What all of runtime shares.
	"runtime/event":  {"sdk/abi", "sdk/jsonptr"},
	"runtime/status": {},

	// Control: file → config → plan → diff → engine.
	"runtime/config": {"runtime/event", "github.com/BurntSushi/toml", "github.com/invopop/jsonschema"},
	"runtime/plan":   {"runtime/config", "runtime/event"},
	"runtime/engine": {
		"runtime/plan", "runtime/pipeline", "runtime/broker", "runtime/event", "runtime/status",
		"host", "sdk/abi", "plugins/manifest", "golang.org/x/sync",
	},
	"runtime/reload": {"runtime/config", "runtime/plan", "runtime/event", "github.com/fsnotify/fsnotify"},

	// Data: source → partition → stages → sink → ack. The pipeline knows
	// neither NATS nor wazero, the broker no pipeline.
	"runtime/pipeline": {"runtime/event", "sdk/abi", "golang.org/x/sync", "golang.org/x/time"},
	"runtime/ledger":   {"github.com/minio/highwayhash", "golang.org/x/sync"}, // knows the files, not the server
	"runtime/backup":   {"runtime/ledger", "github.com/klauspost/compress"},
	"runtime/broker": {
		"runtime/event", "runtime/status", "runtime/ledger", "runtime/certificate", "sdk/abi", "golang.org/x/sys",
		"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go",
		"github.com/synadia-io/orbit.go/jetstreamext", "github.com/gofrs/flock",
	},

	"runtime/certificate":          {},
	"runtime/certificate/certtest": {}, // for tests

	// What it reports.
	"runtime/metrics": {
		"runtime/event", "runtime/plan", "runtime/status", "sdk/abi",
		"github.com/prometheus/client_golang", "github.com/prometheus/common",
	},
	"runtime/live":            {"runtime/event", "runtime/status"},
	"runtime/trace":           {"runtime/event", "sdk/abi", "go.opentelemetry.io/otel"},
	"runtime/trace/tracetest": {"go.opentelemetry.io/proto/otlp", "google.golang.org/protobuf"},
	"runtime/audit":           {"runtime/event", "runtime/plan", "runtime/status"},
	"runtime/admin":           {"runtime/certificate", "runtime/event", "runtime/live", "runtime/plan", "runtime/status", "sdk/abi", "sdk/jsonptr"},
	"runtime/bench": {
		"runtime/engine", "runtime/broker", "runtime/pipeline", "runtime/plan", "runtime/event", "runtime/status",
		"runtime/freeport", "host", "sdk/abi", "sdk/jsonptr", "plugins/builtin",
		"github.com/nats-io/nats.go", "github.com/synadia-io/orbit.go/jetstreamext", // the loop it is measured against
	},

	// For tests of what happens to a store.
	"runtime/internal/lossyfs": {"github.com/hanwen/go-fuse/v2"},
	"runtime/freeport":         {},

	// Around plugins.
	"plugins/manifest": {"host"},
	"plugins/build":    {"plugins/manifest", "host", "sdk/abi", "github.com/BurntSushi/toml", "github.com/fsnotify/fsnotify"}, // no room reads a file that does not validate yet
	"plugins/scaffold": {"sdk", "sdk/assemblyscript", "sdk/c", "sdk/rust", "plugins/builtin", "runtime/config"},
	"plugins/cases": { // runs them as the engine would
		"host", "sdk/abi", "runtime/config", "runtime/plan", "runtime/engine", "runtime/pipeline", "runtime/event", "runtime/status",
	},

	// The ready-made plugins, which are guests, and what keeps their modules.
	"plugins/builtin":            {"github.com/klauspost/compress"},
	"plugins/builtin/build":      {"plugins/manifest", "github.com/klauspost/compress"},
	"plugins/builtin/jsonpath":   {"sdk/jsonptr"},
	"plugins/builtin/expression": {"plugins/builtin/jsonpath", "sdk", "sdk/jsonptr", "github.com/expr-lang/expr"},
	"plugins/builtin/outputs":    {"sdk"},
	"plugins/builtin/filter":     {"plugins/builtin/expression", "plugins/builtin/outputs", "sdk"},
	"plugins/builtin/map":        {"plugins/builtin/expression", "plugins/builtin/jsonpath", "sdk", "sdk/jsonptr"},
	"plugins/builtin/route":      {"plugins/builtin/expression", "plugins/builtin/outputs", "sdk"},
	"plugins/builtin/explode":    {"plugins/builtin/jsonpath", "sdk", "sdk/jsonptr"},
	"plugins/builtin/redact":     {"plugins/builtin/jsonpath", "sdk", "sdk/jsonptr"},
	"plugins/builtin/sample":     {"plugins/builtin/outputs", "sdk", "sdk/jsonptr"},
	"plugins/builtin/validate":   {"plugins/builtin/outputs", "sdk", "sdk/jsonptr", "github.com/santhosh-tekuri/jsonschema/v6", "golang.org/x/text"},

	// What the tests of the examples share, and what makes the events of one.
	"examples/internal/exampletest": {
		"runtime/…", "plugins/build", "plugins/builtin", "plugins/cases", "host", "sdk/abi",
	},
	"examples/access-logs/generate": {},

	// Wiring.
	"cmd/wasmill": {
		"runtime/…", "plugins/…", "host", "host/hosttest", "sdk/abi", "sdk/jsonptr",
		"github.com/spf13/cobra", "github.com/coreos/go-systemd/v22", "golang.org/x/term", "golang.org/x/sync", "golang.org/x/sys", "github.com/nats-io/nats.go",
		"charm.land/bubbletea/v2", "github.com/charmbracelet/x/ansi",
	},
}

// guests are the rooms whose packages are plugins: they see the SDK alone and
// register their handler in init, because main does not run in a reactor.
var guests = []string{"plugins/builtin/", "examples/"}

// heavy are standard packages that would make each guest larger.
var heavy = map[string][]string{
	"sdk/abi":     {"fmt", "encoding/json", "reflect", "strings"},
	"sdk/jsonptr": {"fmt", "encoding/json", "reflect"},
}

type pkg struct {
	ImportPath, Name, Dir string
	Imports               []string
	GoFiles               []string
	TestGoFiles           []string
	XTestGoFiles          []string
}

// room is the package's path inside the module.
func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func (p pkg) guest() bool {
	return p.Name == "main" && slices.Contains(p.Imports, module+"/sdk") &&
		slices.ContainsFunc(guests, func(g string) bool { return strings.HasPrefix(p.room(), g) })
}

func TestHouse(t *testing.T) {
	root := moduleRoot(t)
	packages := list(t, root, "./...")

	t.Run("every package has a row in the import table and every row a package", func(t *testing.T) {
		seen := map[string]bool{}
		for _, p := range packages {
			seen[p.room()] = true
			if _, ok := house[p.room()]; !ok && !p.guest() && len(p.GoFiles) > 0 {
				t.Errorf("%s has no row: say in the table what it may import", p.room())
			}
		}
		for room := range house {
			if !seen[room] {
				t.Errorf("the table has a row for %s, which does not exist", room)
			}
		}
	})

	t.Run("packages import only what the table allows", func(t *testing.T) {
		for _, p := range packages {
			allowed := house[p.room()]
			if p.guest() {
				allowed = []string{"sdk", "sdk/jsonptr", "plugins/builtin/outputs"}
				if strings.HasPrefix(p.room(), "plugins/builtin/guest/") { // several plugins in one module
					allowed = append(allowed, "plugins/builtin/…")
				}
			}
			for _, imp := range p.Imports {
				if !mayImport(allowed, imp) {
					t.Errorf("%s imports %s, which the table does not allow", p.room(), strings.TrimPrefix(imp, module+"/"))
				}
				if slices.Contains(heavy[p.room()], imp) {
					t.Errorf("%s imports %s, which makes every plugin larger", p.room(), imp)
				}
			}
		}
	})

	t.Run("no package is named runtime", func(t *testing.T) {
		for _, p := range packages {
			if p.Name == "runtime" {
				t.Errorf("%s is named runtime, like the standard library's", p.ImportPath)
			}
		}
	})

	t.Run("nothing registers itself and nothing logs by default", func(t *testing.T) {
		for _, p := range packages {
			for _, file := range p.GoFiles {
				checkFile(t, p, filepath.Join(p.Dir, file))
			}
		}
	})

	t.Run("files are short enough to be read", func(t *testing.T) {
		for _, p := range packages {
			for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
				most := 500
				if strings.HasSuffix(file, "_test.go") {
					most = 800 // a specification may go on a little
				}
				src, err := os.ReadFile(filepath.Join(p.Dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if n := bytes.Count(src, []byte("\n")); n > most {
					t.Errorf("%s/%s has %d lines, at most %d are allowed: split it by subject", p.room(), file, n, most)
				}
			}
		}
	})

	t.Run("the sdk and every guest compile for wasip1", func(t *testing.T) {
		compile(t, root, "", "./sdk", "./sdk/abi", "./sdk/jsonptr") // not sdktest, which runs natively
		n := 0
		for _, p := range packages {
			if p.guest() {
				n++
				compile(t, root, "c-shared", "./"+p.room())
			}
		}
		if n == 0 {
			t.Error("found no guest below " + strings.Join(guests, " or "))
		}
	})
}

func mayImport(allowed []string, imp string) bool {
	room, ours := strings.CutPrefix(imp, module+"/")
	first, _, _ := strings.Cut(imp, "/")
	if !ours && !strings.Contains(first, ".") {
		return true // the standard library
	}
	for _, a := range allowed {
		below, tree := strings.CutSuffix(a, "…")
		switch {
		case tree && strings.HasPrefix(room, below):
			return true
		case ours && room == a:
			return true
		case !ours && (imp == a || strings.HasPrefix(imp, a+"/")):
			return true
		}
	}
	return false
}

// checkFile reports an init function outside of guests and any use of slog's
// default logger outside of cmd.
func checkFile(t *testing.T, p pkg, path string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	cmd := strings.HasPrefix(p.room(), "cmd/")
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" && !p.guest() && !cmd {
				t.Errorf("%s: init function; construct what it registers in main", fset.Position(n.Pos()))
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && x.Name == "slog" && slices.Contains(defaultLog, n.Sel.Name) && !cmd {
				t.Errorf("%s: slog.%s uses the default logger; take a *slog.Logger", fset.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}

// defaultLog are the functions of log/slog that use or set the default logger.
var defaultLog = []string{
	"Default", "SetDefault", "Debug", "DebugContext", "Info", "InfoContext",
	"Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs", "With",
}

func compile(t *testing.T, root, mode string, targets ...string) {
	t.Helper()
	args := []string{"build", "-trimpath"}
	if mode != "" {
		args = append(args, "-buildmode="+mode, "-o", filepath.Join(t.TempDir(), "guest.wasm"))
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, targets...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s does not compile for wasip1: %v\n%s", strings.Join(targets, " "), err, out)
	}
}

func list(t *testing.T, root, pattern string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", pattern)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", pattern, err, stderr.String())
	}
	var packages []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			t.Fatalf("no go.mod above the test: %v", err)
		}
		dir = filepath.Dir(dir)
	}
}
