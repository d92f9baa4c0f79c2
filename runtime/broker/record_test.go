package broker

import (
	"path/filepath"
	"testing"
)

func TestARecordOutlivesItsProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for i, want := range []string{"", "one", "two"} {
		b := New(Config{StoreDir: dir}, Options{})
		if err := b.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := b.Record(t.Context(), "p.history")
		if err != nil || string(got) != want || (got == nil) != (want == "") {
			t.Errorf("start %d: %q, %v", i+1, got, err)
		}
		if other, err := b.Record(t.Context(), "q.history"); err != nil || other != nil {
			t.Errorf("another record is %q, %v", other, err)
		}
		for _, data := range []string{"overwritten", []string{"one", "two", "three"}[i]} {
			if err := b.SaveRecord(t.Context(), "p.history", []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.SaveRecord(t.Context(), "p.history", nil); err == nil {
			t.Error("a closed broker keeps records")
		}
	}
}
