package records

import (
	"fmt"
	"strconv"

	"github.com/wardkey/wardkey/fhir"
)

// Suite1 is TDH2 over ristretto255, SHA-256/512, AES-256-GCM, X-Wing boxes.
const Suite1 = 1

// Label is L₀: what a sealed revision is, in the clear, and bound to
// everything that opens it. A ciphertext moved to another resource, revision
// or patient has another label, and custodians refuse it.
type Label struct {
	Suite       uint8    `cbor:"1,keyasint"`
	Tenant      string   `cbor:"2,keyasint"`
	Type        string   `cbor:"3,keyasint"`
	ID          string   `cbor:"4,keyasint"`
	Revision    uint64   `cbor:"5,keyasint"`           // the gateway's own, from 1
	Compartment string   `cbor:"6,keyasint,omitempty"` // "Patient/…", empty: concerns no patient
	Epoch       uint64   `cbor:"7,keyasint,omitempty"` // of the compartment's key; 0 while there is none
	Tree        [32]byte `cbor:"8,keyasint"`           // hash of the access tree's text
	Attributes  [32]byte `cbor:"9,keyasint"`           // hash of the sealed attributes
	Com         [32]byte `cbor:"10,keyasint"`          // commitment to ρ
}

// Encode returns the deterministic CBOR form.
func (l *Label) Encode() []byte { return encode(l) }

// Hash is what a request cites.
func (l *Label) Hash() [32]byte { return LabelHash(l.Encode()) }

// Ref is the resource it labels.
func (l *Label) Ref() fhir.Ref { return fhir.Ref{Type: l.Type, ID: l.ID} }

// LabelHash is the hash of an encoded label.
func LabelHash(encoded []byte) [32]byte { return hashed("wardkey-label-v1\x00", encoded) }

// DecodeLabel reads and validates an encoded label.
func DecodeLabel(data []byte) (*Label, error) {
	var l Label
	if err := decodeCanonical("label", data, MaxLabel, &l); err != nil {
		return nil, err
	}
	if err := l.validate(); err != nil {
		return nil, err
	}
	return &l, nil
}

func (l *Label) validate() error {
	switch {
	case l.Suite != Suite1:
		return fmt.Errorf("label of suite %d, only %d is known: %w", l.Suite, Suite1, ErrEncoding)
	case !validTenant(l.Tenant):
		return fmt.Errorf("label's tenant: %w", ErrEncoding)
	case !fhir.KnownType(l.Type) || !fhir.ValidID(l.ID):
		return fmt.Errorf("label's resource: %w", ErrEncoding)
	case l.Revision == 0:
		return fmt.Errorf("label's revision is zero: %w", ErrEncoding)
	case l.Epoch != 0:
		return fmt.Errorf("label names a compartment epoch, which suite 1 does not have: %w", ErrEncoding)
	}
	if l.Compartment != "" {
		ref, err := fhir.ParseRef(l.Compartment, "")
		if err != nil || ref.Type != "Patient" || ref.Version != "" || ref.String() != l.Compartment {
			return fmt.Errorf("label's compartment is not a patient: %w", ErrEncoding)
		}
	}
	return nil
}

func validTenant(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// leafLabel is a leaf's label in the tree: L₀‖committee id‖path.
func leafLabel(label []byte, committee string, path []uint8) []byte {
	return joined(label, []byte(committee), path)
}

// commitment is com = H("commit"‖ρ‖type/id‖revision).
func commitment(root []byte, typ, id string, revision uint64) [32]byte {
	return hashed("wardkey-commit-v1\x00", []byte{Suite1}, root, []byte(typ+"/"+id), strconv.AppendUint(nil, revision, 10))
}
