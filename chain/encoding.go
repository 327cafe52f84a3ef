package chain

import (
	"bytes"
	"errors"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// encoding is RFC 8949 §4.2.1 both ways: one encoding of a value, and no other
// accepted.
type encoding struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var modes = sync.OnceValue(func() encoding {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   8,
		MaxArrayElements:  1 << 17,
		MaxMapPairs:       64,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return encoding{enc: enc, dec: dec}
})

var errNotCanonical = errors.New("not deterministic CBOR")

// marshal encodes v deterministically. It fails only for types that this
// package does not have.
func marshal(v any) []byte {
	out, err := modes().enc.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

// unmarshal decodes data into v and refuses every encoding but the one that
// marshal makes, so that a hash of the bytes is a hash of the value.
func unmarshal(data []byte, v any) error {
	if err := modes().dec.Unmarshal(data, v); err != nil {
		return err
	}
	again, err := modes().enc.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errNotCanonical
	}
	return nil
}
