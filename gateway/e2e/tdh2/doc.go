// Package interop holds the threshold scheme against another implementation of
// TDH2, that of Chainlink (github.com/smartcontractkit/tdh2), in both directions.
//
// The two differ in group, encodings and hash functions, by which their
// ciphertexts can never be one another's. What can agree, and is tested, is the
// scheme: Wardkey's arithmetic takes its group and its hashes as parameters, and
// is given P-256 and the other's hashes here. The other writes (e, f) where
// Wardkey writes (w, w̄, f); the one follows from the other.
//
// It leaves to the published vectors what is not shared: ristretto255, the
// hashing, and the folding of a batch into one proof, of which the other
// implementation has no notion.
package interop
