package chain

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// loadRecords is how many records are opened at a time while loading.
const loadRecords = 4096

// load reads everything the store has: every body is opened and checked, the
// tree is recomputed and compared with every batch's checkpoint, and tiles that
// are missing or wrong are made again. The log's signature is verified on the
// newest checkpoint; package audit verifies them all. An error names the place
// and means that the log must not be used as it is.
func (b *book) load(ctx context.Context) error {
	info, err := b.store.Info(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	b.info = info
	keys, err := b.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	if err := b.addKeys(keys); err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	var waiting []Batch
	records := 0
	flush := func() error {
		err := b.replay(ctx, waiting)
		waiting, records = nil, 0
		return err
	}
	for batch, err := range b.store.Batches(ctx, 0) {
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		waiting, records = append(waiting, batch), records+len(batch.Records)
		if records >= loadRecords {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if b.front.size > 0 {
		if _, _, err := OpenCheckpoint(b.checkpoint, b.verifier); err != nil {
			return fmt.Errorf("load: newest batch: %w", err)
		}
	}
	if b.readOnly {
		return nil
	}
	if err := b.checkPublished(ctx); err != nil {
		return err
	}
	if err := b.store.Settle(ctx); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// replay checks and takes over batches as they were stored.
func (b *book) replay(ctx context.Context, batches []Batch) error {
	if len(batches) == 0 {
		return nil
	}
	all := Batch{First: batches[0].First}
	for _, batch := range batches {
		if batch.First != all.End() || len(batch.Records) == 0 {
			return fmt.Errorf("load: batch at %d where %d is next", batch.First, all.End())
		}
		all.Records = append(all.Records, batch.Records...)
	}
	d := b.draft()
	if all.First != d.front.size {
		return fmt.Errorf("load: batch at %d where %d is next", all.First, d.front.size)
	}
	bodies, err := d.unseal(all.First, all.Records, true)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for _, batch := range batches {
		for i, r := range batch.Records {
			index := batch.First + uint64(i)
			if bodies[index-all.First] == nil {
				d.pass(index, r.Key)
			}
			if body := bodies[index-all.First]; body != nil {
				if err := d.check(index, r.Key, body); err != nil {
					return fmt.Errorf("load: %w", err)
				}
				if index == 0 {
					if err := checkGenesis(b.info, body); err != nil {
						return fmt.Errorf("load: %w", err)
					}
				}
			}
			d.push(r.Leaf)
		}
		if err := b.checkText(batch, d.front.root()); err != nil {
			return fmt.Errorf("load: batch at %d: %w", batch.First, err)
		}
		all.Checkpoint = batch.Checkpoint
	}
	b.commit(d, all, bodies)
	return b.mendTiles(ctx)
}

// checkText holds a batch's checkpoint against the recomputed root, without its
// signature.
func (b *book) checkText(batch Batch, root [32]byte) error {
	text, _, err := splitNote(batch.Checkpoint)
	if err != nil {
		return err
	}
	c, err := ParseCheckpointText(text)
	if err != nil {
		return err
	}
	if c.Origin != b.info.Origin || c.Size != batch.End() || c.Root != root {
		return fmt.Errorf("checkpoint of size %d is not that of its records", c.Size)
	}
	return nil
}

// checkGenesis holds the first body against the log's description.
func checkGenesis(info Info, body *Body) error {
	if !bytes.Equal(body.Statement, info.Encode()) || body.Patient != "" {
		return &RecordError{Index: 0, Reason: "genesis entry does not bind the log's description"}
	}
	return nil
}

// checkPublished refuses to go on behind what was published: the end of the log
// has been lost.
func (b *book) checkPublished(ctx context.Context) error {
	published, err := b.store.Published(ctx)
	if err != nil {
		return fmt.Errorf("load published checkpoint: %w", err)
	}
	if published == nil {
		return nil
	}
	if err := b.Compare(ctx, published); err != nil {
		return fmt.Errorf("load published checkpoint: %w", err)
	}
	return nil
}

// mendTiles compares full tiles with those in the store, and stores what
// differs.
func (b *book) mendTiles(ctx context.Context) error {
	for id, data := range b.tiles.full {
		stored, err := b.store.Tile(ctx, id.level, id.index)
		if err != nil {
			return fmt.Errorf("load tile %d/%d: %w", id.level, id.index, err)
		}
		if bytes.Equal(stored, data) {
			delete(b.tiles.full, id)
		} else if stored != nil {
			b.log.WarnContext(ctx, "tile is wrong and made again", "level", id.level, "index", id.index)
		}
	}
	if b.readOnly {
		return nil // what is missing stays in memory
	}
	return b.storeTiles(ctx)
}

// sameKey reports whether a verifier is that of a vkey.
func sameKey(v note.Verifier, vkey string) bool {
	w, err := note.NewVerifier(vkey)
	return err == nil && v.Name() == w.Name() && v.KeyHash() == w.KeyHash()
}
