package chain_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

// tileSource lets golang.org/x/mod/sumdb/tlog read our tiles.
type tileSource struct {
	t *testing.T
	l *chain.Log
}

func (tileSource) Height() int { return 8 }

func (s tileSource) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		data, err := s.l.Tile(s.t.Context(), tile.L, uint64(tile.N), tile.W)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", tile, err)
		}
		out = append(out, data)
	}
	return out, nil
}

func (tileSource) SaveTiles([]tlog.Tile, [][]byte) {}

// filled is a log of n entries, most of them cheap.
func filled(t testing.TB, n int) (*chain.Log, *chaintest.Setup) {
	t.Helper()
	l, _, s := chaintest.New(t)
	for left := n - 1; left > 0; {
		entries := make([]chain.Entry, min(left, 500))
		for i := range entries {
			entries[i] = chain.Entry{Kind: chain.Admin}
		}
		chaintest.Append(t, l, entries...)
		left -= len(entries)
	}
	return l, s
}

func TestOtherPeoplesCodeReadsOurTiles(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 1000, 65_536 + 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			l, s := filled(t, n)
			c, _, err := chain.OpenCheckpoint(l.Checkpoint(), s.Verifier)
			if err != nil || c.Size != uint64(n) {
				t.Fatalf("size %d, %v", c.Size, err)
			}
			reader := tlog.TileHashReader(tlog.Tree{N: int64(n), Hash: c.Root}, tileSource{t, l}) // it verifies what it reads
			for _, index := range []int64{0, 1, 254, 255, 256, 300, 511, 999, 65_535, 65_536, int64(n) - 1} {
				if index >= int64(n) {
					continue
				}
				theirs, err := tlog.ProveRecord(int64(n), index, reader)
				if err != nil {
					t.Fatal(err)
				}
				ours, err := l.Proof(t.Context(), uint64(index), uint64(n))
				if err != nil || fmt.Sprint(ours) != fmt.Sprint(theirs) {
					t.Errorf("proofs of %d differ: %v", index, err)
				}
				b, err := l.Batch(t.Context(), uint64(index), 1)
				if err != nil {
					t.Fatal(err)
				}
				bundle, err := l.Tile(t.Context(), chain.BundleLevel, uint64(index/256), int(index%256)+1)
				if err != nil {
					t.Fatal(err)
				}
				leaf := bundle[index%256*35+2:]
				if string(leaf) != string(b.Records[0].Leaf[:]) {
					t.Errorf("the bundle has another leaf at %d", index)
				}
				hash := rfc6962.DefaultHasher.HashLeaf(leaf)
				if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(n), hash, bytesOf(ours), c.Root[:]); err != nil {
					t.Errorf("entry %d: %v", index, err)
				}
			}
		})
	}
}

func bytesOf(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func TestEverySizeIsConsistentWithEveryLater(t *testing.T) {
	l, _ := filled(t, 600)
	roots := make(map[uint64][32]byte)
	for size := uint64(0); size <= l.Size(); size++ {
		root, err := l.RootAt(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		roots[size] = root
	}
	if roots[0] != sha256.Sum256(nil) || roots[600] != l.Root() {
		t.Error("root of nothing, or of all")
	}
	for from := uint64(1); from <= l.Size(); from += 37 {
		for to := from; to <= l.Size(); to += 53 {
			p, err := l.Consistency(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			a, b := roots[from], roots[to]
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, to, bytesOf(p), a[:], b[:]); err != nil {
				t.Errorf("%d to %d: %v", from, to, err)
			}
		}
	}
}

func TestTilesBeyondTheEndAreRefused(t *testing.T) {
	l, _ := filled(t, 300)
	for _, tc := range []struct {
		level, index, width int
	}{{0, 1, 45}, {0, 2, 1}, {1, 0, 2}, {1, 1, 1}, {2, 0, 1}, {-1, 1, 45}, {-2, 0, 1}, {0, 0, 0}, {0, 0, 257}, {9, 0, 1}, {0, 1 << 55, 1}} {
		if _, err := l.Tile(t.Context(), tc.level, uint64(tc.index), tc.width); err == nil {
			t.Errorf("tile %+v", tc)
		}
	}
	for _, tc := range [][2]uint64{{300, 300}, {0, 301}, {5, 5}} {
		if _, err := l.Proof(t.Context(), tc[0], tc[1]); err == nil {
			t.Errorf("proof of %v", tc)
		}
	}
	for _, tc := range [][2]uint64{{0, 5}, {6, 5}, {5, 301}} {
		if _, err := l.Consistency(t.Context(), tc[0], tc[1]); err == nil {
			t.Errorf("consistency of %v", tc)
		}
	}
}

func TestTilesWaitWhileTheStoreRefusesThem(t *testing.T) {
	l, store, s := chaintest.New(t)
	store.FailTiles(fmt.Errorf("no space"))
	chaintest.Fill(t, l, 600)
	if _, err := l.Proof(t.Context(), 3, l.Size()); err != nil {
		t.Error(err)
	}
	store.FailTiles(nil)
	chaintest.Fill(t, l, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, level := range []int{chain.BundleLevel, 0} {
		if data, err := store.Tile(t.Context(), level, 1); err != nil || len(data) == 0 {
			t.Errorf("tile 1 of level %d: %d bytes, %v", level, len(data), err)
		}
	}
	verify(t, s.Open(t, store), s)
}

// BenchmarkRoot is what a commit of one entry to a log of n pays for the tree.
func BenchmarkRoot(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { chain.BenchRoot(b, n) })
	}
}
