package admin

import "net/http"

// route is something that the endpoint serves, and the least role that it takes.
type route struct {
	pattern string // of http.ServeMux
	least   Role
	handler http.Handler
}

// routes is everything that the endpoint serves: there is no other way in.
// Reading wants view, steering what runs operate, and admin whatever makes,
// changes, removes or carries away events.
func (s *Server) routes() []route {
	var out []route
	raw := func(least Role, pattern string, h http.HandlerFunc) { out = append(out, route{pattern, least, h}) }
	handle := func(least Role, pattern string, h handler) { raw(least, pattern, s.serve(h)) }

	raw(roleOpen, "GET /healthz", s.healthz)
	raw(roleOpen, "GET /readyz", s.readyz)
	raw(RoleView, "GET /metrics", s.deps.Metrics.ServeHTTP)

	// The page itself holds nothing: what it shows comes from the API.
	raw(roleOpen, "GET /{$}", s.page)
	raw(roleOpen, "GET /assets/{name}", s.asset)

	handle(RoleView, "GET /api/v1/status", s.status)
	raw(RoleView, "GET /api/v1/events", s.events)
	handle(RoleView, "GET /api/v1/config", s.config)
	handle(RoleOperate, "POST /api/v1/reload", s.reload)
	raw(RoleAdmin, "GET /api/v1/backup", s.backup)
	handle(RoleView, "GET /api/v1/topics", s.topics)
	handle(RoleView, "GET /api/v1/topics/{name}", s.topic)
	handle(RoleAdmin, "POST /api/v1/topics/{name}/publish", s.publish)
	raw(RoleView, "GET /api/v1/topics/{name}/tail", s.tail)
	raw(RoleView, "GET /api/v1/topics/{name}/watch", s.watchTopic)
	handle(RoleView, "GET /api/v1/topics/{name}/messages/{seq}", s.message)
	handle(RoleView, "GET /api/v1/pipelines", s.pipelines)
	handle(RoleView, "GET /api/v1/pipelines/{name}", s.pipeline)
	raw(RoleView, "GET /api/v1/pipelines/{name}/watch", s.watchStage)
	handle(RoleOperate, "POST /api/v1/pipelines/{name}/pause", s.pause)
	handle(RoleOperate, "POST /api/v1/pipelines/{name}/resume", s.resume)
	handle(RoleOperate, "POST /api/v1/pipelines/{name}/reset", s.reset)
	handle(RoleView, "GET /api/v1/plugins", s.plugins)
	handle(RoleView, "GET /api/v1/plugins/{name}", s.plugin)
	handle(RoleOperate, "POST /api/v1/plugins/{name}/rollback", s.rollback)
	handle(RoleView, "GET /api/v1/dead-letters", s.deadLetters)
	handle(RoleView, "GET /api/v1/dead-letters/{id}", s.deadLetter)
	handle(RoleAdmin, "POST /api/v1/dead-letters/{id}/redrive", s.redriveEdited)
	handle(RoleOperate, "POST /api/v1/dead-letters/redrive", s.redrive)
	handle(RoleAdmin, "POST /api/v1/dead-letters/purge", s.purge)
	raw(RoleView, "/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, failure(http.StatusNotFound, "nothing is served at %s %s: there are the dashboard at /, /healthz, /readyz, /metrics and, under /api/v1/, status, events, config, topics, pipelines, plugins and dead-letters",
			r.Method, r.URL.Path))
	})
	return out
}

// serveMux leads each request to its route, past the role that this takes.
func (s *Server) serveMux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, s.allow(r.least, r.handler))
	}
	return mux
}
