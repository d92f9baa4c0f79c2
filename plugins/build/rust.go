package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	// rustTarget is the target that imports nothing by itself; what a plugin
	// needs of its host comes with the SDK.
	rustTarget = "wasm32-unknown-unknown"
	oldestRust = 63 // 1.63
)

var rust = &Language{
	Name: "rust", Title: "Rust",
	needs: "rustc 1." + strconv.Itoa(oldestRust) + " or newer with the target " + rustTarget + ", and cargo",
	get: "with rustup (https://rustup.rs) run `rustup target add " + rustTarget + "`; " +
		"on Debian and Ubuntu `apt-get install rustc cargo libstd-rust-dev-wasm32`",
	register: "a plugin is a library with crate-type = [\"cdylib\"] that registers itself by wasmill::handler! or wasmill::plugin!",
	signs:    []string{"Cargo.toml"},
	find:     findRust,
}

// findRust returns the first rustc that has the target. A machine may have
// several, of rustup and of its distribution, and the one that comes first on
// PATH need not have it.
func findRust(ctx context.Context, l *Language, dir string) (*Toolchain, error) {
	var unfit []string
	for _, path := range rustCompilers() {
		rustc := tool{path: path, dir: dir}
		version, err := rustc.ask(ctx, "--version")
		if ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			unfit = append(unfit, err.Error())
			continue
		}
		if minor, ok := rustMinor(version); ok && minor < oldestRust {
			unfit = append(unfit, path+" is "+version)
			continue
		}
		lib, err := rustc.ask(ctx, "--print", "target-libdir", "--target", rustTarget)
		if err == nil {
			_, err = os.Stat(lib)
		}
		if err != nil {
			unfit = append(unfit, path+" is "+version+" without that target")
			continue
		}
		cargo, err := cargoOf(path)
		if err != nil {
			return nil, l.missing("cargo", "there is no cargo for "+path, err)
		}
		return &Toolchain{
			Path: path, Version: version, flags: rustFlags(),
			sdk: func(context.Context) string { return rustSDK(dir) },
			compile: func(ctx context.Context, dir, file string, out io.Writer) error {
				return buildRust(ctx, cargo, path, dir, file, out)
			},
		}, nil
	}
	if len(unfit) == 0 {
		return nil, l.missing("rustc", "there is no rustc on PATH", exec.ErrNotFound)
	}
	return nil, l.missing("rustc", strings.Join(unfit, "; "), errors.ErrUnsupported)
}

// rustCompilers returns every rustc on PATH in its order, or the one that the
// user has named as cargo takes it.
func rustCompilers() []string {
	if named := os.Getenv("RUSTC"); named != "" {
		return []string{named}
	}
	var found []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(dir, "rustc"))
		if err != nil {
			continue
		}
		if target, err := filepath.EvalSymlinks(dir); err == nil {
			dir = target // /bin is /usr/bin
		}
		if path = filepath.Join(dir, filepath.Base(path)); !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

// cargoOf returns the cargo that belongs to a rustc: the one beside it, since
// a newer cargo asks questions which an older compiler does not understand.
func cargoOf(rustc string) (string, error) {
	if beside, err := exec.LookPath(filepath.Join(filepath.Dir(rustc), "cargo")); err == nil {
		return beside, nil
	}
	return exec.LookPath("cargo")
}

// rustMinor reads the 63 in "rustc 1.63.0".
func rustMinor(version string) (int, bool) {
	numbers := strings.Split(strings.TrimPrefix(version, "rustc "), ".")
	if len(numbers) < 2 || numbers[0] != "1" {
		return 0, false
	}
	minor, err := strconv.Atoi(numbers[1])
	return minor, err == nil
}

// buildRust has cargo build the crate in dir as its release profile says, and
// copies the module that comes of it to file. cargo reaches for the network only
// for crates that it does not have yet.
func buildRust(ctx context.Context, cargo, rustc, dir, file string, out io.Writer) error {
	cmd := tool{path: cargo, dir: dir, env: []string{"RUSTC=" + rustc}}
	var messages bytes.Buffer
	args := slices.Concat([]string{"build", "--quiet", "--message-format=json-render-diagnostics"}, rustFlags())
	if err := cmd.compile(ctx, out, &messages, args...); err != nil {
		return err
	}
	module, err := rustModule(&messages, dir)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(module)
	if err != nil {
		return fmt.Errorf("read what cargo has built of %s: %w", dir, err)
	}
	return os.WriteFile(file, content, 0o600)
}

func rustFlags() []string { return []string{"--lib", "--release", "--target=" + rustTarget} }

// rustSDK returns the version of the SDK that cargo has chosen for the crate in
// dir, which may be part of a workspace; "" = it has none.
func rustSDK(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		var lock struct {
			Package []struct {
				Name    string `toml:"name"`
				Version string `toml:"version"`
			} `toml:"package"`
		}
		if _, err := toml.DecodeFile(filepath.Join(at, "Cargo.lock"), &lock); err == nil {
			for _, p := range lock.Package {
				if p.Name == "wasmill" {
					return p.Name + " " + p.Version
				}
			}
			return ""
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// rustModule returns the path of the module that cargo reports for the crate in dir.
func rustModule(messages *bytes.Buffer, dir string) (string, error) {
	manifest := filepath.Join(dir, "Cargo.toml")
	dec := json.NewDecoder(messages)
	for {
		var m struct {
			Reason       string   `json:"reason"`
			ManifestPath string   `json:"manifest_path"`
			Filenames    []string `json:"filenames"`
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return "", &ModuleError{Dir: dir, Err: errors.New(`it is no library that can be loaded: Cargo.toml lacks [lib] with crate-type = ["cdylib"]`)}
		} else if err != nil {
			return "", fmt.Errorf("read what cargo says of %s: %w", dir, err)
		}
		if m.Reason != "compiler-artifact" || !sameFile(m.ManifestPath, manifest) {
			continue
		}
		for _, name := range m.Filenames {
			if filepath.Ext(name) == ".wasm" {
				return name, nil
			}
		}
	}
}

// sameFile compares paths as cargo and Go print them, of which one may go
// through a link.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
