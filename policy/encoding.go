package policy

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// maxStatement bounds a statement on the log. An ID token is the largest thing
// that travels in one.
const maxStatement = 64 << 10

// codec is deterministic CBOR (RFC 8949 §4.2.1) both ways: what does not have
// its one spelling is not decoded.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // options are constants
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   8,
		MaxArrayElements:  1024,
		MaxMapPairs:       256,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
}

// wire is shared and immutable.
var wire = newCodec()

// marshal encodes v. It panics on a type that has no encoding, which would be a
// programmer's mistake.
func marshal(v any) []byte {
	b, err := wire.enc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("policy: encode %T: %v", v, err))
	}
	return b
}

// unmarshal decodes data into v and refuses every other spelling of the same
// thing: what was signed or hashed can then be recomputed from what was decoded.
func unmarshal(data []byte, v any) error {
	if len(data) > maxStatement {
		return fmt.Errorf("statement of %d bytes, at most %d", len(data), maxStatement)
	}
	if err := wire.dec.Unmarshal(data, v); err != nil {
		return err
	}
	if !bytes.Equal(marshal(v), data) {
		return fmt.Errorf("not the deterministic encoding")
	}
	return nil
}
