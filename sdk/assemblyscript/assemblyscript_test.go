package assemblyscript_test

import (
	"testing"

	"github.com/wasmill/wasmill/sdk/assemblyscript"
	"github.com/wasmill/wasmill/sdk/internal/guesttest"
)

func compile(t testing.TB, files ...string) []byte {
	t.Helper()
	return guesttest.Build(t, "assemblyscript", assemblyscript.Source, ".wasmill/assemblyscript/wasmill", files...)
}

func TestGuest(t *testing.T) {
	g := guesttest.Guest{Module: compile(t, "testdata/guest.ts"), Panic: []string{"guest.ts:"}, Trap: []string{"unreachable"}}
	g.Run(t)
}
