package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oldestClang is the first release that knows the attributes of wasmill.h.
const oldestClang = 11

// flagsFile has further flags of a plugin in C, one a line: clangd, and with it
// the editor, reads the same file.
const flagsFile = "compile_flags.txt"

var c = &Language{
	Name: "c", Title: "C",
	needs:    "clang " + strconv.Itoa(oldestClang) + " or newer with the target wasm32 and wasm-ld, or zig",
	get:      "on Debian and Ubuntu `apt-get install clang lld`, with Homebrew `brew install llvm lld`; or zig from https://ziglang.org/download",
	register: "a plugin includes wasmill.h and has WM_HANDLE(…); or WM_PLUGIN(…); in one of its files",
	signs:    []string{"*.c", "*.cc", "*.cpp", "*.cxx"},
	find:     findC,
}

// findC returns a clang that makes WebAssembly, or else zig, which is one.
func findC(ctx context.Context, l *Language, dir string) (*Toolchain, error) {
	var unfit []string
	for _, path := range clangs() {
		version, err := checkClang(ctx, path)
		if ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			unfit = append(unfit, err.Error())
			continue
		}
		return cToolchain(path, version, []string{"--target=wasm32"}, dir), nil
	}
	if path, err := exec.LookPath("zig"); err == nil {
		version, err := tool{path: path}.ask(ctx, "version")
		if err == nil {
			return cToolchain(path, "zig "+version, []string{"cc", "-target", "wasm32-freestanding"}, dir), nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		unfit = append(unfit, err.Error())
	}
	if len(unfit) == 0 {
		return nil, l.missing("clang", "there is no clang and no zig on PATH", exec.ErrNotFound)
	}
	return nil, l.missing("clang", strings.Join(unfit, "; "), errors.ErrUnsupported)
}

func cToolchain(path, version string, target []string, dir string) *Toolchain {
	return &Toolchain{
		Path: path, Version: version, flags: append(slices.Clone(target), cFlags()...),
		sdk: func(context.Context) string { return cSDK(dir) },
		compile: func(ctx context.Context, dir, file string, out io.Writer) error {
			return buildC(ctx, path, target, dir, file, out)
		},
	}
}

// clangs returns the clang of PATH and those with a version in their name, as
// distributions call them, the newest first.
func clangs() []string {
	var found []string
	add := func(name string) {
		if path, err := exec.LookPath(name); err == nil && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	add("clang")
	for v := 30; v >= oldestClang; v-- {
		add("clang-" + strconv.Itoa(v))
	}
	return found
}

// checkClang returns the version of a clang, or why it does not make modules.
func checkClang(ctx context.Context, path string) (string, error) {
	clang := tool{path: path}
	version, err := clang.ask(ctx, "--version")
	if err != nil {
		return "", err
	}
	version = firstLine(version)
	if _, number, ok := strings.Cut(version, "clang version "); ok {
		number, _, _ = strings.Cut(number, ".")
		if major, err := strconv.Atoi(number); err == nil && major < oldestClang {
			return "", fmt.Errorf("%s is %s", path, version)
		}
	}
	targets, err := clang.ask(ctx, "--print-targets")
	if err != nil || !strings.Contains(targets, "wasm32") {
		return "", fmt.Errorf("%s is %s without the target wasm32", path, version)
	}
	linker, err := clang.ask(ctx, "--target=wasm32", "--print-prog-name=wasm-ld")
	if err == nil {
		_, err = exec.LookPath(linker)
	}
	if err != nil {
		return "", fmt.Errorf("%s finds no wasm-ld", path)
	}
	return version, nil
}

// cFlags are the flags of every file. Freestanding, because there is no libc, and
// with instructions in the place of its memcpy.
func cFlags() []string { return []string{"-O2", "-ffreestanding", "-mbulk-memory"} }

// buildC compiles the files in dir one by one and links them to the module file.
// Linking is a step of its own because clang, where it finds Binaryen's wasm-opt,
// has it change what it both compiles and links, and old ones of these know less
// of WebAssembly than clang does.
func buildC(ctx context.Context, compiler string, target []string, dir, file string, out io.Writer) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for the source of a plugin: %w", err)
	}
	flags := append(slices.Clone(target), cFlags()...)
	if header := upward(dir, filepath.Join(".wasmill", "c", "wasmill.h")); header != "" {
		flags = append(flags, "-I"+filepath.Dir(header))
	}
	own, err := readFlags(filepath.Join(dir, flagsFile))
	if err != nil {
		return err
	}
	objects, err := os.MkdirTemp("", "wasmill-build-")
	if err != nil {
		return fmt.Errorf("make a directory for the objects of %s: %w", dir, err)
	}
	defer os.RemoveAll(objects)
	cmd := tool{path: compiler, dir: dir}
	link := append(slices.Clone(target), "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-debug", "-o", file)
	for _, e := range entries {
		args := slices.Clone(flags)
		switch filepath.Ext(e.Name()) {
		case ".c":
		case ".cc", ".cpp", ".cxx":
			args = append(args, "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
		default:
			continue
		}
		object := filepath.Join(objects, e.Name()+".o")
		if err := cmd.compile(ctx, out, nil, append(append(args, own...), "-c", "-o", object, e.Name())...); err != nil {
			return err
		}
		link = append(link, object)
	}
	return cmd.compile(ctx, out, nil, link...)
}

// readFlags reads a file of flags; there need not be one. The target in it is for
// the editor: zig, which calls it another name, would not take it.
func readFlags(name string) ([]string, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the flags of a plugin: %w", err)
	}
	defer f.Close()
	var flags []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "--target=") {
			flags = append(flags, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the flags of a plugin: %w", err)
	}
	return flags, nil
}

// upward returns the path of a file in dir or a directory above it; "" = there is none.
func upward(dir, name string) string {
	for ; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// cSDK returns the version of the header that a plugin in dir includes.
func cSDK(dir string) string {
	header, err := os.ReadFile(upward(dir, filepath.Join(".wasmill", "c", "wasmill.h")))
	if err != nil {
		return ""
	}
	_, version, _ := strings.Cut(string(header), "#define WM_VERSION \"")
	version, _, ok := strings.Cut(version, "\"")
	if !ok {
		return ""
	}
	return "wasmill.h " + version
}
