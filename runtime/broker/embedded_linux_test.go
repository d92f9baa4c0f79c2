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
