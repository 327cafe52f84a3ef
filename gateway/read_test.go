package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/policy"
)

func TestAReadOpensWhatThePatientGrantedAndEqualsTheOriginal(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	loader := w.loader()
	original := weight(t, "o1", "p1", 5)
	w.load(loader, patient(t, "p1"), original)
	doctor := w.signIn("Practitioner/d1", "doctor")

	if a := w.get(doctor, "/fhir/Observation/o1"); a.status != http.StatusNotFound {
		t.Fatalf("without a grant: %v", a)
	}
	w.GrantTo("Practitioner/d1", "Patient/p1", time.Hour)
	a := w.get(doctor, "/fhir/Observation/o1")
	if a.status != http.StatusOK {
		t.Fatalf("with a grant: %v", a)
	}
	got := a.resource(t)
	bare, err := got.WithoutMeta()
	if err != nil {
		t.Fatal(err)
	}
	if string(bare.Canonical()) != string(original.Canonical()) {
		t.Errorf("got %s, want %s", bare.Canonical(), original.Canonical())
	}
	if m := got.Meta(); m.VersionID != "1" || m.LastUpdated.IsZero() || len(m.Security) == 0 {
		t.Errorf("meta %+v: want our revision, time and labels", m)
	}
	if a.header.Get("ETag") != `W/"1"` {
		t.Errorf("ETag %q", a.header.Get("ETag"))
	}
	entries := a.entries(t)
	if len(entries) != 1 {
		t.Fatalf("entries %v, want one", entries)
	}
	e := w.body(entries[0])
	if e.Kind != chain.Access || e.Patient != "Patient/p1" || e.Actor != "Practitioner/d1" || e.Purpose != "TREAT" ||
		e.Decision != "permit" || len(e.Grants) != 1 || len(e.Resources) != 1 || len(e.Request) != 32 {
		t.Errorf("entry %+v", e.Entry)
	}
	w.eventually("what was returned is in the log", func() bool {
		for _, b := range w.since(entries[0] + 1) {
			if b.Kind == chain.Returned && b.Correlation == e.Correlation {
				return len(b.Returned) == 1 && b.Returned[0].ID == "o1"
			}
		}
		return false
	})
}

// scene is a ward with two patients, one of whom granted a doctor.
type scene struct {
	*ward
	loader, doctor string
}

func newScene(t testing.TB, o ...wardOptions) *scene {
	t.Helper()
	s := &scene{ward: newWard(t, o...)}
	s.loader = s.ward.loader()
	s.load(s.loader, patient(t, "p1"), patient(t, "p2"), weight(t, "o1", "p1", 5), weight(t, "o2", "p2", 6))
	s.GrantTo("Practitioner/d1", "Patient/p1", time.Hour)
	s.doctor = s.signIn("Practitioner/d1", "doctor")
	return s
}

// comparable is an answer without what may differ between any two answers.
func comparable(r reply) string {
	h := r.header.Clone()
	for _, name := range []string{"Date", "Wardkey-Entry", "X-Request-Id"} {
		if h.Get(name) == "" {
			return name + " is missing"
		}
		h.Set(name, "-")
	}
	return fmt.Sprint(r.status, h, string(r.body))
}

func TestDeniedAndAbsentAnswerByTheSameBytes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	put := func(id string) *fhir.Resource { return weight(t, id, "p2", 7) }
	for name, ask := range map[string]func(id string) asking{
		"read":  func(id string) asking { return asking{method: "GET", path: "/fhir/Observation/" + id} },
		"head":  func(id string) asking { return asking{method: "HEAD", path: "/fhir/Observation/" + id} },
		"vread": func(id string) asking { return asking{method: "GET", path: "/fhir/Observation/" + id + "/_history/1"} },
		"vread of no number": func(id string) asking {
			return asking{method: "GET", path: "/fhir/Observation/" + id + "/_history/abc"}
		},
		"history": func(id string) asking { return asking{method: "GET", path: "/fhir/Observation/" + id + "/_history"} },
		"update": func(id string) asking {
			return asking{method: "PUT", path: "/fhir/Observation/" + id, body: put(id)}
		},
		"update with If-Match": func(id string) asking {
			return asking{method: "PUT", path: "/fhir/Observation/" + id, body: put(id), header: map[string]string{"If-Match": `W/"1"`}}
		},
		"delete": func(id string) asking { return asking{method: "DELETE", path: "/fhir/Observation/" + id} },
		"patient": func(id string) asking {
			return asking{method: "GET", path: "/fhir/Patient/" + map[string]string{"o2": "p2"}[id] + map[string]string{"xx": "p9"}[id]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.Log.Size()
			hidden, absent := ask("o2"), ask("xx")
			hidden.token, absent.token = s.doctor, s.doctor
			h, a := s.do(hidden), s.do(absent)
			if h.status != http.StatusNotFound || comparable(h) != comparable(a) {
				t.Errorf("denied:\n%s\nabsent:\n%s", comparable(h), comparable(a))
			}
			if name != "head" && !strings.Contains(string(h.body), "$break-glass") {
				t.Errorf("%s does not say what to do in an emergency", h.body)
			}
			if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Deny, chain.Deny}) {
				t.Errorf("entries %v, want a denial each", got)
			}
			if name == "vread of no number" {
				return // absent whatever the id
			}
			if b := s.body(h.entries(t)[0]); b.Patient != "Patient/p2" || b.Decision != "deny" || b.Reason == "" {
				t.Errorf("the denial is not in the patient's history: %+v", b.Entry)
			}
			if b := s.body(a.entries(t)[0]); b.Patient != "" {
				t.Errorf("the absent one is %s's", b.Patient)
			}
		})
	}
}

func TestHeadAnswersAsGetDoes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	get, head := s.get(s.doctor, "/fhir/Observation/o1"), s.do(asking{method: "HEAD", path: "/fhir/Observation/o1", token: s.doctor})
	for _, h := range []http.Header{get.header, head.header} {
		h.Del("Date")
		h.Del("Wardkey-Entry")
		h.Del("X-Request-Id")
	}
	if get.status != 200 || head.status != 200 || len(head.body) != 0 || fmt.Sprint(get.header) != fmt.Sprint(head.header) {
		t.Errorf("GET %d %v\nHEAD %d %v", get.status, get.header, head.status, head.header)
	}
}

func TestADeletedRecordIsGoneOnlyForThoseWhoCouldReadIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/o1", token: s.loader}); a.status != http.StatusNoContent {
		t.Fatal(a)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusGone || len(a.entries(t)) != 1 {
		t.Errorf("to who could read it: %v", a)
	}
	outsider := s.signIn("Practitioner/d2", "doctor")
	gone, absent := s.get(outsider, "/fhir/Observation/o1"), s.get(outsider, "/fhir/Observation/never")
	if gone.status != http.StatusNotFound || comparable(gone) != comparable(absent) {
		t.Errorf("to an outsider: %v, absent: %v", gone, absent)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1/_history/1"); a.status != http.StatusOK {
		t.Errorf("the version before it: %v", a)
	}
	a := s.get(s.doctor, "/fhir/Observation/o1/_history")
	if b := a.bundle(t); len(b.Entries) != 2 || b.Entries[0].Request.Method != "DELETE" || b.Entries[0].Resource != nil || b.Entries[1].Resource == nil {
		t.Errorf("history: %s", a.body)
	}
	if a := s.get(s.doctor, "/fhir/Observation?patient=Patient/p1"); len(a.matches(t)) != 0 {
		t.Errorf("a search finds it: %v", a)
	}
}

func TestVersionsAreOurOwnRevisions(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	second := weight(t, "o1", "p1", 9)
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: second, header: map[string]string{"If-Match": `W/"1"`}})
	if a.status != http.StatusOK || a.header.Get("ETag") != `W/"2"` {
		t.Fatal(a)
	}
	for revision, day := range map[string]string{"1": "2026-01-05", "2": "2026-01-09"} {
		a := s.get(s.doctor, "/fhir/Observation/o1/_history/"+revision)
		if a.status != 200 || a.resource(t).Meta().VersionID != revision || !strings.Contains(string(a.body), day) {
			t.Errorf("version %s: %v", revision, a)
		}
	}
	b := s.get(s.doctor, "/fhir/Observation/o1/_history").bundle(t)
	if len(b.Entries) != 2 || b.Entries[0].Resource.Meta().VersionID != "2" || b.Entries[1].Resource.Meta().VersionID != "1" {
		t.Errorf("history is not newest first: %+v", b.Entries)
	}
	first := s.get(s.doctor, "/fhir/Observation/o1/_history?_count=1").bundle(t)
	next, ok := lo.Find(first.Links, func(l fhir.Link) bool { return l.Relation == "next" })
	if len(first.Entries) != 1 || !ok {
		t.Fatalf("a page of one: %+v", first)
	}
	rest := s.get(s.doctor, strings.TrimPrefix(next.URL, s.server.URL)).bundle(t)
	if len(rest.Entries) != 1 || rest.Entries[0].Resource.Meta().VersionID != "1" {
		t.Errorf("second page: %+v", rest)
	}
}

func TestACustodiansRefusalAfterOurPermitIsADenial(t *testing.T) {
	t.Parallel()
	w := newScene(t, wardOptions{edit: func(c *gateway.Config) { c.Engine = &lax{Engine: c.Engine.(*policy.Engine)} }})
	hidden, absent := w.get(w.doctor, "/fhir/Observation/o2"), w.get(w.doctor, "/fhir/Observation/xx")
	if hidden.status != http.StatusNotFound || string(hidden.body) != string(absent.body) {
		t.Errorf("a gateway without a policy of its own got %v", hidden)
	}
	if !strings.Contains(w.logs.String(), "custodians refused") {
		t.Error("nobody is told")
	}
	if a := w.get(w.doctor, "/fhir/Observation?patient=Patient/p2"); a.status != 200 || len(a.matches(t)) != 0 {
		t.Errorf("search: %v", a)
	}
	if a := w.get(w.doctor, "/fhir/Observation/o1"); a.status != http.StatusOK {
		t.Errorf("what was granted: %v", a)
	}
}

// lax is a policy that permits everything but the self-check.
type lax struct{ *policy.Engine }

func (l *lax) Decide(ctx context.Context, s *policy.State, req policy.Request, now time.Time) policy.Decision {
	return l.DecideAll(ctx, s, req, []policy.Resource{req.Resource}, now)[0]
}

func (l *lax) DecideAll(_ context.Context, _ *policy.State, req policy.Request, rs []policy.Resource, _ time.Time) []policy.Decision {
	return lo.Map(rs, func(policy.Resource, int) policy.Decision {
		return policy.Decision{Permit: !strings.Contains(req.Subject.ID, "self-check"), Reason: policy.Permitted, Policy: l.Digest()}
	})
}

// wide permits even what nobody asked for.
type wide struct{ *policy.Engine }

func (w *wide) Decide(context.Context, *policy.State, policy.Request, time.Time) policy.Decision {
	return policy.Decision{Permit: true}
}

func TestAGatewayThatIsNotWiredToItsPolicyDoesNotStart(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	c := w.config()
	c.Engine = &wide{w.Engine}
	c.Metrics = nil
	if g, err := gateway.New(c); err == nil || g != nil {
		t.Error("it started")
	}
}

func TestWithoutAQuorumNothingOpensAndTheAnswerComesSoon(t *testing.T) {
	t.Parallel() // it mostly waits
	s := newScene(t)
	s.Custodians[0].Sleep()
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusOK {
		t.Errorf("one asleep: %v", a)
	}
	s.Custodians[1].Hush()
	began := time.Now()
	a := s.get(s.doctor, "/fhir/Observation/o1")
	if took := time.Since(began); a.status != http.StatusServiceUnavailable || took > 3*time.Second {
		t.Errorf("two: %v after %s", a, took)
	}
	if a.header.Get("Retry-After") == "" || strings.Contains(string(a.body), "canary") {
		t.Errorf("%v %v", a.header, a)
	}
	if a := s.get(s.doctor, "/fhir/Observation?patient=Patient/p1"); a.status != http.StatusServiceUnavailable {
		t.Errorf("search: %v", a)
	}
	s.Custodians[0].Wake()
	s.Custodians[1].Wake()
	s.eventually("it opens again", func() bool { return s.get(s.doctor, "/fhir/Observation/o1").status == http.StatusOK })
}

func TestWhenTheLogCannotBeWrittenNothingIsDisclosedAndNothingStored(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	stored := len(s.line.requests())
	s.chain.failWhen(func(chain.Entry) bool { return true })
	for name, a := range map[string]asking{
		"read":     {method: "GET", path: "/fhir/Observation/o1"},
		"denied":   {method: "GET", path: "/fhir/Observation/o2"},
		"absent":   {method: "GET", path: "/fhir/Observation/xx"},
		"search":   {method: "GET", path: "/fhir/Observation?patient=Patient/p1"},
		"empty":    {method: "GET", path: "/fhir/Condition?patient=Patient/p1"},
		"history":  {method: "GET", path: "/fhir/Observation/o1/_history"},
		"scope":    {method: "GET", path: "/fhir/Observation/o1", header: map[string]string{"Wardkey-Purpose": "HRESCH2"}},
		"observed": {method: "GET", path: "/fhir/Practitioner/d1"},
		"write":    {method: "PUT", path: "/fhir/Observation/o1", body: weight(t, "o1", "p1", 8), token: s.loader},
		"delete":   {method: "DELETE", path: "/fhir/Observation/o1", token: s.loader},
		"create":   {method: "POST", path: "/fhir/Observation", body: weight(t, "o1", "p1", 8), token: s.loader},
	} {
		if a.token == "" {
			a.token = s.doctor
		}
		got := s.do(a)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || strings.Contains(string(got.body), "canary") || got.header.Get("ETag") != "" {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, r := range s.line.requests()[stored:] {
		if !strings.HasPrefix(r, "GET") && !strings.HasSuffix(r, "_search") {
			t.Errorf("the store was written to: %s", r)
		}
	}
	s.chain.failWhen(nil)
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusOK || a.header.Get("ETag") != `W/"1"` {
		t.Errorf("afterwards: %v", a)
	}
}

func TestAStoreThatExchangesRecordsIsFoundOut(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := context.Background()
	other, err := s.upstream.Read(ctx, "Observation", "o2")
	s.check(err)
	forged, err := other.Resource.WithID("o1")
	s.check(err)
	_, err = s.upstream.Put(ctx, forged, "")
	s.check(err)
	// The version that the index names is still in the history, and is what is read.
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusOK || !strings.Contains(string(a.body), "canary-note-o1") {
		t.Errorf("a version behind our back: %v", a)
	}
	s.line.when(func(r *http.Request) fault {
		return lo.Ternary(strings.Contains(r.URL.Path, "_history"), swapped, fine)
	})
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusInternalServerError || strings.Contains(string(a.body), "canary") {
		t.Errorf("a store that lies about the version: %v", a)
	}
}

func TestWhatAGrantLeavesOutIsNotShownNorSearchable(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.Grant(policy.GrantRequest{
		Patient: "Patient/p2", Actors: []policy.GrantActor{{Ref: "Practitioner/d1"}}, Purposes: []string{"TREAT"}, NoRedisclose: true,
		Redact: []string{"note", "Observation.valueQuantity.unit", "name", "category"}, Until: s.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	})
	a := s.get(s.doctor, "/fhir/Observation/o2")
	text := string(a.body)
	if a.status != 200 || strings.Contains(text, "canary-note") || strings.Contains(text, `"unit"`) || !strings.Contains(text, "70.50") || !strings.Contains(text, "REDACTED") || !strings.Contains(text, "NORDSCLCD") {
		t.Errorf("%v", a)
	}
	if a := s.get(s.doctor, "/fhir/Patient/p2"); a.status != 200 || strings.Contains(string(a.body), "Canary") {
		t.Errorf("%v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation?patient=p2&code=29463-7"); len(a.matches(t)) != 1 || strings.Contains(string(a.body), "canary-note") {
		t.Errorf("%v", a)
	}
	for _, query := range []string{"/fhir/Observation?patient=p2&category=vital-signs", "/fhir/Patient?name=Canary-p2&birthdate=1970-02-03"} {
		if a := s.get(s.doctor, query); a.status != 200 || len(a.matches(t)) != 0 {
			t.Errorf("%s tells what is left out: %v", query, a)
		}
	}
}

func TestTheOperatorIsToldWhyAndTheCallerIsNot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	a := s.get(s.doctor, "/fhir/Observation/o2")
	if !strings.Contains(s.logs.String(), `"reason":"no-consent"`) || strings.Contains(fmt.Sprint(a.header, string(a.body)), "no-consent") {
		t.Errorf("%v\n%s", a, s.logs)
	}
}
