package manifest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/host"
)

// Finding is one thing that a manifest says and that is not so.
type Finding struct {
	Field   string `json:"field"` // "digest", "abi", "grants", "name"; "manifest" when it cannot be read
	Message string `json:"message"`
}

// Check reads the manifest of a module and compares what it says with the module
// itself, and its name with that of the file, if that is not empty: a module
// called strong.wasm or strong-1.2.wasm is "strong". A module without a manifest
// gives nil and no findings. The error is for what is no module.
func Check(module []byte, file string) (*Manifest, []Finding, error) {
	found, err := find(module)
	if err != nil {
		return nil, nil, err
	}
	m, err := read(module, found)
	if err != nil {
		if errors.Is(err, ErrNone) {
			return nil, nil, nil
		}
		return nil, []Finding{{"manifest", err.Error() + "; build the module again"}}, nil
	}
	d, err := host.Inspect(module)
	if err != nil {
		return m, nil, fmt.Errorf("check the manifest: the module %w", err)
	}
	var list []Finding
	lies := func(field, format string, args ...any) {
		list = append(list, Finding{field, "has a manifest that is not true: " + fmt.Sprintf(format, args...)})
	}
	if is := digest(module, found); m.Digest != is {
		lies("digest", "it is about a module with the sha256 %s, this one has %s: it was changed after the manifest was written, "+
			"or the manifest is another module's; build it again", m.Digest[:12], is[:12])
	}
	if is := abiOf(d); m.ABI != is {
		lies("abi", "it says version %d of the plugin ABI, the module exports version %d; build it again", m.ABI, is)
	}
	if says := slices.Sorted(slices.Values(m.Grants)); !slices.Equal(says, d.Grants) {
		lies("grants", "it says that the module needs the grants %s, its imports need %s; go by the imports", listed(says), listed(d.Grants))
	}
	if !called(file, m.Name) {
		lies("name", "it says that the plugin is %q, and the file is called %s: look whether the right module was put there", m.Name, filepath.Base(file))
	}
	return m, list, nil
}

func listed(grants []string) string {
	if len(grants) == 0 {
		return "(none)"
	}
	return strings.Join(grants, ", ")
}

// called says whether a file may be named like that if the plugin is called name.
func called(file, name string) bool {
	rest, ok := strings.CutPrefix(NameOf(file), name[strings.LastIndexByte(name, '/')+1:])
	return file == "" || ok && (rest == "" || strings.ContainsAny(rest[:1], "-._@+"))
}

// abiOf returns the major version of the plugin ABI that a module exports; 0 = none.
func abiOf(d host.Description) int {
	for _, e := range d.Exports {
		if v, ok := strings.CutPrefix(e.Name, "wasmill_abi_v"); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 0 && n < 1<<16 {
				return n
			}
		}
	}
	return 0
}
