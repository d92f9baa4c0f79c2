package event_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/event"
)

// A failpoint that nothing passes would make the torture harness wait for ever,
// and one that is not listed would never be tried.
func TestEveryFailpointIsListedAndPassed(t *testing.T) {
	defined, passed := map[string]string{}, map[string]bool{}
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if lit, ok := valueAt(n, i); ok && file.Name.Name == "event" && filepath.Base(path) == "failpoint.go" {
						defined[name.Name] = lit
					}
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Failpoint" && len(n.Args) == 1 {
					if arg, ok := n.Args[0].(*ast.SelectorExpr); ok {
						passed[arg.Sel.Name] = true
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range defined {
		if !passed[name] {
			t.Errorf("event.%s is passed nowhere", name)
		}
		if !slices.Contains(event.Failpoints(), value) {
			t.Errorf("event.%s is not among Failpoints()", name)
		}
	}
	if len(defined) != len(event.Failpoints()) {
		t.Errorf("%d failpoints are defined and %d listed", len(defined), len(event.Failpoints()))
	}
}

func valueAt(spec *ast.ValueSpec, i int) (string, bool) {
	if i >= len(spec.Values) {
		return "", false
	}
	lit, ok := spec.Values[i].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
