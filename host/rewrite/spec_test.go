package rewrite

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/host/inspect"
)

// wazeroDir is where the source of wazero lies, with the WebAssembly core
// specification suite in its test data.
var wazeroDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		return "", fmt.Errorf("find the source of wazero: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// mode is one way to run the suite.
type mode struct {
	name     string
	features api.CoreFeatures
	rewrite  bool
	eager    bool
}

// TestSpecification runs the WebAssembly core specification suite as wazero has
// it, plain, rewritten, and rewritten so that every check ticks. What passes
// plain must pass rewritten.
func TestSpecification(t *testing.T) {
	dir, err := wazeroDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1", "v2"} {
		// Version 1 of the suite is run with the features of version 2 as well: the
		// tick's table is a second one, which version 1 does not have. (Some of its
		// modules are invalid only in version 1; they fail alike with and without.)
		if raceEnabled && version == "v1" {
			continue // the second has nearly all of it
		}
		plain := 0
		for _, m := range []mode{
			{"plain", api.CoreFeaturesV2, false, false},
			{"rewritten", api.CoreFeaturesV2, true, false},
			{"eager", api.CoreFeaturesV2, true, true},
		} {
			if raceEnabled && m.rewrite && !m.eager {
				continue
			}
			t.Run(version+"/"+m.name, func(t *testing.T) {
				s := suite{mode: m, dir: filepath.Join(dir, "internal/integration_test/spectest")}
				s.run(t, version)
				t.Logf("specification %s %s: %d of %d passed, %d ticks", version, m.name, s.passed, s.total, s.ticks)
				if !m.rewrite {
					plain = s.passed
					if s.total < 18_000 && !raceEnabled || s.passed < s.total-30 {
						t.Errorf("%d of %d pass without rewriting; is this the suite?", s.passed, s.total)
					}
				} else if s.passed != plain {
					t.Errorf("%d pass rewritten, %d plain", s.passed, plain)
				}
				if m.eager && s.ticks < 1000 {
					t.Errorf("there were only %d ticks", s.ticks)
				}
			})
		}
	}
}

// suite runs one version of the suite in one mode.
type suite struct {
	mode
	dir           string
	passed, total int
	ticks         int
	failures      []string

	rt      wazero.Runtime
	modules map[string]api.Module
	last    api.Module
}

type script struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type       string  `json:"type"`
	Line       int     `json:"line"`
	Name       string  `json:"name"`
	Filename   string  `json:"filename"`
	As         string  `json:"as"`
	ModuleType string  `json:"module_type"`
	Text       string  `json:"text"`
	Action     action  `json:"action"`
	Expected   []value `json:"expected"`
}

type action struct {
	Type   string  `json:"type"`
	Field  string  `json:"field"`
	Module string  `json:"module"`
	Args   []value `json:"args"`
}

func (s *suite) run(t *testing.T, version string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, version, "testdata", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no suite: %v", err)
	}
	for i, file := range files {
		if !raceEnabled || i%8 == 0 {
			s.file(t, file)
		}
	}
	for _, f := range s.failures {
		t.Log(f)
	}
}

func (s *suite) file(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sc script
	if err := json.Unmarshal(raw, &sc); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	s.rt = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(s.features).WithMemoryCapacityFromMax(false))
	defer s.rt.Close(ctx)
	s.modules, s.last = map[string]api.Module{}, nil
	_, err = s.rt.NewHostModuleBuilder(LinkerHost).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
			s.ticks++
			stack[0] = Quantum
			if s.eager {
				stack[0] = 0
			}
		}), nil, []api.ValueType{api.ValueTypeI64}).Export(TickFunc).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	spectest, err := os.ReadFile(filepath.Join(s.dir, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	// Imports of it have table limits and kinds that the rewriter does not touch.
	if _, err := s.rt.InstantiateWithConfig(ctx, spectest, wazero.NewModuleConfig()); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(sc.Commands); i++ {
		c := &sc.Commands[i]
		as := ""
		if c.Type == "module" && i+1 < len(sc.Commands) && sc.Commands[i+1].Type == "register" {
			i++
			as = sc.Commands[i].As
		}
		if c.ModuleType == "text" {
			continue
		}
		s.total++
		if err := s.command(ctx, filepath.Dir(path), c, as); err != nil {
			s.failures = append(s.failures, fmt.Sprintf("%s:%d %s: %v", filepath.Base(path), c.Line, c.Type, err))
			continue
		}
		s.passed++
	}
}

func (s *suite) command(ctx context.Context, dir string, c *command, as string) error {
	switch c.Type {
	case "module":
		m, err := s.instantiate(ctx, filepath.Join(dir, c.Filename), as)
		if err != nil {
			return err
		}
		if c.Name != "" {
			s.modules[c.Name] = m
		}
		s.last = m
		return nil
	case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
		_, err := s.instantiate(ctx, filepath.Join(dir, c.Filename), as)
		// wazero keeps such a module alive, for the functions it put into tables.
		if lenient := c.Type == "assert_uninstantiable" && c.Text == "out of bounds table access"; lenient != (err == nil) {
			return fmt.Errorf("instantiating gave: %w", err)
		}
		return nil
	case "assert_return", "action":
		got, types, err := s.act(ctx, &c.Action)
		if err != nil {
			return err
		}
		return compare(got, types, c.Expected)
	case "assert_trap", "assert_exhaustion":
		_, _, err := s.act(ctx, &c.Action)
		want := trapText(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("it did not say %q: %w", want, err)
		}
		return nil
	}
	return fmt.Errorf("unknown command %q", c.Type)
}

func (s *suite) act(ctx context.Context, a *action) ([]uint64, []api.ValueType, error) {
	m := s.last
	if a.Module != "" {
		m = s.modules[a.Module]
	}
	if m == nil {
		return nil, nil, fmt.Errorf("no module %q", a.Module)
	}
	if a.Type == "get" {
		g := m.ExportedGlobal(a.Field)
		return []uint64{g.Get()}, []api.ValueType{g.Type()}, nil
	}
	fn := m.ExportedFunction(a.Field)
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits()...)
	}
	got, err := fn.Call(ctx, args...)
	return got, fn.Definition().ResultTypes(), err
}

// instantiate makes an instance of a file, rewritten or not.
func (s *suite) instantiate(ctx context.Context, path, as string) (api.Module, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config := wazero.NewModuleConfig().WithName(as)
	if !s.rewrite {
		return s.rt.InstantiateWithConfig(ctx, binary, config)
	}
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		return nil, err
	}
	if binary, err = Module(m, Options{Eager: s.eager}); err != nil {
		return nil, err
	}
	instance, err := s.rt.InstantiateWithConfig(ctx, binary, config)
	if err != nil {
		return nil, err
	}
	return instance, link(ctx, s.rt, instance)
}

// link gives an instance its tick and runs its start function.
func link(ctx context.Context, rt wazero.Runtime, guest api.Module) error {
	resolve := experimental.WithImportResolver(ctx, func(name string) api.Module {
		if name == LinkerGuest {
			return guest
		}
		return nil
	})
	linker, err := rt.InstantiateWithConfig(resolve, Linker(), wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := linker.Close(ctx); err != nil {
		return err
	}
	if start := guest.ExportedFunction(Start); start != nil {
		_, err := start.Call(ctx)
		return err
	}
	return nil
}

// trapText is what wazero says where the suite says c.Text.
func trapText(c *command) string {
	if c.Type == "assert_exhaustion" {
		return "stack overflow"
	}
	switch c.Text {
	case "out of bounds memory access", "integer overflow", "unreachable", "invalid conversion to integer", "integer divide by zero":
		return c.Text
	case "indirect call", "indirect call type mismatch":
		return "indirect call type mismatch"
	}
	return "invalid table access" // undefined and uninitialized elements
}
