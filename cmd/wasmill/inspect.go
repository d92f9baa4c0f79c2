package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// inspection is what "plugins inspect -o json" prints.
type inspection struct {
	Source string `json:"source"`
	ABI    string `json:"abi"`
	host.Description
	Manifest *manifest.Manifest `json:"manifest,omitempty"`
	Lies     []manifest.Finding `json:"manifest_findings,omitempty"`
	Running  *status.Plugin     `json:"running,omitempty"`
}

func (a *app) pluginsInspectCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE|NAME",
		Short: "Show what a module needs and offers: a file, a built-in one, or one of the running instance",
		Args:  exactly("FILE or NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			var out inspection
			module, source, err := a.module(args[0])
			if errors.Is(err, fs.ErrNotExist) && !looksLikePath(args[0]) {
				out.Running, module, source, err = a.runningModule(c, args[0])
			}
			if err != nil {
				return err
			}
			out.Source = source
			if out.Description, err = host.Inspect(module); err != nil {
				return invalid("plugins inspect: %s %w", source, err)
			}
			out.ABI = abiOf(out.Description)
			if out.Manifest, out.Lies, err = manifest.Check(module, fileOf(source)); err != nil {
				return invalid("plugins inspect: %s %w", source, err)
			}
			if a.json() {
				return a.printJSON(out)
			}
			return a.printInspection(out)
		},
	}
}

const builtinPrefix = "builtin:"

// fileOf is the file of a module that lies in one.
func fileOf(source string) string {
	if strings.HasPrefix(source, builtinPrefix) {
		return ""
	}
	return source
}

func looksLikePath(s string) bool { return strings.ContainsAny(s, "/\\.") }

// module reads a file, or an embedded plugin as "builtin:NAME".
func (a *app) module(name string) (module []byte, source string, err error) {
	if b, ok := strings.CutPrefix(name, builtinPrefix); ok {
		read, ok := a.builtins[b]
		if !ok {
			return nil, "", invalid("plugins inspect: there is no built-in plugin %q: there are %s", b, strings.Join(a.builtinNames(), ", "))
		}
		module, err = read()
		return module, name, err
	}
	module, err = os.ReadFile(name)
	if err != nil {
		return nil, "", fmt.Errorf("plugins inspect: %w", &notAFile{fileError("read", name, err), err})
	}
	return module, name, nil
}

// notAFile keeps the cause beside the readable error.
type notAFile struct{ shown, cause error }

func (e *notAFile) Error() string   { return e.shown.Error() }
func (e *notAFile) Unwrap() []error { return []error{e.shown, e.cause} }

// runningModule finds a plugin of the running instance by name and reads the
// module from where the instance has it.
func (a *app) runningModule(c *cobra.Command, name string) (*status.Plugin, []byte, string, error) {
	cl, err := a.client()
	if err != nil {
		return nil, nil, "", err
	}
	p, err := cl.Plugin(c.Context(), name)
	if err != nil {
		if read, ok := a.builtins[name]; ok {
			module, err := read()
			return nil, module, "builtin:" + name, err
		}
		return nil, nil, "", fmt.Errorf("plugins inspect: %q is no file, and no running plugin: %w", name, err)
	}
	module, source, err := a.module(p.Source)
	return &p, module, source, err
}

func abiOf(d host.Description) string {
	for _, e := range d.Exports {
		if v, ok := strings.CutPrefix(e.Name, "wasmill_abi_v"); ok {
			return "version " + v
		}
	}
	return "none (" + abi.ExportABI + " is not exported)"
}

func manifestLine(m *manifest.Manifest) string {
	if m == nil {
		return "unknown: the module has no manifest"
	}
	if m.Version == "" {
		return m.Name + ", without a version"
	}
	return m.String()
}

func builtWith(m *manifest.Manifest) string {
	if m == nil {
		return ""
	}
	parts := []string{}
	for _, s := range []string{m.Language, m.Compiler, m.SDK, strings.Join(m.Flags, " ")} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

func sourceLine(m *manifest.Manifest) string {
	switch {
	case m == nil:
		return ""
	case m.Source == nil:
		return "not known to git"
	case m.Source.Dirty:
		return "commit " + m.Source.Revision + " with changes that are not committed"
	}
	return "commit " + m.Source.Revision
}

func functionName(f host.Function) string {
	if f.Name == "" {
		return fmt.Sprintf("number %d", f.Index)
	}
	return f.Name
}

func (a *app) printInspection(in inspection) error {
	grants := strings.Join(in.Grants, ", ")
	if grants == "" {
		grants = "none"
	}
	verdict := a.paint(a.stdout, green, "can be loaded")
	if in.Problem != "" {
		verdict = a.paint(a.stdout, red, "cannot be loaded: ") + clean(in.Problem)
	}
	running := ""
	if p := in.Running; p != nil {
		running = fmt.Sprintf("generation %d (%s) in %s", p.Generation.Number, short(p.Generation.Digest), strings.Join(p.Pipelines, ", "))
		if p.Generation.Digest != in.Digest {
			running += "; the file is a different module"
		}
	}
	about, plugin, source := "", manifestLine(in.Manifest), sourceLine(in.Manifest)
	if name, ok := strings.CutPrefix(in.Source, builtinPrefix); ok {
		plugin, source = name+", of wasmill "+a.version, ""
		about = builtin.Summary(name) + `; see "wasmill help builtins ` + name + `"`
	}
	if err := a.fields(
		"module", in.Source,
		"about", about,
		"plugin", plugin,
		"built with", builtWith(in.Manifest),
		"source", source,
		"sha256", in.Digest,
		"size", size(in.Size),
		"ABI", in.ABI,
		"grants needed", grants,
		"memory", memoryLine(in.Description),
		"contents", fmt.Sprintf("%d functions, the largest %s (%s); %d table entries, %s of data",
			in.Functions, clean(functionName(in.Largest)), size(in.Largest.Size), in.Elements, size(in.Data)),
		"running", running,
		"verdict", verdict,
	); err != nil {
		return err
	}
	for _, l := range in.Lies {
		a.printf("%s the module %s\n", a.paint(a.stdout, yellow, "warning:"), clean(l.Message))
	}
	for _, part := range []struct {
		title string
		list  []host.ExternFunc
	}{{"imports", in.Imports}, {"exports", in.Exports}, {"exports of the plugin ABI that it does not have", in.Missing}} {
		if len(part.list) == 0 {
			continue
		}
		a.printf("\n%s\n", part.title)
		rows := make([][]string, len(part.list))
		for i, f := range part.list {
			note := f.Note
			if f.Grant != "" {
				note = "needs the grant " + f.Grant
			}
			rows[i] = []string{"  " + clean(f.Name), f.Type, note}
		}
		if err := a.rows(rows); err != nil {
			return err
		}
	}
	a.printf("\ncaps of the sandbox\n")
	rows := make([][]string, len(in.Caps))
	for i, c := range in.Caps {
		used, most := count(c.Used), count(c.Most)
		if c.Unit == "bytes" {
			used, most = size(c.Used), size(c.Most)
		}
		rows[i] = []string{"  " + c.Name, used, "of " + most}
	}
	return a.rows(rows)
}

func memoryLine(d host.Description) string {
	if d.Most == 0 {
		return "starts with " + size(d.Memory) + ", grows up to the plugin's limit"
	}
	return "starts with " + size(d.Memory) + ", grows up to " + size(d.Most) + " or the plugin's limit"
}
