package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// Language is one in which plugins are written. Its file in this package says
// how its source is recognised, which compiler it needs and how that is called.
type Language struct {
	Name  string // as in `wasmill new plugin --lang`
	Title string // as people write it

	needs    string   // the toolchain, as in "Go 1.24 or newer"
	get      string   // how to get it, as in "install it from …"
	register string   // what makes a module of the source a plugin, said when it is none
	signs    []string // patterns of file names by which the source shows itself

	// find looks for a toolchain that is able to build the source in dir; "" is
	// any source. A machine without one is a *ToolchainError.
	find func(ctx context.Context, l *Language, dir string) (*Toolchain, error)
}

// Toolchain is a compiler of a language on this machine.
type Toolchain struct {
	Path    string // of the command
	Version string // of the compiler, as it says it itself
	// flags and sdk are what the manifest of a module says beside that; nil = nothing.
	flags []string
	sdk   func(ctx context.Context) string // with its version; "" = unknown
	// compile compiles the source in dir to the module file and writes what the
	// compiler prints to out, unchanged.
	compile func(ctx context.Context, dir, file string, out io.Writer) error
	// keep returns a compiler that goes on running between compilations, which are
	// faster then; nil where that makes no difference.
	keep func() keptCompiler
}

// keptCompiler is a compiler that goes on running. One goroutine uses it.
type keptCompiler interface {
	compile(ctx context.Context, dir, file string, out io.Writer) error
	close() error
}

// languages is in the order in which source is recognised: the first that
// fits counts.
var languages = []*Language{golang, rust, assemblyscript, c}

// foreign are files of languages without an SDK.
var foreign = []struct{ sign, title string }{
	{"*.js", "JavaScript"}, {"*.zig", "Zig"}, {"*.py", "Python"},
}

// Languages returns the languages that Build knows.
func Languages() []*Language { return slices.Clone(languages) }

// Toolchain returns the language's compiler on this machine, for a plugin with
// no further wishes. A machine without one that will do is a *ToolchainError
// that says how to get it.
func (l *Language) Toolchain(ctx context.Context) (*Toolchain, error) { return l.find(ctx, l, "") }

// Of returns the language of the plugin whose source is in dir. Source in a
// language that Build does not know is an error, and so is none at all.
func Of(dir string) (*Language, error) {
	language, title, err := recognise(dir)
	switch {
	case err != nil:
		return nil, err
	case language != nil:
		return language, nil
	case title != "":
		return nil, fmt.Errorf("the plugin in %s is written in %s, which `wasmill build` cannot build (it knows %s): "+
			"build it with its own compiler and put the module where %s names it", dir, title, titles(), ConfigFile)
	}
	return nil, fmt.Errorf("no plugin source in %s: expected that of a plugin in %s, as `wasmill new plugin NAME` makes one, or a %s that names plugins/NAME.wasm with the source in plugins/NAME",
		dir, titles(), ConfigFile)
}

// recognise looks at the names in dir. Without source in a language that is
// known, title is the one that is not, "" when there is no source.
func recognise(dir string) (language *Language, title string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", fmt.Errorf("look for the source of a plugin: %w", err)
	}
	has := func(sign string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			fits, _ := path.Match(sign, e.Name()) // the patterns are ours and well-formed
			return fits && !e.IsDir()
		})
	}
	for _, l := range languages {
		if slices.ContainsFunc(l.signs, has) {
			return l, l.Title, nil
		}
	}
	for _, f := range foreign {
		if has(f.sign) {
			return nil, f.title, nil
		}
	}
	return nil, "", nil
}

// titles lists the languages as in "Go, Rust or C".
func titles() string {
	all := make([]string, len(languages))
	for i, l := range languages {
		all[i] = l.Title
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// missing is the error for a machine without the toolchain; what says what was
// looked for in vain, as in "there is no go command on PATH".
func (l *Language) missing(tool, what string, err error) *ToolchainError {
	return &ToolchainError{
		Tool: tool, Err: err,
		Message: fmt.Sprintf("building a plugin in %s needs %s, and %s: %s", l.Title, l.needs, what, l.get),
	}
}
