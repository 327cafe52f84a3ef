package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The kinds of entries that change a [State]. Their statements are below.
const (
	KindSignIn   = "sign-in"
	KindSignOut  = "sign-out" // no statement: Event.SignIn says which
	KindEnrol    = "enrol"
	KindGrant    = "grant"
	KindWithdraw = "withdraw"
	KindRelation = "relation"
)

// The forms of a sign-in's evidence.
const (
	FormIDToken         = "id_token"
	FormClientAssertion = "client_assertion"
)

// SignIn is the statement of a sign-in entry: the evidence, and the session it
// is for. Custodians verify it once and know the session by the entry's index.
type SignIn struct {
	Session string `cbor:"1,keyasint,omitempty"` // public id of the session
	Client  string `cbor:"2,keyasint,omitempty"` // registered client
	End     int64  `cbor:"3,keyasint,omitempty"` // end of the session, Unix ms
	Token   string `cbor:"4,keyasint,omitempty"` // compact JWS
	Form    string `cbor:"5,keyasint,omitempty"` // id_token or client_assertion

	// Signature is Ed25519 over SignInMessage(nonce of the session) by the key
	// enrolled for the person. Patients and their relatives who have a key must
	// prove it, so that an identity provider alone cannot be them; staff may.
	Signature []byte `cbor:"6,keyasint,omitempty"`
}

// Encode returns deterministic CBOR.
func (s SignIn) Encode() []byte { return marshal(s) }

// DecodeSignIn decodes strictly.
func DecodeSignIn(data []byte) (SignIn, error) { return decode[SignIn](data) }

// SessionNonce is the nonce an ID token must carry to open this session, and no
// other. End is Unix ms.
func SessionNonce(session, client string, end int64) string {
	return encode64(hashParts("wardkey-session-v1\x00", []byte(session), []byte(client), binary.BigEndian.AppendUint64(nil, uint64(end))))
}

// AssertionSession is the id of the session that a client assertion opens.
func AssertionSession(assertion string) string {
	sum := sha256.Sum256([]byte("wardkey-assertion-v1\x00" + assertion))
	return encode64(sum[:])
}

// EnrolNonce is the nonce an ID token must carry to enrol this key.
func EnrolNonce(key []byte) string {
	return encode64(hashParts("wardkey-enrol-nonce-v1\x00", key))
}

// hashParts is SHA-256 over a domain tag and length-prefixed parts.
func hashParts(domain string, parts ...[]byte) []byte {
	h := sha256.New()
	h.Write([]byte(domain))
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return h.Sum(nil)
}

// Enrolment is the statement that makes an Ed25519 key a person's. The evidence
// is the identity provider's ID token with [EnrolNonce] of the key and one of
// the issuer's enrolment audiences, so that the gateway can neither invent it nor
// ask for it under the pretext of a sign-in, or the signatures of two registrars. A key that is
// already there is replaced only with its own consent, Previous.
type Enrolment struct {
	Person     string      `cbor:"1,keyasint,omitempty"` // "Patient/p1", "Practitioner/7"
	Key        []byte      `cbor:"2,keyasint,omitempty"` // Ed25519 public key, 32 bytes
	Token      string      `cbor:"3,keyasint,omitempty"` // ID token
	Previous   []byte      `cbor:"4,keyasint,omitempty"` // signature by the key being replaced, over EnrolMessage(Digest())
	Registrars []Signature `cbor:"5,keyasint,omitempty"` // two, over EnrolMessage(Digest()), where there is no token
}

// Encode returns deterministic CBOR.
func (e Enrolment) Encode() []byte { return marshal(e) }

// Digest is what the signatures of an enrolment are over: person and key.
func (e Enrolment) Digest() [32]byte {
	return [32]byte(hashParts("wardkey-enrolment-v1\x00", []byte(e.Person), e.Key))
}

// DecodeEnrolment decodes strictly.
func DecodeEnrolment(data []byte) (Enrolment, error) { return decode[Enrolment](data) }

// SignedGrant is the statement of a grant entry. Patients sign with their
// enrolled key and name no signer; statements of the legal and org layers name
// the registered signer.
type SignedGrant struct {
	Grant     Grant  `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint,omitempty"` // Ed25519 over GrantMessage(Grant.Digest())
	Signer    string `cbor:"3,keyasint,omitempty"` // id of a registered signer; legal and org layers only
}

// Encode returns deterministic CBOR.
func (s SignedGrant) Encode() []byte { return marshal(s) }

// DecodeSignedGrant decodes strictly.
func DecodeSignedGrant(data []byte) (SignedGrant, error) { return decodeWords[SignedGrant](data) }

// Withdrawal is the statement that ends a grant at once, signed as it was. It
// says all that its signature is about, and so can be verified before the grant
// itself has come: whoever orders the entries does not decide which of the two
// counts.
type Withdrawal struct {
	Grant     string `cbor:"1,keyasint,omitempty"` // id
	Signature []byte `cbor:"2,keyasint,omitempty"` // Ed25519 over WithdrawMessage(Digest)
	Signer    string `cbor:"3,keyasint,omitempty"` // as SignedGrant.Signer
	Patient   string `cbor:"4,keyasint,omitempty"` // as Grant.Patient
	Digest    []byte `cbor:"5,keyasint,omitempty"` // Grant.Digest(), 32 bytes
}

// Encode returns deterministic CBOR.
func (w Withdrawal) Encode() []byte { return marshal(w) }

// DecodeWithdrawal decodes strictly.
func DecodeWithdrawal(data []byte) (Withdrawal, error) { return decodeWords[Withdrawal](data) }

// The kinds of relations. Which purposes and actions each allows whom is
// rego/relations.rego.
const (
	Treats     = "treats"      // Subject treats Patient
	AdmittedTo = "admitted-to" // Patient is admitted to Unit
	MemberOf   = "member-of"   // Subject works in Unit
	GuardianOf = "guardian-of" // Subject is guardian of Patient
	CoversFor  = "covers-for"  // Subject stands in for For with Patient
)

// Relation is a fact about care, for a limited time. A later statement of the
// same id and a later Issued replaces an earlier one; that is how a discharge
// ends an admission early.
type Relation struct {
	V       int    `json:"v"`                 // 1
	ID      string `json:"id"`                // "r-…"
	Kind    string `json:"kind"`              // treats, admitted-to, member-of, guardian-of, covers-for
	Subject string `json:"subject,omitempty"` // "Practitioner/7"
	Patient string `json:"patient,omitempty"` // "Patient/p1"
	Unit    string `json:"unit,omitempty"`    // "Location/w3", "Organization/o1"
	For     string `json:"for,omitempty"`     // "Practitioner/8"
	From    int64  `json:"from"`              // Unix ms
	Until   int64  `json:"until"`             // Unix ms
	Issued  int64  `json:"issued"`            // Unix ms, when it was signed
}

// Encode returns the deterministic CBOR of the relation.
func (r Relation) Encode() []byte { return marshal(r) }

// Digest is what a relation's signatures are over.
func (r Relation) Digest() [32]byte { return sha256.Sum256(r.Encode()) }

// Signature is one signer's.
type Signature struct {
	Signer string `cbor:"1,keyasint,omitempty" json:"signer"` // id of a registered signer, or an enrolled person
	Value  []byte `cbor:"2,keyasint,omitempty" json:"value"`  // Ed25519
}

// SignedRelation is the statement of a relation entry: signed by a registered
// ADT system, or by two enrolled members of staff other than the one it serves.
type SignedRelation struct {
	Relation   Relation    `cbor:"1,keyasint"`
	Signatures []Signature `cbor:"2,keyasint,omitempty"` // over RelationMessage(Relation.Digest())
}

// Encode returns deterministic CBOR.
func (s SignedRelation) Encode() []byte { return marshal(s) }

// DecodeSignedRelation decodes strictly.
func DecodeSignedRelation(data []byte) (SignedRelation, error) {
	return decodeWords[SignedRelation](data)
}

// decodeWords is strict decoding of what people and registered signers sign.
func decodeWords[T any](data []byte) (T, error) {
	if len(data) > maxWords {
		var zero T
		return zero, fmt.Errorf("a statement of %d bytes, at most %d", len(data), maxWords)
	}
	return decode[T](data)
}

// decode is strict decoding into a statement.
func decode[T any](data []byte) (T, error) {
	var v, zero T
	if err := unmarshal(data, &v); err != nil {
		return zero, err
	}
	return v, nil
}
