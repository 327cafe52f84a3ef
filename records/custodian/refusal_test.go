package custodian_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/recordstest"
)

const (
	doctor  = "Practitioner/d1"
	nurse   = "Practitioner/n1"
	patient = "Patient/p1"
	other   = "Patient/p2"
)

const patience = 30 * time.Second

// ward is a hospital in which the doctor may read what is normal of the
// patient, and nobody anything else.
type ward struct {
	*recordstest.Hospital
	doctor, nurse policy.Subject
	grant         policy.Grant
	envelope      *records.Envelope // the patient's
	second        *records.Envelope // the patient's, too
	foreign       *records.Envelope // another patient's
	sensitive     *records.Envelope // the patient's, and not covered by the grant
}

func newWard(t testing.TB, o recordstest.Options) *ward {
	t.Helper()
	if o.Quorum == nil { // a busy machine is no custodian that is away
		o.Quorum = func(c *records.QuorumConfig) { c.Timeout = patience }
	}
	w := &ward{Hospital: recordstest.New(t, o)}
	w.doctor, w.nurse = w.SignIn(doctor, "doctor"), w.SignIn(nurse, "nurse")
	w.grant = w.GrantTo(doctor, patient, 10*time.Minute)
	w.envelope = w.sealed(t, "o1", patient, "N")
	w.second = w.sealed(t, "o2", patient, "N")
	w.foreign = w.sealed(t, "o3", other, "N")
	w.sensitive = w.sealed(t, "o4", patient, "R")
	return w
}

func (w *ward) sealed(t testing.TB, id, of, conf string) *records.Envelope {
	t.Helper()
	r, a := observation(t, id, of, conf)
	return w.SealAs(r, a, 1)
}

func observation(t testing.TB, id, of, conf string) (*fhir.Resource, policy.Resource) {
	t.Helper()
	r, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"canary"},"subject":{"reference":%q}}`, id, of), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r, policy.Resource{
		Type: "Observation", ID: id, Patient: of, Conf: conf, Codes: []string{"http://loinc.org|8867-4"},
		Categories: []string{"http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"},
	}
}

// attempt is a release as an honest gateway would ask for it. What a test
// changes in it, a dishonest one changes.
type attempt struct {
	subject policy.Subject
	request records.Request
	items   []records.Item
	entry   chain.Entry

	resealed func(*attempt) // called when request and entry agree, before the entry is logged
	index    func(uint64) uint64
	entered  func() // called when the entry stands
	sent     func(*records.Release)
}

func (w *ward) attempt(t testing.TB, s policy.Subject, envelopes ...*records.Envelope) *attempt {
	t.Helper()
	reader, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{subject: s}
	a.request = records.Request{
		SignIn: s.SignIn, Action: policy.Read, Purpose: "TREAT", Scopes: w.Scopes(s), Reader: reader.PublicKey().Bytes(),
		NotAfter: w.Clock.Now().Add(20 * time.Second).UnixMilli(), Nonce: make([]byte, 16),
	}
	rand.Read(a.request.Nonce)
	digest := w.Engine.Digest()
	a.entry = chain.Entry{
		Kind: chain.Access, Actor: s.ID, Role: strings.Join(s.Roles, " "), SignIn: s.SignIn, Session: s.Session, Client: s.Client, Patient: envelopes[0].Label.Compartment,
		Action: policy.Read, Purpose: "TREAT", Scopes: slices.Clone(a.request.Scopes),
		Decision: "permit", Reason: string(policy.Permitted), Policy: digest[:],
	}
	for _, e := range envelopes {
		a.add(e)
	}
	return a
}

func (a *attempt) add(e *records.Envelope) {
	item, digest := e.Item(), e.Digest()
	hash := records.LabelHash(item.Label)
	a.items = append(a.items, item)
	a.request.Labels = append(a.request.Labels, hash[:])
	a.entry.Resources = append(a.entry.Resources, chain.Resource{Type: e.Label.Type, ID: e.Label.ID, Revision: e.Label.Revision, Digest: digest[:]})
}

// release logs the attempt and returns what a custodian would be sent.
func (w *ward) release(t testing.TB, a *attempt) records.Release {
	t.Helper()
	hash := a.request.Hash()
	a.entry.Request = hash[:]
	if a.resealed != nil {
		a.resealed(a)
	}
	index := w.Append(a.entry)
	if a.index != nil {
		index = a.index(index)
	}
	if a.entered != nil {
		a.entered()
	}
	r := records.Release{Index: index, Request: a.request.Encode(), Items: a.items}
	if a.sent != nil {
		a.sent(&r)
	}
	return r
}

// ask puts releases to the first custodian, in one round.
func (w *ward) ask(t testing.TB, releases ...records.Release) *records.Answer {
	t.Helper()
	inner := w.Custodians[0].Inner()
	round := &records.Round{ID: make([]byte, records.RoundIDSize), Releases: releases}
	rand.Read(round.ID)
	var err error
	if round.Batch, err = w.Log.Batch(t.Context(), inner.Status().Size, 1<<20); err != nil {
		t.Fatal(err)
	}
	round.KeysFrom = inner.Status().Keys
	round.Keys = w.Log.Keys(round.KeysFrom)
	answer, err := inner.Round(context.Background(), round)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// still keeps the quorum from following by itself, so that a test decides what
// the custodian has seen.
func still() recordstest.Options {
	return recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout, c.Follow, c.Heartbeat = patience, time.Hour, time.Hour }}
}

// Each case is what a gateway that lies, or that skips its own policy, might
// send. Its twin, the same attempt unaltered, is answered.
func TestCustodianRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		want  string
		alter func(t *testing.T, w *ward, a *attempt)
	}{
		"somebody without a grant": {string(policy.NoConsent), func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.nurse, w.envelope)
		}},
		"a record that the grant does not cover": {"", func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.sensitive)
		}},
		"one record too many": {"", func(_ *testing.T, w *ward, a *attempt) { a.add(w.sensitive) }},
		"a purpose the grant is not for": {"", func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Purpose, a.entry.Purpose = "HRESCH", "HRESCH"
		}},
		"a purpose the client may not state": {"", func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Purpose, a.entry.Purpose = "HPAYMT", "HPAYMT"
		}},
		"an action the grant does not allow": {"", func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Action, a.entry.Action = policy.Delete, policy.Delete
		}},
		"scopes that do not reach the type": {string(policy.Scope), func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Scopes = []string{"user/Condition.rs"}
		}},
		"a grant that ended": {string(policy.Expired), func(_ *testing.T, w *ward, a *attempt) {
			w.Clock.Move(11 * time.Minute)
			a.request.NotAfter = w.Clock.Now().Add(20 * time.Second).UnixMilli()
		}},
		"a grant that ended by its own clock": {string(policy.Expired), func(_ *testing.T, w *ward, a *attempt) {
			w.Clock.Move(9*time.Minute + 50*time.Second)
			a.request.NotAfter = w.Clock.Now().Add(20 * time.Second).UnixMilli()
			w.Custodians[0].Clock.Move(15 * time.Second)
		}},
		"a grant that was withdrawn": {string(policy.Withdrawn), func(_ *testing.T, w *ward, a *attempt) {
			w.Withdraw(w.grant)
		}},
		"a sign-in that never was": {string(policy.NoSession), func(_ *testing.T, _ *ward, a *attempt) {
			a.request.SignIn, a.entry.SignIn = 1<<20, 1<<20
		}},
		"an entry of another kind as the sign-in": {string(policy.NoSession), func(_ *testing.T, _ *ward, a *attempt) {
			a.request.SignIn, a.entry.SignIn = 3, 3
		}},
		"another's sign-in": {string(policy.NoSession), func(_ *testing.T, w *ward, a *attempt) {
			a.request.SignIn, a.entry.SignIn = w.nurse.SignIn, w.nurse.SignIn
		}},
		"another sign-in than the entry's": {records.RefusedUnknown, func(_ *testing.T, w *ward, a *attempt) {
			a.entry.SignIn = w.nurse.SignIn
		}},
		"another's session": {string(policy.NoSession), func(_ *testing.T, w *ward, a *attempt) {
			a.entry.Session = w.nurse.Session
		}},
		"another's client": {string(policy.NoSession), func(_ *testing.T, _ *ward, a *attempt) {
			a.entry.Client = recordstest.ClientPortal
		}},
		"a session that was signed out": {string(policy.NoSession), func(_ *testing.T, w *ward, _ *attempt) {
			w.SignOut(w.doctor)
		}},
		"a session that ended": {string(policy.NoSession), func(_ *testing.T, w *ward, a *attempt) {
			w.GrantTo(doctor, patient, 2*time.Hour)
			w.Clock.Move(31 * time.Minute)
			a.request.NotAfter = w.Clock.Now().Add(20 * time.Second).UnixMilli()
		}},
		"an entry that states another purpose": {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Purpose = "HRESCH" }},
		"an entry that states another action":  {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Action = policy.Search }},
		"an entry that denies":                 {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Kind, a.entry.Decision = chain.Deny, "deny" }},
		"an entry that decides nothing":        {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Decision = "" }},
		"an entry of another kind":             {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Kind = chain.Admin }},
		"an entry for another request": {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) {
			a.resealed = func(a *attempt) { a.request.Nonce[0] ^= 1 }
		}},
		"an entry with another reader": {records.RefusedUnknown, func(t *testing.T, w *ward, a *attempt) {
			a.resealed = func(a *attempt) { a.request.Reader = w.attempt(t, w.doctor, w.envelope).request.Reader }
		}},
		"another entry": {records.RefusedUnknown, func(_ *testing.T, _ *ward, a *attempt) {
			a.index = func(i uint64) uint64 { return i - 1 }
		}},
		"an entry that it does not hold": {records.RefusedBehind, func(_ *testing.T, _ *ward, a *attempt) {
			a.index = func(i uint64) uint64 { return i + 1 }
		}},
		"an entry for another resource": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Resources[0].ID = "o9" }},
		"an entry for another type":     {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Resources[0].Type = "Condition" }},
		"an entry for another revision": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Resources[0].Revision = 2 }},
		"another digest":                {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Resources[0].Digest = make([]byte, 32) }},
		"no digest":                     {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Resources[0].Digest = nil }},
		"an entry for more than is sent": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.add(w.second)
			a.sent = func(r *records.Release) { r.Items = r.Items[:1] }
		}},
		"more than the entry is for": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.sent = func(r *records.Release) { r.Items = append(slices.Clone(r.Items), w.second.Item()) }
		}},
		"items out of order": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.add(w.second)
			a.sent = func(r *records.Release) { slices.Reverse(r.Items) }
		}},
		"another payload": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.items[0].Payload[0] ^= 1 }},
		"another's label": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) { a.items[0].Label = w.second.Item().Label }},
		"another's attributes": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.sensitive)
			a.items[0].Attributes = w.envelope.Attributes
		}},
		"attributes sealed again, lower": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.sensitive)
			_, lower := observation(t, "o4", patient, "N")
			sealed, err := w.Attributes.Seal(lower, 1)
			if err != nil {
				t.Fatal(err)
			}
			a.items[0].Attributes = sealed
		}},
		// A label of the gateway's own making, consistent with everything it
		// sends: the ciphertext was made for another.
		"a label made for lower attributes": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			_, lower := observation(t, "o4", patient, "N")
			a.forge(t, w, w.sensitive, lower, func(*records.Label) {})
		}},
		"a label made for another patient": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			_, mine := observation(t, "o3", patient, "N")
			a.forge(t, w, w.foreign, mine, func(l *records.Label) { l.Compartment = patient })
		}},
		"a label made for another revision": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			_, same := observation(t, "o1", patient, "N")
			a.forge(t, w, w.envelope, same, func(l *records.Label) { l.Revision = 2 })
		}},
		// Sealed as they should be, ciphertext and proof included, but for one thing.
		"a record of another tenant": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.sealedUnder(t, w.envelope, func(l *records.Label) { l.Tenant = "elsewhere" }))
		}},
		"a record under another access tree": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.sealedUnder(t, w.envelope, func(l *records.Label) { l.Tree = records.CommitteeTree(1).Hash() }))
		}},
		"attributes of a patient whose compartment it is not": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			w.GrantTo(doctor, other, 10*time.Minute) // who may be read by the doctor, too
			*a = *w.attempt(t, w.doctor, w.sealedUnder(t, w.foreign, func(l *records.Label) { l.Compartment = patient }))
		}},
		"a compartment that is not the entry's": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			w.GrantTo(doctor, other, 10*time.Minute)
			*a = *w.attempt(t, w.doctor, w.foreign)
			a.entry.Patient = patient
		}},
		"an entry that leaves out the session": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Session = "" }},
		"an entry that leaves out the client":  {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Client = "" }},
		"an entry that leaves out the role":    {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Role = "" }},
		"an entry that states another role":    {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Role = "patient" }},
		"an entry that states a role too many": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Role = "doctor nurse" }},
		"an entry that states another reason":  {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Reason = string(policy.PermittedOwn) }},
		"an entry that states no reason":       {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Reason = "" }},
		"an entry by other rules":              {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Policy = make([]byte, 32) }},
		"an entry by no rules":                 {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Policy = nil }},
		"an entry that states fewer scopes":    {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Scopes = nil }},
		"an entry that states other scopes": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) {
			a.entry.Scopes = []string{"user/Patient.rs"}
		}},
		"an entry that states the scopes in another order": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Scopes = append(a.request.Scopes, "user/Patient.rs")
			a.entry.Scopes = slices.Clone(a.request.Scopes)
			slices.Reverse(a.entry.Scopes)
		}},
		"an entry that states another launch context": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Context = patient }},
		"an entry that leaves out the launch context": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.request.Context = patient }},
		"an entry that names a grant that never was":  {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Grants = []string{"g-never-was-one"} }},
		"an entry that names another patient's grant": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.entry.Grants = []string{w.grant.ID, w.GrantTo(doctor, other, time.Hour).ID}
		}},
		"an entry that names a grant that was withdrawn": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			withdrawn := w.GrantTo(nurse, patient, time.Hour)
			w.Clock.Move(time.Second)
			w.Withdraw(withdrawn)
			w.Clock.Move(time.Second)
			a.entry.Grants = []string{withdrawn.ID}
		}},
		"an entry that names a grant that had ended": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			ended := w.GrantTo(nurse, patient, time.Minute)
			w.Clock.Move(2 * time.Minute)
			a.request.NotAfter = w.Clock.Now().Add(20 * time.Second).UnixMilli()
			a.entry.Grants = []string{ended.ID}
		}},
		"an entry that names a grant yet to be made": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			key, until := w.Key(patient), w.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339)
			g, err := policy.Preview(policy.GrantRequest{Patient: patient, Actors: []policy.GrantActor{{Ref: nurse}}, Purposes: []string{"TREAT"}, Until: until}, w.Clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			a.entry.Grants = []string{g.ID}
			a.entered = func() {
				statement := policy.SignedGrant{Grant: g, Signature: ed25519.Sign(key, policy.GrantMessage(g.Digest()))}
				w.Enter(chain.Entry{Kind: chain.Grant, Actor: patient, Patient: patient, Statement: statement.Encode()})
			}
		}},
		"another patient's envelope under this patient's entry": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			*a = *w.attempt(t, w.doctor, w.foreign)
			a.entry.Patient = patient
		}},
		"an entry under no patient": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) { a.entry.Patient = "" }},
		"another's ciphertext": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.items[0].Leaf = w.second.Leaves[0].Encode()
			a.digested(t)
		}},
		"a ciphertext derived from another": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			leaf := w.envelope.Leaves[0]
			leaf.Ciphertext = slices.Clone(leaf.Ciphertext)
			copy(leaf.Ciphertext[32:64], w.second.Leaves[0].Ciphertext[32:64])
			a.items[0].Leaf = leaf.Encode()
			a.digested(t)
		}},
		"a ciphertext that is none": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			leaf := w.envelope.Leaves[0]
			leaf.Ciphertext = make([]byte, 192) // identities
			a.items[0].Leaf = leaf.Encode()
			a.digested(t)
		}},
		"another committee's leaf": {records.RefusedBad, func(t *testing.T, w *ward, a *attempt) {
			leaf := w.envelope.Leaves[0]
			leaf.Committee = "trustees"
			a.items[0].Leaf = leaf.Encode()
			a.digested(t)
		}},
		"a request after its not-after": {records.RefusedLate, func(_ *testing.T, w *ward, a *attempt) {
			a.entered = func() { w.Custodians[0].Clock.Move(21 * time.Second) }
		}},
		"an old entry again": {records.RefusedLate, func(_ *testing.T, w *ward, a *attempt) {
			a.entered = func() { w.Clock.Move(31 * time.Second) }
		}},
		"a not-after beyond 30 s": {records.RefusedBad, func(_ *testing.T, w *ward, a *attempt) {
			a.request.NotAfter = w.Clock.Now().Add(40 * time.Second).UnixMilli()
		}},
		"with its clock 31 s behind": {records.RefusedClock, func(_ *testing.T, w *ward, _ *attempt) {
			w.Custodians[0].Clock.Move(-31 * time.Second)
		}},
		"with its clock 31 s ahead": {records.RefusedLate, func(_ *testing.T, w *ward, a *attempt) {
			a.request.NotAfter = w.Clock.Now().Add(29 * time.Second).UnixMilli()
			w.Custodians[0].Clock.Move(31 * time.Second)
		}},
		"with its clock set back": {records.RefusedClock, func(_ *testing.T, w *ward, a *attempt) {
			a.entered = func() {
				w.Clock.Move(40 * time.Second)
				w.Append(chain.Entry{Kind: chain.Admin})
				w.Custodians[0].Clock.Move(-40 * time.Second)
			}
		}},
		"a request that is none": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) {
			a.sent = func(r *records.Release) { r.Request = r.Request[1:] }
		}},
		"a reader key that is none": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) {
			a.request.Reader = slices.Repeat([]byte{0xff}, len(a.request.Reader))
		}},
		"nothing": {records.RefusedBad, func(_ *testing.T, _ *ward, a *attempt) {
			a.items, a.request.Labels, a.entry.Resources = nil, nil, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, still())
			if twin := w.ask(t, w.release(t, w.attempt(t, w.doctor, w.envelope))).Releases[0]; twin.Refusal != "" || twin.Box == nil {
				t.Fatalf("the honest twin is refused: %s", twin.Refusal)
			}
			a := w.attempt(t, w.doctor, w.envelope)
			tc.alter(t, w, a)
			answer := w.ask(t, w.release(t, a))
			got := answer.Releases[0]
			if got.Refusal == "" || got.Box != nil || answer.Proof != nil {
				t.Fatalf("answered: %+v", got)
			}
			if tc.want != "" && got.Refusal != tc.want {
				t.Errorf("refused for %q, want %q", got.Refusal, tc.want)
			}
		})
	}
}

// sealedUnder seals the envelope's attributes and a secret of its own under the
// bent label, as the sealer does it.
func (w *ward) sealedUnder(t testing.TB, e *records.Envelope, bend func(*records.Label)) *records.Envelope {
	t.Helper()
	bent := *e
	bend(&bent.Label)
	var root [32]byte
	rand.Read(root[:])
	item, leaf := bent.Item(), bent.Leaves[0]
	ciphertext, err := w.Committee.Encrypt(root, item.LeafLabel(&leaf))
	if err != nil {
		t.Fatal(err)
	}
	leaf.Ciphertext = ciphertext[:]
	bent.Leaves = []records.Leaf{leaf}
	return &bent
}

// An honest gateway's entry passes, whichever of the grants that ran it names.
func TestEntriesThatTellTheTruthAreAnswered(t *testing.T) {
	w := newWard(t, still())
	second := w.GrantTo(doctor, patient, time.Hour)
	for name, alter := range map[string]func(a *attempt){
		"no grants named":      func(*attempt) {},
		"one of two":           func(a *attempt) { a.entry.Grants = []string{w.grant.ID} },
		"the other":            func(a *attempt) { a.entry.Grants = []string{second.ID} },
		"both":                 func(a *attempt) { a.entry.Grants = []string{w.grant.ID, second.ID} },
		"scopes and context":   func(a *attempt) { a.request.Context, a.entry.Context = patient, patient },
		"a record sealed anew": func(a *attempt) { *a = *w.attempt(t, w.doctor, w.sealedUnder(t, w.envelope, func(*records.Label) {})) },
		"a grant withdrawn then": func(a *attempt) {
			gone := w.GrantTo(nurse, patient, time.Hour)
			a.entry.Grants = []string{gone.ID}
			a.entered = func() {
				w.Clock.Move(time.Second)
				w.Withdraw(gone)
			}
		},
	} {
		a := w.attempt(t, w.doctor, w.envelope)
		alter(a)
		if got := w.ask(t, w.release(t, a)).Releases[0]; got.Refusal != "" || got.Box == nil {
			t.Errorf("%s: refused for %q", name, got.Refusal)
		}
	}
}

// forge replaces the attempt by one for a label of one's own making, with the
// envelope's ciphertext, in which everything else agrees.
func (a *attempt) forge(t testing.TB, w *ward, e *records.Envelope, attributes policy.Resource, bend func(*records.Label)) {
	t.Helper()
	bent := *e
	bend(&bent.Label)
	sealed, err := w.Attributes.Seal(attributes, bent.Label.Revision)
	if err != nil {
		t.Fatal(err)
	}
	bent.Attributes = sealed
	item := records.Item{Attributes: sealed}
	bent.Label.Attributes = item.AttributesHash()
	*a = *w.attempt(t, a.subject, &bent)
	a.entry.Patient = patient
}

// digested has the entry name what the items now are.
func (a *attempt) digested(t testing.TB) {
	t.Helper()
	leaf, err := records.DecodeLeaf(a.items[0].Leaf)
	if err != nil {
		t.Fatal(err)
	}
	digest := a.items[0].Digest(leaf)
	a.entry.Resources[0].Digest = digest[:]
}

func TestBadReleaseDoesNotSpoilTheOthersOfItsRound(t *testing.T) {
	w := newWard(t, still())
	good := func() records.Release { return w.release(t, w.attempt(t, w.doctor, w.envelope, w.second)) }
	unproven := w.attempt(t, w.doctor, w.envelope)
	leaf := w.envelope.Leaves[0]
	leaf.Ciphertext = slices.Clone(leaf.Ciphertext)
	copy(leaf.Ciphertext[32:64], w.second.Leaves[0].Ciphertext[32:64])
	unproven.items[0].Leaf = leaf.Encode()
	unproven.digested(t)
	nurses := w.attempt(t, w.nurse, w.envelope)
	garbled := good()
	garbled.Request = []byte("garbled")
	answer := w.ask(t, good(), w.release(t, unproven), good(), w.release(t, nurses), garbled, w.release(t, w.attempt(t, w.doctor, w.envelope)))
	for i, refused := range []bool{false, true, false, true, true, false} {
		if got := answer.Releases[i]; (got.Refusal != "") != refused || (got.Box == nil) != refused {
			t.Errorf("release %d: refusal %q, box of %d bytes", i, got.Refusal, len(got.Box))
		}
	}
	if len(answer.Proof) != 64 {
		t.Errorf("proof of %d bytes", len(answer.Proof))
	}
}

func TestGatewayThatSkipsItsOwnPolicyGetsNothing(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	if _, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() ([]*fhir.Resource, error){
		"without a grant": func() ([]*fhir.Resource, error) { return w.Read(t.Context(), w.nurse, "TREAT", w.envelope) },
		"beyond a grant":  func() ([]*fhir.Resource, error) { return w.Read(t.Context(), w.doctor, "TREAT", w.sensitive) },
		"for another purpose": func() ([]*fhir.Resource, error) {
			return w.Read(t.Context(), w.doctor, "HRESCH", w.envelope)
		},
		"with an invented sign-in": func() ([]*fhir.Resource, error) {
			invented := w.doctor
			invented.SignIn = 1 << 30
			return w.Read(t.Context(), invented, "TREAT", w.envelope)
		},
		"after the end of the grant": func() ([]*fhir.Resource, error) {
			w.Clock.Move(10 * time.Minute)
			return w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read()
			if _, ok := asRefused(err); !ok || got != nil {
				t.Errorf("Open() = %v, %v, want *RefusedError", got, err)
			}
		})
	}
}
