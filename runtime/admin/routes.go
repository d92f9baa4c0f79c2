package admin

import "net/http"

// route is something that the endpoint serves, and the least role that it takes.
type route struct {
	pattern string // of http.ServeMux
	least   Role
	handler http.Handler
	verb    string // by which the audit log calls it, "" when it is not there
}

// routes is everything that the endpoint serves: there is no other way in.
// Reading wants view, steering what runs operate, and admin whatever makes,
// changes, removes or carries away events.
func (s *Server) routes() []route {
	var out []route
	raw := func(least Role, pattern string, h http.HandlerFunc) {
		out = append(out, route{pattern: pattern, least: least, handler: h})
	}
	read := func(pattern string, h handler) { raw(RoleView, pattern, s.serve(h)) }
	// What changes something is in the audit log, by its verb.
	change := func(least Role, pattern, verb string, h handler) {
		out = append(out, route{pattern, least, s.act(verb, h), verb})
	}

	raw(roleOpen, "GET /healthz", s.healthz)
	raw(roleOpen, "GET /readyz", s.readyz)
	raw(RoleView, "GET /metrics", s.deps.Metrics.ServeHTTP)

	// The page itself holds nothing: what it shows comes from the API.
	raw(roleOpen, "GET /{$}", s.page)
	raw(roleOpen, "GET /assets/{name}", s.asset)

	change(RoleView, "POST /api/v1/session", "session.begin", bodyless(s.beginSession))
	read("GET /api/v1/session", s.whoami)
	change(RoleView, "DELETE /api/v1/session", "session.end", bodyless(s.endSession))

	read("GET /api/v1/status", s.status)
	raw(RoleView, "GET /api/v1/events", s.events)
	read("GET /api/v1/config", s.config)
	change(RoleOperate, "POST /api/v1/reload", "reload", s.inTurn("reload", theConfiguration, bodyless(s.reload)))
	change(RoleOperate, "POST /api/v1/apply", "apply", s.inTurn("apply", theConfiguration, s.apply))
	raw(RoleOperate, "POST /api/v1/plan", s.serve(s.plan)) // it changes nothing, but loads what would be loaded
	change(RoleOperate, "POST /api/v1/drain", "drain", bodyless(s.drainInstance))
	raw(RoleAdmin, "GET /api/v1/backup", s.backup)
	read("GET /api/v1/topics", s.topics)
	read("GET /api/v1/topics/{name}", s.topic)
	change(RoleAdmin, "POST /api/v1/topics/{name}/publish", "topics.publish", s.publish)
	raw(RoleView, "GET /api/v1/topics/{name}/tail", s.tail)
	raw(RoleView, "GET /api/v1/topics/{name}/watch", s.watchTopic)
	read("GET /api/v1/topics/{name}/messages/{seq}", s.message)
	read("GET /api/v1/pipelines", s.pipelines)
	read("GET /api/v1/pipelines/{name}", s.pipeline)
	raw(RoleView, "GET /api/v1/pipelines/{name}/watch", s.watchStage)
	change(RoleOperate, "POST /api/v1/pipelines/{name}/pause", "pipelines.pause", bodyless(s.pause))
	change(RoleOperate, "POST /api/v1/pipelines/{name}/resume", "pipelines.resume", bodyless(s.resume))
	change(RoleOperate, "POST /api/v1/pipelines/{name}/drain", "pipelines.drain", s.inTurn("pipelines.drain", thePipeline, s.drain))
	change(RoleAdmin, "POST /api/v1/pipelines/{name}/replay", "pipelines.replay", s.replay)
	change(RoleOperate, "POST /api/v1/pipelines/{name}/reset", "pipelines.reset", s.inTurn("pipelines.reset", thePipeline, s.reset))
	read("GET /api/v1/plugins", s.plugins)
	read("GET /api/v1/plugins/{name}", s.plugin)
	raw(RoleAdmin, "GET /api/v1/plugins/{name}/module", s.module)
	change(RoleOperate, "POST /api/v1/plugins/{name}/rollback", "plugins.rollback", s.inTurn("plugins.rollback", thePlugin, bodyless(s.rollback)))
	read("GET /api/v1/dead-letters", s.deadLetters)
	read("GET /api/v1/dead-letters/{id}", s.deadLetter)
	change(RoleAdmin, "POST /api/v1/dead-letters/{id}/redrive", "dlq.redrive", s.inTurn("dlq.redrive", theDeadLetters, s.redriveEdited))
	change(RoleOperate, "POST /api/v1/dead-letters/redrive", "dlq.redrive", s.inTurn("dlq.redrive", theDeadLetters, s.redrive))
	change(RoleAdmin, "POST /api/v1/dead-letters/purge", "dlq.purge", s.inTurn("dlq.purge", theDeadLetters, s.purge))
	read("GET /api/v1/audit", s.audit)
	raw(RoleView, "GET /api/v1/audit/tail", s.auditTail)
	raw(RoleView, "/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, failure(http.StatusNotFound, "nothing is served at %s %s: there are the dashboard at /, /healthz, /readyz, /metrics and, under /api/v1/, status, events, config, plan, apply, topics, pipelines, plugins, dead-letters and audit",
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
