package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// needsClock is a plugin that imports what the grant "clock" is for.
func needsClock() []byte {
	m := new(wt.Module)
	m.ImportFunc(abi.ImportModule, abi.ImportNow, "", wt.I64)
	return m.Plugin(wt.Plugin{}).Bytes()
}

func write(t *testing.T, module []byte, m manifest.Manifest) []byte {
	t.Helper()
	out, err := manifest.Write(module, m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func section(text string) []byte { return wt.Custom(manifest.Section, []byte(text)) }

func TestWriteAndRead(t *testing.T) {
	plain := needsClock()
	full := manifest.Manifest{
		Name: "strong", Version: "1.2.0", Language: "go", Compiler: "go1.26.0", SDK: "sdk 1", Flags: []string{"-trimpath"},
		Source: &manifest.Source{Revision: strings.Repeat("0a", 20), Dirty: true},
	}
	module := write(t, plain, full)

	t.Run("what was written is read, with what the module shows", func(t *testing.T) {
		m, err := manifest.Read(module)
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != "strong" || m.Version != "1.2.0" || m.ABI != 1 || !slices.Equal(m.Grants, []string{"clock"}) || !m.Source.Dirty || m.Flags[0] != "-trimpath" {
			t.Errorf("read %+v", m)
		}
		if m.String() != "strong 1.2.0" {
			t.Errorf("it calls itself %q", m)
		}
	})
	t.Run("it is true", func(t *testing.T) {
		m, lies, err := manifest.Check(module, "/plugins/strong.wasm")
		if m == nil || len(lies) > 0 || err != nil {
			t.Errorf("found %v, %v, %v", m, lies, err)
		}
	})
	t.Run("the code stays as it is", func(t *testing.T) {
		if !bytes.HasPrefix(module, plain) {
			t.Error("the module before is not the beginning of the one with a manifest")
		}
	})
	t.Run("the same manifest gives the same module", func(t *testing.T) {
		if !bytes.Equal(module, write(t, plain, full)) {
			t.Error("two modules differ")
		}
	})
	t.Run("writing again replaces it, wherever it was", func(t *testing.T) {
		early := append(wt.Header(), section("old")...)
		early = append(append(early, plain[8:]...), section("older")...)
		if !bytes.Equal(write(t, early, full), module) || !bytes.Equal(write(t, module, full), module) {
			t.Error("something of the old manifests is left")
		}
	})
	t.Run("a module without one", func(t *testing.T) {
		if _, err := manifest.Read(plain); !errors.Is(err, manifest.ErrNone) {
			t.Errorf("error is %v", err)
		}
		if m, lies, err := manifest.Check(plain, ""); m != nil || lies != nil || err != nil {
			t.Errorf("found %v, %v, %v", m, lies, err)
		}
	})
	t.Run("what could not be read again is not written", func(t *testing.T) {
		for _, m := range []manifest.Manifest{
			{},
			{Name: "a b"},
			{Name: "a", Version: "1\x1b[31m"},
			{Name: "a", Compiler: strings.Repeat("x", 201)},
			{Name: "a", Flags: make([]string, 65)},
			{Name: "a", Source: &manifest.Source{Revision: "main"}},
		} {
			if _, err := manifest.Write(plain, m); err == nil {
				t.Errorf("%+v was written", m)
			}
		}
		if _, err := manifest.Write([]byte("\x7fELF"), manifest.Manifest{Name: "a"}); err == nil || !strings.Contains(err.Error(), "native code") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestLies changes one thing of a module with a true manifest.
func TestLies(t *testing.T) {
	honest := write(t, needsClock(), manifest.Manifest{Name: "strong"})
	replace := func(old, by string) []byte {
		if !bytes.Contains(honest, []byte(old)) || len(old) != len(by) {
			t.Fatalf("%q is not there to become %q", old, by)
		}
		return bytes.Replace(honest, []byte(old), []byte(by), 1)
	}
	m, err := manifest.Read(honest)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, field, says string
		module                  []byte
	}{
		{"another digest", "", "digest", "build it again", replace(m.Digest, strings.Repeat("a", 64))},
		{"code that was changed later", "", "digest", "it was changed after the manifest was written", replace("run_the_batch", "run_the_botch")},
		{"a section that was added later", "", "digest", "build it again", append(bytes.Clone(honest), wt.Custom("producers", []byte("x"))...)},
		{"another ABI", "", "abi", "it says version 2 of the plugin ABI, the module exports version 1", replace(`"abi":1`, `"abi":2`)},
		{"grants that it does not need", "", "grants", "needs the grants flock, its imports need clock", replace(`["clock"]`, `["flock"]`)},
		{"another plugin's file", "plugins/weak.wasm", "name", `it says that the plugin is "strong", and the file is called weak.wasm`, honest},
		{"a file that only begins like it", "strongest.wasm", "name", "strongest.wasm", honest},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, lies, err := manifest.Check(c.module, c.file)
			if err != nil || len(lies) != 1 || lies[0].Field != c.field || !strings.Contains(lies[0].Message, c.says) {
				t.Errorf("found %q, %v; want one about the %s that says %q", lies, err, c.field, c.says)
			}
		})
	}
	for _, file := range []string{"strong.wasm", "a/strong-1.2.wasm", "strong@3.wasm", "strong"} {
		if _, lies, _ := manifest.Check(honest, file); len(lies) > 0 {
			t.Errorf("%s: found %v", file, lies)
		}
	}
}

// TestHostile reads what nobody would write in good faith.
func TestHostile(t *testing.T) {
	plain := needsClock()
	digest := strings.Repeat("a", 64)
	text := func(fields string) string {
		return fmt.Sprintf(`{"manifest":1,"name":"a","digest":%q%s}`, digest, fields)
	}
	if _, err := manifest.Read(append(bytes.Clone(plain), section(text(`,"later":{"x":[1]}`))...)); err != nil {
		t.Errorf("a manifest with a field of a later version: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":              "",
		"no JSON":              "name: strong",
		"an array":             "[]",
		"two documents":        text("") + text(""),
		"not UTF-8":            text(",\"version\":\"\xff\""),
		"no format":            `{"name":"a","digest":"` + digest + `"}`,
		"a name that commands": text(`,"name":"\u001b[2J"`),
		"a version that does":  text(`,"version":"1\u202e"`),
		"a line break":         text(`,"sdk":"1\n2"`),
		"a long text":          text(`,"compiler":"` + strings.Repeat("x", 201) + `"`),
		"many grants":          text(`,"grants":[` + strings.Repeat(`"a",`, 64) + `"a"]`),
		"no digest":            `{"manifest":1,"name":"a"}`,
		"a wrong type":         text(`,"version":1`),
		"a huge number":        text(`,"abi":1e99`),
		"a wrong revision":     text(`,"source":{"revision":"HEAD"}`),
		"nested without end":   strings.Repeat("[", 16<<10),
		"too much":             text(`,"x":"` + strings.Repeat("x", 16<<10) + `"`),
	} {
		t.Run(name, func(t *testing.T) {
			_, lies, err := manifest.Check(append(bytes.Clone(plain), section(text)...), "")
			if err != nil || len(lies) != 1 || lies[0].Field != "manifest" {
				t.Fatalf("found %v, %v; want that it cannot be read", lies, err)
			}
			if strings.ContainsAny(lies[0].Message, "\x1b\n\u202e") || len(lies[0].Message) > 1000 {
				t.Errorf("the message is not fit to be shown: %q", lies[0].Message)
			}
		})
	}
	t.Run("two manifests", func(t *testing.T) {
		module := append(bytes.Clone(plain), section(text(""))...)
		module = append(module, section(text(""))...)
		if _, lies, _ := manifest.Check(module, ""); len(lies) != 1 || !strings.Contains(lies[0].Message, "there are 2 of them") {
			t.Errorf("found %v", lies)
		}
	})
	t.Run("what is no module", func(t *testing.T) {
		for _, b := range []string{"", "\x00asm", "\x7fELF\x01\x00\x00\x00", string(wt.Header()) + "\x00", string(wt.Header()) + "\x00\xff\xff\xff\xff\xff\xff"} {
			if _, _, err := manifest.Check([]byte(b), ""); err == nil || !strings.Contains(err.Error(), "no WebAssembly module") {
				t.Errorf("%q: error is %v", b, err)
			}
		}
	})
}

func TestNameOf(t *testing.T) {
	for file, want := range map[string]string{
		"/a/strong.wasm": "strong", "my plugin.wasm": "my-plugin", ".wasm": "plugin", "-x": "x", "größe.wasm": "gr--e", strings.Repeat("a", 200): strings.Repeat("a", 100),
	} {
		if got := manifest.NameOf(file); got != want {
			t.Errorf("%s is called %q, want %q", file, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	plain := needsClock()
	module, err := manifest.Write(plain, manifest.Manifest{Name: "a", Source: &manifest.Source{Revision: strings.Repeat("0", 64)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(module)
	f.Add(plain)
	f.Add(append(bytes.Clone(plain), section(`{"manifest":1}`)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, lies, err := manifest.Check(b, "a.wasm")
		for _, l := range lies {
			if strings.ContainsAny(l.Message, "\x1b\n") {
				t.Errorf("the message is not fit to be shown: %q", l.Message)
			}
		}
		if m == nil || err != nil {
			return
		}
		again, err := manifest.Write(b, *m)
		if err != nil {
			t.Fatalf("what was read is not written: %v", err)
		}
		if _, lies, err := manifest.Check(again, ""); len(lies) > 0 || err != nil {
			t.Errorf("what was written is not true: %v %v", lies, err)
		}
	})
}
