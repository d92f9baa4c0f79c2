package admin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// dist is the dashboard as `make ui` builds it from the sources beside it.
//
//go:embed all:ui/dist
var dist embed.FS

// contentPolicy lets a page load scripts, styles and pictures of this endpoint
// and speak to it, and nothing else: what an event or a plugin says can never
// become code, and nothing is asked of another origin.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// assets are the files of the dashboard by name, compressed once.
type assets map[string]*assetFile

type assetFile struct {
	plain, packed []byte
	mediaType     string
	etag          string
}

func newAssets() (assets, error) {
	out := assets{}
	err := fs.WalkDir(dist, "ui/dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		zw, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := zw.Write(b); err != nil {
			return err
		}
		if err := zw.Close(); err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		out[path.Base(name)] = &assetFile{plain: b, packed: packed.Bytes(), mediaType: mediaType(name), etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	return out, nil
}

func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// page answers with the dashboard.
func (s *Server) page(w http.ResponseWriter, r *http.Request) { s.sendAsset(w, r, "index.html") }

// asset answers with one of its files, whose name changes with its content.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	s.sendAsset(w, r, r.PathValue("name"))
}

func (s *Server) sendAsset(w http.ResponseWriter, r *http.Request, name string) {
	f := s.assets[name]
	if f == nil {
		w.Header().Set("Cache-Control", "no-store")
		s.fail(w, failure(http.StatusNotFound, "the dashboard has no file %q", name))
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	_, _ = w.Write(body) // the browser may be gone, which is its affair
}
