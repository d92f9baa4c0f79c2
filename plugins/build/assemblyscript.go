package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	oldestNode           = 20
	oldestAssemblyScript = 28 // 0.28
	// assemblyScript is the release that new plugins are pinned to.
	assemblyScript = "0.28.20"
	// assemblySDK is where the SDK lies: the compiler looks for the package
	// "wasmill" in the folder around it.
	assemblySDK       = ".wasmill/assemblyscript/wasmill"
	getAssemblyScript = "run `npm install` in the plugin's directory, or `npm install --global assemblyscript@" + assemblyScript + "`"
	// asConfig has the options of the compiler, where a plugin has its own.
	asConfig = "asconfig.json"
)

var assemblyscript = &Language{
	Name: "assemblyscript", Title: "AssemblyScript",
	needs:    "Node.js " + strconv.Itoa(oldestNode) + " or newer and AssemblyScript 0." + strconv.Itoa(oldestAssemblyScript) + " or newer",
	get:      "install Node.js from https://nodejs.org, then " + getAssemblyScript,
	register: "a plugin calls handle(…) or handleOpen(…) of the package wasmill at the top of main.ts",
	signs:    []string{asConfig, "*.ts"},
	find:     findAssemblyScript,
}

// findAssemblyScript returns the compiler of the project around dir, or else the
// one on PATH, or else the one that npm has kept of an earlier npx.
func findAssemblyScript(ctx context.Context, l *Language, dir string) (*Toolchain, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, l.missing("node", "there is no node command on PATH", err)
	}
	have, err := tool{path: node}.ask(ctx, "--version")
	if err != nil {
		return nil, err
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(have, "v"), ".")
	if n, err := strconv.Atoi(major); err == nil && n < oldestNode {
		return nil, l.missing("node", node+" is "+have, errors.ErrUnsupported)
	}
	withNode := *l
	withNode.get = getAssemblyScript
	script := findAsc(ctx, dir)
	if script == "" {
		return nil, withNode.missing("asc", "there is no AssemblyScript in "+describeDir(dir)+"node_modules nor on PATH", exec.ErrNotFound)
	}
	version := ascVersion(script)
	if minor, ok := strings.CutPrefix(version, "0."); ok {
		minor, _, _ = strings.Cut(minor, ".")
		if n, err := strconv.Atoi(minor); err == nil && n < oldestAssemblyScript {
			return nil, withNode.missing("asc", script+" is "+version, errors.ErrUnsupported)
		}
	}
	return &Toolchain{
		Path: script, Version: "AssemblyScript " + version, flags: ascFlags(),
		sdk:     func(context.Context) string { return assemblySDKVersion(dir) },
		compile: (&asc{node: node, script: script}).compile,
		keep:    func() keptCompiler { return &asc{node: node, script: script, keep: true} },
	}, nil
}

func describeDir(dir string) string {
	if dir == "" {
		return ""
	}
	return dir + string(filepath.Separator)
}

// findAsc returns the path of the compiler's asc.js; "" = there is none.
// Without a plugin it looks around the working directory.
func findAsc(ctx context.Context, dir string) string {
	name := filepath.Join("node_modules", "assemblyscript", "bin", "asc.js")
	if dir == "" {
		dir, _ = os.Getwd() // "" is this directory alone
	}
	if asc := upward(dir, name); asc != "" {
		return asc
	}
	if path, err := exec.LookPath("asc"); err == nil {
		// npm links the command to the script, or on Windows writes one beside its node_modules.
		if script, err := filepath.EvalSymlinks(path); err == nil && filepath.Base(script) == "asc.js" {
			return script
		}
		if asc := filepath.Join(filepath.Dir(path), name); exists(asc) {
			return asc
		}
	}
	npx, err := exec.LookPath("npx")
	if err != nil {
		return ""
	}
	// Which of npm's folders the package is in shows the PATH that npx gives a command.
	path, err := tool{path: npx}.ask(ctx, "--offline", "--yes", "--package=assemblyscript@"+assemblyScript, "--", "node", "-p", "process.env.PATH")
	if err != nil {
		return ""
	}
	for _, bin := range filepath.SplitList(path) {
		if asc := filepath.Join(filepath.Dir(bin), "assemblyscript", "bin", "asc.js"); exists(asc) {
			return asc
		}
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// ascVersion reads it where the compiler does; asking it takes most of a second.
func ascVersion(asc string) string { return packageVersion(filepath.Dir(filepath.Dir(asc))) }

// ascFlags are the flags of every plugin. The aliases put what the standard library
// would import of a browser into the SDK's hands. The incremental collector costs
// a plugin that makes no objects nothing, and keeps the memory of one that does small.
func ascFlags() []string {
	flags := []string{"-O3", "--runtime", "incremental", "--exportStart", "_initialize"}
	for _, alias := range []string{"abort=~lib/wasmill/abort/abort", "seed=~lib/wasmill/grant/seed", "trace=~lib/wasmill/log/trace", "console=~lib/wasmill/log/console"} {
		flags = append(flags, "--use", alias)
	}
	return flags
}

// ascArgs returns the arguments with which the compiler makes the module file of
// the plugin in dir, and the directory that they are for: the one that has the
// SDK, since the compiler takes nothing from above the directory it works in.
func ascArgs(dir, file string) (base string, args []string, err error) {
	sdk := upward(dir, filepath.FromSlash(assemblySDK))
	if sdk == "" {
		return "", nil, &ModuleError{Dir: dir, Err: errors.New("the SDK is not there"), Hint: "copy the folder " + assemblySDK + " of what `wasmill new plugin NAME --lang assemblyscript` makes, to the plugin's directory or above it"}
	}
	base = filepath.Dir(filepath.Dir(filepath.Dir(sdk)))
	entry, err := assemblyEntry(dir)
	if err != nil {
		return "", nil, err
	}
	if entry, err = filepath.Rel(base, entry); err != nil {
		return "", nil, fmt.Errorf("find %s from %s: %w", dir, base, err)
	}
	args = []string{filepath.ToSlash(entry), assemblySDK + "/exports.ts", "--path", ".wasmill/assemblyscript", "--outFile", file}
	if config := filepath.Join(dir, asConfig); exists(config) {
		args = append(args, "--config", config)
	}
	return base, append(args, ascFlags()...), nil
}

// transforms says whether the plugin in dir has scripts that take part in its
// compilation.
func transforms(dir string) bool {
	config, err := os.ReadFile(filepath.Join(dir, asConfig))
	return err == nil && bytes.Contains(config, []byte(`"transform"`))
}

// assemblyEntry returns the file that the compiler begins with: main.ts, index.ts,
// or the only one.
func assemblyEntry(dir string) (string, error) {
	for _, name := range []string{"main.ts", "index.ts"} {
		if file := filepath.Join(dir, name); exists(file) {
			return file, nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look for the source of a plugin: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return e.IsDir() || !strings.HasSuffix(e.Name(), ".ts") || strings.HasSuffix(e.Name(), ".d.ts")
	})
	if len(entries) != 1 {
		return "", fmt.Errorf("%s has %d files of source and none of them is main.ts: call the one with the handler so", dir, len(entries))
	}
	return filepath.Join(dir, entries[0].Name()), nil
}

// assemblySDKVersion returns the version of the SDK that a plugin in dir is built with.
func assemblySDKVersion(dir string) string {
	text, err := os.ReadFile(filepath.Join(upward(dir, filepath.FromSlash(assemblySDK)), "package.json"))
	if err != nil {
		return ""
	}
	var pkg struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &pkg); err != nil {
		return ""
	}
	return pkg.Name + " " + pkg.Version
}
