package policy_test

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// TestAStolenIssuersKeyDoesNotReadAsAPatient who has enrolled a key: the issuer's
// word alone signs no such patient in, nor a relative; who has no key, and staff,
// sign in by it.
func TestAStolenIssuersKeyDoesNotReadAsAPatient(t *testing.T) {
	by := func(name string) func(string) []byte {
		return func(nonce string) []byte { return sign(name, policy.SignInMessage(nonce)) }
	}
	for name, tc := range map[string]struct {
		person, enrolled string
		proof            func(nonce string) []byte
		ok               bool
	}{
		"a patient with a key, and the key": {"Patient/a", "phone", by("phone"), true},
		"a patient with a key, without it":  {"Patient/a", "phone", nil, false},
		"another's key":                     {"Patient/a", "phone", by("mallory"), false},
		"another session's nonce":           {"Patient/a", "phone", func(string) []byte { return sign("phone", policy.SignInMessage("another")) }, false},
		"a grant's signature":               {"Patient/a", "phone", func(n string) []byte { return sign("phone", policy.GrantMessage([32]byte([]byte(n)))) }, false},
		"a relative with a key, without it": {"RelatedPerson/m", "phone", nil, false},
		"a relative with a key, and it":     {"RelatedPerson/m", "phone", by("phone"), true},
		"a patient without a key":           {"Patient/a", "", nil, true},
		"a key that is not enrolled":        {"Patient/a", "", by("phone"), false},
		"staff with a key, without it":      {"Practitioner/7", "phone", nil, true},
		"staff with a key, and it":          {"Practitioner/7", "phone", by("phone"), true},
		"staff with another's key":          {"Practitioner/7", "phone", by("mallory"), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			if tc.enrolled != "" {
				h.Enrol(tc.person, tc.enrolled)
			}
			session, end := h.Session(), h.Now.Add(time.Hour).UnixMilli()
			nonce := policy.SessionNonce(session, policytest.App, end)
			st := policy.SignIn{
				Session: session, Client: policytest.App, End: end, Form: policy.FormIDToken,
				Token: h.IDToken(tc.person, []string{"doctor"}, nonce, nil),
			}
			if tc.proof != nil {
				st.Signature = tc.proof(nonce)
			}
			err := h.Apply(policy.KindSignIn, "", st.Encode())
			if (err == nil) != tc.ok || (err != nil && !errors.Is(err, policy.ErrSignature)) {
				t.Errorf("Apply() = %v", err)
			}
			if _, ok := h.State.Session(h.Index); ok != tc.ok {
				t.Errorf("Session() = %t", ok)
			}
		})
	}
	t.Run("a client's assertion has no other signature", func(t *testing.T) {
		h := policytest.New(t, nil)
		assertion := h.Assertion(policytest.Loader, nil)
		st := policy.SignIn{Session: policy.AssertionSession(assertion), Client: policytest.Loader, End: h.Now.Add(time.Hour).UnixMilli(), Token: assertion, Form: policy.FormClientAssertion, Signature: []byte("x")}
		if err := h.Apply(policy.KindSignIn, "", st.Encode()); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("Apply() = %v", err)
		}
	})
}

func TestSignInMessageStays(t *testing.T) {
	if got := string(policy.SignInMessage("n0nce")); got != "wardkey-signin-v1\x00n0nce" {
		t.Errorf("SignInMessage() = %q", got)
	}
}

// TestTheGatewayEnrolsNobodyBySigningThemIn: the nonce of a sign-in is the
// gateway's to choose, and it chooses that of a key of its own.
func TestTheGatewayEnrolsNobodyBySigningThemIn(t *testing.T) {
	h := policytest.New(t, nil)
	gateways := policytest.Key("gateway")
	public, _ := gateways.Public().(ed25519.PublicKey)
	token := h.IDToken("Patient/a", nil, policy.EnrolNonce(public), nil)
	st := policy.Enrolment{Person: "Patient/a", Key: public, Token: token}
	if err := h.Apply(policy.KindEnrol, "Patient/a", st.Encode()); !errors.Is(err, policy.ErrToken) {
		t.Errorf("Apply() = %v", err)
	}
	if _, ok := h.State.Key("Patient/a"); ok {
		t.Fatal("the gateway's key is the patient's")
	}
	g := vitals(t, h, "Patient/a", "Practitioner/7")
	if err := h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(g, "gateway", "").Encode()); !errors.Is(err, policy.ErrSignature) {
		t.Errorf("and signs grants: %v", err)
	}
}

// TestATokenToEnrolSignsNobodyIn, whatever its nonce.
func TestATokenToEnrolSignsNobodyIn(t *testing.T) {
	h := policytest.New(t, nil)
	st := attempt(h, map[string]any{"aud": policytest.EnrolAudience})
	if err := h.Apply(policy.KindSignIn, "", st.Encode()); !errors.Is(err, policy.ErrToken) {
		t.Errorf("Apply() = %v", err)
	}
	if err := h.Apply(policy.KindSignIn, "", attempt(h, nil).Encode()); err != nil {
		t.Error(err)
	}
}

// TestWithoutEnrolmentAudiencesRegistrarsEnrol.
func TestWithoutEnrolmentAudiencesRegistrarsEnrol(t *testing.T) {
	h := policytest.New(t, func(trust *policy.Trust) { trust.Issuers[0].EnrolAudiences = nil })
	key := policytest.Public("phone")
	for _, audience := range []string{policytest.Audience, policytest.EnrolAudience, ""} {
		token := h.IDToken("Patient/a", nil, policy.EnrolNonce(key), map[string]any{"aud": audience})
		if err := h.Apply(policy.KindEnrol, "", policy.Enrolment{Person: "Patient/a", Key: key, Token: token}.Encode()); !errors.Is(err, policy.ErrToken) {
			t.Errorf("for %q: %v", audience, err)
		}
	}
}

// TestScopesAreReadAsTheListTheyAre: one scope that looks like the JSON of
// several is none, whatever the engine has read before.
func TestScopesAreReadAsTheListTheyAre(t *testing.T) {
	h := policytest.New(t, nil)
	h.Grant(vitals(t, h, "Patient/a", "Practitioner/7"))
	req := policy.Request{Subject: h.SignIn("Practitioner/7", h.Now.Add(time.Hour), "doctor"), Action: policy.Read, Purpose: "TREAT", Resource: pulse("Patient/a")}
	engine := newEngine(t)
	req.Scopes = []string{"user/*.rs", "openid"}
	if d := engine.Decide(t.Context(), h.State, req, h.Now); !d.Permit {
		t.Fatalf("%+v", d)
	}
	req.Scopes = []string{`["user/*.rs","openid"]`}
	if d := engine.Decide(t.Context(), h.State, req, h.Now); d.Permit || d.Reason != policy.Scope {
		t.Errorf("%+v", d)
	}
}
