//go:build !wasip1

package sdk_test

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk"
)

func TestSourceHoldsEveryFile(t *testing.T) {
	for _, dir := range []string{".", "abi", "jsonptr", "sdktest"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, f := range files {
			if path.Ext(f.Name()) == ".md" || path.Ext(f.Name()) == ".go" && !strings.HasSuffix(f.Name(), "_test.go") {
				want = append(want, f.Name())
			}
		}
		embedded, err := fs.ReadDir(sdk.Source, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range embedded {
			if f.IsDir() {
				continue
			}
			got = append(got, f.Name())
			onDisk, err := os.ReadFile(path.Join(dir, f.Name()))
			inBinary, err2 := sdk.Source.ReadFile(path.Join(dir, f.Name()))
			if err != nil || err2 != nil || string(onDisk) != string(inBinary) {
				t.Errorf("%s differs: %v, %v", f.Name(), err, err2)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: Source has %v, the folder %v; change source.go", dir, got, want)
		}
	}
}
