package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type refusal struct{ plugin, text string }

func (r refusal) Error() string                        { return r.text }
func (r refusal) RefusedConfig() (plugin, text string) { return r.plugin, r.text }

const refusedSource = `[plugins.p.config]
where = 'payload.x > 1'
quoted = "a\tb\u0063d\x21 e"
lines = """
one
two \
   more
"""
literal = '''ab
cd'''
"a.b" = 1
list = [ { when = 'x', "X-A" = 'y' },
  { when = 'z' } ]
[plugins.p.config.headers]
X-Trace = 'ä > b'
X-Trace-Id = 'b'
[plugins.empty]
builtin = "filter"
`

func TestPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.toml")
	if err := os.WriteFile(file, []byte(refusedSource), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ plugin, text, want string }{
		{"p", `config.where: want a number`, `2:9: plugin: the plugin "p" refuses its configuration: where: want a number`},
		{"p", `config.where:1:1: bad`, `2:10: plugin: the plugin "p" refuses its configuration: where: bad`},
		{"p", `config.where:1:11: bad`, `2:20: `},
		{"p", `config.where:1:99: bad`, `2:23: `}, // at most the closing quote
		{"p", `config.where:9:1: bad`, `2:23: `},
		{"p", `config.quoted:1:2: bad`, `3:12: `}, // \t
		{"p", `config.quoted:1:4: bad`, `3:15: `}, // \u0063
		{"p", `config.quoted:1:5: bad`, `3:21: `},
		{"p", `config.quoted:1:6: bad`, `3:22: `}, // \x21
		{"p", `config.quoted:1:8: bad`, `3:27: `},
		{"p", `config.lines:1:2: bad`, `5:2: `},
		{"p", `config.lines:2:5: bad`, `6:5: `},
		{"p", `config.lines:2:6: bad`, `7:5: `},
		{"p", `config.literal:1:2: bad`, `9:15: `},
		{"p", `config.literal:2:2: bad`, `10:2: `},
		{"p", `config.a.b: bad`, `11:9: plugin: the plugin "p" refuses its configuration: a.b: bad`},
		{"p", `config.list[0].when: bad`, `12:19: plugin: the plugin "p" refuses its configuration: list[0].when: bad`},
		{"p", `config.list[0].X-A:1:1: bad`, `12:33: `},
		{"p", `config.list[1].when:1:1: bad`, `13:13: `},
		{"p", `config.list[7].when: bad`, `12:8: `},
		{"p", `config.headers.X-Trace:1:3: bad`, `15:14: `},
		{"p", `config.headers.X-Trace-Id: bad`, `16:14: `},
		{"p", `config.headers.X-Tr: bad`, `14:19: `},
		{"p", `config: nothing to do`, `1:12: plugin: the plugin "p" refuses its configuration: nothing to do`},
		{"p", `no idea: x`, `1:12: plugin: the plugin "p" refuses its configuration: no idea: x`},
		{"p", `config.where:0:1: bad`, `2:9: `},
		{"p", `config.where:1:x: bad`, `2:9: `},
		{"p", `configuration is bad`, `1:12: plugin: the plugin "p" refuses its configuration: configuration is bad`},
		{"p", `config`, `1:12: plugin: the plugin "p" refuses its configuration: config`},
		{"p", `config[`, `1:12: `},
		{"empty", `config: where is missing`, `17:10: plugin: the plugin "empty" refuses its configuration: `},
		{"none", `config.where: x`, `1:2: `},
	} {
		err := Place(file, fmt.Errorf("start: %w", refusal{c.plugin, c.text}))
		var findings Findings
		if !errors.As(err, &findings) || len(findings) != 1 || !strings.HasPrefix(err.Error(), file+":"+c.want) {
			t.Errorf("%s: %s\ngot  %v\nwant %s", c.plugin, c.text, err, c.want)
		}
	}
}

func TestPlaceOfSeveral(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.toml")
	if err := os.WriteFile(file, []byte(refusedSource), 0o600); err != nil {
		t.Fatal(err)
	}
	other := errors.New("plugin \"x\": is not WebAssembly")
	one := fmt.Errorf("start plugin p in pipeline a: %w", refusal{"p", "config.where: bad"})
	two := fmt.Errorf("start plugin p in pipeline b: %w", refusal{"p", "config.where: bad"})
	err := Place(file, fmt.Errorf("open: %w", errors.Join(errors.Join(one, nil), other, errors.Join(two))))
	want := file + ": plugin: plugin \"x\": is not WebAssembly\n" + file + `:2:9: plugin: the plugin "p" refuses its configuration: where: bad`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if err := Place(file, other); err != other { //nolint:errorlint // it is the same
		t.Errorf("got %v", err)
	}
	if err := Place(file+"x", one); err != one { //nolint:errorlint // it is the same
		t.Errorf("got %v", err)
	}
	if Place(file, nil) != nil {
		t.Error("no error became one")
	}
}

// Whatever a plugin says, and wherever it points, there is a place for it.
func FuzzPlace(f *testing.F) {
	f.Add(`config.lines:2:6: x`, refusedSource)
	f.Add(`config.list[1].when:1:1: x`, "[plugins.p]\nconfig = { list = [\"\\")
	f.Fuzz(func(t *testing.T, text, source string) {
		x := locate(source)
		var finding Finding
		x.place(&finding, refusal{"p", text})
		if finding.Line < 1 || finding.Col < 0 || finding.Line > strings.Count(source, "\n")+1 {
			t.Errorf("%+v", finding)
		}
	})
}
