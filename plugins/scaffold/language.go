package scaffold

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/assemblyscript"
	"github.com/wasmill/wasmill/sdk/c"
	"github.com/wasmill/wasmill/sdk/rust"
)

// Go is the version of the language that scaffolded modules ask for: that of
// the SDK they are compiled with.
const Go = "1.26.0"

// sdkDir is where the copy of the SDK lies in what is scaffolded. The dot keeps
// it out of `./...`.
const sdkDir = ".wasmill"

// language is one in which plugins are made. Its templates are in the folder
// plugin/NAME.
type language struct {
	name   string                                 // as in --lang
	ignore []string                               // what its compiler leaves behind, as .gitignore says it
	setup  string                                 // a command to run once before the first build; "" = none
	addSDK func(contents map[string][]byte) error // adds the files of the SDK
}

var languages = []language{
	{name: "go", addSDK: addGoSDK},
	{name: "rust", ignore: []string{"/target/"}, addSDK: sdkFrom(rust.Source, "rust")},
	// The compiler looks for a package in a folder of its name.
	{name: "assemblyscript", ignore: []string{"/node_modules/"}, setup: "npm install", addSDK: sdkFrom(assemblyscript.Source, "assemblyscript/wasmill")},
	{name: "c", addSDK: sdkFrom(c.Source, "c")},
}

// Languages returns the names that Plugin takes, the usual one first.
func Languages() []string {
	names := make([]string, len(languages))
	for i, l := range languages {
		names[i] = l.name
	}
	return names
}

// Setup is the command that a new plugin in a language of Languages needs once
// before its first build; "" = none.
func Setup(lang string) string {
	l, err := find(lang)
	if err != nil {
		return ""
	}
	return l.setup
}

func find(name string) (language, error) {
	for _, l := range languages {
		if l.name == name {
			return l, nil
		}
	}
	return language{}, fmt.Errorf("there is no language %q: it is one of %s", name, strings.Join(Languages(), ", "))
}

// sdkFrom adds all of source to the folder of that name in sdkDir.
func sdkFrom(source embed.FS, folder string) func(contents map[string][]byte) error {
	return func(contents map[string][]byte) error {
		return copyFiles(contents, source, path.Join(sdkDir, folder), func(string) bool { return true })
	}
}

// addGoSDK adds the SDK's source, without its tests, as a module of its own.
func addGoSDK(contents map[string][]byte) error {
	contents[sdkDir+"/go.mod"] = []byte("module github.com/wasmill/wasmill\n\ngo " + Go + "\n")
	return copyFiles(contents, sdk.Source, path.Join(sdkDir, "sdk"), func(name string) bool {
		return !strings.HasSuffix(name, "_test.go") // the rest is source, and what it embeds
	})
}

// copyFiles adds the files of source that are wanted below to.
func copyFiles(contents map[string][]byte, source embed.FS, to string, wanted func(name string) bool) error {
	return fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !wanted(name) {
			return err
		}
		contents[path.Join(to, name)], err = source.ReadFile(name)
		return err
	})
}
