package policy_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// A world is small, so that what is drawn at random meets often: two patients,
// four people of the workforce, statements and relations about them.
type world struct {
	grants    []policy.Grant
	relations []policy.Relation
	implicit  string
	request   policy.Request
	roles     []string
	at        time.Time
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// codes draws some of the codings, or nil for any.
func some(t *rapid.T, label string, of ...string) []string {
	if rapid.IntRange(0, 2).Draw(t, label+" stated") == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(rapid.SampledFrom(of), 1, 3).Draw(t, label))))
}

func full(list []string, system string) []string {
	for i, c := range list {
		list[i] = policy.Coding(system, c)
	}
	return list
}

// instant draws a time around noon, in minutes; 0 is none.
func instant(t *rapid.T, label string, none bool) int64 {
	m := rapid.IntRange(-4, 4).Draw(t, label)
	if none && m == -4 {
		return 0
	}
	return noon.Add(time.Duration(m) * time.Minute).UnixMilli()
}

func drawGrant(t *rapid.T, i int) policy.Grant {
	g := policy.Grant{
		V: 1, ID: fmt.Sprintf("g-%08d", i), Patient: rapid.SampledFrom([]string{"Patient/a", "Patient/a", "Patient/b"}).Draw(t, "patient"), Status: policy.StatusActive,
		Layer:  rapid.SampledFrom([]string{policy.LayerGrant, policy.LayerGrant, policy.LayerConsent, policy.LayerConsent, policy.LayerOrg, policy.LayerLegal}).Draw(t, "layer"),
		Effect: rapid.SampledFrom([]string{policy.EffectPermit, policy.EffectPermit, policy.EffectDeny}).Draw(t, "effect"),
		Time:   policy.Time{Nbf: instant(t, "nbf", true), Exp: instant(t, "exp", true)},
		Hard:   rapid.Bool().Draw(t, "hard"),
	}
	if g.Layer == policy.LayerOrg || g.Layer == policy.LayerLegal {
		g.Effect = policy.EffectDeny
	}
	for _, a := range some(t, "actors", "Practitioner/1", "Practitioner/2", "role:doctor", "role:nurse", "role:strange") {
		if role, ok := cutRole(a); ok {
			g.Actors = append(g.Actors, policy.Actor{Role: policy.Coding(policy.SystemRole, role)})
		} else {
			g.Actors = append(g.Actors, policy.Actor{Ref: a})
		}
	}
	g.Purposes = full(some(t, "purposes", "TREAT", "CAREMGT", "HRESCH", "STRANGE"), policy.SystemPurpose)
	g.Classes = full(some(t, "classes", "Observation", "Condition", "Strange"), policy.SystemResourceType)
	g.Categories = full(some(t, "categories", "vital-signs", "laboratory"), policy.SystemObservationCategory)
	if rapid.Bool().Draw(t, "labelled") {
		l := policy.Labels{Any: full(some(t, "any", "MH", "SUD", "OPIOIDUD"), policy.SystemSensitivity)}
		conf := rapid.SampledFrom([]string{"", "N", "R", "V"}).Draw(t, "conf")
		if g.Effect == policy.EffectPermit {
			l.Cover, l.MaxConf = full(some(t, "cover", "MH", "SUD", "OPIOIDUD"), policy.SystemSensitivity), conf
		} else {
			l.MinConf = conf
		}
		g.Labels = &l
	}
	if rapid.IntRange(0, 3).Draw(t, "dated") == 0 {
		g.DataTime = &policy.Span{From: instant(t, "data from", true), To: instant(t, "data to", true)}
	}
	if g.Effect == policy.EffectPermit && rapid.IntRange(0, 4).Draw(t, "treatment") == 0 {
		g.Treatment = &policy.Treatment{Until: instant(t, "treatment until", false), Doctor: "Practitioner/1"}
	}
	return g
}

func cutRole(s string) (string, bool) {
	if len(s) > 5 && s[:5] == "role:" {
		return s[5:], true
	}
	return "", false
}

func drawRelation(t *rapid.T, i int) policy.Relation {
	r := policy.Relation{
		V: 1, ID: fmt.Sprintf("r-%08d", i), From: instant(t, "from", false), Until: instant(t, "until", false), Issued: 1,
		Kind: rapid.SampledFrom([]string{policy.Treats, policy.AdmittedTo, policy.MemberOf, policy.CoversFor, policy.GuardianOf}).Draw(t, "kind"),
	}
	if r.Kind != policy.AdmittedTo {
		r.Subject = rapid.SampledFrom([]string{"Practitioner/1", "Practitioner/2"}).Draw(t, "subject")
	}
	if r.Kind != policy.MemberOf {
		r.Patient = rapid.SampledFrom([]string{"Patient/a", "Patient/b"}).Draw(t, "whom")
	}
	if r.Kind == policy.AdmittedTo || r.Kind == policy.MemberOf {
		r.Unit = "Location/w1"
	}
	if r.Kind == policy.CoversFor {
		r.For = "Practitioner/3"
	}
	return r
}

func drawResource(t *rapid.T) policy.Resource {
	r := policy.Resource{
		Type: rapid.SampledFrom([]string{"Observation", "Condition", "Patient"}).Draw(t, "type"), ID: "r1",
		Patient:    rapid.SampledFrom([]string{"Patient/a", "Patient/a", "Patient/b", ""}).Draw(t, "of"),
		Conf:       rapid.SampledFrom([]string{"N", "N", "R", "V", ""}).Draw(t, "confidentiality"),
		Sens:       full(some(t, "sens", "MH", "SUD", "OPIOIDUD"), policy.SystemSensitivity),
		Categories: full(some(t, "category", "vital-signs", "laboratory"), policy.SystemObservationCategory),
	}
	if rapid.Bool().Draw(t, "has date") {
		r.From = instant(t, "date", false)
		r.To = r.From + 1000
	}
	return r
}

func drawWorld(t *rapid.T) world {
	w := world{implicit: rapid.SampledFrom([]string{"", policy.ImplicitBasicNormal, policy.ImplicitAllNormal}).Draw(t, "implicit")}
	for i := range rapid.IntRange(0, 6).Draw(t, "grants") {
		w.grants = append(w.grants, drawGrant(t, i))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "relations") {
		w.relations = append(w.relations, drawRelation(t, i))
	}
	w.roles = rapid.SampledFrom([][]string{{"doctor"}, {"nurse"}, {"doctor", "nurse"}, {"researcher"}}).Draw(t, "roles")
	w.request = policy.Request{
		Subject: policy.Subject{ID: rapid.SampledFrom([]string{"Practitioner/1", "Practitioner/2"}).Draw(t, "who")},
		Action:  rapid.SampledFrom([]string{policy.Read, policy.Search, policy.Create, policy.Update, policy.Lookup}).Draw(t, "action"),
		Purpose: rapid.SampledFrom([]string{"TREAT", "CAREMGT", "HRESCH"}).Draw(t, "purpose"), Scopes: allScopes, Resource: drawResource(t),
	}
	w.at = noon.Add(time.Duration(rapid.IntRange(-4, 4).Draw(t, "now"))*time.Minute + time.Duration(rapid.IntRange(-1, 1).Draw(t, "ms"))*time.Millisecond)
	return w
}

// sessions are sign-ins that every world can start from: they take signatures,
// which would be slow to make for each.
type lawyer struct {
	engine *policy.Engine
	tb     testing.TB
}

func (l lawyer) state(w world) (*policy.State, policy.Request) {
	h := policytest.New(l.tb, func(t *policy.Trust) { t.Implicit = w.implicit })
	h.Now = noon.Add(-time.Hour)
	req := w.request
	req.Subject = h.SignIn(w.request.Subject.ID, noon.Add(3*time.Hour), w.roles...)
	for _, g := range w.grants {
		h.State.Put(g)
	}
	for _, r := range w.relations {
		h.State.PutRelation(r)
	}
	return h.State, req
}

func (l lawyer) decide(w world) policy.Decision {
	s, req := l.state(w)
	return l.engine.Decide(l.tb.Context(), s, req, w.at)
}

func checkLaw(t *testing.T, law func(t *rapid.T, l lawyer, w world)) {
	l := lawyer{newEngine(t), t}
	rapid.Check(t, func(t *rapid.T) { law(t, l, drawWorld(t)) })
}

func TestAnotherDenyNeverPermitsMore(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		before := l.decide(w)
		deny := drawGrant(t, 99)
		deny.Effect = policy.EffectDeny
		deny.Treatment = nil
		if deny.Labels != nil {
			deny.Labels.Cover, deny.Labels.MaxConf = nil, ""
		}
		w.grants = append(w.grants, deny)
		if after := l.decide(w); after.Permit && !before.Permit {
			t.Errorf("denied by %s, and after one more deny permitted by %s", before.Rule, after.Rule)
		}
	})
}

func TestAShorterPermitNeverPermitsMore(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		before := l.decide(w)
		for i, g := range w.grants {
			if g.Effect == policy.EffectPermit {
				w.grants[i].Time.Nbf = max(g.Time.Nbf, instant(t, "later", false))
				if end := instant(t, "sooner", false); g.Time.Exp == 0 || end < g.Time.Exp {
					w.grants[i].Time.Exp = end
				}
			}
		}
		if after := l.decide(w); after.Permit && !before.Permit {
			t.Errorf("denied by %s, and after shortening permitted by %s", before.Rule, after.Rule)
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		before := l.decide(w)
		w.grants = rapid.Permutation(w.grants).Draw(t, "order")
		w.relations = rapid.Permutation(w.relations).Draw(t, "order of relations")
		if after := l.decide(w); !reflect.DeepEqual(after, before) {
			t.Errorf("%+v, in another order %+v", before, after)
		}
	})
}

func TestAPageIsDecidedAsItsRecordsAre(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		s, req := l.state(w)
		page := make([]policy.Resource, rapid.IntRange(1, 8).Draw(t, "size"))
		for i := range page {
			page[i] = drawResource(t)
		}
		all := l.engine.DecideAll(l.tb.Context(), s, req, page, w.at)
		l.engine.Forget()
		again := l.engine.DecideAll(l.tb.Context(), s, req, page, w.at)
		for i, r := range page {
			req.Resource = r
			if one := l.engine.Decide(l.tb.Context(), s, req, w.at); !reflect.DeepEqual(one, all[i]) || !reflect.DeepEqual(one, again[i]) {
				t.Errorf("%+v alone, %+v on a page, %+v evaluated anew", one, all[i], again[i])
			}
		}
	})
}

// TestNothingComesOfNothing: without a grant or a relation nobody of the
// workforce reads or writes anything, whatever the implicit policy.
func TestNothingComesOfNothing(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		w.grants = slices.DeleteFunc(w.grants, func(g policy.Grant) bool { return g.Effect == policy.EffectPermit })
		w.relations = nil
		if d := l.decide(w); d.Permit && w.request.Action != policy.Lookup {
			t.Errorf("permitted by %s", d.Rule)
		}
	})
}

// TestAPermitHoldsUntilItExpires, and not longer where nothing else permits.
func TestAPermitHoldsUntilItExpires(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		s, req := l.state(w)
		d := l.engine.Decide(l.tb.Context(), s, req, w.at)
		if !d.Permit {
			if !d.Expires.IsZero() {
				t.Errorf("a denial that expires: %+v", d)
			}
			return
		}
		if !d.Expires.After(w.at) {
			t.Fatalf("at %s expired: %+v", w.at, d)
		}
		if last := l.engine.Decide(l.tb.Context(), s, req, d.Expires.Add(-time.Millisecond)); !last.Permit {
			t.Errorf("%+v, but a millisecond before: %+v", d, last)
		}
	})
}

func TestMoreConfidentialNeverPermitsMore(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		if w.request.Resource.Conf != "N" {
			w.request.Resource.Conf = "R"
		}
		before := l.decide(w)
		w.request.Resource.Conf = "V"
		if after := l.decide(w); after.Permit && !before.Permit {
			t.Errorf("denied by %s, and when more confidential permitted by %s", before.Rule, after.Rule)
		}
	})
}

// TestWhatARecordLacksNeverHelps: without a date or category nothing is
// permitted that was not.
func TestWhatARecordLacksNeverHelps(t *testing.T) {
	checkLaw(t, func(t *rapid.T, l lawyer, w world) {
		before := l.decide(w)
		w.request.Resource.From, w.request.Resource.To, w.request.Resource.Categories, w.request.Resource.Conf = 0, 0, nil, ""
		if after := l.decide(w); after.Permit && !before.Permit {
			t.Errorf("denied by %s, and for what is missing permitted by %s", before.Rule, after.Rule)
		}
	})
}
