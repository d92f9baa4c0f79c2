package c_test

import (
	"testing"

	"github.com/wasmill/wasmill/sdk/c"
	"github.com/wasmill/wasmill/sdk/internal/guesttest"
)

// compile builds a plugin of these files, as its author does.
func compile(t testing.TB, files ...string) []byte {
	t.Helper()
	return guesttest.Build(t, "c", c.Source, ".wasmill/c", files...)
}

func TestGuest(t *testing.T) {
	g := guesttest.Guest{Module: compile(t, "testdata/guest.c"), Panic: []string{"handle (guest.c:"}, Trap: []string{"unreachable"}}
	g.Run(t)
}
