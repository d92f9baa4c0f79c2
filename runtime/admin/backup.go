package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const backupType = "application/vnd.wasmill.backup"

// backup streams an archive. What fails before the first byte is an answer like
// any other; later the connection is cut, and the archive has no end.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	if !s.backingUp.CompareAndSwap(false, true) {
		s.fail(w, failure(http.StatusConflict, "another backup is being made: wait for its end"))
		return
	}
	defer s.backingUp.Store(false)
	body := &longBody{w: w, control: http.NewResponseController(w)}
	err := s.deps.Backup(r.Context(), body)
	switch {
	case err == nil:
		s.log.Info("a backup was made", "bytes", body.n)
	case body.n == 0:
		s.fail(w, err)
	default:
		if r.Context().Err() == nil {
			s.log.Error("a backup has failed", "error", err)
		}
		panic(http.ErrAbortHandler) // the server's way to cut a connection
	}
}

// longBody is a response that may take as long as its reader takes something.
type longBody struct {
	w       http.ResponseWriter
	control *http.ResponseController
	n       int64
}

func (b *longBody) Write(p []byte) (int, error) {
	if b.n == 0 {
		b.w.Header().Set("Content-Type", backupType)
		// The request has been read: its timeout must not end the answer.
		if err := b.control.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	if err := b.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := b.w.Write(p)
	b.n += int64(n)
	return n, err
}

// Backup has the instance make a backup and writes it to w.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	return c.send(ctx, http.MethodGet, "/api/v1/backup", nil, nil, "", func(res *http.Response) error {
		if res.StatusCode >= http.StatusBadRequest {
			return c.read(res, &struct{}{})
		}
		from := &source{r: res.Body}
		_, err := io.Copy(w, from)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && from.err != nil:
			return fmt.Errorf("the backup from %s broke off, its log says why: %w", c.base, rootCause(err))
		}
		return err
	})
}

// source remembers that reading has failed, not writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
