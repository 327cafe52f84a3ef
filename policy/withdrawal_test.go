package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// TestTheOrderOfGrantAndWithdrawalDoesNotMatter: whoever orders the entries
// cannot make a withdrawn grant work, nor take from an implicit policy what the
// withdrawal denies.
func TestTheOrderOfGrantAndWithdrawalDoesNotMatter(t *testing.T) {
	engine := newEngine(t)
	for _, implicit := range []string{policy.ImplicitDeny, policy.ImplicitBasicNormal} {
		var decisions []string
		for _, order := range [][]string{{policy.KindGrant, policy.KindWithdraw}, {policy.KindWithdraw, policy.KindGrant}} {
			h := policytest.New(t, func(trust *policy.Trust) { trust.Implicit = implicit })
			h.Enrol("Patient/a", "Patient/a")
			g := vitals(t, h, "Patient/a", "Practitioner/7")
			g.ID = "g-vitals-0001"
			statements := map[string][]byte{policy.KindGrant: policytest.Sign(g, "Patient/a", "").Encode(), policy.KindWithdraw: policytest.Withdrawal(g, "Patient/a", "").Encode()}
			for _, kind := range order {
				if err := h.Apply(kind, "Patient/a", statements[kind]); err != nil {
					t.Fatalf("%s of %v: %v", kind, order, err)
				}
			}
			for kind, st := range statements { // and never again
				if err := h.Apply(kind, "Patient/a", st); !errors.Is(err, policy.ErrRefused) {
					t.Errorf("%s again after %v: %v", kind, order, err)
				}
			}
			if all := h.State.Grants("Patient/a"); len(all) != 1 || all[0].Status != policy.StatusWithdrawn {
				t.Errorf("after %v the patient sees %+v", order, all)
			}
			doctor := h.SignIn("Practitioner/7", h.Now.Add(time.Hour), "doctor")
			d := engine.Decide(t.Context(), h.State, policy.Request{Subject: doctor, Action: policy.Read, Purpose: "TREAT", Scopes: allScopes, Resource: pulse("Patient/a")}, h.Now.Add(time.Second))
			decisions = append(decisions, fmt.Sprintf("%+v", d))
			if d.Reason != policy.Withdrawn {
				t.Errorf("after %v: %+v", order, d)
			}
		}
		if decisions[0] != decisions[1] {
			t.Errorf("in order %s\nreversed %s", decisions[0], decisions[1])
		}
	}
}

// TestAnEarlyWithdrawalIsOfOneGrantByItsOwnHand: it ends no other statement than
// the one signed, nobody else's, and none of another layer.
func TestAnEarlyWithdrawalIsOfOneGrantByItsOwnHand(t *testing.T) {
	deny := func(layer string) policy.Grant {
		return policy.Grant{V: 1, ID: "g-deny-000001", Patient: "Patient/a", Layer: layer, Effect: policy.EffectDeny, Status: policy.StatusActive}
	}
	for name, tc := range map[string]struct {
		withdraw  policy.Grant
		by        string // and "" for the patient
		then      policy.Grant
		withdrawn bool
	}{
		"a patient's own":             {deny(policy.LayerConsent), "", deny(policy.LayerConsent), true},
		"of other words":              {deny(policy.LayerGrant), "", deny(policy.LayerConsent), false},
		"the organisation's":          {deny(policy.LayerOrg), "policy-admin", deny(policy.LayerOrg), true},
		"the law's, by its colleague": {deny(policy.LayerLegal), "privacy", deny(policy.LayerLegal), true},
		"the law's, by the patient":   {deny(policy.LayerLegal), "", deny(policy.LayerLegal), false},
		"the law's, by an admin":      {deny(policy.LayerLegal), "policy-admin", deny(policy.LayerLegal), false},
		"the patient's, by the law":   {deny(policy.LayerConsent), "governance", deny(policy.LayerConsent), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			h.Enrol("Patient/a", "Patient/a")
			key := tc.by
			if key == "" {
				key = "Patient/a"
			}
			if err := h.Withdraw(tc.withdraw, key, tc.by); err != nil {
				t.Fatal(err)
			}
			signer := map[string]string{policy.LayerLegal: "governance", policy.LayerOrg: "privacy"}[tc.then.Layer]
			if key = signer; key == "" {
				key = "Patient/a"
			}
			if err := h.Apply(policy.KindGrant, "Patient/a", policytest.Sign(tc.then, key, signer).Encode()); err != nil {
				t.Fatal(err)
			}
			if got, _ := h.State.GrantByID(tc.then.ID); (got.Status == policy.StatusWithdrawn) != tc.withdrawn {
				t.Errorf("the statement is %s", got.Status)
			}
		})
	}
}

// TestAWithdrawalSaysWhatItWithdraws: by its patient and digest it is verified
// without the grant.
func TestAWithdrawalSaysWhatItWithdraws(t *testing.T) {
	h := policytest.New(t, nil)
	g := vitals(t, h, "Patient/a", "Practitioner/7")
	h.Grant(g)
	h.Enrol("Patient/b", "Patient/b")
	for name, change := range map[string]func(*policy.Withdrawal){
		"no digest":           func(w *policy.Withdrawal) { w.Digest = nil },
		"half a digest":       func(w *policy.Withdrawal) { w.Digest = w.Digest[:16] },
		"another digest":      func(w *policy.Withdrawal) { w.Digest = make([]byte, 32) },
		"no patient":          func(w *policy.Withdrawal) { w.Patient = "" },
		"no signature":        func(w *policy.Withdrawal) { w.Signature = nil },
		"no id":               func(w *policy.Withdrawal) { w.Grant = "" },
		"an unregistered one": func(w *policy.Withdrawal) { w.Signer = "adt" },
		"of what is not here, badly signed": func(w *policy.Withdrawal) {
			w.Grant, w.Signature = "g-nowhere-0001", policytest.Withdrawal(g, "Patient/b", "").Signature
		},
	} {
		w := policytest.Withdrawal(g, "Patient/a", "")
		change(&w)
		if err := h.Apply(policy.KindWithdraw, "Patient/a", w.Encode()); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.Withdraw(g, "Patient/a", ""); err != nil {
		t.Error(err)
	}
}

// TestEarlyWithdrawalsAreBounded: they cannot be forgotten, and so there are only
// so many.
func TestEarlyWithdrawalsAreBounded(t *testing.T) {
	h := policytest.New(t, nil)
	h.Enrol("Patient/a", "Patient/a")
	var first policy.Grant
	for i := range 256 {
		g := vitals(t, h, "Patient/a", "Practitioner/7")
		if err := h.Withdraw(g, "Patient/a", ""); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = g
		}
	}
	more := vitals(t, h, "Patient/a", "Practitioner/7")
	if err := h.Withdraw(more, "Patient/a", ""); err == nil || !strings.Contains(err.Error(), "256") {
		t.Errorf("the 257th: %v", err)
	}
	h.Grant(first) // it has come, and is withdrawn
	if err := h.Withdraw(more, "Patient/a", ""); err != nil {
		t.Errorf("after one has come: %v", err)
	}
}
