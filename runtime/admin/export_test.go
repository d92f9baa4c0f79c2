package admin

import "net/http"

// Handler is what s serves, for requests that do not come over the network.
func Handler(s *Server) http.Handler { return s.guard(s.serveMux()) }

// Routes returns the patterns that s serves with the least role of each.
func Routes(s *Server) map[string]Role {
	out := map[string]Role{}
	for _, r := range s.routes() {
		out[r.pattern] = r.least
	}
	return out
}
