package host

import (
	"slices"
	"strings"
	"testing"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestRedactor(t *testing.T) {
	r := newRedactor(map[string]string{
		"password": "hunter2!",
		"longer":   "hunter2!-and-more",
		"short":    "abcde",
		"key":      "-----BEGIN KEY-----\r\nMIIEowIBAAKCAQEA\r\nx\r\n",
	})
	for _, tc := range []struct {
		name, in  string
		truncated bool
		want      string
	}{
		{"none", "nothing to see", false, "nothing to see"},
		{"whole", "hunter2!", false, "***"},
		{"in the middle, twice", "<hunter2!> and <hunter2!>", false, "<***> and <***>"},
		{"side by side", "hunter2!hunter2!", false, "******"},
		{"the longer of two", "hunter2!-and-more.", false, "***."},
		{"too short to be known", "abcde", false, "abcde"},
		{"a line of several", "got MIIEowIBAAKCAQEA, x", false, "got ***, x"},
		{"its beginning", "hunter2", false, "hunter2"},
		{"its beginning where the line was cut", "pw=hunter2", true, "pw=***"},
		{"less of it than is known", "pw=hunte", true, "pw=hunte"},
		{"encoded", "aHVudGVyMiE=", false, "aHVudGVyMiE="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := []byte(tc.in)
			if found := r.find(in, tc.truncated); found != (tc.in != tc.want) || string(in) != tc.in {
				t.Errorf("found %v, left %q", found, in)
			}
			if got := string(r.take(in, tc.truncated)); got != tc.want {
				t.Errorf("%q becomes %q, want %q", tc.in, got, tc.want)
			}
		})
	}
	if got := r.text("pw hunter2!"); got != "pw ***" {
		t.Errorf("text is %q", got)
	}
}

// A plugin that has a secret and says it, in every way it can.
func TestSecretsAreNotTold(t *testing.T) {
	const secret = "correct horse battery"
	secrets := map[string]string{"key": secret}
	// The plugin asks for its secret, whose bytes then lie at 512.
	asking := func(name string, body func(m *wt.Module) []byte, w *wt.Module) Spec {
		get := w.ImportFunc(abi.ImportModule, abi.ImportSecretGet, wt.I32+wt.I32+wt.I32+wt.I32, wt.I64)
		process := wt.OnData(wt.I32Const(256), wt.I32Const(3), wt.I32Const(512), wt.I32Const(64), wt.Call(get), wt.Drop(), body(w))
		w.Data(256, []byte("key"))
		w.Plugin(wt.Plugin{Process: process})
		return Spec{Name: name, Module: w.Bytes(), Grants: []string{abi.GrantSecret}, Secrets: secrets}
	}
	check := func(t *testing.T, spec Spec, said string) {
		t.Helper()
		r := &recorder{}
		spec.Log = r.log
		i, res, err := run(t, spec, 1)
		i.Discard()
		all := slices.Clone(r.lines)
		if err != nil {
			f := faultOf(t, err)
			all = append(all, f.Message, f.Detail, f.Error(), err.Error())
		}
		for _, o := range res.Outcomes {
			all = append(all, string(o.Reason))
		}
		text := strings.Join(all, "\n")
		if strings.Contains(text, secret) || strings.Contains(text, secret[:minSecret]) {
			t.Errorf("it is told: %q", text)
		}
		if !strings.Contains(text, said) {
			t.Errorf("nothing says %q: %q", said, text)
		}
	}
	t.Run("in the log", func(t *testing.T) {
		w := new(wt.Module)
		log := w.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
		check(t, asking("log", func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(0), wt.I32Const(512), wt.I32Const(int64(len(secret))), wt.Call(log), wt.Answer(wt.ResponseAt, 24))
		}, w), "***")
	})
	t.Run("on standard error, before a trap", func(t *testing.T) {
		w := new(wt.Module)
		write := w.ImportFunc(wasiModule, "fd_write", wt.I32+wt.I32+wt.I32+wt.I32, wt.I32)
		w.Data(400, []byte("\x00\x02\x00\x00\x15\x00\x00\x00")) // 512, 21
		w.Data(505, []byte("panic: "))
		w.Data(408, []byte("\xf9\x01\x00\x00\x07\x00\x00\x00")) // 505, 7
		check(t, asking("write", func(*wt.Module) []byte {
			return wt.Cat(
				wt.I32Const(2), wt.I32Const(408), wt.I32Const(1), wt.I32Const(600), wt.Call(write), wt.Drop(),
				wt.I32Const(2), wt.I32Const(400), wt.I32Const(1), wt.I32Const(600), wt.Call(write), wt.Drop(), wt.Unreachable())
		}, w), "panic: *** (unreachable)")
	})
	t.Run("as the reason of an outcome", func(t *testing.T) {
		var rw abi.ResponseWriter
		rw.Reset()
		rw.Outcome(0, abi.CodeDeadLetter, 0, strings.Repeat("?", len(secret)))
		w := new(wt.Module)
		w.Data(wt.FreeAt, rw.Bytes())
		at := int64(wt.FreeAt + bytesBefore(rw.Bytes(), "?"))
		check(t, asking("reason", func(*wt.Module) []byte {
			return wt.Cat(wt.I32Const(at), wt.I32Const(512), wt.I32Const(int64(len(secret))), wt.MemoryCopy(),
				wt.Answer(wt.FreeAt, uint32(len(rw.Bytes()))))
		}, w), "***")
	})
}

func bytesBefore(b []byte, what string) int { return strings.Index(string(b), what) }
