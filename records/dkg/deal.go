// Package dkg makes the keys of a committee of custodians.
//
// For now it holds [Deal] alone, a trusted dealer: one process that knows the
// whole key for as long as it takes to hand out the shares. It is good for
// demonstrations and tests and for nothing else, since whoever dealt could have
// kept a copy.
//
// # What it leaves to others
//
// The ceremony without a dealer, in which the custodians make the key together
// and none ever has it: commitments before anything is opened, so that the last
// to speak cannot choose the key; Feldman commitments of exactly k points;
// sub-shares sealed to each member; signed complaints and confirmations;
// canary decryptions before first use. So also refreshing shares, and resharing
// to another committee under the same public key. Committees and shares are the
// same [threshold.Committee] and [threshold.Share] either way.
package dkg

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/gtank/ristretto255"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold"
)

// ErrDeal is returned when a dealt committee does not pass its own checks, which
// would be a fault of this machine or this code.
var ErrDeal = errors.New("deal does not hold")

// Deal makes a committee and the shares of its n custodians, of whom any k can
// decrypt and f may lie; share i is that of custodian i+1. It is a trusted
// dealer, for demonstrations: it knows the key while it runs, and forgets it.
//
// What was dealt is checked before it is handed out: every share against the
// Feldman commitments (FOCS 1987), and two sets of k custodians decrypt a canary.
// The error is [threshold.ErrCommittee] if id or the numbers make no sense.
func Deal(id string, n, k, f int) (*threshold.Committee, []*threshold.Share, error) {
	if n < 1 || n > threshold.MaxMembers || k < 1 || k > n {
		return nil, nil, fmt.Errorf("%w: %d of %d custodians", threshold.ErrCommittee, k, n)
	}
	secret := lo.Times(k, func(int) *ristretto255.Scalar { return randomScalar() })
	defer forget(secret)
	commitments := lo.Map(secret, func(a *ristretto255.Scalar, _ int) *ristretto255.Element {
		return ristretto255.NewIdentityElement().ScalarBaseMult(a)
	})
	values := lo.Times(n, func(i int) *ristretto255.Scalar { return evaluate(secret, i+1) })
	defer forget(values)
	keys := lo.Times(n, func(i int) threshold.Point { return encode(evaluateCommitted(commitments, i+1)) })

	committee, err := threshold.NewCommittee(id, n, k, f, encode(commitments[0]), keys)
	if err != nil {
		return nil, nil, err
	}
	shares := make([]*threshold.Share, n)
	for i, value := range values {
		// NewShare multiplies the share out and compares: the Feldman check.
		b := value.Bytes()
		shares[i], err = threshold.NewShare(committee, i+1, b)
		clear(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrDeal, err)
		}
	}
	for _, some := range [][]*threshold.Share{shares[:k], shares[n-k:]} {
		if err := canary(committee, some); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrDeal, err)
		}
	}
	return committee, shares, nil
}

// canary decrypts something with the given shares.
func canary(c *threshold.Committee, shares []*threshold.Share) error {
	var message [32]byte
	rand.Read(message[:])
	label := []byte("canary")
	ct, err := c.Encrypt(message, label)
	if err != nil {
		return err
	}
	partials := make(map[int]threshold.Partial, len(shares))
	for _, share := range shares {
		released, _, err := share.Release([]threshold.Ciphertext{ct}, label)
		if err != nil {
			return err
		}
		partials[share.Index()] = released[0]
	}
	opened, err := c.Combine(ct, label, partials)
	if err != nil {
		return err
	}
	if opened != message {
		return errors.New("the canary came back changed")
	}
	return nil
}

func randomScalar() *ristretto255.Scalar {
	var b [64]byte
	rand.Read(b[:])
	s, err := ristretto255.NewScalar().SetUniformBytes(b[:])
	if err != nil {
		panic("dkg: " + err.Error()) // always 64 bytes
	}
	clear(b[:])
	return s
}

// evaluate is the polynomial at x, by Horner's rule.
func evaluate(coefficients []*ristretto255.Scalar, x int) *ristretto255.Scalar {
	at, value := small(x), ristretto255.NewScalar()
	for i := len(coefficients) - 1; i >= 0; i-- {
		value.Add(value.Multiply(value, at), coefficients[i])
	}
	return value
}

// evaluateCommitted does the same in the exponent; all of it is public.
func evaluateCommitted(commitments []*ristretto255.Element, x int) *ristretto255.Element {
	at, power := small(x), small(1)
	powers := make([]*ristretto255.Scalar, len(commitments))
	for i := range powers {
		powers[i] = ristretto255.NewScalar().Set(power)
		power.Multiply(power, at)
	}
	return ristretto255.NewIdentityElement().VarTimeMultiScalarMult(powers, commitments)
}

// small is a number up to 255 as a scalar.
func small(n int) *ristretto255.Scalar {
	s, err := ristretto255.NewScalar().SetCanonicalBytes(append([]byte{byte(n)}, make([]byte, 31)...))
	if err != nil {
		panic("dkg: " + err.Error()) // below the order
	}
	return s
}

func encode(e *ristretto255.Element) threshold.Point { return threshold.Point(e.Bytes()) }

func forget(secrets []*ristretto255.Scalar) {
	for _, s := range secrets {
		s.Set(ristretto255.NewScalar())
	}
}
