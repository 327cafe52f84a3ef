package audit

import (
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// encoding is RFC 8949 §4.2.1 both ways.
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
		MaxArrayElements:  1 << 24, // a patient's entries
		MaxMapPairs:       16,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return encoding{enc: enc, dec: dec}
})
