package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Applications may not make streams, and so no key-value buckets: the answer is
// a violation of permissions, which clients show, and their connection stays.
func TestApplicationsLearnWhatTheyMayNot(t *testing.T) {
	dir := t.TempDir()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, killTOML, natsAddr, adminAddr), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t)}
	p.start()
	said := make(chan error, 16)
	nc, err := nats.Connect("nats://"+natsAddr, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "mine"})
		refused <- err
	}()
	select {
	case err := <-said:
		if !strings.Contains(err.Error(), `Permissions Violation for Publish to "$JS.API.STREAM.CREATE.KV_mine"`) {
			t.Errorf("the client was told %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the client was told nothing")
	}
	cancel()
	if err := <-refused; err == nil {
		t.Error("the bucket was made")
	}
	for name, cfg := range map[string]jetstream.ConsumerConfig{
		"ephemeral": {}, "durable": {Durable: "mine"}, "filtered": {FilterSubject: "in.k1"},
	} {
		if _, err := js.CreateConsumer(t.Context(), "in", cfg); err != nil {
			t.Errorf("%s consumer: %v", name, err)
		}
	}
	if _, err := js.OrderedConsumer(t.Context(), "in", jetstream.OrderedConsumerConfig{}); err != nil {
		t.Errorf("ordered consumer: %v", err)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v\n%s", err, p.log)
	}
}
