package recordstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// Issuer is the hospital's identity provider.
type Issuer struct {
	URL   string
	clock *Clock
	key   *ecdsa.PrivateKey
}

// Audience is whom ID tokens are for, and EnrolAudience whom those that enrol
// keys are for.
const (
	Audience      = "wardkey"
	EnrolAudience = "wardkey-enrol"
)

// The hospital's registered clients.
const (
	ClientEHR    = "ehr"    // staff
	ClientPortal = "portal" // patients
)

func (h *Hospital) trust(o Options) {
	h.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(h.T, err)
	h.Issuer = &Issuer{URL: "https://idp." + Tenant, clock: h.Clock, key: key}
	h.Trust = &policy.Trust{
		Tenant: Tenant,
		Issuers: []policy.Issuer{{
			Issuer: h.Issuer.URL, Audiences: []string{Audience}, EnrolAudiences: []string{EnrolAudience}, Algorithms: []string{"ES256"},
			Keys:  policy.NewJWKS(jose.JSONWebKey{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}),
			Roles: map[string]string{"doctor": "doctor", "nurse": "nurse", "pharmacist": "pharmacist", "researcher": "researcher", "auditor": "auditor", "admin": "admin", "records": "records"},
		}},
		Clients: []policy.Client{
			{ID: ClientEHR, Kind: policy.ClientUser, Purposes: []string{"TREAT", "ETREAT", "BTG", "HRESCH"}, Default: "TREAT", Scopes: []string{"user/*.rs"}},
			{ID: ClientPortal, Kind: policy.ClientUser, Purposes: []string{"PATRQT"}, Default: "PATRQT", Scopes: []string{"patient/*.rs"}},
		},
		Signers: []policy.Signer{{ID: "adt", Kind: policy.SignerADT, Key: policy.PublicKey(h.signer(&h.ADT))}},
	}
	h.Registrars = make([]ed25519.PrivateKey, 2)
	for i, id := range []string{"registrar-1", "registrar-2"} {
		h.Trust.Signers = append(h.Trust.Signers, policy.Signer{ID: id, Kind: policy.SignerRegistrar, Key: policy.PublicKey(h.signer(&h.Registrars[i]))})
	}
	if o.Trust != nil {
		o.Trust(h.Trust)
	}
	check(h.T, h.Trust.Validate())
}

func (h *Hospital) signer(into *ed25519.PrivateKey) ed25519.PublicKey {
	h.T.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(h.T, err)
	*into = private
	return public
}

// IDToken signs an ID token about a person ("Practitioner/d1", "Patient/p1").
func (i *Issuer) IDToken(t testing.TB, person, nonce string, roles ...string) string {
	t.Helper()
	return i.token(t, Audience, person, nonce, roles)
}

// EnrolToken signs an ID token that makes a key a person's.
func (i *Issuer) EnrolToken(t testing.TB, person string, key []byte, roles ...string) string {
	t.Helper()
	return i.token(t, EnrolAudience, person, policy.EnrolNonce(key), roles)
}

func (i *Issuer) token(t testing.TB, audience, person, nonce string, roles []string) string {
	t.Helper()
	now := i.clock.Now()
	claims := must(json.Marshal(map[string]any{
		"iss": i.URL, "aud": audience, "sub": person, "fhirUser": person, "roles": roles, "nonce": nonce,
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}))(t)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", "1")))(t)
	return must(must(signer.Sign(claims))(t).CompactSerialize())(t)
}

// SignIn enters a sign-in of staff at the EHR, or of a patient at the portal,
// for half an hour.
func (h *Hospital) SignIn(person string, roles ...string) policy.Subject {
	h.T.Helper()
	client := ClientEHR
	if len(roles) == 0 {
		client = ClientPortal
	}
	end := h.Clock.Now().Add(30 * time.Minute).UnixMilli()
	session := NewSession()
	nonce := policy.SessionNonce(session, client, end)
	statement := policy.SignIn{
		Session: session, Client: client, End: end, Form: policy.FormIDToken,
		Token: h.Issuer.IDToken(h.T, person, nonce, roles...),
	}
	h.mu.Lock()
	if key := h.keys[person]; key != nil {
		statement.Signature = ed25519.Sign(key, policy.SignInMessage(nonce))
	}
	h.mu.Unlock()
	index := h.Enter(chain.Entry{Kind: chain.SignIn, Actor: person, Client: client, Session: session, Statement: statement.Encode()})
	subject, ok := h.State.Session(index)
	if !ok {
		h.T.Fatalf("sign-in of %s has no effect", person)
	}
	return subject
}

// NewSession draws a session's public id.
func NewSession() string {
	id := make([]byte, 32)
	rand.Read(id)
	return base64.RawURLEncoding.EncodeToString(id)
}

// Enter appends an entry whose statement must have effect, and returns its
// index.
func (h *Hospital) Enter(e chain.Entry) uint64 {
	h.T.Helper()
	body := chain.Body{Time: h.Clock.Now().UnixMilli(), Entry: e}
	check(h.T, h.State.Check(body.Event(h.Log.Size())))
	return h.Append(e)
}

// Append appends an entry, whatever is in it, and returns its index.
func (h *Hospital) Append(e chain.Entry) uint64 {
	h.T.Helper()
	return must(h.Log.Append(context.Background(), e))(h.T)[0].Index
}

// Enrol enters a key for a person, by the identity provider's word, and returns
// it. The hospital signs with it from then on.
func (h *Hospital) Enrol(person string) ed25519.PrivateKey {
	h.T.Helper()
	var key ed25519.PrivateKey
	public := h.signer(&key)
	statement := policy.Enrolment{Person: person, Key: public, Token: h.Issuer.EnrolToken(h.T, person, public, "doctor")}
	h.Enter(chain.Entry{Kind: chain.Enrol, Actor: person, Patient: patientOf(person), Statement: statement.Encode()})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[person] = key
	return key
}

// Key is what a person was enrolled with; the person is enrolled if need be.
func (h *Hospital) Key(person string) ed25519.PrivateKey {
	h.T.Helper()
	h.mu.Lock()
	key := h.keys[person]
	h.mu.Unlock()
	if key == nil {
		return h.Enrol(person)
	}
	return key
}

// Grant enters what a patient grants, signed with the patient's key.
func (h *Hospital) Grant(r policy.GrantRequest) policy.Grant {
	h.T.Helper()
	key := h.Key(r.Patient)
	grant := must(policy.Preview(r, h.Clock.Now()))(h.T)
	statement := policy.SignedGrant{Grant: grant, Signature: ed25519.Sign(key, policy.GrantMessage(grant.Digest()))}
	h.Enter(chain.Entry{Kind: chain.Grant, Actor: r.Patient, Patient: r.Patient, Statement: statement.Encode()})
	return grant
}

// GrantTo lets a practitioner read everything normal of a patient, for a while.
func (h *Hospital) GrantTo(practitioner, patient string, lasts time.Duration) policy.Grant {
	h.T.Helper()
	return h.Grant(policy.GrantRequest{
		Patient: patient, Actors: []policy.GrantActor{{Ref: practitioner}}, Purposes: []string{"TREAT"},
		Until: h.Clock.Now().Add(lasts).UTC().Format(time.RFC3339Nano),
	})
}

// Withdraw enters the end of a grant, signed with the patient's key, and
// returns the index.
func (h *Hospital) Withdraw(g policy.Grant) uint64 {
	h.T.Helper()
	digest := g.Digest()
	statement := policy.Withdrawal{Grant: g.ID, Patient: g.Patient, Digest: digest[:], Signature: ed25519.Sign(h.Key(g.Patient), policy.WithdrawMessage(digest))}
	return h.Enter(chain.Entry{Kind: chain.Withdraw, Actor: g.Patient, Patient: g.Patient, Statement: statement.Encode()})
}

// Relate enters a relation, signed by the ADT system. Version, id and time of
// issue are filled in where they are missing.
func (h *Hospital) Relate(r policy.Relation) policy.Relation {
	h.T.Helper()
	now := h.Clock.Now()
	if r.V == 0 {
		r.V = 1
	}
	if r.ID == "" {
		r.ID = "r-" + NewSession()
	}
	if r.Issued == 0 {
		r.Issued = now.UnixMilli()
	}
	if r.From == 0 {
		r.From = now.Add(-time.Minute).UnixMilli()
	}
	if r.Until == 0 {
		r.Until = now.Add(time.Hour).UnixMilli()
	}
	statement := policy.SignedRelation{Relation: r, Signatures: []policy.Signature{{Signer: "adt", Value: ed25519.Sign(h.ADT, policy.RelationMessage(r.Digest()))}}}
	h.Enter(chain.Entry{Kind: chain.Relation, Actor: "adt", Patient: r.Patient, Statement: statement.Encode()})
	return r
}

// SignOut ends a session.
func (h *Hospital) SignOut(s policy.Subject) {
	h.T.Helper()
	h.Enter(chain.Entry{Kind: chain.SignOut, Actor: s.ID, SignIn: s.SignIn})
}

func patientOf(person string) string {
	if len(person) > 8 && person[:8] == "Patient/" {
		return person
	}
	return ""
}
