package policy

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
)

// people are the enrolled keys. The lock of the state guards it.
type people struct {
	keys map[string]ed25519.PublicKey // by person
	used map[string]string            // every key there ever was, to its person
}

func newPeople() people {
	return people{keys: map[string]ed25519.PublicKey{}, used: map[string]string{}}
}

// mayUse tells whether a key is a key, and nobody's yet.
func (p *people) mayUse(key []byte) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("key of %d bytes, not %d", len(key), ed25519.PublicKeySize)
	}
	if _, used := p.used[string(key)]; used {
		return errors.New("this key has been somebody's before")
	}
	return nil
}

func (p *people) enrol(person string, key []byte) {
	p.keys[person] = bytes.Clone(key)
	p.used[string(key)] = person
}

// ErrSignature is wrapped when a signature does not verify under the key it
// should.
var ErrSignature = errors.New("bad signature")

// verify checks a person's signature under the key enrolled now.
func (p *people) verify(person string, message, signature []byte) error {
	key, ok := p.keys[person]
	if !ok {
		return fmt.Errorf("%w: %s has no enrolled key", ErrSignature, clip(person))
	}
	return verifySignature(person, key, message, signature)
}

func verifySignature(who string, key ed25519.PublicKey, message, signature []byte) error {
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, message, signature) {
		return fmt.Errorf("%w: not %s's", ErrSignature, clip(who))
	}
	return nil
}
