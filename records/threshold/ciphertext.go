package threshold

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Ciphertext is 32 encrypted bytes: c, u, ū, w, w̄ and f, 32 bytes each.
type Ciphertext [192]byte

// Partial is one custodian's partial decryption x_i·u of one ciphertext: with
// k−1 others it opens that ciphertext, so it prints, logs and encodes to text as
// "[redacted]".
type Partial [32]byte

// Proof shows that a batch of partial decryptions was made with the share that
// the committee lists: challenge and response of RFC 9497 §2.2, 32 bytes each.
type Proof [64]byte

// ParseCiphertext reads a ciphertext: exactly 192 bytes, canonical points none of
// which is the identity, a canonical scalar. The error is an [*InvalidError].
// That it was honestly made for some label is for [Committee.Verify] to say.
func ParseCiphertext(b []byte) (Ciphertext, error) {
	if len(b) != len(Ciphertext{}) {
		return Ciphertext{}, &InvalidError{Reason: fmt.Sprintf("%d bytes in place of %d", len(b), len(Ciphertext{}))}
	}
	ct := Ciphertext(b)
	if _, err := ct.decode(0); err != nil {
		return Ciphertext{}, err
	}
	return ct, nil
}

// decode takes a ciphertext apart; item is its place, for the error.
func (ct *Ciphertext) decode(item int) (parts tdh2.Ciphertext[scalar, point], err error) {
	copy(parts.C[:], ct[:32])
	for i, part := range []struct {
		name string
		to   **point
	}{{"u", &parts.U}, {"ū", &parts.UBar}, {"w", &parts.W}, {"w̄", &parts.WBar}} {
		if *part.to, err = decodePoint(ct[32*(i+1) : 32*(i+2)]); err != nil {
			return parts, &InvalidError{Item: item, Reason: part.name + ": " + err.Error()}
		}
	}
	if parts.F, err = decodeScalar(ct[160:]); err != nil {
		return parts, &InvalidError{Item: item, Reason: "f: " + err.Error()}
	}
	return parts, nil
}

// u decodes as much as a custodian multiplies.
func (ct *Ciphertext) u(item int) (*point, error) {
	u, err := decodePoint(ct[32:64])
	if err != nil {
		return nil, &InvalidError{Item: item, Reason: "u: " + err.Error()}
	}
	return u, nil
}

func encode(parts tdh2.Ciphertext[scalar, point]) (ct Ciphertext) {
	copy(ct[:32], parts.C[:])
	for i, p := range []*point{parts.U, parts.UBar, parts.W, parts.WBar} {
		copy(ct[32*(i+1):], p.bytes())
	}
	copy(ct[160:], parts.F.Bytes())
	return ct
}

// ParsePartial reads a partial decryption: a canonical point, not the identity.
func ParsePartial(b []byte) (Partial, error) {
	if _, err := decodePoint(b); err != nil {
		return Partial{}, fmt.Errorf("partial decryption: %w", err)
	}
	return Partial(b), nil
}

// ParseProof reads a proof: two canonical scalars.
func ParseProof(b []byte) (Proof, error) {
	if len(b) != len(Proof{}) {
		return Proof{}, fmt.Errorf("proof: %d bytes in place of %d", len(b), len(Proof{}))
	}
	p := Proof(b)
	if _, _, err := p.decode(); err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	return p, nil
}

func (p *Proof) decode() (challenge, response *scalar, err error) {
	if challenge, err = decodeScalar(p[:32]); err != nil {
		return nil, nil, fmt.Errorf("challenge: %w", err)
	}
	if response, err = decodeScalar(p[32:]); err != nil {
		return nil, nil, fmt.Errorf("response: %w", err)
	}
	return challenge, response, nil
}

// String hides the point.
func (Partial) String() string { return redacted }

// GoString hides the point.
func (Partial) GoString() string { return redacted }

// Format hides the point from every verb.
func (Partial) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the point from logs.
func (Partial) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the point from JSON and YAML.
func (Partial) MarshalText() ([]byte, error) { return []byte(redacted), nil }
