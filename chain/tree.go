package chain

import (
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a Merkle tree: the roots of its perfect
// subtrees, largest first, one for each bit of the size. It is all that a root
// needs, so that a commit costs its own leaves and no more.
type frontier struct {
	size  uint64
	peaks []tlog.Hash
}

func (f *frontier) push(leaf tlog.Hash) {
	f.peaks = append(f.peaks, leaf)
	for range bits.TrailingZeros64(^f.size) { // as many carries as the size ends in ones
		n := len(f.peaks)
		f.peaks[n-2] = tlog.NodeHash(f.peaks[n-2], f.peaks[n-1])
		f.peaks = f.peaks[:n-1]
	}
	f.size++
}

func (f *frontier) clone() frontier {
	return frontier{size: f.size, peaks: slices.Clone(f.peaks)}
}

func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		root, _ := tlog.TreeHash(0, nil) // the hash of nothing
		return root
	}
	root := f.peaks[len(f.peaks)-1]
	for _, peak := range slices.Backward(f.peaks[:len(f.peaks)-1]) {
		root = tlog.NodeHash(peak, root)
	}
	return root
}

// tileHeight and tileWidth are those of tlog-tiles.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// BundleLevel is the level under which entry bundles are kept and served.
	BundleLevel = -1
)

// tileID names a tile; level [BundleLevel] is an entry bundle.
type tileID struct {
	level int
	index uint64
}

// rowBytes is what one entry takes in a tile of the level: a hash, or a leaf
// behind its 16-bit length.
func (t tileID) rowBytes() int {
	if t.level == BundleLevel {
		return 2 + LeafBytes
	}
	return tlog.HashSize
}

// tiler builds tiles as leaves arrive. It holds the tile that is not yet full
// of each level, and those that are full until somebody has stored them.
type tiler struct {
	bundle []byte
	edges  [][]byte // by level
	sizes  []uint64 // rows of each level, those in full tiles included
	leaves uint64
	full   map[tileID][]byte
}

func (t *tiler) push(leaf Leaf, hash tlog.Hash) {
	if t.full == nil {
		t.full = make(map[tileID][]byte)
	}
	t.bundle = append(t.bundle, 0, LeafBytes)
	t.bundle = append(t.bundle, leaf[:]...)
	t.leaves++
	if t.leaves%tileWidth == 0 {
		t.full[tileID{BundleLevel, t.leaves/tileWidth - 1}] = t.bundle
		t.bundle = nil
	}
	for level := 0; ; level++ {
		if level == len(t.edges) {
			t.edges, t.sizes = append(t.edges, nil), append(t.sizes, 0)
		}
		t.edges[level] = append(t.edges[level], hash[:]...)
		t.sizes[level]++
		if t.sizes[level]%tileWidth != 0 {
			return
		}
		t.full[tileID{level, t.sizes[level]/tileWidth - 1}] = t.edges[level]
		hash = subtree(t.edges[level])
		t.edges[level] = nil
	}
}

// held returns the rows of a tile as far as they are in memory.
func (t *tiler) held(id tileID) []byte {
	if data, ok := t.full[id]; ok {
		return data
	}
	if id.level == BundleLevel && id.index == t.leaves/tileWidth {
		return t.bundle
	}
	if id.level >= 0 && id.level < len(t.edges) && id.index == t.sizes[id.level]/tileWidth {
		return t.edges[id.level]
	}
	return nil
}

// rows is how many rows a tile has so far.
func (t *tiler) rows(id tileID) int {
	n := t.leaves
	if id.level >= 0 {
		if id.level >= len(t.sizes) {
			return 0
		}
		n = t.sizes[id.level]
	}
	if start := id.index * tileWidth; id.index <= n/tileWidth && start < n {
		return int(min(n-start, tileWidth))
	}
	return 0
}

// subtree is the root over concatenated hashes, whose number is a power of two.
func subtree(rows []byte) tlog.Hash {
	if len(rows) == tlog.HashSize {
		return tlog.Hash(rows)
	}
	half := len(rows) / 2
	return tlog.NodeHash(subtree(rows[:half]), subtree(rows[half:]))
}
