package chain

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// Tile returns the first width rows of a tile: hashes of the level, or leaves
// behind their 16-bit length where the level is [BundleLevel] (tlog-tiles).
// Narrower tiles are wider ones cut off. [ErrBeyond] when there are not as many.
func (b *book) Tile(ctx context.Context, level int, index uint64, width int) ([]byte, error) {
	if level < BundleLevel || level > 63/tileHeight || width < 1 || width > tileWidth || index > maxSize {
		return nil, ErrBeyond
	}
	rows, err := b.tile(ctx, tileID{level: level, index: index}, width)
	return bytes.Clone(rows), err
}

// tile is Tile without a copy.
func (b *book) tile(ctx context.Context, id tileID, width int) ([]byte, error) {
	b.mu.RLock()
	rows, held := b.tiles.rows(id), b.tiles.held(id)
	b.mu.RUnlock()
	if rows < width {
		return nil, ErrBeyond
	}
	if held == nil {
		var err error
		if held, err = b.cache.read(ctx, b.store, id); err != nil {
			return nil, fmt.Errorf("tile %d/%d: %w", id.level, id.index, err)
		}
	}
	if n := width * id.rowBytes(); len(held) >= n {
		return held[:n], nil
	}
	return nil, fmt.Errorf("tile %d/%d is cut short", id.level, id.index)
}

// tileCache keeps some full tiles, which never change, in memory.
type tileCache struct {
	mu    sync.Mutex // guards tiles
	tiles map[tileID][]byte
}

// maxCachedTiles is 1 MiB or so.
const maxCachedTiles = 128

func (c *tileCache) read(ctx context.Context, store Store, id tileID) ([]byte, error) {
	c.mu.Lock()
	data := c.tiles[id]
	c.mu.Unlock()
	if data != nil {
		return data, nil
	}
	data, err := store.Tile(ctx, id.level, id.index)
	if err != nil || len(data) != tileWidth*id.rowBytes() {
		return data, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tiles == nil {
		c.tiles = make(map[tileID][]byte)
	}
	for other := range c.tiles {
		if len(c.tiles) < maxCachedTiles {
			break
		}
		delete(c.tiles, other) // any: maps are in no order
	}
	c.tiles[id] = data
	return data, nil
}

// hashes reads inner nodes from tiles.
func (b *book) hashes(ctx context.Context) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, 0, len(indexes))
		for _, i := range indexes {
			level, n := tlog.SplitStoredHashIndex(i)
			// A node of level L is the root over 2^(L mod 8) rows of tile level L div 8.
			span := uint64(1) << (level % tileHeight)
			first := uint64(n) * span
			from, to := int(first%tileWidth), int(first%tileWidth+span)
			rows, err := b.tile(ctx, tileID{level: level / tileHeight, index: first / tileWidth}, to)
			if err != nil {
				return nil, err
			}
			out = append(out, subtree(rows[from*tlog.HashSize:to*tlog.HashSize]))
		}
		return out, nil
	}
}

// RootAt recomputes the root of an earlier size.
func (b *book) RootAt(ctx context.Context, size uint64) ([32]byte, error) {
	b.mu.RLock()
	have, root := b.front.size, b.front.root()
	b.mu.RUnlock()
	if size > have {
		return [32]byte{}, ErrBeyond
	}
	if size == have {
		return root, nil
	}
	return tlog.TreeHash(int64(size), b.hashes(ctx))
}

// Proof proves that the entry at index is in the tree of the size
// (RFC 6962 §2.1.1); package tlog's CheckRecord verifies it.
func (b *book) Proof(ctx context.Context, index, size uint64) (tlog.RecordProof, error) {
	if index >= size || size > b.Size() {
		return nil, ErrBeyond
	}
	return tlog.ProveRecord(int64(size), int64(index), b.hashes(ctx))
}

// Consistency proves that the tree of size to extends that of size from
// (RFC 6962 §2.1.2); package tlog's CheckTree verifies it.
func (b *book) Consistency(ctx context.Context, from, to uint64) (tlog.TreeProof, error) {
	if from == 0 || from > to || to > b.Size() {
		return nil, ErrBeyond
	}
	return tlog.ProveTree(int64(to), int64(from), b.hashes(ctx))
}

// storeTiles hands full tiles to the store. They are derived, so a failure
// costs nothing yet: they are kept and tried again, up to a limit.
func (b *book) storeTiles(ctx context.Context) error {
	var failed error
	for id, data := range b.tiles.full { // the writer alone changes it
		if err := b.store.SetTile(ctx, id.level, id.index, data); err != nil {
			failed = err
			break
		}
		b.mu.Lock()
		delete(b.tiles.full, id)
		b.mu.Unlock()
	}
	if failed != nil {
		b.log.WarnContext(ctx, "tiles wait in memory", "tiles", len(b.tiles.full), "error", failed)
		if len(b.tiles.full) > maxWaitingTiles {
			return fmt.Errorf("store tiles: %w", failed)
		}
	}
	return nil
}

// maxWaitingTiles is 1 MiB or so.
const maxWaitingTiles = 128
