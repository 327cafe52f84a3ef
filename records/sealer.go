package records

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/threshold"
)

// SealerConfig is what a [Sealer] needs; all of it is required.
type SealerConfig struct {
	Tenant     string
	Committee  *threshold.Committee
	Attributes *AttributeKey
	Tree       string // access tree; "K of custodians" if empty
}

// Sealer seals resources, offline, by public keys and the attribute key. It
// cannot open what it sealed. It is safe for concurrent use.
type Sealer struct {
	tenant     string
	committee  *threshold.Committee
	attributes *AttributeKey
	tree       Tree
}

// NewSealer refuses access trees that this suite does not serve; the error then
// wraps [ErrUnsupportedTree].
func NewSealer(c SealerConfig) (*Sealer, error) {
	switch {
	case !validTenant(c.Tenant):
		return nil, fmt.Errorf("sealer: tenant %q is empty, too long or not plain ASCII", c.Tenant)
	case c.Committee == nil:
		return nil, errors.New("sealer: a committee is required")
	case c.Attributes == nil:
		return nil, errors.New("sealer: an attribute key is required")
	}
	if err := c.Committee.Validate(); err != nil {
		return nil, fmt.Errorf("sealer: %w", err)
	}
	tree := CommitteeTree(c.Committee.K)
	if c.Tree != "" {
		var err error
		if tree, err = ParseTree(c.Tree); err != nil {
			return nil, fmt.Errorf("sealer: %w", err)
		}
	}
	if err := tree.supported(c.Committee.K); err != nil {
		return nil, fmt.Errorf("sealer: %w", err)
	}
	return &Sealer{tenant: c.Tenant, committee: c.Committee, attributes: c.Attributes, tree: tree}, nil
}

// Seal wraps the resource, byte for byte as it is given, as the numbered
// revision. Its attributes a come from policy.Describe and must be those of the
// same resource; a.Patient becomes the compartment. Sealing the same revision
// again makes an envelope with nothing in common with the first.
func (s *Sealer) Seal(r *fhir.Resource, a policy.Resource, revision uint64) (*Envelope, error) {
	switch {
	case !sealable(r.Type()):
		return nil, &UnsupportedTypeError{Type: r.Type()}
	case r.ID() == "":
		return nil, fmt.Errorf("seal %s: it has no id", r.Type())
	case a.Type != r.Type() || a.ID != r.ID():
		return nil, fmt.Errorf("seal %s/%s: attributes are those of %s/%s", r.Type(), r.ID(), a.Type, a.ID)
	}
	attributes, err := s.attributes.Seal(a, revision)
	if err != nil {
		return nil, fmt.Errorf("seal %s/%s: %w", r.Type(), r.ID(), err)
	}
	var root [32]byte
	rand.Read(root[:])
	defer clear(root[:])
	label := Label{
		Suite: Suite1, Tenant: s.tenant, Type: r.Type(), ID: r.ID(), Revision: revision, Compartment: a.Patient,
		Tree:       s.tree.Hash(),
		Attributes: attributesHash(attributes),
		Com:        commitment(root[:], r.Type(), r.ID(), revision),
	}
	if err := label.validate(); err != nil {
		return nil, fmt.Errorf("seal %s/%s: %w", r.Type(), r.ID(), err)
	}
	encoded := label.Encode()
	ciphertext, err := s.committee.Encrypt(root, leafLabel(encoded, s.committee.ID, nil))
	if err != nil {
		return nil, fmt.Errorf("seal %s/%s: %w", r.Type(), r.ID(), err)
	}
	e := &Envelope{
		Version: envelopeVersion, Label: label, Tree: s.tree.String(), Attributes: attributes,
		Leaves:  []Leaf{{Committee: s.committee.ID, Path: []uint8{}, Ciphertext: ciphertext[:]}},
		Payload: payloadCipher(root[:], nil, encoded, label.Com).Seal(nil, payloadNonce(), pad(r.JSON(), payloadFloor), encoded),
	}
	if size := len(e.Payload); size > MaxEnvelope-MaxAttributes-maxTerms-8192 {
		return nil, fmt.Errorf("seal %s/%s: %d bytes sealed exceed the limit", r.Type(), r.ID(), size)
	}
	return e, nil
}

// open undoes Seal, given the root secret that the label commits to. Its errors
// wrap [ErrBroken].
func (e *Envelope) open(root *[32]byte) (*fhir.Resource, error) {
	ref := e.Label.Ref()
	label := e.Label.Encode()
	padded, err := payloadCipher(root[:], e.Shred, label, e.Label.Com).Open(nil, payloadNonce(), e.Payload, label)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", ref, ErrBroken, err)
	}
	plain, err := unpad(padded)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", ref, ErrBroken, err)
	}
	r, err := fhir.Parse(plain, fhir.Limits{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", ref, ErrBroken, err)
	}
	if r.Type() != ref.Type || r.ID() != ref.ID {
		return nil, fmt.Errorf("%s: holds another resource: %w", ref, ErrBroken)
	}
	return r, nil
}

// commits says whether root is the secret the label commits to. AES-GCM does
// not commit to its key; this does.
func (e *Envelope) commits(root *[32]byte) bool {
	com := commitment(root[:], e.Label.Type, e.Label.ID, e.Label.Revision)
	return subtle.ConstantTimeCompare(com[:], e.Label.Com[:]) == 1
}

// payloadCipher derives the key of one revision: HKDF-SHA256(ρ‖ρ₂, L₀‖com).
func payloadCipher(root, shred, label []byte, com [32]byte) cipher.AEAD {
	info := append([]byte("wardkey-payload-v1\x00"), joined(label, com[:])...)
	secret := append(append([]byte(nil), root...), shred...)
	defer clear(secret)
	key, err := hkdf.Key(sha256.New, secret, nil, string(info), 32)
	if err != nil {
		panic("records: derive payload key: " + err.Error()) // 32 bytes are always to be had
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("records: payload cipher: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("records: payload cipher: " + err.Error())
	}
	return aead
}

// payloadNonce is constant: ρ is drawn for one sealing and never used again.
func payloadNonce() []byte { return make([]byte, 12) }
