// Package manifest reads, writes and checks what a plugin says of itself: JSON
// in a custom section of its module.
//
// A manifest is a label, not a permission. What a module may do is decided by
// what it imports and by the configuration; nothing in Wasmill acts on what a
// manifest claims. It tells people which version they look at and where it comes
// from, and Check tells them when that cannot be true.
//
// The same source built by the same compiler gives the same module, so a
// manifest has neither times nor paths nor the name of a machine or a person.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Format is the version of what this package writes.
const Format = 1

// Bounds of what is read. A manifest comes with a module from anybody.
const (
	maxSection = 16 << 10
	maxName    = 100 // bytes
	maxText    = 200 // bytes of any other text
	maxList    = 64  // entries of a list
)

// Manifest is what a module says of itself. Unknown fields are passed over when
// it is read, so that later versions can add some.
type Manifest struct {
	Format  int    `json:"manifest"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`

	// ABI, Grants and Digest follow from the module; Write fills them in.
	ABI    int      `json:"abi"`    // major version
	Grants []string `json:"grants"` // what its imports need, sorted
	Digest string   `json:"digest"` // sha256, in hex, of the module without this section

	Language string   `json:"language,omitempty"`
	Compiler string   `json:"compiler,omitempty"` // with its version
	SDK      string   `json:"sdk,omitempty"`      // with its version
	Flags    []string `json:"flags,omitempty"`    // of the compiler
	Source   *Source  `json:"source,omitempty"`   // nil = not under version control
}

// Source is where the source is to be found.
type Source struct {
	// Revision is the commit that changed the plugin's directory last. It is not
	// the latest one of the repository: a commit elsewhere, also one of the built
	// module, must not make another module of the same source.
	Revision string `json:"revision"`
	Dirty    bool   `json:"dirty,omitempty"` // there are changes that are in no commit
}

// String is the short name of a version: "strong 1.2.0".
func (m *Manifest) String() string { return strings.TrimSpace(m.Name + " " + m.Version) }

// ErrNone is returned by Read for a module without a manifest.
var ErrNone = errors.New("has no manifest; `wasmill build` writes one")

// Error says why the manifest of a module cannot be read.
type Error struct{ Message string }

func (e *Error) Error() string { return "has a manifest that cannot be read: " + e.Message }

func unreadable(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}

var (
	names     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@/+-]{0,99}$`) // maxName
	digests   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	revisions = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
)

// NameOf is the name of the plugin that is built to file.
func NameOf(file string) string {
	name := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && strings.ContainsRune("._@+-", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, strings.TrimSuffix(filepath.Base(file), ".wasm"))
	if name = strings.TrimLeft(name, "._@+-"); name == "" {
		return "plugin"
	}
	return name[:min(len(name), maxName)]
}

// CheckText says whether s can be a version, or another text of a manifest.
func CheckText(s string) error {
	if !shown(s) {
		return fmt.Errorf("%q: it has at most %d bytes, all of them to be shown", printable(s), maxText)
	}
	return nil
}

// parse reads the text of a manifest.
func parse(text []byte) (*Manifest, error) {
	if len(text) > maxSection {
		return nil, unreadable("it has %d bytes, at most %d are read", len(text), maxSection)
	}
	if !utf8.Valid(text) {
		return nil, unreadable("it is not UTF-8")
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, unreadable("%s", printable(err.Error()))
	}
	if m.Format < Format {
		return nil, unreadable("its format is %d; this Wasmill reads %d and later ones", m.Format, Format)
	}
	if err := m.valid(); err != nil {
		return nil, &Error{err.Error()}
	}
	return m, nil
}

// valid says whether the fields are what they should be: short, and fit to be
// shown in a terminal.
func (m *Manifest) valid() error {
	if !names.MatchString(m.Name) {
		return fmt.Errorf("%q is no name", printable(m.Name))
	}
	for _, f := range []struct{ field, text string }{
		{"version", m.Version}, {"language", m.Language}, {"compiler", m.Compiler}, {"sdk", m.SDK},
	} {
		if !shown(f.text) {
			return fmt.Errorf("its %s is %q: a text has at most %d bytes, all of them to be shown", f.field, printable(f.text), maxText)
		}
	}
	for _, l := range []struct {
		field string
		list  []string
	}{{"grants", m.Grants}, {"flags", m.Flags}} {
		if len(l.list) > maxList {
			return fmt.Errorf("it has %d %s, at most %d are read", len(l.list), l.field, maxList)
		}
		for _, s := range l.list {
			if !shown(s) {
				return fmt.Errorf("one of its %s is %q: a text has at most %d bytes, all of them to be shown", l.field, printable(s), maxText)
			}
		}
	}
	if !digests.MatchString(m.Digest) {
		return fmt.Errorf("its digest is %q, which is no sha256 in lower-case hexadecimal", printable(m.Digest))
	}
	if m.Source != nil && !revisions.MatchString(m.Source.Revision) {
		return fmt.Errorf("its source revision is %q, which is no commit", printable(m.Source.Revision))
	}
	return nil
}

func shown(s string) bool {
	return len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// printable cuts a text and takes out what must not be shown.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}

// encode writes the text of a manifest.
func (m *Manifest) encode() ([]byte, error) {
	m.Format = Format
	if m.Grants = slices.Sorted(slices.Values(m.Grants)); m.Grants == nil {
		m.Grants = []string{}
	}
	if err := m.valid(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if len(text) > maxSection {
		return nil, fmt.Errorf("the manifest has %d bytes, at most %d are allowed: leave out flags", len(text), maxSection)
	}
	return text, nil
}
