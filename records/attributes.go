package records

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/wardkey/wardkey/policy"
)

// AttributeKey seals what policy decides on. Gateway and custodians share it,
// the store does not have it. Its theft discloses codes, categories and labels,
// never content. It is safe for concurrent use.
type AttributeKey struct {
	secret [32]byte
	aead   cipher.AEAD
}

// NewAttributeKey draws a key.
func NewAttributeKey() (*AttributeKey, error) {
	var secret [32]byte
	rand.Read(secret[:])
	return ParseAttributeKey(secret[:])
}

// ParseAttributeKey takes the 32 bytes that Secret returned.
func ParseAttributeKey(secret []byte) (*AttributeKey, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("attribute key of %d bytes, want 32", len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("attribute key: %w", err)
	}
	// A random 96-bit nonce a sealing: NIST SP 800-38D §8.3 bounds one key to
	// 2³² sealings, more revisions than a hospital writes before the key turns.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("attribute key: %w", err)
	}
	return &AttributeKey{secret: [32]byte(secret), aead: aead}, nil
}

// Secret returns the key itself, for a keystore.
func (k *AttributeKey) Secret() []byte { return append([]byte(nil), k.secret[:]...) }

// LogValue redacts.
func (AttributeKey) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String redacts.
func (AttributeKey) String() string { return "[redacted]" }

// GoString redacts.
func (AttributeKey) GoString() string { return "[redacted]" }

// Format redacts under every verb.
func (AttributeKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// Seal encrypts the attributes of one revision, padded so that the number of
// codes does not show in the length.
func (k *AttributeKey) Seal(a policy.Resource, revision uint64) ([]byte, error) {
	sealed := k.aead.Seal(nil, nil, pad(a.Encode(), attributesFloor), attributesAAD(a.Type, a.ID, revision))
	if len(sealed) > MaxAttributes {
		return nil, fmt.Errorf("attributes of %s/%s are %d bytes sealed, at most %d", a.Type, a.ID, len(sealed), MaxAttributes)
	}
	return sealed, nil
}

// Open decrypts what Seal sealed for the same resource and revision.
func (k *AttributeKey) Open(sealed []byte, typ, id string, revision uint64) (policy.Resource, error) {
	if len(sealed) > MaxAttributes {
		return policy.Resource{}, fmt.Errorf("attributes of %d bytes: %w", len(sealed), ErrEncoding)
	}
	padded, err := k.aead.Open(nil, nil, sealed, attributesAAD(typ, id, revision))
	if err != nil {
		return policy.Resource{}, fmt.Errorf("open attributes of %s/%s revision %d: %w", typ, id, revision, err)
	}
	plain, err := unpad(padded)
	if err != nil {
		return policy.Resource{}, fmt.Errorf("open attributes of %s/%s: %w", typ, id, err)
	}
	a, err := policy.DecodeResource(plain)
	if err != nil {
		return policy.Resource{}, fmt.Errorf("open attributes of %s/%s: %w", typ, id, err)
	}
	if a.Type != typ || a.ID != id {
		return policy.Resource{}, fmt.Errorf("attributes are those of %s/%s, not of %s/%s: %w", a.Type, a.ID, typ, id, ErrEncoding)
	}
	return a, nil
}

func attributesAAD(typ, id string, revision uint64) []byte {
	return append([]byte("wardkey-attributes-v1\x00"), joined([]byte(typ), []byte(id), strconv.AppendUint(nil, revision, 10))...)
}

// attributesHash is what the label binds.
func attributesHash(sealed []byte) [32]byte {
	return hashed("wardkey-sealed-attributes-v1\x00", sealed)
}
