package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/wasmill/wasmill/plugins/manifest"
)

// label writes the manifest into the module that was compiled to file and will
// be called module. What cannot be found out of source and compiler stays empty:
// a build does not fail over its label. A file that is no module is left for
// check to refuse.
func (b *Builder) label(ctx context.Context, l *Language, t *Toolchain, dir, module, file string) error {
	compiled, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the module of %s: %w", dir, err)
	}
	version := b.Version
	if version == "" {
		version = packageVersion(dir)
	}
	sdk := ""
	if t.sdk != nil {
		sdk = t.sdk(ctx)
	}
	labelled, err := manifest.Write(compiled, manifest.Manifest{
		Name:     manifest.NameOf(module),
		Version:  version,
		Language: l.Name, Compiler: firstLine(t.Version), SDK: firstLine(sdk), Flags: t.flags,
		Source: source(ctx, dir),
	})
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", dir, ctx.Err())
	}
	if err != nil {
		if refused := b.check(ctx, l, dir, file); refused != nil {
			return refused // it is no plugin at all, which says more
		}
		return fmt.Errorf("label the module of %s: %w", dir, err)
	}
	if err := os.WriteFile(file, labelled, 0o600); err != nil {
		return fmt.Errorf("write the manifest of %s: %w", dir, err)
	}
	return nil
}

// firstLine is what a compiler says of itself, as far as a manifest takes it.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if manifest.CheckText(s) != nil {
		return ""
	}
	return s
}

// packageVersion is the version that the language's own description of the
// package in dir gives; "" = it has none. Go and C have no place for one.
func packageVersion(dir string) string {
	if text, err := os.ReadFile(filepath.Join(dir, "Cargo.toml")); err == nil {
		var crate struct {
			Package struct {
				Version any `toml:"version"` // a table, when the workspace has it
			} `toml:"package"`
		}
		if _, err := toml.Decode(string(text), &crate); err == nil {
			version, _ := crate.Package.Version.(string)
			return version
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "package.json")); err == nil {
		var pkg struct {
			Version string `json:"version"`
		}
		if json.Unmarshal(text, &pkg) == nil {
			return pkg.Version
		}
	}
	return ""
}

// source is the commit that last changed the plugin in dir, nil when git does
// not know it. Built modules in dir are not part of its source.
//
// The history of a shallow clone begins with a commit that seems to have made
// everything; then nothing is said, since a full clone would say something else.
func source(ctx context.Context, dir string) *manifest.Source {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C") // status must not write an index that is watched
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	files := []string{"--", ".", ":(exclude)*.wasm"}
	line, err := git(append([]string{"log", "-1", "--format=%H %P", "--no-show-signature"}, files...)...)
	revision, parents, _ := strings.Cut(line, " ")
	if err != nil || revision == "" {
		return nil
	}
	if parents == "" {
		if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
			return nil
		}
	}
	changed, err := git(append([]string{"status", "--porcelain"}, files...)...)
	if err != nil {
		return nil
	}
	return &manifest.Source{Revision: revision, Dirty: changed != ""}
}
