package records

import (
	"crypto/sha256"
	"fmt"

	"github.com/wardkey/wardkey/records/threshold"
)

// Envelope is one sealed revision of one resource, as the store keeps it.
type Envelope struct {
	Version    uint8  `cbor:"1,keyasint"`
	Label      Label  `cbor:"2,keyasint"`
	Tree       string `cbor:"3,keyasint"` // canonical text of the access tree
	Attributes []byte `cbor:"4,keyasint"` // see AttributeKey
	Leaves     []Leaf `cbor:"5,keyasint"`
	Shred      []byte `cbor:"6,keyasint,omitempty"` // encapsulation of ρ₂; absent in suite 1
	Payload    []byte `cbor:"7,keyasint"`           // AES-256-GCM of the padded resource
	Terms      []byte `cbor:"8,keyasint,omitempty"` // index terms under the index's own key, so that an index can be rebuilt; authenticated by that key
}

// Leaf is one leaf of an envelope's access tree.
type Leaf struct {
	Committee  string  `cbor:"1,keyasint"` // id
	Path       []uint8 `cbor:"2,keyasint"` // branch by branch from the root of the tree; empty: the root
	Ciphertext []byte  `cbor:"3,keyasint"` // of threshold
}

// envelopeVersion is the only one there is.
const envelopeVersion = 1

const (
	maxLeaf  = 1 << 10
	maxTerms = 64 << 10
)

// Encode returns the deterministic CBOR form.
func (e *Envelope) Encode() []byte { return encode(e) }

// DecodeEnvelope reads and validates what Encode wrote.
func DecodeEnvelope(data []byte) (*Envelope, error) {
	var e Envelope
	if err := decodeCanonical("envelope", data, MaxEnvelope, &e); err != nil {
		return nil, err
	}
	if err := e.validate(); err != nil {
		return nil, err
	}
	return &e, nil
}

func (e *Envelope) validate() error {
	if e.Version != envelopeVersion {
		return fmt.Errorf("envelope of version %d, only %d is known: %w", e.Version, envelopeVersion, ErrEncoding)
	}
	if err := e.Label.validate(); err != nil {
		return err
	}
	tree, err := ParseTree(e.Tree)
	if err != nil {
		return fmt.Errorf("envelope: %w: %w", ErrEncoding, err)
	}
	switch {
	case tree.String() != e.Tree:
		return fmt.Errorf("envelope's access tree is not in canonical form: %w", ErrEncoding)
	case tree.Hash() != e.Label.Tree:
		return fmt.Errorf("envelope's access tree is not the label's: %w", ErrEncoding)
	case len(e.Attributes) == 0 || len(e.Attributes) > MaxAttributes:
		return fmt.Errorf("envelope's attributes are %d bytes: %w", len(e.Attributes), ErrEncoding)
	case attributesHash(e.Attributes) != e.Label.Attributes:
		return fmt.Errorf("envelope's attributes are not the label's: %w", ErrEncoding)
	case len(e.Leaves) != 1:
		return fmt.Errorf("envelope with %d leaves, suite 1 has one: %w", len(e.Leaves), ErrEncoding)
	case len(e.Shred) != 0:
		return fmt.Errorf("envelope with a compartment encapsulation, which suite 1 does not have: %w", ErrEncoding)
	case len(e.Payload) < minPayload:
		return fmt.Errorf("envelope's payload is %d bytes: %w", len(e.Payload), ErrEncoding)
	case len(e.Terms) > maxTerms:
		return fmt.Errorf("envelope's index terms are %d bytes: %w", len(e.Terms), ErrEncoding)
	}
	return e.Leaves[0].validate()
}

// Digest is what the log and the index know an envelope by. It covers the
// label (and through it tree and attributes), the leaves and the payload;
// custodians compute it from an [Item] without having the payload.
func (e *Envelope) Digest() [32]byte {
	return envelopeDigest(e.Label.Encode(), e.Leaves, sha256.Sum256(e.Payload))
}

func envelopeDigest(label []byte, leaves []Leaf, payload [32]byte) [32]byte {
	parts := encode([]any{label, leaves, payload})
	return sha256.Sum256(append([]byte("wardkey-envelope-v1\x00"), parts...))
}

// Item is what custodians need of the envelope, in order to decide and release.
func (e *Envelope) Item() Item {
	return Item{
		Label:      e.Label.Encode(),
		Attributes: e.Attributes,
		Leaf:       e.Leaves[0].Encode(),
		Payload:    sha256.Sum256(e.Payload),
	}
}

// Encode returns the deterministic CBOR form.
func (l *Leaf) Encode() []byte { return encode(l) }

// DecodeLeaf reads and validates what Encode wrote.
func DecodeLeaf(data []byte) (*Leaf, error) {
	var l Leaf
	if err := decodeCanonical("leaf", data, maxLeaf, &l); err != nil {
		return nil, err
	}
	if err := l.validate(); err != nil {
		return nil, err
	}
	return &l, nil
}

func (l *Leaf) validate() error {
	if l.Committee == "" || len(l.Path) != 0 {
		return fmt.Errorf("leaf is not the root of the tree, as in suite 1: %w", ErrEncoding)
	}
	// That its points are points is for those to check who multiply by them.
	if len(l.Ciphertext) != len(threshold.Ciphertext{}) {
		return fmt.Errorf("leaf's ciphertext is %d bytes: %w", len(l.Ciphertext), ErrEncoding)
	}
	return nil
}
