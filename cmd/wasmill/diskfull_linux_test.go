package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

// When the disk fills up under load the process says so, is not ready and
// refuses events. When there is space again it goes on by itself; every event
// that was acknowledged is there and has its output.
func TestFullDiskIsSaidAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("needs the right to mount a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(t.TempDir(), "wasmill.toml")
	toml := strings.Replace(fmt.Sprintf(killTOML, natsAddr, adminAddr), `"data"`, fmt.Sprintf("%q", filepath.Join(dir, "data")), 1)
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t)}
	p.start()

	book := &ledger{every: 100 * time.Microsecond, acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { book.publish(ctx, t, "nats://"+natsAddr) })
	poll(t, 60*time.Second, "not ready on account of the disk", func() bool {
		code, body, err := fetch(p.admin + "/readyz")
		return err == nil && code == http.StatusServiceUnavailable && strings.Contains(body, "is full")
	})
	if _, body, err := fetch(p.admin + "/metrics"); err != nil || !strings.Contains(body, "wasmill_store_storing 0") {
		t.Errorf("the metrics do not say it: %v", err)
	}
	if book.count() == 0 {
		t.Fatal("nothing was acknowledged before the disk was full")
	}
	// An operator can still pause: what cannot be stored of it is told.
	cl := admin.NewClient(p.admin, "")
	defer cl.Close()
	warning := ""
	cl.OnWarning(func(w string) { warning = w })
	if _, err := cl.Pause(t.Context(), "ledger"); err == nil || !strings.Contains(err.Error(), "is paused, but a restart would let it go on") {
		t.Errorf("a pause on a full disk answers %v", err)
	}
	if st, err := cl.Pipeline(t.Context(), "ledger"); err != nil || st.State != status.StatePaused {
		t.Errorf("after the pause the pipeline is %s, %v", st.State, err)
	}
	if !strings.Contains(warning, "the audit record of this action is not stored yet") {
		t.Errorf("the warning is %q", warning)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	poll(t, 60*time.Second, "ready again", func() bool {
		code, _, err := fetch(p.admin + "/readyz")
		return err == nil && code == http.StatusOK
	})
	t.Logf("ready again %s after there was space", time.Since(freed).Round(time.Millisecond))
	if _, err := cl.Resume(t.Context(), "ledger"); err != nil {
		t.Error(err)
	}
	poll(t, 60*time.Second, "the audit record of the pause is stored", func() bool {
		list, err := cl.Audit(t.Context(), status.AuditFilter{Action: "pipelines.pause"})
		return err == nil && len(list) == 1 && list[0].Seq > 0
	})
	book.waitFor(t, book.count()+1000)
	stop()
	wg.Wait()
	p.drainAndStop(t, "nats://"+natsAddr, book)
}
