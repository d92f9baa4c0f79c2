package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModel checks that DESIGN.md names, for everything that a module can
// try, what stops it and tests that are there.
func TestThreatModel(t *testing.T) {
	root := moduleRoot(t)
	design, err := os.ReadFile(filepath.Join(root, "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(design), "\n## Threat model\n")
	if !ok {
		t.Fatal("DESIGN.md has no section \"Threat model\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	there := testNames(t, root)
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what") || len(cells) != 3 {
			continue
		}
		rows++
		if strings.TrimSpace(cells[1]) == "" {
			t.Errorf("nothing stops it: %s", cells[0])
		}
		named := name.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 {
			t.Errorf("no test shows it: %s", cells[0])
		}
		for _, n := range named {
			if !there[n[1]] {
				t.Errorf("there is no test %s, which is to show: %s", n[1], cells[0])
			}
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows: has its form changed?", rows)
	}
}

// testNames lists the tests and fuzz targets of the module.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
