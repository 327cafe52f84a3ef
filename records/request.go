package records

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"github.com/wardkey/wardkey/chain"
)

// Request is Q: what a reader asks the custodians for. The log entry that
// permits it holds its hash, so nothing in it can change afterwards, the reader
// key least of all.
type Request struct {
	SignIn   uint64   `cbor:"1,keyasint"` // index of the sign-in entry it cites
	Action   string   `cbor:"2,keyasint"`
	Purpose  string   `cbor:"3,keyasint"`
	Scopes   []string `cbor:"4,keyasint,omitempty"`
	Labels   [][]byte `cbor:"5,keyasint"`           // LabelHash of each, in the order of the items
	Reader   []byte   `cbor:"6,keyasint"`           // one-time X-Wing public key
	NotAfter int64    `cbor:"7,keyasint"`           // Unix ms; at most 30 s after the entry's time
	Nonce    []byte   `cbor:"8,keyasint"`           // 16 random bytes
	Context  string   `cbor:"9,keyasint,omitempty"` // launch context "Patient/…"; the gateway's word, as purpose and scopes are; the entry repeats all three
}

const (
	maxRequest = 64 << 10
	readerSize = 1216 // X-Wing public key
	nonceSize  = 16
	maxScopes  = 128
)

// Encode returns the deterministic CBOR form.
func (r *Request) Encode() []byte { return encode(r) }

// Hash is H(Q), what an entry's Request field holds.
func (r *Request) Hash() [32]byte { return RequestHash(r.Encode()) }

// RequestHash is H(Q) of an encoded request.
func RequestHash(encoded []byte) [32]byte { return hashed("wardkey-request-v1\x00", encoded) }

// DecodeRequest reads and validates an encoded request.
func DecodeRequest(data []byte) (*Request, error) {
	var r Request
	if err := decodeCanonical("request", data, maxRequest, &r); err != nil {
		return nil, err
	}
	switch {
	case len(r.Labels) == 0 || len(r.Labels) > MaxItems:
		return nil, fmt.Errorf("request for %d resources: %w", len(r.Labels), ErrEncoding)
	case len(r.Scopes) > maxScopes || len(r.Action) > 64 || len(r.Purpose) > 64 || len(r.Context) > 128:
		return nil, fmt.Errorf("request's action, purpose or scopes are too long: %w", ErrEncoding)
	case len(r.Reader) != readerSize || len(r.Nonce) != nonceSize || r.NotAfter <= 0:
		return nil, fmt.Errorf("request's reader key, nonce or end: %w", ErrEncoding)
	}
	for _, l := range r.Labels {
		if len(l) != 32 {
			return nil, fmt.Errorf("request's label hash is %d bytes: %w", len(l), ErrEncoding)
		}
	}
	return &r, nil
}

// Item is what custodians get to see of one envelope.
type Item struct {
	Label      []byte   `cbor:"1,keyasint"`
	Attributes []byte   `cbor:"2,keyasint"` // sealed
	Leaf       []byte   `cbor:"3,keyasint"`
	Payload    [32]byte `cbor:"4,keyasint"` // SHA-256 of the sealed payload
}

// Digest is that of the envelope the item was taken from, given its decoded
// leaf.
func (i *Item) Digest(leaf *Leaf) [32]byte { return envelopeDigest(i.Label, []Leaf{*leaf}, i.Payload) }

// AttributesHash is what the label must hold for the item's attributes.
func (i *Item) AttributesHash() [32]byte { return attributesHash(i.Attributes) }

// LeafLabel is the label under which the leaf was encrypted.
func (i *Item) LeafLabel(leaf *Leaf) []byte { return leafLabel(i.Label, leaf.Committee, leaf.Path) }

// Release asks for the partials of one logged request.
type Release struct {
	Index   uint64 `cbor:"1,keyasint"` // of the entry that permits it
	Request []byte `cbor:"2,keyasint"` // encoded Q
	Items   []Item `cbor:"3,keyasint"`
}

// Round is one call to one custodian: the entries since its head, and every
// release in flight.
type Round struct {
	ID       []byte         `cbor:"1,keyasint"` // 32 random bytes
	KeysFrom uint64         `cbor:"2,keyasint,omitempty"`
	Keys     []chain.LogKey `cbor:"3,keyasint,omitempty"`
	Batch    chain.Batch    `cbor:"4,keyasint"` // may hold no records; its checkpoint is then the newest
	Releases []Release      `cbor:"5,keyasint,omitempty"`
}

// RoundIDSize is the length of a round's id in bytes.
const RoundIDSize = 32

// Encode returns the deterministic CBOR form.
func (r *Round) Encode() []byte { return encode(r) }

// DecodeRound reads an encoded round. It bounds what the round holds; what each
// part says is the custodian's to check.
func DecodeRound(data []byte) (*Round, error) {
	var r Round
	if err := decode("round", data, MaxRound, &r); err != nil {
		return nil, err
	}
	if err := CheckRound(&r); err != nil {
		return nil, err
	}
	return &r, nil
}

// CheckRound holds a round against the limits.
func CheckRound(r *Round) error {
	if len(r.ID) != RoundIDSize || len(r.Releases) > MaxReleases {
		return fmt.Errorf("round's id or number of releases: %w", ErrEncoding)
	}
	items := 0
	for _, release := range r.Releases {
		items += len(release.Items)
		if len(release.Items) > MaxItems || items > MaxRoundItems {
			return fmt.Errorf("round asks for too many resources: %w", ErrEncoding)
		}
	}
	return nil
}

// Answer is what a custodian says to a round.
type Answer struct {
	Custodian   int             `cbor:"1,keyasint"`
	Size        uint64          `cbor:"2,keyasint"`           // entries it holds
	Keys        uint64          `cbor:"3,keyasint"`           // log keys it holds
	Cosignature []byte          `cbor:"4,keyasint,omitempty"` // its head's checkpoint, cosigned
	Releases    []ReleaseAnswer `cbor:"5,keyasint,omitempty"` // one for each release, in order
	Proof       []byte          `cbor:"6,keyasint,omitempty"` // one for all released items, in order
	Signature   []byte          `cbor:"7,keyasint,omitempty"` // Ed25519, over the round's releases and all of the above
}

// ReleaseAnswer is a refusal or a box.
type ReleaseAnswer struct {
	Refusal string `cbor:"1,keyasint,omitempty"` // a policy.Reason or a Refused… constant
	Box     []byte `cbor:"2,keyasint,omitempty"` // HPKE to the reader key: the partials, 32 bytes each
}

// Encode returns the deterministic CBOR form.
func (a *Answer) Encode() []byte { return encode(a) }

// DecodeAnswer reads an encoded answer.
func DecodeAnswer(data []byte) (*Answer, error) {
	var a Answer
	if err := decode("answer", data, MaxAnswer, &a); err != nil {
		return nil, err
	}
	if len(a.Releases) > MaxReleases || a.Custodian < 1 || len(a.Signature) != ed25519.SignatureSize {
		return nil, fmt.Errorf("answer's custodian, releases or signature: %w", ErrEncoding)
	}
	return &a, nil
}

// Message is what the custodian signs: the answer without its signature, bound
// to the round by its id and to what the round asked for, so that an answer is
// neither replayed nor taken for another's.
func (a *Answer) Message(r *Round) []byte {
	unsigned := *a
	unsigned.Signature = nil
	asked := make([][]byte, 0, 2*len(r.Releases))
	for _, release := range r.Releases {
		hash := RequestHash(release.Request)
		asked = append(asked, hash[:], indexBytes(release.Index))
	}
	releases := hashed("wardkey-asked-v1\x00", asked...)
	return append([]byte("wardkey-answer-v1\x00"), joined(r.ID, releases[:], encode(&unsigned))...)
}

// ProofContext is the context of a round's proof: the suite, the checkpoint that
// came with the round (its signed text, which holds origin, size and root), and
// the round's id.
func ProofContext(checkpoint []byte, round []byte) ([]byte, error) {
	text, _, ok := bytes.Cut(checkpoint, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("round's checkpoint: %w", ErrEncoding)
	}
	return append([]byte("wardkey-round-v1\x00"), joined([]byte{Suite1}, text, round)...), nil
}
