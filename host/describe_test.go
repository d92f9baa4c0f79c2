package host_test

import (
	"testing"

	"github.com/wasmill/wasmill/host"
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/sdk/abi"
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
			found = found || e == host.ExternFunc{Name: "wasmill_process", Type: "(i32, i32) -> i64", Note: "plugin ABI"}
		}
		if !found {
			t.Errorf("wasmill_process is not among the exports: %+v", d.Exports)
		}
	})
	t.Run("what an author has to know of another one", func(t *testing.T) {
		m := new(wt.Module)
		m.ImportFunc(abi.ImportModule, abi.ImportNow, "", wt.I64)
		m.ImportFunc("env", "abort", wt.I32, "")
		m.Plugin(wt.Plugin{Limits: wt.Limits(2, 10)}).Without(abi.ExportBuffer)
		m.ExportFunc(abi.ExportOpen, "", wt.I32, wt.I32Const(0))
		d, err := host.Inspect(m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if d.Memory != 2<<16 || d.Most != 10<<16 || d.Imports[0].Grant != "clock" || d.Imports[1].Note != "unknown" {
			t.Errorf("memory %d to %d, imports %+v", d.Memory, d.Most, d.Imports)
		}
		if last := d.Exports[len(d.Exports)-1]; last.Note != "plugin ABI, which has (i32, i32) -> i32" {
			t.Errorf("wasmill_open is %+v", last)
		}
		if len(d.Missing) != 5 || d.Missing[0] != (host.ExternFunc{Name: abi.ExportBuffer, Type: "(i32) -> i32", Note: "required"}) || d.Missing[1].Note != "optional" {
			t.Errorf("missing are %+v", d.Missing)
		}
		for _, c := range d.Caps {
			if c.Most <= 0 || c.Used < 0 || c.Used > c.Most {
				t.Errorf("a cap is %+v", c)
			}
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
