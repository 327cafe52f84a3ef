package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Limits of a statement on the log, bytes. An ID token is the largest thing that
// travels in one; what people sign, and might have read, is much smaller.
const (
	maxStatement = 64 << 10
	maxWords     = 8 << 10 // grants, withdrawals, relations
)

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
		return errors.New(clipTo(err.Error(), refused))
	}
	if !bytes.Equal(marshal(v), data) {
		return fmt.Errorf("not the deterministic encoding")
	}
	return nil
}

// How much of what somebody else wrote an error repeats, bytes.
const (
	quoted  = 64  // of an id, a code, a claim
	refused = 160 // of what a decoder says, which may quote its input
)

// clip cuts a text that may be of any length to what an error can quote.
func clip(s string) string { return clipTo(s, quoted) }

func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
