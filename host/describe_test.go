package host_test

import (
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
)

func TestInspect(t *testing.T) {
	t.Run("a plugin", func(t *testing.T) {
		pass, err := builtin.Module("pass")
		if err != nil {
			t.Fatal(err)
		}
		d, err := host.Inspect(pass)
		if err != nil {
			t.Fatal(err)
		}
		if d.Problem != "" || d.Size == 0 || len(d.Digest) != 64 || d.Memory <= 0 || len(d.Grants) != 0 {
			t.Errorf("got %+v", d)
		}
		found := false
		for _, e := range d.Exports {
			found = found || e == host.ExternFunc{Name: "wasmill_process", Type: "(i32, i32) -> i64"}
		}
		if !found {
			t.Errorf("wasmill_process is not among the exports: %+v", d.Exports)
		}
	})
	t.Run("a module that is none", func(t *testing.T) {
		d, err := host.Inspect([]byte("\x00asm\x01\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		if d.Problem == "" {
			t.Error("an empty module passes for a plugin")
		}
	})
	t.Run("what is no module", func(t *testing.T) {
		if _, err := host.Inspect([]byte("text")); err == nil {
			t.Error("text passes for a module")
		}
	})
}
