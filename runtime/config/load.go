package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile bounds what is read: a configuration is written by people.
const maxFile = 16 << 20

// Load reads and checks the TOML file at path. The error is an *os.PathError,
// or Findings when the file is not valid. builtins are the names that the key
// builtin may have; without any, they are not checked.
func Load(path string, builtins ...string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read configuration %s: it has %d bytes, more than %d", path, info.Size(), maxFile)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, findings := Parse(path, src, builtins...)
	if err := findings.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadAdmin reads only the table [admin] of the TOML file at path, with its
// defaults, for commands that speak to a running instance: what is wrong
// elsewhere in the file, such as a module that is not built yet or a syntax error
// in another table, does not keep them from it. The error is one of the file, or
// Findings about [admin] or the syntax.
func LoadAdmin(path string) (Admin, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return Admin{}, err
	}
	var tree map[string]any
	if _, err := toml.Decode(string(src), &tree); err != nil {
		part := adminLines(string(src))
		if _, partErr := toml.Decode(part, &tree); partErr != nil || tree["admin"] == nil && strings.Contains(string(src), "admin") {
			findings := syntaxFindings(path, string(src), err)
			findings.sort()
			return Admin{}, findings
		}
		src = []byte(part)
	}
	r := newReport(path, locate(string(src)))
	c := new(Config)
	if table, ok := tree["admin"]; ok {
		decodeStruct(r, []string{"admin"}, table, reflect.ValueOf(&c.Admin).Elem())
	}
	setDefaults(&c.Admin)
	(&validator{report: r, c: c}).admin()
	r.findings.sort()
	return c.Admin, r.findings.Err()
}

// adminLines is src with every line blank that is in another table than [admin].
func adminLines(src string) string {
	lines, inside := strings.Split(src, "\n"), false
	for i, line := range lines {
		text := strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(text, "["); ok {
			name = strings.TrimSpace(name)
			inside = strings.HasPrefix(name, "admin]") || strings.HasPrefix(name, "admin.")
		}
		if !inside {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

// Parse checks src as if it were the content of file, which relative paths
// start from, and returns every finding, warnings included, sorted by position.
// The Config has its defaults in place; it is nil when a finding is an error.
func Parse(file string, src []byte, builtins ...string) (*Config, Findings) {
	text := string(src)
	var tree map[string]any
	_, err := toml.Decode(text, &tree)
	if err != nil {
		findings := syntaxFindings(file, text, err)
		findings.sort()
		return nil, findings
	}
	r := newReport(file, locate(text))
	c := decodeConfig(r, tree)
	c.names = slices.Sorted(slices.Values(builtins))
	full := c.WithDefaults()
	validate(r, full)
	checkFiles(r, full, filepath.Dir(file))
	r.findings.sort()
	if r.findings.Err() != nil {
		return nil, r.findings
	}
	full.Warnings = r.findings.Warnings()
	return full, r.findings
}

func decodeConfig(r *report, tree map[string]any) *Config {
	c := new(Config)
	decodeStruct(r, nil, tree, reflect.ValueOf(c).Elem())
	return c
}

// checkFiles reports files that are named and not there.
func checkFiles(r *report, c *Config, dir string) {
	check := func(p path, name, hint string) {
		if name == "" || r.bad(p) {
			return
		}
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(dir, full)
		}
		info, err := os.Stat(full)
		switch {
		case errors.Is(err, os.ErrNotExist):
			f := r.add(p, CodeFile, "there is no file %s%s", full, hint)
			f.Suggestion = nearestFile(full, name)
		case err != nil:
			r.add(p, CodeFile, "%s: %v", p, err)
		case info.IsDir():
			r.add(p, CodeFile, "%s is a directory", full)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		check(path{"plugins", name, "path"}, c.Plugins[name].Path, `; build the plugin first, or correct the path`)
	}
	server, admin := path{"server"}, path{"admin"}
	check(server.of("tls_cert"), c.Server.TLSCert, "")
	check(server.of("tls_key"), c.Server.TLSKey, "")
	check(admin.of("tls_cert"), c.Admin.TLSCert, "")
	check(admin.of("tls_key"), c.Admin.TLSKey, "")
	check(server.of("credentials"), c.Server.Credentials, "")
	check(server.of("tls", "ca"), c.Server.TLS.CA, "")
	check(server.of("tls", "cert"), c.Server.TLS.Cert, "")
	check(server.of("tls", "key"), c.Server.TLS.Key, "")
}

// nearestFile looks beside a missing file for one of a like name.
func nearestFile(full, written string) string {
	entries, err := os.ReadDir(filepath.Dir(full))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := nearest(filepath.Base(full), names); near != "" {
		return filepath.ToSlash(filepath.Join(filepath.Dir(written), near))
	}
	return ""
}

// maxSyntax bounds how many syntax errors are looked for.
const maxSyntax = 20

// syntaxFindings reports a text that is not TOML. The parser stops at its first
// error, so each faulty line is blanked and the rest is read again, as long as
// the line is a whole statement of its own. What else is wrong is reported as
// far as the text is sound and it does not follow from what was blanked:
// references and required keys are left out.
func syntaxFindings(file, text string, err error) Findings {
	var out Findings
	lines := strings.Split(text, "\n")
	last := 0
	for n := 0; err != nil && n < maxSyntax; n++ {
		var parse toml.ParseError
		if !errors.As(err, &parse) {
			return append(out, Finding{File: file, Line: 1, Col: 1, Severity: SeverityError, Code: CodeSyntax, Message: err.Error()})
		}
		line, col := syntaxPosition(lines, parse)
		if line <= last {
			return out // what was blanked was not the cause
		}
		out = append(out, Finding{File: file, Line: line, Col: col, Severity: SeverityError, Code: CodeSyntax, Message: parse.Message})
		last = line
		if !loneStatement(lines[line-1]) {
			// What follows cannot be told apart from this error.
			lines = lines[:line-1]
		} else {
			lines[line-1] = ""
		}
		var tree map[string]any
		_, err = toml.Decode(strings.Join(lines, "\n"), &tree)
		if err == nil {
			return append(out, localFindings(file, strings.Join(lines, "\n"), tree)...)
		}
		if len(lines) < line {
			return out
		}
	}
	return out
}

// syntaxPosition returns where the parser stopped. Of what it says itself only
// the offset, which does not count a byte order mark, holds for every error.
func syntaxPosition(lines []string, e toml.ParseError) (line, col int) {
	text := strings.Join(lines, "\n")
	offset := max(e.Position.Start, 0)
	if strings.HasPrefix(text, byteOrderMark) {
		offset += len(byteOrderMark)
	}
	return lineCol(text, min(offset, len(text)))
}

// loneStatement reports whether a line begins with key = and so can be blanked
// without changing what the other lines mean.
func loneStatement(line string) bool {
	s := &scanner{src: line}
	names, _ := s.key()
	s.blank(false)
	if len(names) == 0 || s.peek() != '=' {
		return false
	}
	s.pos++
	rest := strings.TrimSpace(line[s.pos:])
	return !strings.Contains(rest, `"""`) && !strings.Contains(rest, "'''") &&
		strings.Count(rest, "[") == strings.Count(rest, "]") && strings.Count(rest, "{") == strings.Count(rest, "}")
}

// localFindings reports only what one key and its value show.
func localFindings(file, text string, tree map[string]any) Findings {
	r := newReport(file, locate(text))
	decodeConfig(r, tree)
	return r.findings
}
