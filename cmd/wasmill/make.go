package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/plugins/scaffold"
)

func (a *app) newCmd() *cobra.Command {
	create := func(what string, write func(dir, name string) error, setup func() string) *cobra.Command {
		return &cobra.Command{
			Use:   what + " NAME",
			Short: "Start a " + what + " in a new directory NAME",
			Args:  exactly("NAME"),
			RunE: func(_ *cobra.Command, args []string) error {
				dir, name := args[0], filepath.Base(filepath.Clean(args[0]))
				if err := write(dir, name); err != nil {
					var pe *fs.PathError
					if errors.As(err, &pe) && !errors.Is(err, fs.ErrExist) {
						return environment("new %s: %w", what, err)
					}
					return invalid("new %s: %w", what, err)
				}
				if a.json() {
					return a.printJSON(map[string]string{"directory": dir, "name": name})
				}
				first := setup()
				if first != "" {
					first = fmt.Sprintf("  %-11s     # once: it fetches the compiler\n", first)
				}
				a.note("%s %s is in %s. Next:\n  cd %s\n%s  wasmill dev     # builds and runs it, and shows what each event becomes; wasmill test runs its cases", what, name, dir, dir, first)
				return nil
			},
		}
	}
	var lang string
	plugin := create("plugin", func(dir, name string) error { return scaffold.Plugin(dir, lang, name) }, func() string { return scaffold.Setup(lang) })
	languages := scaffold.Languages()
	plugin.Flags().StringVar(&lang, "lang", languages[0], "`language` of the plugin: "+strings.Join(languages, ", "))
	// The only error is a flag that does not exist.
	_ = plugin.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(languages, cobra.ShellCompDirectiveNoFileComp))
	return a.group("new", "Start a plugin or a project; works offline", plugin, create("project", scaffold.Project, func() string { return "" }))
}

func (a *app) buildCmd() *cobra.Command {
	var version string
	c := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile the plugins of a directory, with the compiler of their language",
		Long: "Compile the plugins of a directory, with the compiler of their language. Each module\n" +
			"gets a manifest, which \"wasmill plugins inspect\" shows: name, version, ABI, grants,\n" +
			"digest, compiler and the commit of its source. The version is --version, or that of\n" +
			"Cargo.toml or package.json.",
		Args: exactly("[DIR]"),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if err := manifest.CheckText(version); err != nil {
				return invalid("build: --version %w", err)
			}
			b, err := a.builder()
			if err != nil {
				return err
			}
			b.Version = version
			modules, err := b.All(c.Context(), dir)
			if err != nil {
				return fmt.Errorf("build: %w", err)
			}
			if a.json() {
				return a.printJSON(map[string][]string{"modules": modules})
			}
			for _, m := range modules {
				a.printf("%s\n", relative(m))
			}
			return nil
		},
	}
	c.Flags().StringVar(&version, "version", "", "`version` of the plugins, for their manifest")
	return c
}

// relative shortens a path below the working directory.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
