package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "7B": 7, "1KiB": 1024, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "2 TiB": 2 << 40, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, better := range map[string]string{
		"": "", "MiB": "", "-1": "", "+1": "", "1e3": "", "0x10": "", "1.1B": "", ".5GiB": "", "1.GiB": "", "1  MiB": "",
		"8388608TiB": "", "99999999999999999999": "", "99999999999999999999.5GiB": "", "1XiB": "", "1ZiB": "",
		"64MB": "64MiB", "64M": "64MiB", "64mib": "64MiB", "1.5G": "1.5GiB",
	} {
		got, err := ParseSize(text)
		if err == nil {
			t.Errorf("ParseSize(%q) = %d, want it refused", text, got)
		}
		var h *hint
		if errors.As(err, &h); (h == nil) != (better == "") || h != nil && h.better != better {
			t.Errorf("ParseSize(%q) suggests %v, want %q", text, h, better)
		}
	}
	for size, want := range map[Size]string{0: "0B", 1: "1B", 1024: "1KiB", 1536: "1536B", 64 << 20: "64MiB", 1 << 40: "1TiB"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", size, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "2ms": 2 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour,
		"1.5d": 36 * time.Hour, "1d0.5s": day + time.Second/2,
	} {
		if got, err := ParseDuration(text); err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "d", "-1s", "-1d", "+1s", "1d-1s", "1d+1s", "1w", "1h1d", "200000d", "106751d24h", "1e9d", "x"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want it refused", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 2 * time.Millisecond: "2ms", 90 * time.Minute: "1h30m", time.Hour: "1h", 10 * time.Minute: "10m", 7 * day: "7d",
		20 * time.Second: "20s", 36 * time.Hour: "36h", 61 * time.Second: "1m1s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{"20000/s": 20000, "0.5/s": 0.5} {
		if got, err := ParseRate(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseRate(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/s", "0/s", "-1/s", "1/m", "1", "NaN/s", "Inf/s", "1e3/s", "2000000000/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want it refused", text, got)
		}
	}
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"64MiB", "1.5d", "1d12h30m", "20000/s", "1us", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseSize(text); err == nil {
			if again, err := ParseSize(v.String()); err != nil || again != v || v < 0 {
				t.Fatalf("size %q is %d, written %q, read %d, %v", text, v, v, again, err)
			}
		}
		if v, err := ParseDuration(text); err == nil {
			if again, err := ParseDuration(v.String()); err != nil || again != v || v < 0 {
				t.Fatalf("duration %q is %d, written %q, read %d, %v", text, v, v, again, err)
			}
		}
		if v, err := ParseRate(text); err == nil {
			if again, err := ParseRate(v.String()); err != nil || math.Abs(float64(again-v)) > 1e-9 || v <= 0 {
				t.Fatalf("rate %q is %v, read %v, %v", text, v, again, err)
			}
		}
	})
}

func TestSecretResolves(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WASMILL_TEST_SECRET", "from-env")
	t.Setenv("WASMILL_TEST_EMPTY", "")
	for s, want := range map[Secret]string{
		"": "", "env:WASMILL_TEST_SECRET": "from-env", "file:token": "from-file", Secret("file:" + filepath.Join(dir, "token")): "from-file",
	} {
		if got, err := s.Resolve(dir); err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v", string(s), got, err)
		}
	}
	for _, s := range []Secret{"env:WASMILL_TEST_ABSENT", "env:WASMILL_TEST_EMPTY", "file:absent", "file:", "env:", "env:A B", "hunter2", "http:x"} {
		got, err := s.Resolve(dir)
		if err == nil || got != "" {
			t.Errorf("Resolve(%q) = %q, want an error", string(s), got)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const value = "hunter2" // written where a reference belongs
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", Secret(value), "in", struct{ S Secret }{value})
	type holder struct{ S Secret }
	asJSON, err := json.Marshal(map[string]any{"a": Secret(value), "b": holder{value}})
	if err != nil {
		t.Fatal(err)
	}
	_, refused := Secret(value).Resolve(".")
	_, findings := Parse("x.toml", []byte("[admin]\ntoken = \"hunter2\"\n[server]\nurl = \"nats://joe:hunter2@h:4222\"\npassword = \"hunter2\"\n"))
	for name, text := range map[string]string{
		"%v":      fmt.Sprintf("%v %+v %#v", holder{value}, holder{value}, holder{value}),
		"%s":      fmt.Sprintf("%s %q", Secret(value), Secret(value)),
		"JSON":    string(asJSON),
		"slog":    log.String(),
		"error":   fmt.Sprint(refused),
		"finding": findings.Error(),
	} {
		if strings.Contains(text, value) {
			t.Errorf("%s shows the secret: %s", name, text)
		}
	}
	if got := fmt.Sprint(Secret("env:TOKEN")); got != "env:TOKEN" {
		t.Errorf("a reference prints as %q", got)
	}
}
