package broker

import (
	"strings"
	"syscall"
	"testing"
)

func TestOpenRefusesAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("needs the right to mount a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if msg := refused(t, Config{StoreDir: dir}); !strings.Contains(msg, "full") || !strings.Contains(msg, dir) {
		t.Error(msg)
	}
}

func TestOpenRefusesAReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Skip("needs the right to mount a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if msg := refused(t, Config{StoreDir: dir}); !strings.Contains(msg, "not writable") || !strings.Contains(msg, dir) {
		t.Error(msg)
	}
}

func TestHealthyKnowsAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs the right to mount a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	b := New(Config{StoreDir: dir}, Options{Log: logTo(t)})
	if err := b.Open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	if err := b.Healthy(); err != nil {
		t.Fatal("before the disk is full:", err)
	}
	ctx := testContext(t)
	for b.Healthy() == nil && ctx.Err() == nil {
		if err := b.nc.Publish("quakes.x", make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if err := b.nc.FlushWithContext(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.PreviewReset(ctx, "p", "quakes", nil, "end"); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a reset while the disk is full: %v", err)
	}
	if err := b.Healthy(); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v", err)
	}
}
