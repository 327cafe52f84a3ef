package chain

import (
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// RootOf is the root of a tree of leaves.
func RootOf(leaves []Leaf) [32]byte {
	var f frontier
	for _, l := range leaves {
		f.push(l.Hash())
	}
	return f.root()
}

// Verifier is the one a replica was given.
func (r *Replica) Verifier() note.Verifier { return r.verifier }

// BenchRoot pushes one leaf at a time to a tree of n and takes its root.
func BenchRoot(b *testing.B, n int) {
	var f frontier
	for i := range n - 1 {
		f.push([32]byte{byte(i), byte(i >> 8)})
	}
	for b.Loop() {
		next := f.clone()
		next.push([32]byte{1})
		_ = next.root()
	}
}

// AtMost is the bound by which entries are admitted.
func (e *Entry) AtMost() int { return e.atMost() }
