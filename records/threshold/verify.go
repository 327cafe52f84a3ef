package threshold

import (
	"fmt"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// MaxBatch is how many ciphertexts go into one call: RFC 9497 numbers the items
// of a proof in 16 bits.
const MaxBatch = 1<<16 - 1

// Verify says whether every ciphertext was honestly made for this committee and
// the label beside it. A custodian asks before it releases anything; without it
// the custodians would answer for ciphertexts derived from others.
//
// The error is an [*InvalidError] that names the first bad one, or [ErrBatch].
// Several are verified in one sum with random weights, which a bad one passes
// with probability 2⁻¹²⁸; only when that fails is each looked at by itself.
func (c *Committee) Verify(cts []Ciphertext, labels [][]byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := checkBatch(len(cts), len(labels), "labels"); err != nil {
		return err
	}
	parts := make([]tdh2.Ciphertext[scalar, point], len(cts))
	for i := range cts {
		var err error
		if parts[i], err = cts[i].decode(i); err != nil {
			return err
		}
	}
	if len(parts) > 1 {
		if tdh2.VerifyBatch(ristretto{}, c.oracles(), c.gBar, parts, labels, randomWeights(2*len(parts))) {
			return nil
		}
	}
	for i, label := range labels {
		if !tdh2.Verify(ristretto{}, c.oracles(), c.gBar, parts[i], label) {
			return &InvalidError{Item: i, Reason: "made for another label or committee, or altered"}
		}
	}
	return nil
}

// randomWeights draws n numbers of 128 bits.
func randomWeights(n int) []*scalar {
	return lo.Map(lo.Chunk(random(16*n), 16), func(b []byte, _ int) *scalar { return shortScalar(b) })
}

// VerifyPartials checks what [Share.Release] answered for the same ciphertexts
// and context, as custodian index (from 1). One proof covers the batch, so it is
// the custodian that the [*CustodianError] names, not one of its partials. Other
// errors are the caller's: [ErrBatch], or an [*InvalidError] for a ciphertext that
// does not decode.
func (c *Committee) VerifyPartials(index int, cts []Ciphertext, partials []Partial, proof Proof, context []byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	if index < 1 || index > c.N {
		return &CustodianError{Index: index, Reason: fmt.Sprintf("there are %d custodians", c.N)}
	}
	if len(partials) != len(cts) {
		return &CustodianError{Index: index, Reason: fmt.Sprintf("%d partials for %d ciphertexts", len(partials), len(cts))}
	}
	us, err := decodeUs(cts)
	if err != nil {
		return err
	}
	shares := make([]*point, len(partials))
	for i := range partials {
		if shares[i], err = decodePoint(partials[i][:]); err != nil {
			return &CustodianError{Index: index, Reason: fmt.Sprintf("item %d: %v", i, err)}
		}
	}
	challenge, response, err := proof.decode()
	if err != nil {
		return &CustodianError{Index: index, Reason: "proof: " + err.Error()}
	}
	if !tdh2.VerifyProof(ristretto{}, c.domain.dleq(context), c.keys[index-1], us, shares, challenge, response) {
		return &CustodianError{Index: index, Reason: "the proof does not hold"}
	}
	return nil
}

func decodeUs(cts []Ciphertext) ([]*point, error) {
	if err := checkBatch(len(cts), len(cts), "ciphertexts"); err != nil {
		return nil, err
	}
	us := make([]*point, len(cts))
	for i := range cts {
		var err error
		if us[i], err = cts[i].u(i); err != nil {
			return nil, err
		}
	}
	return us, nil
}

func checkBatch(n, others int, what string) error {
	switch {
	case n == 0:
		return fmt.Errorf("%w: it is empty", ErrBatch)
	case n > MaxBatch:
		return fmt.Errorf("%w: %d items exceed %d", ErrBatch, n, MaxBatch)
	case others != n:
		return fmt.Errorf("%w: %d %s for %d ciphertexts", ErrBatch, others, what, n)
	}
	return nil
}
