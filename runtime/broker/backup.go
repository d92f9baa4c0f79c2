package broker

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/wasmill/wasmill/runtime/ledger"
)

// ErrNoStore says that an external server has the store.
var ErrNoStore = errors.New("the topics are on an external NATS server: back up its store there (nats account backup)")

// Backup gives the blocks of every topic to add, by their paths relative to the
// store directory, while everything runs, and returns the ledger of what was
// given. Topics in first come first.
//
// The places of all pipelines are those of before: of what they have finished
// by then every output is in the topics, which are read later, and what they
// finish meanwhile they do again after a restore. Sequences that topics have
// got to at the end are not used again, so that no checkpoint which a topic
// holds stands for another event.
func (b *Broker) Backup(ctx context.Context, first []string, add func(path string, data []byte) error) (*ledger.Book, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	if b.embedded == nil {
		return nil, ErrNoStore
	}
	book, err := b.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Concat([]string{stateStream}, first, slices.Sorted(maps.Keys(book.Streams)))
	done := map[string]bool{}
	dir := streamsDir(b.cfg.StoreDir)
	for _, name := range names {
		s := book.Streams[name]
		if s == nil || done[name] {
			continue
		}
		done[name] = true
		err := ledger.Export(dir, name, s, func(path string, data []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return add(filepath.Join("jetstream", "$G", "streams", path), data)
		})
		if err != nil {
			return nil, err
		}
	}
	after, err := b.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	for name, s := range book.Streams {
		if a := after.Streams[name]; a != nil && a.Created.Equal(s.Created) {
			s.Advance(a.Last)
		}
	}
	book.Losses = after.Losses
	return book, nil
}

// ledgerNow returns a copy of the ledger as the store is now.
func (b *Broker) ledgerNow(ctx context.Context) (*ledger.Book, error) {
	reply := make(chan *ledger.Book, 1)
	select {
	case b.embedded.keeper.ask <- reply:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.life.Done():
		return nil, ErrClosed
	}
	select {
	case book := <-reply:
		return book, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.life.Done():
		return nil, ErrClosed
	}
}
