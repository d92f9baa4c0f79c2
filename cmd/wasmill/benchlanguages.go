package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/scaffold"
	"github.com/wasmill/wasmill/runtime/bench"
)

// benchModules builds a pass-through plugin in every language, as an author
// would: in a new directory, and once more after a change.
func benchModules(ctx context.Context, progress io.Writer) ([]bench.Module, error) {
	dir, err := os.MkdirTemp("", "wasmill-bench-languages-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the plugins: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var all []bench.Module
	for _, l := range build.Languages() {
		_, _ = fmt.Fprintf(progress, "building a plugin in %s\n", l.Title)
		m, err := benchModule(ctx, l, filepath.Join(dir, l.Name))
		var missing *build.ToolchainError
		if errors.As(err, &missing) {
			m.Missing = missing.Message
		} else if err != nil {
			return nil, fmt.Errorf("build a plugin in %s: %w", l.Title, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func benchModule(ctx context.Context, l *build.Language, dir string) (bench.Module, error) {
	m := bench.Module{Language: l.Title}
	if err := scaffold.Pass(dir, l.Name); err != nil {
		return m, err
	}
	var out strings.Builder
	b := build.Builder{Out: &out}
	timed := func(took *time.Duration) (string, error) {
		start := time.Now()
		module, err := b.Build(ctx, dir)
		*took = time.Since(start)
		var compile *build.CompileError
		if errors.As(err, &compile) {
			err = fmt.Errorf("%w:\n%s", err, out.String())
		}
		return module, err
	}
	if _, err := timed(&m.First); err != nil {
		return m, err
	}
	if err := touch(dir); err != nil {
		return m, err
	}
	module, err := timed(&m.Again)
	if err != nil {
		return m, err
	}
	m.Bytes, err = os.ReadFile(module)
	return m, err
}

// touch adds a comment to the sources of a plugin.
func touch(dir string) error {
	for _, pattern := range []string{"*.go", "src/*.rs", "*.c", "*.ts"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range files {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("\n// changed\n")
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}
