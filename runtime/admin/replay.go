package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/wasmill/wasmill/runtime/status"
)

// ReplayRequest is a range of a pipeline's topic, and where its outputs go.
type ReplayRequest struct {
	From   string `json:"from"`           // "start", a sequence or an RFC 3339 time
	To     string `json:"to,omitempty"`   // the last: a sequence, or those before a time; "" = the last there is now
	Into   string `json:"into,omitempty"` // topic
	DryRun bool   `json:"dry_run,omitempty"`
}

// replay runs events through the stages of a pipeline once more.
func (s *Server) replay(r *http.Request) (any, error) {
	var req ReplayRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.From == "" {
		return nil, failure(http.StatusBadRequest, `replay: "from" is missing: "start", a sequence or an RFC 3339 time`)
	}
	a, name := actionOf(r.Context()), r.PathValue("name")
	if a.silent = req.DryRun; req.DryRun {
		out, err := s.deps.Pipelines.PreviewReplay(r.Context(), name, req)
		out.DryRun = true
		return out, err
	}
	a.detail("from", req.From)
	a.detail("to", req.To)
	a.detail("into", req.Into)
	if err := endless(r.Context()); err != nil {
		return nil, err
	}
	a.announce(r.Context())
	out, err := s.deps.Pipelines.Replay(r.Context(), name, req)
	a.detail("outputs", strconv.Itoa(out.Outputs))
	if out.NextSeq > 0 {
		a.detail("up_to", strconv.FormatUint(out.NextSeq-1, 10))
	}
	return out, err
}

// module answers with the module that a plugin runs.
func (s *Server) module(w http.ResponseWriter, r *http.Request) {
	b, err := s.deps.Plugins.Module(r.PathValue("name"))
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/wasm")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // the client may be gone, which is its affair
}

// Replay runs events through the stages of a pipeline once more, and returns
// when all are through, or says of how many it would be. It ends with ctx.
func (c *Client) Replay(ctx context.Context, pipeline string, req ReplayRequest) (status.Replayed, error) {
	return callSlow[status.Replayed](ctx, c, "/api/v1/pipelines/"+url.PathEscape(pipeline)+"/replay", req)
}

// Module fetches the module that a plugin runs.
func (c *Client) Module(ctx context.Context, plugin string) (b []byte, err error) {
	err = c.send(ctx, http.MethodGet, "/api/v1/plugins/"+url.PathEscape(plugin)+"/module", nil, nil, "", func(res *http.Response) error {
		if res.StatusCode >= http.StatusBadRequest {
			return c.read(res, &struct{}{})
		}
		if b, err = io.ReadAll(res.Body); err != nil {
			return fmt.Errorf("read the module of plugin %q: %w", plugin, rootCause(err))
		}
		return nil
	})
	return b, err
}
