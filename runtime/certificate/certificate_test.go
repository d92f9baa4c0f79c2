package certificate

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/certificate/certtest"
)

func write(t *testing.T, dir string, until time.Time) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if err := certtest.Write(cert, key, until, "localhost"); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestPair(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	t.Run("without files there is none", func(t *testing.T) {
		if p, err := Open("", "", quiet); p != nil || err != nil {
			t.Errorf("got %v, %v", p, err)
		}
	})
	t.Run("files that are no good are named", func(t *testing.T) {
		cert, key := write(t, t.TempDir(), time.Now().Add(time.Hour))
		other, _ := write(t, t.TempDir(), time.Now().Add(time.Hour))
		for _, c := range [][2]string{{"nope.pem", key}, {cert, "nope.pem"}, {key, cert}, {other, key}} {
			if _, err := Open(c[0], c[1], quiet); err == nil || !strings.Contains(err.Error(), c[0]) {
				t.Errorf("%v: got %v", c, err)
			}
		}
	})
	t.Run("one that has expired is told", func(t *testing.T) {
		var said bytes.Buffer
		cert, key := write(t, t.TempDir(), time.Now().Add(-time.Hour))
		if _, err := Open(cert, key, slog.New(slog.NewTextHandler(&said, nil))); err != nil || !strings.Contains(said.String(), "expired") {
			t.Errorf("got %v, said %s", err, &said)
		}
	})
	t.Run("a new one is taken without a restart, a bad one is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := write(t, dir, time.Now().Add(time.Hour))
			p, err := Open(cert, key, quiet)
			if err != nil {
				t.Fatal(err)
			}
			serial := func() string {
				time.Sleep(lookEvery)
				c, err := p.Get(nil)
				if err != nil {
					t.Fatal(err)
				}
				return c.Leaf.SerialNumber.String()
			}
			first := serial()
			if first != serial() {
				t.Error("it is another one without a reason")
			}
			write(t, dir, time.Now().Add(2*time.Hour))
			second := serial()
			if second == first {
				t.Error("the new one is not taken")
			}
			if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			if serial() != second {
				t.Error("it did not stay")
			}
			write(t, dir, time.Now().Add(3*time.Hour))
			if serial() == second {
				t.Error("the one after that is not taken")
			}
		})
	})
}
