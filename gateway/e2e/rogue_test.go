package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/node/demo"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
)

// A conspiracy is a hospital in this process, whose gateway goes bad.
type conspiracy struct {
	*hospital
	inside *demo.Hospital
	rogue  *demo.Rogue
	record string // id of an observation of patient a's
}

func conspire(t *testing.T) *conspiracy {
	t.Helper()
	inside, err := demo.Start(t.Context(), demo.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0", Patients: 5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context is done by now.
		if err := inside.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	doc, err := inside.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &conspiracy{hospital: &hospital{Document: doc}, inside: inside, rogue: demo.NewRogue(inside.Gateway())}
	who := map[string]any{"resourceType": "Patient", "id": doc.Patients.A, "name": []any{map[string]any{"family": "Canary"}}}
	r := c.ask(t, http.MethodPut, "/fhir/Patient/"+doc.Patients.A, doc.Tokens.Loader, who, "Content-Type", "application/fhir+json")
	if r.status != http.StatusCreated {
		t.Fatalf("create the patient: %d %s", r.status, r.body)
	}
	c.record = c.create(t, doc.Patients.A, 66)
	return c
}

// signIn is the entry of the session behind a token, taken from the entry that
// an ordinary request leaves.
func (c *conspiracy) signIn(t *testing.T, token string) *chain.Body {
	t.Helper()
	r := c.ask(t, http.MethodGet, "/fhir/Observation/never-there", token, nil)
	index, err := strconv.ParseUint(r.entry(), 10, 64)
	if err != nil {
		t.Fatalf("entry %q: %v", r.entry(), err)
	}
	body, err := c.inside.Gateway().Log.Body(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// theft is what the rogue claims for the doctor.
func (c *conspiracy) theft(t *testing.T) demo.Theft {
	t.Helper()
	session := c.signIn(t, c.Tokens.Doctor)
	return demo.Theft{
		SignIn: session.SignIn, Actor: session.Actor, Role: session.Role, Purpose: "TREAT", Scopes: []string{"user/*.crus"},
		Record: fhir.Ref{Type: "Observation", ID: c.record}, Patient: "Patient/" + c.Patients.A,
	}
}

// refused wants the custodians to have refused for one of the reasons.
func refused(t *testing.T, what string, opened *fhir.Resource, err error, reasons ...policy.Reason) {
	t.Helper()
	refusal, ok := errors.AsType[*records.RefusedError](err)
	switch {
	case err == nil:
		t.Errorf("%s: opened %s", what, opened.JSON())
	case !ok:
		t.Errorf("%s: %v, want the custodians' refusal", what, err)
	case !strings.Contains(fmt.Sprint(reasons), string(refusal.Reason)):
		t.Errorf("%s: refused for %q, want one of %q", what, refusal.Reason, reasons)
	}
}

func TestAGatewayThatSkipsItsOwnCheckGetsNothing(t *testing.T) {
	t.Parallel()
	c := conspire(t)
	theft := c.theft(t)

	opened, err := c.rogue.Steal(t.Context(), theft)
	refused(t, "without a grant", opened, err, policy.NoConsent, policy.NoGrant)

	claimed := theft
	claimed.Grants = []string{"g-AAAAAAAAAAAAAAAA"}
	opened, err = c.rogue.Steal(t.Context(), claimed)
	refused(t, "with a grant that is not there", opened, err, policy.NoConsent, policy.NoGrant)

	until := time.Now().Add(6 * time.Second).Truncate(time.Second)
	grant, digest := c.preview(t, c.Tokens.Patient, c.Patients.A, until)
	r := c.ask(t, http.MethodPost, "/api/grants", c.Tokens.Patient, map[string]any{
		"grant": grant, "signature": signature(t, c.Keys.Patient, "wardkey-grant-v1\x00", digest),
	})
	if r.status != http.StatusOK && r.status != http.StatusCreated {
		t.Fatalf("grant: %d %s", r.status, r.body)
	}
	// While the grant lasts the rogue gets what the honest gateway gets, and no
	// more than that.
	if opened, err = c.rogue.Steal(t.Context(), theft); err != nil || opened.ID() != c.record {
		t.Errorf("within the grant: %v, %v", opened, err)
	}
	research := theft
	research.Purpose = "CAREMGT"
	opened, err = c.rogue.Steal(t.Context(), research)
	refused(t, "for another purpose", opened, err, policy.NoConsent, policy.NoGrant, policy.Purpose)

	beyond := theft
	beyond.Record = fhir.Ref{Type: "Patient", ID: c.Patients.A}
	opened, err = c.rogue.Steal(t.Context(), beyond)
	refused(t, "of another type than was granted", opened, err, policy.NoConsent, policy.NoGrant)

	for name, spoil := range map[string]func(*demo.Theft){
		"no sign-in":                   func(x *demo.Theft) { x.SignIn = 0 },
		"the genesis for a sign-in":    func(x *demo.Theft) { x.SignIn = 1 },
		"a sign-in to come":            func(x *demo.Theft) { x.SignIn = 1 << 40 },
		"somebody else's sign-in":      func(x *demo.Theft) { x.SignIn = c.signIn(t, c.Tokens.Nurse).SignIn },
		"an invented sign-in":          func(x *demo.Theft) { x.SignIn = c.invented(t) },
		"another actor than signed in": func(x *demo.Theft) { x.Actor = c.Refs.SecondDoctor },
	} {
		x := theft
		spoil(&x)
		opened, err := c.rogue.Steal(t.Context(), x)
		refused(t, name, opened, err, policy.NoSession)
	}

	for time.Now().Before(until) {
		time.Sleep(time.Until(until)) // the end itself is what is tested
	}
	opened, err = c.rogue.Steal(t.Context(), theft)
	refused(t, "after the end of the grant", opened, err, policy.Expired)

	// It did not happen in secret: every attempt is on the log.
	attempts := 0
	for _, index := range c.inside.Gateway().Log.ByPatient("Patient/" + c.Patients.A) {
		body, err := c.inside.Gateway().Log.Body(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		if body.Kind == chain.Access && body.Reason == string(policy.Permitted) {
			attempts++
		}
	}
	if attempts != 12 {
		t.Errorf("%d permits of the rogue's making are on the log, want 12", attempts)
	}
}

// invented appends a sign-in of the doctor's whose ID token the gateway has
// signed itself, under the key id of the identity provider.
func (c *conspiracy) invented(t *testing.T) uint64 {
	t.Helper()
	jwks := c.ask(t, http.MethodGet, c.IDP+"/jwks", "", nil)
	kid, _ := jwks.json(t)["keys"].([]any)[0].(map[string]any)["kid"].(string)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const session = "invented"
	end := time.Now().Add(30 * time.Minute).UnixMilli()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: c.IDP, Subject: "doctor", Audience: jwt.Audience{"demo-clinic"},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}).Claims(map[string]any{
		"nonce": policy.SessionNonce(session, "demo-clinic", end), "fhirUser": c.Refs.Doctor, "roles": []string{"doctor"},
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := c.inside.Gateway().Log.Append(t.Context(), chain.Entry{
		Kind: chain.SignIn, Actor: "Client/demo-clinic", Client: "demo-clinic", Session: session,
		Statement: policy.SignIn{Session: session, Client: "demo-clinic", End: end, Token: token, Form: policy.FormIDToken}.Encode(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return receipts[0].Index
}
