package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/sdk/abi"
)

// helpFile reads the text of a topic.
func helpFile(t *testing.T, topic string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("help", topic+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// constants returns the string or number constants of a Go file whose names
// begin with prefix, as they are written.
func constants(t *testing.T, file, prefix string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			value := lit.Value
			if s, err := strconv.Unquote(value); err == nil {
				value = s
			}
			values = append(values, value)
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return values
}

// TestTroubleshootingIsComplete: the topic has every code that there is, and no other.
func TestTroubleshootingIsComplete(t *testing.T) {
	text := helpFile(t, "troubleshooting")
	for _, table := range []struct{ head, file, prefix string }{
		{"| exit code |", "errors.go", "exit"},
		{"| code |", "../../runtime/config/finding.go", "Code"},
		{"| fault |", "../../sdk/abi/abi.go", "Fault"},
		{"| state |", "../../runtime/status/status.go", "State"},
	} {
		_, after, ok := strings.Cut(text, "\n"+table.head)
		if !ok {
			t.Fatalf("there is no table %s", table.head)
		}
		body, _, _ := strings.Cut(after, "\n\n")
		var got []string
		for _, m := range regexp.MustCompile("(?m)^\\| `?([a-z0-9_-]+)`? \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		want := constants(t, table.file, table.prefix)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%v, the code has\n%v", table.head, got, want)
		}
	}
}

// propertiesWith finds the properties of a JSON Schema that has one of that name.
func propertiesWith(v any, name string) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		if p, ok := v["properties"].(map[string]any); ok && p[name] != nil {
			return p
		}
		for _, below := range v {
			if found := propertiesWith(below, name); found != nil {
				return found
			}
		}
	case []any:
		for _, below := range v {
			if found := propertiesWith(below, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// TestHelpLimits: the defaults of the topic and of the ABI's description are
// those of the configuration.
func TestHelpLimits(t *testing.T) {
	schema, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(helpFile(t, "limits"), -1)
	if len(rows) < 7 {
		t.Fatalf("only %d limits", len(rows))
	}
	var parsed any
	if err := json.Unmarshal(schema, &parsed); err != nil {
		t.Fatal(err)
	}
	limits := propertiesWith(parsed, "max_in_flight_bytes")
	for _, row := range rows {
		property, ok := limits[row[1]].(map[string]any)
		if !ok {
			t.Errorf("the schema has no limit %s", row[1])
			continue
		}
		by := "none"
		if d, ok := property["default"]; ok {
			by = fmt.Sprint(d)
		}
		if by != row[2] {
			t.Errorf("%s is %s by default, the topic says %s", row[1], by, row[2])
		}
		if row[1] == "max_outputs" && !strings.Contains(abi.Document, row[2]+" records of one event (`max_outputs`)") {
			t.Errorf("ABI.md does not say %s records of one event", row[2])
		}
	}
}

// TestHelpCommands runs every command of the topics as it is written, in the
// directory of a new plugin that is built and runs.
func TestHelpCommands(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	var script bytes.Buffer
	script.WriteString("set -euo pipefail\nwasmill new plugin demo\ncd demo\n")
	fmt.Fprintf(&script, "printf '\\n[server]\\nlisten = %q\\n[admin]\\nlisten = %q\\n' >> wasmill.toml\n", freeAddress(t), freeAddress(t))
	script.WriteString(`wasmill build
wasmill run &
until wasmill status; do sleep 0.1; done
wasmill topics publish events --subject events.quakes --file events.ndjson
wasmill topics publish events --subject events.quakes 'not JSON'
until wasmill dlq list | grep -q 'demo'; do sleep 0.1; done
`)
	files, err := filepath.Glob("help/*.md")
	if err != nil || len(files) < 6 {
		t.Fatalf("topics are %v, %v", files, err)
	}
	commands := 0
	for _, file := range files {
		text := helpFile(t, strings.TrimSuffix(filepath.Base(file), ".md"))
		for _, block := range regexp.MustCompile("(?s)\n```sh\n(.*?)\n```").FindAllStringSubmatch(text, -1) {
			for line := range strings.SplitSeq(block[1], "\n") {
				commands++
				script.WriteString("echo '$ " + strings.ReplaceAll(line, "'", `'\''`) + "'\n" + line + "\n")
			}
		}
	}
	if commands < 20 {
		t.Fatalf("only %d commands found", commands)
	}
	script.WriteString("kill -INT %1 && wait %1\n")

	dir := t.TempDir()
	bin := buildBinary(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String()) //nolint:gosec // the topics are ours
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"HOME="+filepath.Join(dir, "home"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"),
		"PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOPROXY=off")
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
