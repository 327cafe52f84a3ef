package records

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A sealed resource's exact length fingerprints forms and results: a PHQ-9 is
// recognised by its size among ten thousand observations. Payloads are
// therefore padded to the sizes of Padmé (Nikitin et al., "Reducing Metadata
// Leakage from Encrypted Files and Communication with PURBs", PoPETs 2019 §4):
// a length of M bytes leaks O(log log M) bits for at most 12 % of storage. Below
// the floor, where most observations lie, every length is one.
const (
	payloadFloor    = 1024
	attributesFloor = 256

	minPayload = payloadFloor + 16 // with GCM's tag
)

// pad frames plain by its length and fills up with zeros. The result is
// encrypted and authenticated as a whole, so the filling says nothing.
func pad(plain []byte, floor int) []byte {
	out := make([]byte, padded(4+len(plain), floor))
	binary.BigEndian.PutUint32(out, uint32(len(plain)))
	copy(out[4:], plain)
	return out
}

// unpad undoes pad; anything but zeros behind the content is refused, so that
// a payload has one form.
func unpad(framed []byte) ([]byte, error) {
	if len(framed) < 4 {
		return nil, fmt.Errorf("padded content of %d bytes: %w", len(framed), ErrEncoding)
	}
	size := binary.BigEndian.Uint32(framed)
	if uint64(size) > uint64(len(framed)-4) {
		return nil, fmt.Errorf("padded content overruns: %w", ErrEncoding)
	}
	plain, rest := framed[4:4+size], framed[4+size:]
	for _, b := range rest {
		if b != 0 {
			return nil, fmt.Errorf("padding is not zero: %w", ErrEncoding)
		}
	}
	return plain, nil
}

// padded is the Padmé length for size, at least floor.
func padded(size, floor int) int {
	if size <= floor {
		return floor
	}
	exponent := bits.Len(uint(size)) - 1
	low := exponent - bits.Len(uint(exponent)) // bits of the length that must be zero
	mask := 1<<low - 1
	return (size + mask) &^ mask
}
