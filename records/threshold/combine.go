package threshold

import (
	"fmt"
	"maps"
	"slices"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Combine opens a ciphertext with the partial decryptions of k custodians, by
// their indexes; of more than k, those with the lowest indexes are used. It
// assumes that [Committee.Verify] has passed the ciphertext for the label.
//
// It takes partials on trust, since checking them costs more than combining: a
// false one makes the message another, with no error. Whoever needs to know holds
// the message against a commitment, and asks [Committee.VerifyPartials] for the
// culprit when it does not match. The error is [ErrTooFewPartials], or a
// [*CustodianError] for a partial that is badly encoded.
func (c *Committee) Combine(ct Ciphertext, label []byte, partials map[int]Partial) (message [32]byte, err error) {
	if err := c.ready(); err != nil {
		return message, err
	}
	indexes := slices.Sorted(maps.Keys(partials))
	if i, found := lo.Find(indexes, func(i int) bool { return i < 1 || i > c.N }); found {
		return message, &CustodianError{Index: i, Reason: fmt.Sprintf("there are %d custodians", c.N)}
	}
	if len(indexes) < c.K {
		return message, fmt.Errorf("%w: %d of %d", ErrTooFewPartials, len(indexes), c.K)
	}
	indexes = indexes[:c.K]
	shares := make([]*point, c.K)
	for i, index := range indexes {
		partial := partials[index]
		if shares[i], err = decodePoint(partial[:]); err != nil {
			return message, &CustodianError{Index: index, Reason: err.Error()}
		}
		defer shares[i].wipe()
	}
	parts := tdh2.Ciphertext[scalar, point]{C: [32]byte(ct[:32]), U: undecoded(ct[32:64])}
	shared := tdh2.Combine(ristretto{}, indexes, shares)
	defer shared.wipe()
	return tdh2.Open(c.oracles(), parts, shared, label), nil
}
