package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/wasmill/wasmill/runtime/admin"
)

func TestBackup(t *testing.T) {
	f := &fake{}
	c := client(t, open(t, f, admin.Config{}), "")

	t.Run("what is written arrives", func(t *testing.T) {
		want := bytes.Repeat([]byte("block"), 100_000)
		f.backup = func(_ context.Context, w io.Writer) error {
			_, err := w.Write(want)
			return err
		}
		var got bytes.Buffer
		if err := c.Backup(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d bytes of %d, %v", got.Len(), len(want), err)
		}
	})

	t.Run("what fails at the start is an answer like any other", func(t *testing.T) {
		f.backup = func(context.Context, io.Writer) error { return errNotFound }
		var answer *admin.Error
		if err := c.Backup(t.Context(), io.Discard); !errors.As(err, &answer) || answer.Status != http.StatusNotFound {
			t.Errorf("%v", err)
		}
	})

	t.Run("what fails later cuts the connection", func(t *testing.T) {
		f.backup = func(_ context.Context, w io.Writer) error {
			_, err := w.Write(make([]byte, 1<<20))
			return errors.Join(err, errors.New("the disk is gone"))
		}
		var answer *admin.Error
		if err := c.Backup(t.Context(), io.Discard); err == nil || errors.As(err, &answer) {
			t.Errorf("%v", err)
		}
	})

	t.Run("one at a time", func(t *testing.T) {
		began, end := make(chan struct{}), make(chan struct{})
		f.backup = func(_ context.Context, w io.Writer) error {
			close(began)
			<-end
			_, err := w.Write([]byte("x"))
			return err
		}
		done := make(chan error, 1)
		go func() { done <- c.Backup(t.Context(), io.Discard) }()
		<-began
		var answer *admin.Error
		if err := c.Backup(t.Context(), io.Discard); !errors.As(err, &answer) || answer.Status != http.StatusConflict {
			t.Errorf("%v", err)
		}
		close(end)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
