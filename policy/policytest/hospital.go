// Package policytest is a small hospital for tests: an identity provider, people
// with keys, registered clients and signers, and the log entries that they would
// make, applied to a [policy.State] in order.
//
// Keys are derived from names and protect nothing.
package policytest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardkey/wardkey/policy"
)

// Names of the hospital's trust.
const (
	Issuer        = "https://idp.example"
	Audience      = "wardkey"
	EnrolAudience = "wardkey-enrol"
	TokenURL      = "https://wardkey.example/oauth/token" //nolint:gosec // an address, no credential
	App           = "ward"                                // user client, for everybody
	Loader        = "loader"                              // system client, may write everything
)

// Hospital is a state and those who make its entries. It is not safe for
// concurrent use, but its State is.
type Hospital struct {
	Trust *policy.Trust
	State *policy.State
	Now   time.Time         // time of the next entry
	Index uint64            // of the last entry; 0 is taken as the genesis
	Keys  map[string]string // whose [Key] people prove at sign-in, by person; their own if it is not here

	tb     testing.TB
	serial int
}

// Key is the Ed25519 key of a name: a person, a signer, the issuer, a client.
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("policytest " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Public is the public half of [Key].
func Public(name string) ed25519.PublicKey {
	return Key(name).Public().(ed25519.PublicKey)
}

// JWKS is the public key of a name as a set of one, whose kid is the name.
func JWKS(name string) policy.JWKS {
	return policy.NewJWKS(jose.JSONWebKey{Key: Public(name), KeyID: name, Algorithm: string(jose.EdDSA), Use: "sig"})
}

// Trust is the hospital's trust: an issuer whose roles claim holds the roles
// themselves, the two clients, and signers "adt", "registrar-1",
// "registrar-2", "governance", "privacy" and "policy-admin".
func Trust() *policy.Trust {
	scopes := []string{"user/*.cruds", "patient/*.cruds"}
	roles := map[string]string{}
	for _, r := range []string{"doctor", "nurse", "pharmacist", "researcher", "auditor", "admin", "records"} {
		roles[r] = r
	}
	signer := func(id, kind string) policy.Signer {
		return policy.Signer{ID: id, Kind: kind, Key: policy.PublicKey(Public(id))}
	}
	return &policy.Trust{
		Tenant:    "test",
		TokenURLs: []string{TokenURL},
		Issuers: []policy.Issuer{{
			Issuer: Issuer, Audiences: []string{Audience}, EnrolAudiences: []string{EnrolAudience}, Algorithms: []string{"EdDSA"}, Keys: JWKS(Issuer), Roles: roles,
		}},
		Clients: []policy.Client{
			{
				ID: App, Name: "Ward app", Kind: policy.ClientUser, Scopes: scopes, Lifetime: policy.Duration(policy.MaxSession),
				Purposes: []string{"TREAT", "ETREAT", "BTG", "CAREMGT", "PATRQT", "FAMRQT", "PWATRNY", "HRESCH", "CLINTRCH", "HOPERAT", "HPAYMT", "RECORDMGT", "PUBHLTH", "HLEGAL"},
			},
			{
				ID: Loader, Name: "Loader", Kind: policy.ClientSystem, Keys: JWKS(Loader), Algorithms: []string{"EdDSA"},
				Types: []string{"*"}, Actions: []string{policy.Create, policy.Update, policy.Delete},
				Purposes: []string{"RECORDMGT"}, Default: "RECORDMGT", Scopes: []string{"system/*.cruds"}, Lifetime: policy.Duration(policy.MaxSession),
			},
		},
		Signers: []policy.Signer{
			signer("adt", policy.SignerADT), signer("registrar-1", policy.SignerRegistrar), signer("registrar-2", policy.SignerRegistrar),
			signer("governance", policy.SignerGovernance), signer("privacy", policy.SignerPrivacy), signer("policy-admin", policy.SignerPolicyAdmin),
		},
	}
}

// New returns a hospital at noon of a day in November, under [Trust] changed by
// edit, which may be nil.
func New(tb testing.TB, edit func(*policy.Trust)) *Hospital {
	tb.Helper()
	t := Trust()
	if edit != nil {
		edit(t)
	}
	if err := t.Validate(); err != nil {
		tb.Fatalf("trust: %v", err)
	}
	return &Hospital{Trust: t, State: policy.NewState(t), Now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Keys: map[string]string{}, tb: tb}
}

// Event is the next entry, not applied.
func (h *Hospital) Event(kind, patient string, statement []byte) policy.Event {
	h.Index++
	return policy.Event{Index: h.Index, At: h.Now, Kind: kind, Patient: patient, Statement: statement}
}

// Apply applies the next entry, and checks that Check said the same before.
func (h *Hospital) Apply(kind, patient string, statement []byte) error {
	h.tb.Helper()
	e := h.Event(kind, patient, statement)
	return h.ApplyEvent(e)
}

// ApplyEvent applies an entry, and checks that Check said the same before.
func (h *Hospital) ApplyEvent(e policy.Event) error {
	h.tb.Helper()
	before := h.State.Check(e)
	err := h.State.Apply(e)
	if fmt.Sprint(before) != fmt.Sprint(err) {
		h.tb.Fatalf("Check said %v, Apply %v", before, err)
	}
	return err
}

func (h *Hospital) must(err error) {
	h.tb.Helper()
	if err != nil {
		h.tb.Fatal(err)
	}
}

// JWT signs claims with the key of a name, whose kid it names.
func JWT(signer string, claims map[string]any) string {
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", signer)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: Key(signer)}, opts)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

// IDToken is the issuer's, good for five minutes, with claims changed by edits.
func (h *Hospital) IDToken(person string, roles []string, nonce string, edits map[string]any) string {
	claims := map[string]any{
		"iss": Issuer, "aud": Audience, "sub": "sub-" + person, "fhirUser": person, "roles": roles,
		"iat": h.Now.Unix(), "exp": h.Now.Add(5 * time.Minute).Unix(), "nonce": nonce,
	}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return JWT(Issuer, claims)
}

// Session is a fresh session id.
func (h *Hospital) Session() string {
	h.serial++
	return fmt.Sprintf("session-%020d", h.serial)
}

// SignIn signs a person in to [App] until end, and returns the subject.
func (h *Hospital) SignIn(person string, end time.Time, roles ...string) policy.Subject {
	h.tb.Helper()
	session := h.Session()
	ms := end.UnixMilli()
	st := policy.SignIn{
		Session: session, Client: App, End: ms, Form: policy.FormIDToken,
		Token:     h.IDToken(person, roles, policy.SessionNonce(session, App, ms), nil),
		Signature: h.Proof(person, policy.SessionNonce(session, App, ms)),
	}
	h.must(h.Apply(policy.KindSignIn, "", st.Encode()))
	return h.subject()
}

// Proof is the signature that a person with an enrolled key signs in with; nil
// for others.
func (h *Hospital) Proof(person, nonce string) []byte {
	if _, ok := h.State.Key(person); !ok {
		return nil
	}
	name, ok := h.Keys[person]
	if !ok {
		name = person
	}
	return ed25519.Sign(Key(name), policy.SignInMessage(nonce))
}

// Assertion is a client's assertion, good for five minutes, with claims changed
// by edits.
func (h *Hospital) Assertion(client string, edits map[string]any) string {
	h.serial++
	claims := map[string]any{
		"iss": client, "sub": client, "aud": TokenURL, "jti": fmt.Sprintf("jti-%d", h.serial),
		"iat": h.Now.Unix(), "exp": h.Now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return JWT(client, claims)
}

// SignInClient signs a system client in until end, and returns the subject.
func (h *Hospital) SignInClient(client string, end time.Time) policy.Subject {
	h.tb.Helper()
	assertion := h.Assertion(client, nil)
	st := policy.SignIn{
		Session: policy.AssertionSession(assertion), Client: client, End: end.UnixMilli(), Token: assertion, Form: policy.FormClientAssertion,
	}
	h.must(h.Apply(policy.KindSignIn, "", st.Encode()))
	return h.subject()
}

func (h *Hospital) subject() policy.Subject {
	h.tb.Helper()
	s, ok := h.State.Session(h.Index)
	if !ok {
		h.tb.Fatalf("no session at %d", h.Index)
	}
	return s
}

// SignOut ends a session.
func (h *Hospital) SignOut(s policy.Subject) {
	h.tb.Helper()
	e := h.Event(policy.KindSignOut, "", nil)
	e.SignIn = s.SignIn
	h.must(h.ApplyEvent(e))
}

// Enrol makes the key of a name a person's: mostly that of the person's own
// name.
func (h *Hospital) Enrol(person, key string) {
	h.tb.Helper()
	st := policy.Enrolment{Person: person, Key: Public(key), Token: h.EnrolToken(person, Public(key))}
	h.must(h.Apply(policy.KindEnrol, "", st.Encode()))
	h.Keys[person] = key
}

// EnrolToken is the issuer's word that a key is a person's.
func (h *Hospital) EnrolToken(person string, key []byte) string {
	return h.IDToken(person, []string{"doctor"}, policy.EnrolNonce(key), map[string]any{"aud": EnrolAudience})
}

// Sign signs a grant with the key of a name. signer is empty for patients.
func Sign(g policy.Grant, key, signer string) policy.SignedGrant {
	return policy.SignedGrant{Grant: g, Signer: signer, Signature: ed25519.Sign(Key(key), policy.GrantMessage(g.Digest()))}
}

// Grant records a grant that its patient signs; the patient is enrolled if need
// be.
func (h *Hospital) Grant(g policy.Grant) {
	h.tb.Helper()
	if _, ok := h.State.Key(g.Patient); !ok {
		h.Enrol(g.Patient, g.Patient)
	}
	h.must(h.Apply(policy.KindGrant, g.Patient, Sign(g, g.Patient, "").Encode()))
}

// Withdraw withdraws a grant with the key of a name.
func (h *Hospital) Withdraw(g policy.Grant, key, signer string) error {
	h.tb.Helper()
	return h.Apply(policy.KindWithdraw, g.Patient, Withdrawal(g, key, signer).Encode())
}

// Withdrawal signs the withdrawal of a grant with the key of a name. signer is
// empty for patients.
func Withdrawal(g policy.Grant, key, signer string) policy.Withdrawal {
	digest := g.Digest()
	return policy.Withdrawal{
		Grant: g.ID, Patient: g.Patient, Digest: digest[:], Signer: signer,
		Signature: ed25519.Sign(Key(key), policy.WithdrawMessage(digest)),
	}
}

// SignRelation signs a relation with the keys of names, which are also the
// signers' ids.
func SignRelation(r policy.Relation, signers ...string) policy.SignedRelation {
	st := policy.SignedRelation{Relation: r}
	for _, s := range signers {
		st.Signatures = append(st.Signatures, policy.Signature{Signer: s, Value: ed25519.Sign(Key(s), policy.RelationMessage(r.Digest()))})
	}
	return st
}

// Relate records a relation that the ADT system signs.
func (h *Hospital) Relate(r policy.Relation) {
	h.tb.Helper()
	h.must(h.Apply(policy.KindRelation, r.Patient, SignRelation(r, "adt").Encode()))
}
