// Package policy decides whether a request may see, or write, a record.
//
// A decision is a pure function of the request, the attributes of the record,
// the state that the log's entries define, and the time: no I/O, no clock, so a
// custodian decides by itself what the gateway decided, and an auditor decides
// it again years later. Silence, an error, a timeout and the zero [Decision]
// all deny.
//
// Begin with [ParseTrust], which says whose word counts; make a [State] of it
// and [State.Apply] the log's entries in order; make an [Engine] and ask
// [Engine.Decide], or [Engine.DecideAll] for a page. [Describe] makes the
// attributes decided on from a FHIR resource; [Preview] makes a [Grant] of what
// a patient asked for, with the sentence that the patient reads and signs.
//
// Matching a statement against a request (time, actor, purpose, codes, labels)
// is Go, in match.go. What follows from the matches is Rego, in the folder
// rego: a file for each concern, tables included, evaluated by an embedded OPA
// that may call nothing that reaches out.
//
// Left to others: whether an entry really is on the log (package chain), what
// is done with a decision (package gateway and the custodians). Not here yet:
// FHIR Consent, break-glass, approvals, delegation, signed policy bundles. The
// model has their fields, and until they are decided here they never permit. Nor
// do law and organisation: their statements, which one registered key signs, only
// deny, until several must sign what opens records.
//
// Patients, people and clients are named by references: "Patient/p1",
// "Practitioner/7", "Client/loader". Times in structures are Unix milliseconds
// UTC and 0 is none; every interval is half-open.
package policy

import "time"

// Subject is who asks, as a sign-in entry established it.
type Subject struct {
	ID      string   `cbor:"1,keyasint,omitempty" json:"id"`      // fhirUser: "Practitioner/7", "Patient/p1", or "Client/loader"
	Roles   []string `cbor:"2,keyasint,omitempty" json:"roles"`   // short codes, sorted: doctor, nurse, …
	Client  string   `cbor:"3,keyasint,omitempty" json:"client"`  // id of the registered client
	Session string   `cbor:"4,keyasint,omitempty" json:"session"` // public id of the session
	SignIn  uint64   `cbor:"5,keyasint,omitempty" json:"signIn"`  // index of the sign-in entry; 0 is none
	Issuer  string   `cbor:"6,keyasint,omitempty" json:"issuer"`  // who vouched: the ID token's iss, or the client itself
	Sub     string   `cbor:"7,keyasint,omitempty" json:"sub"`     // the issuer's name for the subject
	End     int64    `cbor:"8,keyasint,omitempty" json:"end"`     // end of the session, Unix ms
}

// Resource is what a decision knows of a record: its attributes. They are
// sealed beside the record and bound into its label, and hold nothing that a
// decision does not need.
type Resource struct {
	Type       string   `cbor:"1,keyasint,omitempty" json:"type,omitempty"`
	ID         string   `cbor:"2,keyasint,omitempty" json:"id,omitempty"`
	Patient    string   `cbor:"3,keyasint,omitempty" json:"patient,omitempty"`    // "Patient/p1"; "" for a record of no patient
	Codes      []string `cbor:"4,keyasint,omitempty" json:"codes,omitempty"`      // "system|code", sorted
	Categories []string `cbor:"5,keyasint,omitempty" json:"categories,omitempty"` // "system|code", sorted
	Conf       string   `cbor:"6,keyasint,omitempty" json:"conf,omitempty"`       // v3-Confidentiality: U L M N R V; "" is unknown and fails every permit
	Sens       []string `cbor:"7,keyasint,omitempty" json:"sens,omitempty"`       // sensitivities, "system|code", sorted
	From       int64    `cbor:"8,keyasint,omitempty" json:"from,omitempty"`       // clinical time, Unix ms; 0 is none
	To         int64    `cbor:"9,keyasint,omitempty" json:"to,omitempty"`         // its end, exclusive; 0 with a From is open
	Encounter  string   `cbor:"10,keyasint,omitempty" json:"encounter,omitempty"` // "Encounter/9"
	Author     string   `cbor:"11,keyasint,omitempty" json:"author,omitempty"`    // first performer, author, …: "Practitioner/7"
	Size       int      `cbor:"12,keyasint,omitempty" json:"size,omitempty"`      // bytes of compact JSON
	Updated    int64    `cbor:"13,keyasint,omitempty" json:"updated,omitempty"`   // when this revision was made, Unix ms
}

// Encode returns the deterministic CBOR of the attributes.
func (r Resource) Encode() []byte { return marshal(r) }

// DecodeResource decodes attributes strictly.
func DecodeResource(data []byte) (Resource, error) {
	var r Resource
	if err := unmarshal(data, &r); err != nil {
		return Resource{}, err
	}
	return r, nil
}

// The actions a request may name.
const (
	Read    = "read"
	Search  = "search"
	History = "history"
	Create  = "create"
	Update  = "update"
	Delete  = "delete"
	Lookup  = "lookup" // finding a patient by identifier or name, in a minimal view
)

// Request is what is asked: one action on one record, for one purpose.
type Request struct {
	Subject  Subject
	Action   string
	Purpose  string   // short code of v3-ActReason: "TREAT"
	Scopes   []string // SMART scopes of the session
	Context  string   // launch context "Patient/…" that patient/ scopes are bound to; a patient's own if ""
	Resource Resource
}

// Decision is the answer. The zero Decision denies.
type Decision struct {
	Permit      bool
	Reason      Reason
	Rule        string    // the rule that decided, "read.consented"
	Grants      []string  // ids of the statements it rests on, sorted; of a denial, the one that denies or just does not permit
	Relation    string    // id of the relation it rests on, if any
	Policy      [32]byte  // digest of the rules in force, [Engine.Digest]
	Expires     time.Time // the decision holds before this instant; zero for a denial, and for a permit that nothing ends
	Obligations Obligations
}

// Obligations bind whoever acts on a permit.
type Obligations struct {
	Redact       []string `json:"redact,omitempty"`        // elements to leave out, sorted
	Alert        bool     `json:"alert,omitempty"`         // tell the patient at once
	NoRedisclose bool     `json:"no_redisclose,omitempty"` // the answer carries the redisclosure notice
}

// Reason says why, as a stable code. The list is closed.
type Reason string

// The reasons, in order of precedence: of those that apply, the first is given.
const (
	NoSession     Reason = "no-session"
	Scope         Reason = "scope"
	Purpose       Reason = "purpose"
	LegalDeny     Reason = "legal-deny"
	OrgDeny       Reason = "org-deny"
	Role          Reason = "role"        // the role may not do this to this type, or not see it in a lookup
	NoRelation    Reason = "no-relation" // writing needs a care relationship
	NotUnderstood Reason = "not-understood"
	HardDeny      Reason = "hard-deny"
	ConsentDeny   Reason = "consent-deny"
	NoConsent     Reason = "no-consent"
	NoGrant       Reason = "no-grant"
	Approvals     Reason = "approvals"
	Withdrawn     Reason = "withdrawn" // a permit would match, had it not been withdrawn
	TreatmentOver Reason = "treatment-over"
	Expired       Reason = "expired"
	NotYet        Reason = "not-yet"
	Failed        Reason = "error" // the evaluation failed; the log has the entry, the operator the error

	Permitted           Reason = "permitted"
	PermittedBreakGlass Reason = "permitted-break-glass"
	PermittedOwn        Reason = "permitted-own"
)

// Reasons returns the closed list in order of precedence.
func Reasons() []Reason {
	return []Reason{
		NoSession, Scope, Purpose, LegalDeny, OrgDeny, Role, NoRelation,
		NotUnderstood, HardDeny, ConsentDeny, NoConsent, NoGrant, Approvals,
		Withdrawn, TreatmentOver, Expired, NotYet, Failed,
		Permitted, PermittedBreakGlass, PermittedOwn,
	}
}
