package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// TestAPatientHasABoundedNumberOfRunningStatements: nobody makes the decisions
// about a patient slow, and who has reached the bound withdraws or waits.
func TestAPatientHasABoundedNumberOfRunningStatements(t *testing.T) {
	h := policytest.New(t, nil)
	h.Enrol("Patient/a", "Patient/a")
	deny := func(i int) policy.Grant {
		return policy.Grant{V: 1, ID: fmt.Sprintf("g-deny-%06d", i), Patient: "Patient/a", Layer: policy.LayerConsent, Effect: policy.EffectDeny, Status: policy.StatusActive, Classes: []string{policy.Coding(policy.SystemResourceType, "Observation")}}
	}
	record := func(g policy.Grant) error {
		return h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(g, "Patient/a", "").Encode())
	}
	for i := range 255 {
		if err := record(deny(i)); err != nil {
			t.Fatal(err)
		}
	}
	short := vitals(t, h, "Patient/a", "Practitioner/7")
	if err := record(short); err != nil {
		t.Fatal(err)
	}
	if err := record(deny(999)); !errors.Is(err, policy.ErrRefused) || !strings.Contains(err.Error(), "256 statements are running already") {
		t.Fatalf("the 257th: %v", err)
	}
	t.Run("the law and other patients have room all the same", func(t *testing.T) {
		law := deny(1000)
		law.Layer = policy.LayerLegal
		if err := h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(law, "governance", "governance").Encode()); err != nil {
			t.Error(err)
		}
		h.Grant(vitals(t, h, "Patient/b", "Practitioner/7"))
	})
	t.Run("what replaces one has its place", func(t *testing.T) {
		g := deny(1001)
		g.Replaces = []string{deny(0).ID}
		if err := record(g); err != nil {
			t.Error(err)
		}
		if err := record(deny(1002)); err == nil {
			t.Error("and another has one too")
		}
	})
	t.Run("withdrawing makes room", func(t *testing.T) {
		if err := h.Withdraw(deny(1), "Patient/a", ""); err != nil {
			t.Fatal(err)
		}
		if err := record(deny(1003)); err != nil {
			t.Error(err)
		}
	})
	t.Run("so does the end", func(t *testing.T) {
		h.Now = h.Now.Add(3 * time.Hour)
		if err := record(deny(1004)); err != nil {
			t.Error(err)
		}
	})
	if n := len(h.State.Grants("Patient/a")); n != 260 {
		t.Errorf("%d statements are remembered, want all 260", n)
	}
}

// TestWithdrawnPermitsAreBoundedToo, for they keep implicit policies from
// permitting until they would have ended; denials are never short of room.
func TestWithdrawnPermitsAreBoundedToo(t *testing.T) {
	h := policytest.New(t, nil)
	grant := func() (policy.Grant, error) {
		g := vitals(t, h, "Patient/a", "Practitioner/7")
		return g, h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(g, "Patient/a", "").Encode())
	}
	h.Enrol("Patient/a", "Patient/a")
	for range 256 {
		g, err := grant()
		if err == nil {
			err = h.Withdraw(g, "Patient/a", "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := grant(); err == nil || !strings.Contains(err.Error(), "256 permits were withdrawn") {
		t.Errorf("the 257th: %v", err)
	}
	deny := policy.Grant{V: 1, ID: "g-deny-000001", Patient: "Patient/a", Layer: policy.LayerConsent, Effect: policy.EffectDeny, Status: policy.StatusActive}
	if err := h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(deny, "Patient/a", "").Encode()); err != nil {
		t.Errorf("a denial: %v", err)
	}
	h.Now = h.Now.Add(3 * time.Hour)
	if _, err := grant(); err != nil {
		t.Errorf("after their end: %v", err)
	}
}

// TestWhatIsOverIsNotLookedThrough: a decision looks through what may matter to
// it, and not through a patient's whole past.
func TestWhatIsOverIsNotLookedThrough(t *testing.T) {
	h := policytest.New(t, nil)
	for range 60 {
		h.Grant(vitals(t, h, "Patient/a", "Practitioner/7"))
		h.Now = h.Now.Add(3 * time.Hour)
	}
	last := vitals(t, h, "Patient/a", "Practitioner/7")
	h.Grant(last)
	if n := h.State.Live("Patient/a"); n != 17 { // itself, and those that explain
		t.Errorf("%d of 61 statements are looked through", n)
	}
	if n := h.State.Followed("Practitioner/7"); n != 1 {
		t.Errorf("%d patients are looked through for the doctor", n)
	}
	doctor := h.SignIn("Practitioner/7", h.Now.Add(10*time.Hour), "doctor")
	req := policy.Request{Subject: doctor, Action: policy.Read, Purpose: "TREAT", Scopes: allScopes, Resource: pulse("Patient/a")}
	engine := newEngine(t)
	if d := engine.Decide(t.Context(), h.State, req, h.Now.Add(time.Minute)); !d.Permit || !slices.Equal(d.Grants, []string{last.ID}) {
		t.Errorf("the running one: %+v", d)
	}
	if d := engine.Decide(t.Context(), h.State, req, h.Now.Add(2*time.Hour)); d.Reason != policy.Expired {
		t.Errorf("after its end: %+v", d)
	}
	if got := h.State.Patients(doctor, h.Now.Add(time.Minute)); !slices.Equal(got, []string{"Patient/a"}) {
		t.Errorf("Patients() = %v", got)
	}
	if got := h.State.Patients(doctor, h.Now.Add(2*time.Hour)); len(got) > 0 {
		t.Errorf("after its end Patients() = %v", got)
	}
	if err := h.Withdraw(last, "Patient/a", ""); err != nil {
		t.Fatal(err)
	}
	if n := h.State.Followed("Practitioner/7"); n != 0 {
		t.Errorf("after the withdrawal %d patients are looked through for the doctor", n)
	}
	// Who has granted and not come back is dropped when others' entries come.
	h.Grant(vitals(t, h, "Patient/b", "Practitioner/7"))
	h.Now = h.Now.Add(5 * time.Hour)
	h.Grant(vitals(t, h, "Patient/c", "Practitioner/8"))
	if n := h.State.Followed("Practitioner/7"); n != 0 {
		t.Errorf("a day later %d patients are looked through for the doctor", n)
	}
}

// TestAStatementHasASizeThatAPersonCanRead.
func TestAStatementHasASizeThatAPersonCanRead(t *testing.T) {
	g := policy.Grant{V: 1, ID: "g-large-00001", Patient: "Patient/a", Layer: policy.LayerConsent, Effect: policy.EffectDeny, Status: policy.StatusActive}
	for i := range 60 {
		g.Codes = append(g.Codes, policy.Coding(policy.SystemLOINC, fmt.Sprintf("%0100d", i)))
	}
	if err := g.Validate(); err != nil {
		t.Errorf("of %d bytes: %v", len(policytest.Sign(g, "Patient/a", "").Encode()), err)
	}
	g.Codes = append(g.Codes, g.Codes...)
	if err := g.Validate(); err == nil || !strings.Contains(err.Error(), "at most 8192") {
		t.Errorf("of %d bytes: %v", len(policytest.Sign(g, "Patient/a", "").Encode()), err)
	}
	long := make([]byte, 8193)
	_, grant := policy.DecodeSignedGrant(long)
	_, withdrawal := policy.DecodeWithdrawal(long)
	_, relation := policy.DecodeSignedRelation(long)
	for name, err := range map[string]error{"a grant": grant, "a withdrawal": withdrawal, "a relation": relation} {
		if err == nil || !strings.Contains(err.Error(), "at most 8192") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusalsQuoteLittle: what somebody else wrote fills neither a log nor an
// answer, in whatever field it stands.
func TestRefusalsQuoteLittle(t *testing.T) {
	h := policytest.New(t, nil)
	h.Enrol("Patient/a", "Patient/a")
	h.Enrol("Practitioner/8", "Practitioner/8")
	long := strings.Repeat("long ", 1000)
	good := vitals(t, h, "Patient/a", "Practitioner/7")
	session, end := h.Session(), h.Now.Add(time.Hour).UnixMilli()
	nonce := policy.SessionNonce(session, policytest.App, end)
	grant := func(change func(*policy.SignedGrant)) policy.Event {
		st := policytest.Sign(good, "Patient/a", "")
		change(&st)
		return policy.Event{Kind: policy.KindGrant, Patient: "Patient/a", Statement: st.Encode()}
	}
	relation := func(change func(*policy.SignedRelation)) policy.Event {
		r := policy.Relation{V: 1, ID: "r-treats-0001", Kind: policy.Treats, Subject: "Practitioner/7", Patient: "Patient/a", From: h.Now.UnixMilli(), Until: end, Issued: 1}
		st := policytest.SignRelation(r, "Practitioner/8", "adt")
		change(&st)
		return policy.Event{Kind: policy.KindRelation, Patient: "Patient/a", Statement: st.Encode()}
	}
	signIn := func(change func(*policy.SignIn)) policy.Event {
		st := policy.SignIn{Session: session, Client: policytest.App, End: end, Form: policy.FormIDToken, Token: h.IDToken("Practitioner/7", []string{"doctor"}, nonce, nil)}
		change(&st)
		return policy.Event{Kind: policy.KindSignIn, Statement: st.Encode()}
	}
	for name, e := range map[string]policy.Event{
		"grant's id":       grant(func(s *policy.SignedGrant) { s.Grant.ID = long }),
		"grant's layer":    grant(func(s *policy.SignedGrant) { s.Grant.Layer = long }),
		"grant's effect":   grant(func(s *policy.SignedGrant) { s.Grant.Effect = long }),
		"grant's status":   grant(func(s *policy.SignedGrant) { s.Grant.Status = long }),
		"grant's patient":  grant(func(s *policy.SignedGrant) { s.Grant.Patient = long }),
		"grant's action":   grant(func(s *policy.SignedGrant) { s.Grant.Actions = []string{long} }),
		"grant's code":     grant(func(s *policy.SignedGrant) { s.Grant.Codes = []string{long} }),
		"what it replaces": grant(func(s *policy.SignedGrant) { *s = replacing(good, "g-"+long[:500]) }),
		"grant's signer": grant(func(s *policy.SignedGrant) {
			s.Grant.Layer, s.Grant.Effect, s.Signer = policy.LayerOrg, policy.EffectDeny, long
		}),
		"withdrawal's grant":   {Kind: policy.KindWithdraw, Patient: "Patient/a", Statement: policy.Withdrawal{Grant: long, Patient: "Patient/a", Digest: make([]byte, 32)}.Encode()},
		"withdrawal's patient": {Kind: policy.KindWithdraw, Patient: "Patient/a", Statement: policy.Withdrawal{Grant: good.ID, Patient: long, Digest: make([]byte, 32)}.Encode()},
		"withdrawal's signer":  {Kind: policy.KindWithdraw, Patient: "Patient/a", Statement: policy.Withdrawal{Grant: good.ID, Patient: "Patient/a", Signer: long, Digest: make([]byte, 32)}.Encode()},
		"relation's id":        relation(func(s *policy.SignedRelation) { s.Relation.ID = long }),
		"relation's kind":      relation(func(s *policy.SignedRelation) { s.Relation.Kind = long }),
		"relation's signer":    relation(func(s *policy.SignedRelation) { s.Signatures[1].Signer = long }),
		"its only signer":      relation(func(s *policy.SignedRelation) { s.Signatures = s.Signatures[:1]; s.Signatures[0].Signer = long }),
		"enrolled person":      {Kind: policy.KindEnrol, Statement: policy.Enrolment{Person: long, Key: policytest.Public("x")}.Encode()},
		"registrar":            {Kind: policy.KindEnrol, Statement: policy.Enrolment{Person: "Patient/z", Key: policytest.Public("x"), Registrars: []policy.Signature{{Signer: long}, {Signer: "b"}}}.Encode()},
		"sign-in's client":     signIn(func(s *policy.SignIn) { s.Client = long }),
		"sign-in's form":       signIn(func(s *policy.SignIn) { s.Form = long }),
		"sign-in's session":    signIn(func(s *policy.SignIn) { s.Session = long }),
		"token's fhirUser": signIn(func(s *policy.SignIn) {
			s.Token = h.IDToken("Practitioner/7", nil, nonce, map[string]any{"fhirUser": long})
		}),
		"token's issuer": signIn(func(s *policy.SignIn) {
			s.Token = h.IDToken("Practitioner/7", nil, nonce, map[string]any{"iss": long})
		}),
		"the entry's patient": func() policy.Event { e := grant(func(*policy.SignedGrant) {}); e.Patient = long; return e }(),
	} {
		t.Run(name, func(t *testing.T) {
			e.Index, e.At = 1000, h.Now
			err := h.State.Check(e)
			if !errors.Is(err, policy.ErrRefused) {
				t.Fatalf("Check() = %v", err)
			}
			if n := len(err.Error()); n > 300 {
				t.Errorf("%d bytes: %s", n, err)
			}
		})
	}
	for name, text := range map[string]string{
		"unknown field":  `{"` + long + `":1}`,
		"field twice":    `{"patient":"Patient/a","` + long + `":1,"` + long + `":1}`,
		"zone":           `{"patient":"Patient/a","actors":[{"ref":"Practitioner/7"}],"purposes":["TREAT"],"until":"2026-11-24","zone":"` + long + `"}`,
		"until":          `{"patient":"Patient/a","actors":[{"ref":"Practitioner/7"}],"purposes":["TREAT"],"until":"` + long + `"}`,
		"purpose":        `{"patient":"Patient/a","actors":[{"ref":"Practitioner/7"}],"purposes":["` + long + `"],"until":"2026-11-24T00:00:00Z"}`,
		"actor":          `{"patient":"Patient/a","actors":[{"ref":"` + long + `"}],"purposes":["TREAT"],"until":"2026-11-24T00:00:00Z"}`,
		"another effect": `{"patient":"Patient/a","effect":"` + long + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r, err := policy.ParseGrantRequest([]byte(text))
			if err == nil {
				_, err = policy.Preview(r, h.Now)
			}
			if err == nil || len(err.Error()) > 400 {
				t.Errorf("%v", err)
			}
		})
	}
}

func replacing(g policy.Grant, id string) policy.SignedGrant {
	g.Replaces = []string{id}
	return policytest.Sign(g, "Patient/a", "")
}
