package threshold

import (
	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Encrypt seals message to the committee, by its public keys alone. The label is
// public and bound in: [Committee.Verify] and [Committee.Combine] want the same.
func (c *Committee) Encrypt(message [32]byte, label []byte) (Ciphertext, error) {
	return c.encrypt(message, label, random(64))
}

// encrypt makes both of its nonces of 64 random bytes together with what it
// encrypts: should the same bytes come twice, as from a virtual machine that was
// rolled back, two messages still get nonces of their own.
func (c *Committee) encrypt(message [32]byte, label, entropy []byte) (Ciphertext, error) {
	if err := c.ready(); err != nil {
		return Ciphertext{}, err
	}
	seed := appendPrefixed(nil, entropy, message[:], label)
	nonces := expand(c.domain.tag(forEncrypt), 128, seed)
	r, s := uniformScalar(nonces[:64]), uniformScalar(nonces[64:])
	defer wipe(r, s)
	for _, secret := range [][]byte{entropy, seed, nonces} {
		clear(secret)
	}
	return encode(tdh2.Encrypt(ristretto{}, c.oracles(), c.key, c.gBar, r, s, message, label)), nil
}

func (c *Committee) oracles() oracles { return oracles{domain: c.domain, key: c.key} }
