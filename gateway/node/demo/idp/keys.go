package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"

	"github.com/go-jose/go-jose/v4"
)

// Keys are the issuer's signing keys: RS256, which every OpenID Connect client
// understands, and ES256, published beside it so that relying parties are seen
// to pick by key id rather than to take the only one there is.
type Keys struct {
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	signer jose.Signer
}

// GenerateKeys makes fresh keys.
func GenerateKeys() (*Keys, error) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key: %w", err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate P-256 key: %w", err)
	}
	return newKeys(r, e)
}

// ParseKeys reads what [Keys.Secret] wrote.
func ParseKeys(data []byte) (*Keys, error) {
	first, rest := pem.Decode(data)
	if first == nil {
		return nil, fmt.Errorf("issuer keys: no RSA key")
	}
	second, rest := pem.Decode(rest)
	if second == nil || len(rest) > 0 {
		return nil, fmt.Errorf("issuer keys: want two keys and nothing more")
	}
	r, err := x509.ParsePKCS8PrivateKey(first.Bytes)
	if err != nil {
		return nil, fmt.Errorf("issuer RSA key: %w", err)
	}
	e, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	if err != nil {
		return nil, fmt.Errorf("issuer EC key: %w", err)
	}
	rk, okR := r.(*rsa.PrivateKey)
	ek, okE := e.(*ecdsa.PrivateKey)
	if !okR || !okE {
		return nil, fmt.Errorf("issuer keys are %T and %T: want RSA, then ECDSA", r, e)
	}
	return newKeys(rk, ek)
}

// Secret returns both keys as PKCS #8 in PEM, for a file nobody else may read.
func (k *Keys) Secret() ([]byte, error) {
	var out []byte
	for _, key := range []crypto.Signer{k.rsa, k.ec} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("encode issuer key: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return out, nil
}

// Public is the key set that relying parties pin or fetch.
func (k *Keys) Public() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: k.rsa.Public(), KeyID: keyID(k.rsa.Public()), Algorithm: string(jose.RS256), Use: "sig"},
		{Key: k.ec.Public(), KeyID: keyID(k.ec.Public()), Algorithm: string(jose.ES256), Use: "sig"},
	}}
}

// LogValue keeps the keys out of logs.
func (k *Keys) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the keys out of formatted text.
func (k *Keys) String() string { return "[redacted]" }

// GoString keeps the keys out of %#v.
func (k *Keys) GoString() string { return "[redacted]" }

func newKeys(r *rsa.PrivateKey, e *ecdsa.PrivateKey) (*Keys, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: r, KeyID: keyID(r.Public())}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("issuer signer: %w", err)
	}
	return &Keys{rsa: r, ec: e, signer: signer}, nil
}

// keyID is the RFC 7638 thumbprint, so that the id follows from the key.
func keyID(public any) string {
	thumb, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		panic("idp: thumbprint of an RSA or P-256 key: " + err.Error()) // both kinds have one
	}
	return base64.RawURLEncoding.EncodeToString(thumb)
}

// challenge is RFC 7636's S256 transformation.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
