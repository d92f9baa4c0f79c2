package main

import (
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	groupStart   = "start"
	groupRun     = "run"
	groupOperate = "operate"
)

// root assembles all verbs. Parsing mistakes leave with exit code 2 and say
// what was probably meant.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "wasmill",
		Short: "Durable topics and sandboxed WebAssembly plugins in one binary",
		Long: "Wasmill embeds a NATS JetStream server for durable topics and runs sandboxed\n" +
			"WebAssembly plugins that filter, transform and re-emit events.\n\n" +
			"Begin with \"wasmill quickstart\": it needs nothing but this binary.\n\n" +
			"Exit codes: 0 done; 1 failed while running; 2 the input, the configuration or the\n" +
			"usage is wrong; 3 the surroundings are: a port, the disk, a compiler, or nothing\n" +
			"answers. Data goes to stdout, everything else to stderr.",
		Args:                       a.noVerb,
		RunE:                       a.help,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE:          func(*cobra.Command, []string) error { return a.checkFlags() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupStart, Title: "Begin:"},
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupOperate, Title: "Look at and steer a running instance:"},
	)
	f := root.PersistentFlags()
	f.StringVar(&a.flags.admin, "admin", "", "`URL` of the running instance (WASMILL_ADMIN; else [admin] of the TOML file)")
	f.StringVar(&a.flags.token, "token", "", "bearer `token` of the admin endpoint (WASMILL_ADMIN_TOKEN)")
	f.StringVar(&a.flags.ca, "ca", "", "PEM `file` of the authorities to trust for https (WASMILL_ADMIN_CA)")
	f.StringVarP(&a.flags.config, "config", "c", "", "TOML `file` (default wasmill.toml)")
	f.StringVarP(&a.flags.output, "output", "o", "text", "`format` of what is printed: text or json")
	f.StringVar(&a.flags.color, "color", "auto", "`when` to use colour: auto, always or never (NO_COLOR)")
	root.SetFlagErrorFunc(flagError)
	for name, values := range map[string][]string{"output": {"text", "json"}, "color": {"auto", "always", "never"}} {
		// The only error is a flag that does not exist.
		_ = root.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}

	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupStart, a.quickstartCmd(), a.newCmd(), a.buildCmd(), a.testCmd(), a.doctorCmd())
	add(groupRun, a.devCmd())
	add(groupRun, a.runCmd(), a.validateCmd(), a.schemaCmd(), a.benchCmd())
	add(groupOperate, a.statusCmd(), a.topCmd(), a.planCmd(), a.applyCmd(), a.topicsCmd(), a.pipelinesCmd(), a.pluginsCmd(), a.dlqCmd(), a.auditCmd(), a.drainCmd(), a.named(pipelineNames, a.replayCmd()), a.backupCmd(), a.restoreCmd(),
		a.healthcheckCmd(), a.grafanaCmd())
	root.AddCommand(a.versionCmd(), a.completionCmd(), a.manCmd(), a.builtinsTopic())
	root.AddCommand(a.helpTopics()...)
	root.SetHelpCommand(a.helpCmd())
	return root
}

// group is a command that only holds verbs.
func (a *app) group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: a.noVerb, RunE: a.help,
		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(verbs...)
	return c
}

// noVerb refuses an argument where a verb is expected.
func (a *app) noVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("see \"%s --help\"", c.CommandPath())
	if s := c.SuggestionsFor(args[0]); len(s) > 0 {
		hint = fmt.Sprintf("did you mean %q?", s[0])
	}
	if deep := deeper(c, args[0]); len(deep) > 0 {
		hint = `did you mean "` + strings.Join(deep, `" or "`) + `"?`
	}
	if !c.HasParent() {
		return invalid("there is no verb %q: %s", args[0], hint)
	}
	return invalid("%s: there is no verb %q: %s", verbOf(c), args[0], hint)
}

// help is what a group does without a verb: the help goes to stderr, since
// nothing was asked for that could be data.
func (a *app) help(c *cobra.Command, _ []string) error {
	c.SetOut(a.stderr)
	if err := c.Help(); err != nil {
		return err
	}
	return &exitError{exitInvalid, errSilent}
}

func (a *app) checkFlags() error {
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"output", a.flags.output, []string{"text", "json"}},
		{"color", a.flags.color, []string{"auto", "always", "never"}},
	} {
		if !slices.Contains(f.allowed, f.value) {
			return invalid("--%s %q: it is one of %s", f.name, f.value, strings.Join(f.allowed, ", "))
		}
	}
	return nil
}

func flagError(c *cobra.Command, err error) error {
	const unknown = "unknown flag: "
	msg := err.Error()
	name, ok := strings.CutPrefix(msg, unknown)
	if !ok {
		return invalid("%s: %s: see \"%s --help\"", verbOf(c), msg, c.CommandPath())
	}
	hint := fmt.Sprintf("see \"%s --help\"", c.CommandPath())
	usages := c.Flags().FlagUsages() + c.InheritedFlags().FlagUsages()
	if near := nearest(name, regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(usages, -1)); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return invalid("%s: there is no flag %s: %s", verbOf(c), name, hint)
}

// verbOf is the command as the user typed it, without the program's name.
func verbOf(c *cobra.Command) string {
	_, verb, ok := strings.Cut(c.CommandPath(), " ")
	if !ok {
		return "command line"
	}
	return verb
}

// exactly refuses another number of arguments than the names say. A name in
// brackets may be left out.
func exactly(names ...string) cobra.PositionalArgs {
	least := 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
	}
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return invalid("%s: %s is missing: usage: %s", verbOf(c), names[len(args)], c.UseLine())
		case len(args) > len(names):
			return invalid("%s: %q is one argument too many: usage: %s", verbOf(c), args[len(names)], c.UseLine())
		}
		for i, arg := range args[:least] {
			if arg == "" {
				return invalid("%s: %s is empty: usage: %s", verbOf(c), names[i], c.UseLine())
			}
		}
		return nil
	}
}

// nearest returns the one of names that is at most a third different from s.
func nearest(s string, names []string) string {
	best, limit := "", max(1, len(s)/3)
	for _, name := range names {
		if d := distance(s, name); d <= limit && name != s {
			best, limit = name, d-1
		}
	}
	return best
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := versions(a.version)
			if a.json() {
				return a.printJSON(v)
			}
			a.printf("wasmill %s (%s, nats-server %s, wazero %s)\n", v.Wasmill, v.Go, v.NATS, v.Wazero)
			return nil
		},
	}
}

// versionInfo is what "version -o json" prints.
type versionInfo struct {
	Wasmill string `json:"wasmill"`
	Go      string `json:"go"`
	NATS    string `json:"nats_server"`
	Wazero  string `json:"wazero"`
}

func versions(wasmill string) versionInfo {
	v := versionInfo{Wasmill: wasmill, NATS: "unknown", Wazero: "unknown", Go: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	for _, d := range info.Deps {
		switch d.Path {
		case "github.com/nats-io/nats-server/v2":
			v.NATS = d.Version
		case "github.com/tetratelabs/wazero":
			v.Wazero = d.Version
		}
	}
	return v
}

// buildVersion is the version set by make, else what Go recorded of the module
// or the checkout.
func buildVersion(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func (a *app) completionCmd() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a completion script for a shell",
		Long:      "Print a completion script. For bash: source <(wasmill completion bash)",
		ValidArgs: shells,
		Args:      exactly("the shell"),
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return invalid("completion: %q is not a shell it knows: %s", args[0], strings.Join(shells, ", "))
		},
	}
}
