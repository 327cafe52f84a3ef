package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Limits of everything that is decoded here. What exceeds one is refused
// before it is parsed or allocated.
const (
	MaxLabel      = 1 << 10  // bytes of an encoded label
	MaxAttributes = 64 << 10 // bytes of sealed attributes
	MaxEnvelope   = 16 << 20 // bytes of an encoded envelope
	MaxItems      = 256      // resources in one release
	MaxReleases   = 256      // releases in one round
	MaxRoundItems = 2048     // resources in one round
	MaxRound      = 32 << 20 // bytes of an encoded round
	MaxAnswer     = 16 << 20 // bytes of an encoded answer
)

// ErrEncoding is wrapped by every decoder's error in this package.
var ErrEncoding = errors.New("malformed encoding")

// encMode is RFC 8949 §4.2.1 deterministic encoding: what is signed or hashed
// has one form.
var encMode = sync.OnceValue(func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("records: encoding options: " + err.Error())
	}
	return mode
})

var decMode = sync.OnceValue(func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   16,
		MaxArrayElements:  1 << 17,
		MaxMapPairs:       64,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic("records: decoding options: " + err.Error())
	}
	return mode
})

// encode never fails on the types of this package: they hold nothing that CBOR
// cannot carry.
func encode(v any) []byte {
	data, err := encMode().Marshal(v)
	if err != nil {
		panic("records: encode: " + err.Error())
	}
	return data
}

// decode is strict but for canonical form; see decodeCanonical.
func decode(what string, data []byte, limit int, into any) error {
	if len(data) > limit {
		return fmt.Errorf("%s of %d bytes, at most %d: %w", what, len(data), limit, ErrEncoding)
	}
	if err := decMode().Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrEncoding, err)
	}
	return nil
}

// decodeCanonical also refuses every encoding but the deterministic one, so
// that equal values have equal hashes. It catches byte strings of the wrong
// length for a fixed array, too, which the decoder would fill or cut.
func decodeCanonical(what string, data []byte, limit int, into any) error {
	if err := decode(what, data, limit, into); err != nil {
		return err
	}
	if !bytes.Equal(encode(into), data) {
		return fmt.Errorf("%s is not in deterministic form: %w", what, ErrEncoding)
	}
	return nil
}

// joined is ‖: parts with their lengths, so that no two lists of parts make the
// same bytes.
func joined(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += 8 + len(p)
	}
	out := make([]byte, 0, size)
	for _, p := range parts {
		out = binary.BigEndian.AppendUint64(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}

// hashed is SHA-256 under a domain tag over length-prefixed parts.
func hashed(domain string, parts ...[]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(domain))
	writeJoined(h, parts...)
	return [32]byte(h.Sum(nil))
}

func writeJoined(h hash.Hash, parts ...[]byte) {
	var length [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write(p)
	}
}
