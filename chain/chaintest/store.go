package chaintest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/wardkey/wardkey/chain"
)

// Store is a [chain.Store] in memory. It forgets nothing when the log is closed,
// so opening it again is a restart. Its bad days are methods.
type Store struct {
	mu        sync.Mutex // guards what follows
	info      chain.Info
	batches   []chain.Batch
	size      uint64
	keys      []chain.LogKey
	tiles     map[tile][]byte
	published []byte
	fail      []error
	failTiles error
	appends   int
	slow      chan struct{}
	arrived   chan struct{}
}

type tile struct {
	level int
	index uint64
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{tiles: make(map[tile][]byte)} }

// FailNext makes the next write of keys or of a batch fail with err; called
// again before that, the one after it.
func (s *Store) FailNext(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, err)
}

// FailTiles makes every write of a tile fail with err; nil ends it.
func (s *Store) FailTiles(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failTiles = err
}

// Slow holds every Append back until release is called. What it returns first
// receives when an Append has arrived.
func (s *Store) Slow() (arrived <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slow := make(chan struct{})
	s.slow, s.arrived = slow, make(chan struct{}, 1)
	return s.arrived, sync.OnceFunc(func() {
		s.mu.Lock()
		s.slow = nil
		s.mu.Unlock()
		close(slow)
	})
}

// Appends is how many batches were stored.
func (s *Store) Appends() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appends
}

// Copy returns a store with the same content: a backup.
func (s *Store) Copy() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := NewStore()
	c.info, c.batches, c.size, c.keys, c.published = s.info, slices.Clone(s.batches), s.size, slices.Clone(s.keys), s.published
	for t, data := range s.tiles {
		c.tiles[t] = data
	}
	return c
}

// Edit lets a test tamper with the batches.
func (s *Store) Edit(edit func(batches []chain.Batch) []chain.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = edit(s.batches)
	s.size = 0
	if n := len(s.batches); n > 0 {
		s.size = s.batches[n-1].End()
	}
}

func (s *Store) failing() error {
	if len(s.fail) == 0 {
		return nil
	}
	err := s.fail[0]
	s.fail = s.fail[1:]
	return err
}

// Info implements [chain.Store].
func (s *Store) Info(context.Context) (chain.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info, nil
}

// SetInfo implements [chain.Store].
func (s *Store) SetInfo(_ context.Context, info chain.Info) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
	return nil
}

// Append implements [chain.Store].
func (s *Store) Append(_ context.Context, b chain.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slow := s.slow; slow != nil {
		select {
		case s.arrived <- struct{}{}:
		default:
		}
		s.mu.Unlock()
		<-slow
		s.mu.Lock()
	}
	if err := s.failing(); err != nil {
		return err
	}
	if b.First != s.size || len(b.Records) == 0 {
		return errors.New("batch does not begin where the last one ended")
	}
	s.batches, s.size = append(s.batches, b), b.End()
	s.appends++
	return nil
}

// Batches implements [chain.Store].
func (s *Store) Batches(_ context.Context, from uint64) iter.Seq2[chain.Batch, error] {
	s.mu.Lock()
	batches := s.batches
	s.mu.Unlock()
	return func(yield func(chain.Batch, error) bool) {
		for _, b := range batches {
			if b.End() > from && !yield(b, nil) {
				return
			}
		}
	}
}

// Size implements [chain.Store].
func (s *Store) Size() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Keys implements [chain.Store].
func (s *Store) Keys(context.Context) ([]chain.LogKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys), nil
}

// AppendKeys implements [chain.Store].
func (s *Store) AppendKeys(_ context.Context, keys []chain.LogKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	s.keys = append(s.keys, keys...)
	return nil
}

// EraseKey implements [chain.Store].
func (s *Store) EraseKey(_ context.Context, id chain.KeyID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	for i, k := range s.keys {
		if k.ID == id {
			s.keys[i] = chain.LogKey{ID: id}
			return nil
		}
	}
	return chain.ErrBeyond
}

// SetTile implements [chain.Store].
func (s *Store) SetTile(_ context.Context, level int, index uint64, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failTiles != nil {
		return s.failTiles
	}
	s.tiles[tile{level, index}] = bytes.Clone(data)
	return nil
}

// Tile implements [chain.Store].
func (s *Store) Tile(_ context.Context, level int, index uint64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tiles[tile{level, index}], nil
}

// SetPublished implements [chain.Store].
func (s *Store) SetPublished(_ context.Context, checkpoint []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = bytes.Clone(checkpoint)
	return nil
}

// Published implements [chain.Store].
func (s *Store) Published(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published, nil
}

// Settle implements [chain.Store].
func (s *Store) Settle(context.Context) error { return nil }
