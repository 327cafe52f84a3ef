package chain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Body is an entry as the log committed to it. Its deterministic CBOR is what
// the leaf is a commitment of.
type Body struct {
	Salt []byte `cbor:"1,keyasint"`           // 32 random bytes: nobody guesses a body from its leaf
	Time int64  `cbor:"2,keyasint"`           // Unix milliseconds UTC; never less than the entry's before
	Seq  uint64 `cbor:"3,keyasint"`           // 1, 2, 3, … among the entries of the patient, whatever keys they are under
	Prev uint64 `cbor:"4,keyasint,omitempty"` // index of the patient's previous entry; 0 = none (Seq 1), or the genesis (tenant)
	Key  []byte `cbor:"5,keyasint,omitempty"` // [LogKey.Commitment], in the first body under a key only
	Entry
}

const (
	bodyVersion = 1  // first byte of a leaf
	saltBytes   = 32 // of HMAC-SHA256
	nonceBytes  = 12 // of AES-GCM
	tagBytes    = 16 // of AES-GCM
)

// MaxBodyBytes bounds the encoding of any body that is read.
const MaxBodyBytes = 1 << 20

// At is the entry's time.
func (b *Body) At() time.Time { return time.UnixMilli(b.Time).UTC() }

// Encode returns the deterministic encoding.
func (b *Body) Encode() []byte { return marshal(b) }

// DecodeBody is the inverse of [Body.Encode]; it accepts nothing else.
func DecodeBody(data []byte) (*Body, error) {
	if len(data) > MaxBodyBytes {
		return nil, fmt.Errorf("body: %w", ErrTooLarge)
	}
	b := new(Body)
	if err := unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if len(b.Salt) != saltBytes {
		return nil, fmt.Errorf("body: salt of %d bytes", len(b.Salt))
	}
	if b.Seq == 0 || len(b.Key) != 0 && len(b.Key) != sha256.Size || b.Seq == 1 && (len(b.Key) == 0 || b.Prev != 0) {
		return nil, errors.New("body: sequence")
	}
	if b.Time <= 0 {
		return nil, errors.New("body: time")
	}
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return b, nil
}

// LeafOf recomputes the leaf of an encoded body.
func LeafOf(encoded, salt []byte) Leaf {
	mac := hmac.New(sha256.New, salt)
	mac.Write(encoded)
	leaf := Leaf{bodyVersion}
	mac.Sum(leaf[:1])
	return leaf
}

// sealing returns the nonce and the associated data of a body. Both follow from
// its place and its leaf, whose salt is fresh, so that a body has exactly one
// ciphertext under a key: a log that was encrypted again shows.
func sealing(id KeyID, index uint64, leaf Leaf) (nonce, aad []byte) {
	const tag = "wardkey-log-body-v1\x00"
	aad = make([]byte, 0, len(tag)+len(id)+8+LeafBytes)
	aad = append(aad, tag...)
	aad = append(aad, id[:]...)
	aad = binary.BigEndian.AppendUint64(aad, index)
	aad = append(aad, leaf[:]...)
	sum := sha256.Sum256(aad)
	return sum[:nonceBytes], aad
}

func (k LogKey) aead() (cipher.AEAD, error) {
	secret := k.Key.Reveal()
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Seal makes the record of a body at an index. The body's salt must be set.
func (k LogKey) Seal(index uint64, b *Body) (Record, error) {
	encoded := b.Encode()
	if len(encoded) > MaxBodyBytes {
		return Record{}, fmt.Errorf("body of %d bytes: %w", len(encoded), ErrTooLarge)
	}
	leaf := LeafOf(encoded, b.Salt)
	aead, err := k.aead()
	if err != nil {
		return Record{}, err
	}
	nonce, aad := sealing(k.ID, index, leaf)
	out := make([]byte, nonceBytes, nonceBytes+len(encoded)+tagBytes)
	copy(out, nonce)
	return Record{Leaf: leaf, Key: k.ID, Body: aead.Seal(out, nonce, encoded, aad)}, nil
}

// Unseal decrypts a record's body and checks that it is the one committed to:
// the ciphertext against the leaf, the leaf against the body. It returns the
// encoding too, which is what evidence shows. [ErrErased] when there is no key
// any more.
func (k LogKey) Unseal(index uint64, r Record) (*Body, []byte, error) {
	if k.Erased() {
		return nil, nil, ErrErased
	}
	if k.ID != r.Key {
		return nil, nil, errors.New("another log key")
	}
	if len(r.Body) < nonceBytes+tagBytes || len(r.Body) > nonceBytes+MaxBodyBytes+tagBytes {
		return nil, nil, fmt.Errorf("ciphertext of %d bytes", len(r.Body))
	}
	nonce, aad := sealing(k.ID, index, r.Leaf)
	if [nonceBytes]byte(nonce) != [nonceBytes]byte(r.Body) {
		return nil, nil, errors.New("nonce is not that of the leaf")
	}
	aead, err := k.aead()
	if err != nil {
		return nil, nil, err
	}
	encoded, err := aead.Open(nil, nonce, r.Body[nonceBytes:], aad)
	if err != nil {
		return nil, nil, errors.New("ciphertext does not authenticate")
	}
	b, err := DecodeBody(encoded)
	if err != nil {
		return nil, nil, err
	}
	if LeafOf(encoded, b.Salt) != r.Leaf {
		return nil, nil, errors.New("body is not the one the leaf commits to")
	}
	return b, encoded, nil
}

func newSalt() []byte {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand
	return salt
}
