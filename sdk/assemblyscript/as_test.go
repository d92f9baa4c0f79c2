package assemblyscript_test

import (
	"os"
	"testing"

	"github.com/wasmill/wasmill/sdk/internal/guesttest"
)

func TestGuest(t *testing.T) {
	m, err := os.ReadFile("/tmp/cl/as/t/g.wasm")
	if err != nil {
		t.Fatal(err)
	}
	g := guesttest.Guest{Module: m, Panic: []string{"guest.ts:"}, Trap: []string{"unreachable"}}
	g.Run(t)
}
