package broker

import (
	"context"
	"errors"
	"fmt"
)

// Record returns what SaveRecord has kept under a name, or nil.
func (b *Broker) Record(ctx context.Context, name string) ([]byte, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	data, _, err := b.state.get(ctx, statePrefix+name)
	if errors.Is(err, ErrNotFound) || errors.Is(err, errNoState) {
		return nil, nil
	}
	return data, err
}

// SaveRecord keeps something under a name, beside the pipelines' positions: over
// restarts, and for every process on the same server. The last writer wins. name
// is two tokens of a subject; positions have three.
func (b *Broker) SaveRecord(ctx context.Context, name string, data []byte) error {
	if err := b.usable(); err != nil {
		return err
	}
	if err := b.state.ensure(ctx); err != nil {
		return err
	}
	if _, err := b.js.Publish(ctx, statePrefix+name, data); err != nil {
		return fmt.Errorf("write record %s: %w", name, err)
	}
	return nil
}
