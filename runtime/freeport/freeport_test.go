package freeport_test

import (
	"net"
	"testing"

	"github.com/wasmill/wasmill/runtime/freeport"
)

func TestAddressesAreFreeAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		addr, err := freeport.Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() }) // taken from now on: the next one must differ
		if seen[addr] {
			t.Errorf("%s was given twice", addr)
		}
		seen[addr] = true
	}
}
