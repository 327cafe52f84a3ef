package chain

import (
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// LeafBytes is the size of every leaf of the tree.
const LeafBytes = 33

// Leaf is what tiles show of an entry: a version byte, 1, and
// HMAC-SHA256(salt, body). All leaves are of one size.
type Leaf [LeafBytes]byte

// Hash is the leaf's hash in the Merkle tree (RFC 6962 §2.1).
func (l Leaf) Hash() [32]byte { return tlog.RecordHash(l[:]) }

// String returns the leaf in hexadecimal.
func (l Leaf) String() string { return hex.EncodeToString(l[:]) }

// MarshalBinary returns the leaf's bytes.
func (l Leaf) MarshalBinary() ([]byte, error) { return l[:], nil }

// UnmarshalBinary takes exactly [LeafBytes] bytes.
func (l *Leaf) UnmarshalBinary(data []byte) error {
	if len(data) != LeafBytes {
		return fmt.Errorf("leaf of %d bytes", len(data))
	}
	*l = Leaf(data)
	return nil
}

// MarshalBinary returns the id's bytes.
func (id KeyID) MarshalBinary() ([]byte, error) { return id[:], nil }

// UnmarshalBinary takes exactly 16 bytes.
func (id *KeyID) UnmarshalBinary(data []byte) error {
	if len(data) != len(id) {
		return errors.New("key id: wrong length")
	}
	*id = KeyID(data)
	return nil
}

// Record is one entry as it is stored and sent.
type Record struct {
	Leaf Leaf   `cbor:"1,keyasint"`
	Key  KeyID  `cbor:"2,keyasint"`
	Body []byte `cbor:"3,keyasint"` // nonce and AES-256-GCM ciphertext
}

// Batch is a run of records and the checkpoint signed over the log up to their
// end. Its size is First+len(Records).
type Batch struct {
	First      uint64   `cbor:"1,keyasint"`
	Records    []Record `cbor:"2,keyasint,omitempty"`
	Checkpoint []byte   `cbor:"3,keyasint"` // signed note of size First+len(Records)
}

// End is the size of the log after the batch.
func (b Batch) End() uint64 { return b.First + uint64(len(b.Records)) }

// bytes estimates what the batch takes in memory and on the wire.
func (b Batch) bytes() int {
	n := len(b.Checkpoint)
	for _, r := range b.Records {
		n += recordBytes(r)
	}
	return n
}

func recordBytes(r Record) int { return LeafBytes + len(r.Key) + len(r.Body) + 8 }
