package chain

import (
	"fmt"
	"unicode/utf8"

	"github.com/samber/lo"
)

// Kind says what an entry records.
type Kind string

// The kinds of entries; the list is closed.
const (
	Access      Kind = "access"       // records are about to be opened
	Returned    Kind = "returned"     // what an access really gave back
	Deny        Kind = "deny"         // a request was refused
	Write       Kind = "write"        // a resource is about to be written
	WriteFailed Kind = "write-failed" // an intended write did not happen
	Grant       Kind = "grant"        // a patient's consent begins
	Withdraw    Kind = "withdraw"     // a patient's consent ends
	Approve     Kind = "approve"      // a second person agrees
	Relation    Kind = "relation"     // a care relationship
	BreakGlass  Kind = "breakglass"   // an emergency
	Review      Kind = "review"       // an exception was looked at
	SignIn      Kind = "sign-in"      // a session begins
	SignOut     Kind = "sign-out"     // a session ends
	Enrol       Kind = "enrol"        // a person's key
	Policy      Kind = "policy"       // a policy becomes active
	Key         Kind = "key"          // keys of the log and its custodians; the genesis entry is one
	Governance  Kind = "governance"   // maintenance is authorised
	Relabel     Kind = "relabel"      // a record's labels change
	Merge       Kind = "merge"        // two patients are one
	Erase       Kind = "erase"        // the last entry under a patient's log key
	Anchor      Kind = "anchor"       // a checkpoint was time-stamped outside
	Export      Kind = "export"       // data left in bulk
	Admin       Kind = "admin"        // anything else an operator did
)

// Known reports whether k is one of the kinds above.
func (k Kind) Known() bool {
	switch k {
	case Access, Returned, Deny, Write, WriteFailed, Grant, Withdraw, Approve, Relation, BreakGlass,
		Review, SignIn, SignOut, Enrol, Policy, Key, Governance, Relabel, Merge, Erase, Anchor, Export, Admin:
		return true
	}
	return false
}

// Resource names one revision of a resource and the digest of its envelope.
type Resource struct {
	Type     string `cbor:"1,keyasint,omitempty"`
	ID       string `cbor:"2,keyasint,omitempty"`
	Revision uint64 `cbor:"3,keyasint,omitempty"`
	Digest   []byte `cbor:"4,keyasint,omitempty"` // 32 bytes or nil
}

// Entry is what a caller has to say. The log adds time, sequence and salt, and
// makes a [Body] of it.
type Entry struct {
	Kind        Kind       `cbor:"10,keyasint,omitempty"`
	Actor       string     `cbor:"11,keyasint,omitempty"` // who: "Practitioner/7", "Client/loader"
	Role        string     `cbor:"12,keyasint,omitempty"` // as which
	SignIn      uint64     `cbor:"13,keyasint,omitempty"` // index of the sign-in entry; 0 is none, since index 0 is the genesis
	Patient     string     `cbor:"14,keyasint,omitempty"` // whose record; "" is the tenant's
	Action      string     `cbor:"15,keyasint,omitempty"`
	Resources   []Resource `cbor:"16,keyasint,omitempty"` // to be opened or written
	Returned    []Resource `cbor:"17,keyasint,omitempty"` // given back, in the follow-up
	Purpose     string     `cbor:"18,keyasint,omitempty"`
	Decision    string     `cbor:"19,keyasint,omitempty"` // "permit", "deny" or ""
	Reason      string     `cbor:"20,keyasint,omitempty"` // a stable code
	Policy      []byte     `cbor:"21,keyasint,omitempty"` // digest of the policy that decided
	Grants      []string   `cbor:"22,keyasint,omitempty"`
	Approvals   []string   `cbor:"23,keyasint,omitempty"`
	Request     []byte     `cbor:"24,keyasint,omitempty"` // hash of the release request
	Correlation string     `cbor:"25,keyasint,omitempty"` // joins the entries of one request
	Statement   []byte     `cbor:"26,keyasint,omitempty"` // what the kind needs; package policy reads it
	Count       uint64     `cbor:"27,keyasint,omitempty"` // how many were denied, where they are not listed
	Client      string     `cbor:"28,keyasint,omitempty"`
	Session     string     `cbor:"29,keyasint,omitempty"`
	Scopes      []string   `cbor:"30,keyasint,omitempty"` // what the token that asked was issued for, as claimed
	Context     string     `cbor:"31,keyasint,omitempty"` // the launch context "Patient/…", as claimed
}

// MaxPatientBytes bounds [Entry.Patient]: it has a fixed place in the key file.
const MaxPatientBytes = 128

// Bounds of what an entry says of the token that asked.
const (
	MaxScopes       = 128 // in [Entry.Scopes]
	MaxScopeBytes   = 1024
	MaxContextBytes = 128 // of [Entry.Context]
)

// Validate reports, wrapping [ErrInvalid], why a log would not take the entry.
// [Log.Append] calls it.
func (e *Entry) Validate() error {
	if !e.Kind.Known() {
		return fmt.Errorf("%w: kind %q", ErrInvalid, e.Kind)
	}
	if len(e.Patient) > MaxPatientBytes {
		return fmt.Errorf("%w: patient id of %d bytes", ErrInvalid, len(e.Patient))
	}
	if e.Decision != "" && e.Decision != "permit" && e.Decision != "deny" {
		return fmt.Errorf("%w: decision %q", ErrInvalid, e.Decision)
	}
	if e.Kind == Erase && e.Patient == "" {
		return fmt.Errorf("%w: the tenant cannot be erased", ErrInvalid)
	}
	texts := []string{e.Actor, e.Role, e.Patient, e.Action, e.Purpose, e.Reason, e.Correlation, e.Client, e.Session, e.Context}
	if !lo.EveryBy(texts, utf8.ValidString) || !lo.EveryBy(e.Grants, utf8.ValidString) || !lo.EveryBy(e.Approvals, utf8.ValidString) ||
		!lo.EveryBy(e.Scopes, utf8.ValidString) {
		return fmt.Errorf("%w: text is not UTF-8", ErrInvalid)
	}
	if len(e.Scopes) > MaxScopes || len(e.Context) > MaxContextBytes || lo.SomeBy(e.Scopes, func(s string) bool { return len(s) > MaxScopeBytes }) {
		return fmt.Errorf("%w: scopes or launch context are too long", ErrInvalid)
	}
	for _, list := range [][]Resource{e.Resources, e.Returned} {
		for _, resource := range list {
			if !utf8.ValidString(resource.Type) || !utf8.ValidString(resource.ID) {
				return fmt.Errorf("%w: text is not UTF-8", ErrInvalid)
			}
			if n := len(resource.Digest); n != 0 && n != 32 {
				return fmt.Errorf("%w: digest of %d bytes", ErrInvalid, n)
			}
		}
	}
	return nil
}

// atMost bounds the encoding of the body of an entry: the lengths of what varies,
// and generously what CBOR adds to it.
func (e *Entry) atMost() int {
	const fixed, head = 512, 16 // salt, times, numbers and keys; around a string
	n := fixed + len(e.Actor) + len(e.Role) + len(e.Patient) + len(e.Action) + len(e.Purpose) + len(e.Reason) +
		len(e.Policy) + len(e.Request) + len(e.Correlation) + len(e.Statement) + len(e.Client) + len(e.Session) + len(e.Context)
	for _, s := range e.Grants {
		n += head + len(s)
	}
	for _, s := range e.Scopes {
		n += head + len(s)
	}
	for _, s := range e.Approvals {
		n += head + len(s)
	}
	for _, list := range [][]Resource{e.Resources, e.Returned} {
		for _, r := range list {
			n += 4*head + len(r.Type) + len(r.ID) + len(r.Digest)
		}
	}
	return n
}
