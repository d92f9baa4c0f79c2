// Package build turns the source of a plugin into a module: it finds out the
// language, calls that language's own compiler, adds a manifest, has a host load
// the result, and only then puts it in place of the old one, in one step, so that a
// running Wasmill that watches the file never reads half a module.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Builder compiles plugins, one after the other. The zero value is ready to use.
type Builder struct {
	// Out gets what the compilers print, unchanged; nil discards it.
	Out io.Writer
	// CacheDir is the host's cache of compiled modules. With the directory that
	// `wasmill run` uses, the check of the module warms it up. "" = none.
	CacheDir string
	// Version is what the manifests say; "" = what the language's own description
	// of the package says.
	Version string
	// Worker is the host's command that compiles modules aside. nil = they are
	// compiled in this process.
	Worker []string
	// Keep has compilers go on running between builds where that makes the next one
	// faster, which takes some memory; Close ends them.
	Keep bool

	kept map[string]keptCompiler // by compiler
}

// Close ends the compilers that Keep has kept.
func (b *Builder) Close() error {
	var err error
	for _, k := range b.kept {
		err = errors.Join(err, k.close())
	}
	b.kept = nil
	return err
}

// Build compiles the plugin whose source is in dir, writes the compiler's
// messages to out and returns the absolute path of the module: the one that
// the wasmill.toml at hand names for this source, otherwise dir/NAME.wasm with
// the directory's name. Errors are a *ToolchainError, a *CompileError, a
// *ModuleError, or those of the file system. After an error the module that
// was there before is untouched.
func Build(ctx context.Context, dir string, out io.Writer) (string, error) {
	b := Builder{Out: out}
	return b.Build(ctx, dir)
}

// Build is the function of the same name with b's settings.
func (b *Builder) Build(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find directory %q: %w", dir, err)
	}
	module, err := modulePath(dir)
	if err != nil {
		return "", err
	}
	if err := b.BuildTo(ctx, dir, module); err != nil {
		return "", err
	}
	return module, nil
}

// All builds every plugin that dir/wasmill.toml names and whose source lies
// beside its module, or without such a file the one whose source dir is. It
// returns the modules in the order they were built and stops at the first error.
func (b *Builder) All(ctx context.Context, dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find directory %q: %w", dir, err)
	}
	modules, err := readProject(filepath.Join(dir, ConfigFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var built []string
	for _, module := range modules {
		source := sourceOf(module)
		if source == "" {
			continue // built elsewhere and put here
		}
		if err := b.BuildTo(ctx, source, module); err != nil {
			return built, err
		}
		built = append(built, module)
	}
	if len(built) > 0 {
		return built, nil
	}
	module, err := b.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	return []string{module}, nil
}

// BuildTo builds the plugin whose source is in dir to the file module, whose
// directory must exist.
func (b *Builder) BuildTo(ctx context.Context, dir, module string) error {
	language, err := Of(dir)
	if err != nil {
		return err
	}
	toolchain, err := language.find(ctx, language, dir)
	if err != nil {
		return err
	}
	out := b.Out
	if out == nil {
		out = io.Discard
	}
	begin := time.Now()
	// The hidden name and the other suffix keep it from who watches the directory for modules.
	tmp, err := os.CreateTemp(filepath.Dir(module), "."+filepath.Base(module)+".*.tmp")
	if err != nil {
		return fmt.Errorf("make a file for the module of %s: %w", dir, err)
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("make a file for the module of %s: %w", dir, err)
	}
	if err := b.compile(ctx, toolchain, dir, tmp.Name(), out); err != nil {
		return err
	}
	if err := b.label(ctx, language, toolchain, dir, module, tmp.Name()); err != nil {
		return err
	}
	if err := b.check(ctx, language, dir, tmp.Name()); err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return fmt.Errorf("make the module of %s readable: %w", dir, err)
	}
	// A source that is saved during the build is newer than the module.
	if err := os.Chtimes(tmp.Name(), begin, begin); err != nil {
		return fmt.Errorf("date the module of %s: %w", dir, err)
	}
	if err := os.Rename(tmp.Name(), module); err != nil {
		return fmt.Errorf("put the module of %s in place: %w", dir, err)
	}
	return nil
}

// compile compiles the source in dir to the module file, with a compiler that is
// running if it may be kept.
func (b *Builder) compile(ctx context.Context, t *Toolchain, dir, file string, out io.Writer) error {
	if !b.Keep || t.keep == nil {
		return t.compile(ctx, dir, file, out)
	}
	key := t.Path + " " + t.Version
	k := b.kept[key]
	if k == nil {
		if b.kept == nil {
			b.kept = map[string]keptCompiler{}
		}
		k = t.keep()
		b.kept[key] = k
	}
	return k.compile(ctx, dir, file, out)
}

// WarmUp readies the compiler of the plugin in dir for the next build, if it is
// one that Keep keeps: it compiles the source once, for nothing.
func (b *Builder) WarmUp(ctx context.Context, dir string) error {
	if !b.Keep {
		return nil
	}
	language, err := Of(dir)
	if err != nil {
		return err
	}
	toolchain, err := language.find(ctx, language, dir)
	if err != nil || toolchain.keep == nil {
		return err
	}
	tmp, err := os.CreateTemp("", "wasmill-build-*.wasm")
	if err != nil {
		return fmt.Errorf("make a file for a module that nobody needs: %w", err)
	}
	defer os.Remove(tmp.Name())
	return errors.Join(tmp.Close(), b.compile(ctx, toolchain, dir, tmp.Name(), io.Discard))
}

// check has a host load the module as `wasmill run` would, with every grant,
// since the source does not say which ones its configuration will give it.
func (b *Builder) check(ctx context.Context, l *Language, dir, file string) error {
	h := host.New(host.Options{CacheDir: b.CacheDir, Worker: b.Worker})
	if err := h.Open(ctx); err != nil {
		return fmt.Errorf("open a host to check the module of %s: %w", dir, err)
	}
	defer h.Close(context.WithoutCancel(ctx))
	generation, err := h.Load(ctx, host.Spec{
		Name:   filepath.Base(dir),
		Path:   file,
		Grants: []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret},
	})
	if err != nil {
		refused := &ModuleError{Dir: dir, Err: err}
		if errors.Is(err, host.ErrNotPlugin) {
			refused.Hint = l.register
		}
		return refused
	}
	return generation.Close(context.WithoutCancel(ctx))
}
