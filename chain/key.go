package chain

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// KeyID names a log key. It is random, and says nothing about the patient.
type KeyID [16]byte

// String returns the id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Secret is 32 bytes that do not print themselves. The zero Secret is that of an
// erased key.
type Secret struct{ b [32]byte }

// NewSecret draws a secret.
func NewSecret() Secret {
	var s Secret
	_, _ = rand.Read(s.b[:]) // never fails: crypto/rand
	return s
}

// SecretOf makes a Secret of bytes that a store or a peer kept.
func SecretOf(b [32]byte) Secret { return Secret{b: b} }

// Reveal returns the bytes: for stores that keep them and ciphers that use them.
func (s Secret) Reveal() [32]byte { return s.b }

// IsZero reports whether the secret was erased.
func (s Secret) IsZero() bool { return s.Equal(Secret{}) }

// Equal compares in constant time.
func (s Secret) Equal(t Secret) bool { return subtle.ConstantTimeCompare(s.b[:], t.b[:]) == 1 }

// LogValue keeps the secret out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the secret out of text.
func (Secret) String() string { return "[redacted]" }

// GoString keeps the secret out of %#v.
func (Secret) GoString() string { return "[redacted]" }

// Format keeps the secret out of every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// MarshalText keeps the secret out of JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// LogKey encrypts the bodies of one patient, or of the tenant. The list of a
// log's keys only grows; an erased key keeps its place and its id, and has
// neither patient nor secret.
type LogKey struct {
	ID      KeyID
	Patient string // "" is the tenant's
	Key     Secret
}

// NewLogKey draws a key for a patient.
func NewLogKey(patient string) LogKey {
	k := LogKey{Patient: patient, Key: NewSecret()}
	_, _ = rand.Read(k.ID[:]) // never fails: crypto/rand
	return k
}

// Erased reports whether nothing but the id is left.
func (k LogKey) Erased() bool { return k.Key.IsZero() }

// Commitment binds id, patient and secret. The first body under a key carries
// it, so that a log cannot be re-encrypted under keys of somebody's own making.
func (k LogKey) Commitment() [32]byte {
	h := sha256.New()
	h.Write([]byte("wardkey-log-key-v1\x00"))
	h.Write(k.ID[:])
	secret := k.Key.Reveal()
	h.Write(secret[:])
	h.Write([]byte(k.Patient))
	return [32]byte(h.Sum(nil))
}

// wireKey is a LogKey between the log and its custodians.
type wireKey struct {
	_       struct{} `cbor:",toarray"`
	ID      []byte
	Patient string
	Key     []byte
}

// MarshalCBOR reveals the secret: it is meant for the authenticated channel
// between the log and a custodian, who must be able to read what it vouches for.
func (k LogKey) MarshalCBOR() ([]byte, error) {
	secret := k.Key.Reveal()
	return marshal(wireKey{ID: k.ID[:], Patient: k.Patient, Key: secret[:]}), nil
}

// UnmarshalCBOR is the inverse of [LogKey.MarshalCBOR]; it accepts nothing else.
func (k *LogKey) UnmarshalCBOR(data []byte) error {
	var w wireKey
	if err := unmarshal(data, &w); err != nil {
		return fmt.Errorf("log key: %w", err)
	}
	if len(w.ID) != len(k.ID) || len(w.Key) != 32 || len(w.Patient) > MaxPatientBytes {
		return errors.New("log key: wrong length")
	}
	*k = LogKey{ID: KeyID(w.ID), Patient: w.Patient, Key: SecretOf([32]byte(w.Key))}
	return nil
}
