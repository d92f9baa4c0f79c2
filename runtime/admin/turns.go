package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// turns sees to it that of two operators who change the same thing at the same
// time one wins and the other is told.
type turns struct {
	mu   sync.Mutex
	held map[string]turn
	last map[string]turn // what was changed last, by whom
}

// turn is one operator at work.
type turn struct {
	who  string
	verb string
	at   time.Time
}

func (t turn) String() string {
	return fmt.Sprintf("%s by %s, %s", t.verb, t.who, t.at.Local().Format("15:04:05"))
}

// take gives the request of ctx a thing to change, such as "pipeline alerts",
// until done is called, with whether it was changed. An *apiError (409) says who
// has it.
func (t *turns) take(ctx context.Context, thing, verb string) (done func(changed bool), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, ok := t.held[thing]; ok {
		return nil, failure(http.StatusConflict, "%s: somebody else is at work on it (%s): wait, look again, and repeat it if it is still wanted", thing, other)
	}
	if t.held == nil {
		t.held, t.last = map[string]turn{}, map[string]turn{}
	}
	own := turn{who: Actor(ctx).Name, verb: verb, at: time.Now()}
	t.held[thing] = own
	return func(changed bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.held, thing)
		if changed {
			own.at = time.Now()
			t.last[thing] = own
		}
	}, nil
}

// lastOf says who changed a thing last, "" when it was not in this process.
func (t *turns) lastOf(thing string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.last[thing]; ok {
		return " (" + last.String() + ")"
	}
	return ""
}

// inTurn is h while nobody else changes what thing names.
func (s *Server) inTurn(verb string, thing func(*http.Request) string, h handler) handler {
	return func(r *http.Request) (any, error) {
		done, err := s.turns.take(r.Context(), thing(r), verb)
		if err != nil {
			return nil, err
		}
		v, err := h(r)
		done(err == nil)
		return v, err
	}
}

// Things that are changed by one operator at a time.
func thePipeline(r *http.Request) string    { return "pipeline " + r.PathValue("name") }
func thePlugin(r *http.Request) string      { return "plugin " + r.PathValue("name") }
func theDeadLetters(*http.Request) string   { return "the dead letters" }
func theConfiguration(*http.Request) string { return "the configuration" }
