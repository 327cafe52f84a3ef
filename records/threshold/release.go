package threshold

import (
	"fmt"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Release decrypts each ciphertext partially and proves, once for all of them and
// bound to context, that it did. It assumes that [Committee.Verify] has passed
// the ciphertexts, and that whoever asks may have them opened.
//
// The same ciphertexts give the same partials every time; only the proof is made
// anew, so that answering a question twice tells nothing more. The error is
// [ErrShare], [ErrBatch] or an [*InvalidError].
func (s *Share) Release(cts []Ciphertext, context []byte) ([]Partial, Proof, error) {
	return s.release(cts, context, random(32))
}

func (s *Share) release(cts []Ciphertext, context, entropy []byte) ([]Partial, Proof, error) {
	if s.secret == nil {
		return nil, Proof{}, fmt.Errorf("%w: it has been destroyed", ErrShare)
	}
	us, err := decodeUs(cts)
	if err != nil {
		return nil, Proof{}, err
	}
	shares := lo.Map(us, func(u *point, _ int) *point { return ristretto{}.Mul(s.secret, u) })
	defer func() { // k of one of them open its record
		for _, share := range shares {
			share.wipe()
		}
	}()
	partials := lo.Map(shares, func(p *point, _ int) Partial { return Partial(p.bytes()) })

	domain := newDomain(s.suite, s.committee)
	transcript := domain.dleq(context)
	// The nonce takes in the share and the statement besides the random bytes:
	// if those repeat, the same nonce comes with the same challenge alone. Two
	// challenges to one nonce would give the share away.
	var r *scalar
	nonce := func(m, z *point) *scalar {
		x := s.secret.Bytes()
		seed := appendPrefixed(nil, x, entropy, []byte(transcript), s.public.bytes(), m.bytes(), z.bytes())
		r = hashToScalar(domain.tag(forProof), seed)
		clear(x)
		clear(seed)
		return r
	}
	challenge, response := tdh2.Prove(ristretto{}, transcript, s.secret, s.public, us, shares, nonce)
	wipe(r)
	clear(entropy)
	return partials, Proof(append(challenge.Bytes(), response.Bytes()...)), nil
}
