package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a reference to a value that the configuration must not hold:
// "env:NAME" for an environment variable, "file:PATH" for the content of a
// file, relative to the TOML file, without its last line break. The zero
// Secret is no secret. Printing, logging or marshalling a Secret never shows
// the value; only Resolve reads it.
type Secret string

const redacted = "[secret]"

// errSecretForm never quotes what was written: it may be the secret itself.
var errSecretForm = errors.New(`a secret is written "env:NAME" or "file:PATH", never as its value`)

// Check reports whether s is a well-formed reference; it reads nothing.
func (s Secret) Check() error {
	if s == "" {
		return nil
	}
	kind, ref, ok := strings.Cut(string(s), ":")
	switch {
	case !ok || ref == "" || strings.ContainsRune(ref, 0):
		return errSecretForm
	case kind == "env" && !strings.ContainsAny(ref, "= \t"):
		return nil
	case kind == "file":
		return nil
	}
	return errSecretForm
}

// Resolve reads the value. dir is where relative paths start. An unset
// variable, an unreadable file and an empty value are errors that name the
// reference, never the value.
func (s Secret) Resolve(dir string) (string, error) {
	if s == "" {
		return "", nil
	}
	if err := s.Check(); err != nil {
		return "", err
	}
	kind, ref, _ := strings.Cut(string(s), ":")
	var value string
	if kind == "env" {
		v, ok := os.LookupEnv(ref)
		if !ok {
			return "", fmt.Errorf("resolve secret: the environment variable %s is not set", ref)
		}
		value = v
	} else {
		if !filepath.IsAbs(ref) {
			ref = filepath.Join(dir, ref)
		}
		b, err := os.ReadFile(ref)
		if err != nil {
			return "", fmt.Errorf("resolve secret: %w", err)
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	if value == "" {
		return "", fmt.Errorf("resolve secret: %s:%s is empty", kind, ref)
	}
	return value, nil
}

// String shows where the value comes from when s is well formed, else nothing
// of it: a value written by mistake in place of a reference stays hidden.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	if s.Check() != nil {
		return redacted
	}
	return string(s)
}

// GoString is String quoted, for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// MarshalText is String, so that no encoder writes a value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
