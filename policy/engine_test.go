package policy_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// reading is a doctor who may read a patient's pulse.
func reading(t testing.TB) (*policytest.Hospital, policy.Request) {
	h := policytest.New(t, nil)
	h.Grant(vitals(t, h, "Patient/a", "Practitioner/7"))
	doctor := h.SignIn("Practitioner/7", h.Now.Add(2*time.Hour), "doctor")
	return h, policy.Request{Subject: doctor, Action: policy.Read, Purpose: "TREAT", Scopes: allScopes, Resource: pulse("Patient/a")}
}

func TestTheZeroDecisionDenies(t *testing.T) {
	if (policy.Decision{}).Permit || policy.Reason("").Permits() {
		t.Error("it permits")
	}
}

// TestRulesThatMisbehaveDeny: undefined, of another shape, of another length, in
// error, or a permit that does not say what it rests on.
func TestRulesThatMisbehaveDeny(t *testing.T) {
	h, req := reading(t)
	for name, rule := range map[string]string{
		"undefined":             `verdicts := [] if false`,
		"no list":               `verdicts := "permit"`,
		"too few":               `verdicts := []`,
		"too many":              `verdicts := [x | some i in [1, 2]; x := {"permit": true, "reason": "permitted", "rule": "x", "uses": []}]`,
		"no reason":             `verdicts := [{"permit": true, "rule": "x", "uses": []}]`,
		"an unknown reason":     `verdicts := [{"permit": true, "reason": "why-not", "rule": "x", "uses": []}]`,
		"no rule":               `verdicts := [{"permit": true, "reason": "permitted", "uses": []}]`,
		"a permit on nothing":   `verdicts := [{"permit": true, "reason": "permitted", "rule": "x"}]`,
		"a permit of a denial":  `verdicts := [{"permit": true, "reason": "no-grant", "rule": "x", "uses": []}]`,
		"a truthy permit":       `verdicts := [{"permit": "true", "reason": "permitted", "rule": "x", "uses": []}]`,
		"a denial as permitted": `verdicts := [{"reason": "permitted", "rule": "x"}]`,
		"a conflict":            "verdicts := [1] if input.session\nverdicts := [2] if input.session",
		"an endless evaluation": `verdicts := [x | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); x := a * b]`,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			if err := e.FailWith(rule); err != nil {
				t.Fatal(err)
			}
			d := e.Decide(t.Context(), h.State, req, h.Now)
			if d.Permit || d.Reason != policy.Failed {
				t.Errorf("Decide() = %+v", d)
			}
		})
	}
}

// TestRulesCannotRestOnWhatIsNotThere: a rule that uses a grant where none
// matched is a fault of the rules, and denies.
func TestRulesCannotRestOnWhatIsNotThere(t *testing.T) {
	h, req := reading(t)
	req.Resource = pulse("Patient/z")
	for _, use := range []string{"grant", "consent", "treats", "hearsay"} {
		e := newEngine(t)
		if err := e.FailWith(fmt.Sprintf(`verdicts := [{"permit": true, "reason": "permitted", "rule": "x", "uses": [%q]}]`, use)); err != nil {
			t.Fatal(err)
		}
		if d := e.Decide(t.Context(), h.State, req, h.Now); d.Permit || d.Reason != policy.Failed {
			t.Errorf("%s: Decide() = %+v", use, d)
		}
	}
}

func TestACancelledRequestIsDenied(t *testing.T) {
	h, req := reading(t)
	e := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := e.Decide(ctx, h.State, req, h.Now)
	if again := e.Decide(t.Context(), h.State, req, h.Now); d.Permit || !again.Permit {
		t.Errorf("cancelled: %+v; afterwards: %+v", d, again)
	}
}

// TestNoSessionHasMoreThanItsClientsScopes: what the gateway says of scopes is
// bounded by what the client was registered with.
func TestNoSessionHasMoreThanItsClientsScopes(t *testing.T) {
	for registered, want := range map[string]policy.Reason{"user/Observation.rs": policy.Permitted, "user/Condition.rs": policy.Scope, "user/Observation.s": policy.Scope} {
		h := policytest.New(t, func(trust *policy.Trust) { trust.Clients[0].Scopes = []string{registered} })
		h.Grant(vitals(t, h, "Patient/a", "Practitioner/7"))
		doctor := h.SignIn("Practitioner/7", h.Now.Add(time.Hour), "doctor")
		req := policy.Request{Subject: doctor, Action: policy.Read, Purpose: "TREAT", Scopes: allScopes, Resource: pulse("Patient/a")}
		if d := newEngine(t).Decide(t.Context(), h.State, req, h.Now); d.Reason != want {
			t.Errorf("registered for %s: %+v", registered, d)
		}
	}
}

// TestTheSessionsEndIsTheLogs, whatever a request says of it.
func TestTheSessionsEndIsTheLogs(t *testing.T) {
	h, req := reading(t)
	end := req.Subject.End
	req.Subject.End = h.Now.Add(1000 * time.Hour).UnixMilli()
	if d := newEngine(t).Decide(t.Context(), h.State, req, time.UnixMilli(end)); d.Permit || d.Reason != policy.NoSession {
		t.Errorf("Decide() = %+v", d)
	}
	h.Now = h.Now.Add(time.Minute)
	short := h.SignIn("Practitioner/7", h.Now.Add(time.Minute), "doctor")
	limit := short.End
	short.End = req.Subject.End
	req.Subject = short
	if d := newEngine(t).Decide(t.Context(), h.State, req, h.Now); !d.Permit || d.Expires.UnixMilli() != limit {
		t.Errorf("Decide() = %+v, want it to expire with the session", d)
	}
}

func TestAnEmptyPageIsDecided(t *testing.T) {
	h, req := reading(t)
	if got := newEngine(t).DecideAll(t.Context(), h.State, req, nil, h.Now); len(got) != 0 {
		t.Errorf("DecideAll() = %v", got)
	}
}

// TestARequestOfNothingIsDenied: the zero request, and a zero state.
func TestARequestOfNothingIsDenied(t *testing.T) {
	if d := newEngine(t).Decide(t.Context(), policy.NewState(policytest.Trust()), policy.Request{}, time.Now()); d.Permit || d.Reason != policy.NoSession {
		t.Errorf("Decide() = %+v", d)
	}
}

// TestEnginesAgree: the digest is of the rules alone, and two engines of one
// binary decide alike.
func TestEnginesAgree(t *testing.T) {
	h, req := reading(t)
	a, b := newEngine(t), newEngine(t)
	if a.Digest() != b.Digest() || a.Digest() == [32]byte{} {
		t.Error("digests differ")
	}
	da, db := a.Decide(t.Context(), h.State, req, h.Now), b.Decide(t.Context(), h.State, req, h.Now)
	if fmt.Sprint(da) != fmt.Sprint(db) || !da.Permit {
		t.Errorf("%+v and %+v", da, db)
	}
}

// TestDecidingWhileStatementsArrive: no permit after the withdrawal was applied.
func TestDecidingWhileStatementsArrive(t *testing.T) {
	h, req := reading(t)
	e := newEngine(t)
	g := h.State.Grants("Patient/a")[0].Grant
	var wg sync.WaitGroup
	start, withdrawn := make(chan struct{}), make(chan struct{})
	for range 4 {
		wg.Go(func() {
			<-start
			for range 200 {
				over := false
				select {
				case <-withdrawn:
					over = true
				default:
				}
				if d := e.Decide(t.Context(), h.State, req, h.Now); over && d.Permit {
					t.Error("permitted after the withdrawal")
				}
				h.State.Patients(req.Subject, h.Now)
				h.State.Grants("Patient/a")
			}
		})
	}
	close(start)
	if err := h.Withdraw(g, "Patient/a", ""); err != nil {
		t.Error(err)
	}
	close(withdrawn)
	wg.Wait()
	if d := e.Decide(t.Context(), h.State, req, h.Now); d.Permit || d.Reason != policy.Withdrawn {
		t.Errorf("Decide() = %+v", d)
	}
}

// TestReasonsAreClosed: every reason that the rules can give is on the list, and
// the list has no two of one name.
func TestReasonsAreClosed(t *testing.T) {
	seen := map[policy.Reason]bool{}
	for _, r := range policy.Reasons() {
		if seen[r] || r == "" {
			t.Errorf("%q twice, or empty", r)
		}
		seen[r] = true
	}
}
