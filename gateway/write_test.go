package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

func TestACreateGetsAnIdOfOursAndIsSealed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: weight(t, "chosen", "p1", 9)})
	if a.status != http.StatusCreated {
		t.Fatal(a)
	}
	id := a.resource(t).ID()
	if id == "chosen" || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("id %q", id)
	}
	if got := a.header.Get("Location"); got != s.server.URL+"/fhir/Observation/"+id+"/_history/1" {
		t.Errorf("Location %q", got)
	}
	b := s.body(a.entries(t)[0])
	if b.Kind != chain.Write || b.Action != policy.Create || b.Patient != "Patient/p1" || b.Resources[0].Revision != 1 || len(b.Resources[0].Digest) != 32 {
		t.Errorf("entry %+v", b.Entry)
	}
	v, err := s.upstream.Read(context.Background(), "Observation", id)
	s.check(err)
	if strings.Contains(string(v.Resource.JSON()), "canary") || strings.Contains(string(v.Resource.JSON()), "29463-7") {
		t.Errorf("the store can read it: %s", v.Resource.JSON())
	}
	if e, err := records.FromSkeleton(v.Resource); err != nil || e.Digest() != [32]byte(b.Resources[0].Digest) {
		t.Errorf("the store's envelope is not the log's: %v", err)
	}
	if got := s.get(s.doctor, "/fhir/Observation/"+id); got.status != http.StatusOK {
		t.Error(got)
	}
}

func TestPreferMinimalReturnsNoBody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for prefer, empty := range map[string]bool{"return=minimal": true, "return=representation": false, "handling=strict, return=minimal": true, "": false} {
		a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9), header: map[string]string{"Prefer": prefer}})
		if a.status != http.StatusOK || (len(a.body) == 0) != empty {
			t.Errorf("%q: %v", prefer, a)
		}
	}
}

func TestUpdatesNameTheVersionTheyAreMeantFor(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	put := func(match string) reply {
		return s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9), header: map[string]string{"If-Match": match}})
	}
	for _, stale := range []string{`W/"2"`, `"0"`, `W/"x"`} {
		if a := put(stale); a.status != http.StatusPreconditionFailed || len(a.entries(t)) != 1 {
			t.Errorf("If-Match %s: %v", stale, a)
		}
	}
	for _, bad := range []string{"*", "1", `"1", "2"`, `W/1`} {
		if a := put(bad); a.status != http.StatusBadRequest {
			t.Errorf("If-Match %s: %v", bad, a)
		}
	}
	if a := put(`W/"1"`); a.status != http.StatusOK || a.header.Get("ETag") != `W/"2"` {
		t.Errorf("%v", a)
	}
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/o1", token: s.loader, header: map[string]string{"If-Match": `W/"1"`}}); a.status != http.StatusPreconditionFailed {
		t.Errorf("delete of an old version: %v", a)
	}
}

func TestOfTwoWritersWithTheSameIfMatchOneWins(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const writers = 8
	statuses := make([]int, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			statuses[i] = s.do(asking{
				method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", i+1), header: map[string]string{"If-Match": `W/"1"`},
			}).status
		})
	}
	all.Wait()
	if won := lo.Count(statuses, http.StatusOK); won != 1 || lo.Count(statuses, http.StatusPreconditionFailed) != writers-1 {
		t.Errorf("%v", statuses)
	}
	rows, err := s.index.Revisions(context.Background(), "Observation", "o1")
	s.check(err)
	if len(rows) != 2 {
		t.Errorf("%d revisions", len(rows))
	}
}

func TestConcurrentWritesAllArrive(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			id := "c" + string(rune('a'+i%4))
			if a := s.do(asking{method: "PUT", path: "/fhir/Observation/" + id, token: s.loader, body: weight(t, id, "p1", i+1)}); a.status != 200 && a.status != 201 {
				t.Errorf("%v", a)
			}
		})
	}
	all.Wait()
	for _, id := range []string{"ca", "cb", "cc", "cd"} {
		if a := s.get(s.doctor, "/fhir/Observation/"+id); a.status != 200 || a.header.Get("ETag") != `W/"3"` {
			t.Errorf("%s: %v %s", id, a, a.header.Get("ETag"))
		}
	}
}

func TestARecordDoesNotMoveToAnotherPatient(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.Log.Size()
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p2", 5)})
	if a.status != http.StatusForbidden {
		t.Errorf("%v", a)
	}
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Deny}) {
		t.Errorf("entries %v", got)
	}
	if got := s.get(s.doctor, "/fhir/Observation/o1"); got.status != 200 || got.header.Get("ETag") != `W/"1"` {
		t.Errorf("it is as it was: %v", got)
	}
}

func TestLabelsAreRaisedAndNeverLowered(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	labelled := func(codings ...fhir.Coding) *fhir.Resource {
		r, err := weight(t, "o1", "p1", 5).WithMeta(fhir.Meta{Security: codings})
		s.check(err)
		return r
	}
	confidentiality := func(a reply) string {
		for _, c := range a.resource(t).Meta().Security {
			if c.System == policy.SystemConfidentiality {
				return c.Code
			}
		}
		return ""
	}
	portal := s.signIn("Patient/p1")
	put := func(r *fhir.Resource) reply {
		if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: r}); a.status != 200 {
			return a
		}
		return s.get(portal, "/fhir/Observation/o1")
	}
	r := fhir.Coding{System: policy.SystemConfidentiality, Code: "R"}
	if a := put(labelled(r)); confidentiality(a) != "R" {
		t.Errorf("raised: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusNotFound {
		t.Errorf("the grant covers N: %v", a)
	}
	for name, lower := range map[string]*fhir.Resource{"none": labelled(), "lower": labelled(fhir.Coding{System: policy.SystemConfidentiality, Code: "U"})} {
		if a := put(lower); a.status != 200 || confidentiality(a) != "R" {
			t.Errorf("labels sent: %s: %v", name, a)
		}
	}
}

func TestWritingNeedsARelationshipOrARegistration(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	post := func(token string) reply {
		return s.do(asking{method: "POST", path: "/fhir/Observation", token: token, body: weight(t, "x", "p1", 9)})
	}
	before := s.Log.Size()
	if a := post(s.doctor); a.status != http.StatusForbidden {
		t.Errorf("a grant to read is none to write: %v", a)
	}
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Deny}) {
		t.Errorf("entries %v", got)
	}
	s.Relate(policy.Relation{Kind: policy.Treats, Subject: "Practitioner/d1", Patient: "Patient/p1"})
	if a := post(s.doctor); a.status != http.StatusCreated {
		t.Errorf("with a relationship: %v", a)
	}
	// Choosing an id is for loaders; for others a PUT to nothing is a PUT to something hidden.
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/mine", token: s.doctor, body: weight(t, "mine", "p1", 9)}); a.status != http.StatusNotFound {
		t.Errorf("PUT to nothing: %v", a)
	}
}

func TestWhatIsNotWrittenHere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bare := func(typ string) *fhir.Resource { return resourceOf(t, `{"resourceType":"`+typ+`","id":"x"}`) }
	for typ, want := range map[string]int{
		"AuditEvent": 403, "Provenance": 403, "Consent": 403, "SearchParameter": 403, "StructureDefinition": 403, "CapabilityStatement": 403, "ValueSet": 403,
		"Subscription": 403, "Bundle": 403, "Questionnaire": 404, "Endpoint": 404,
	} {
		for _, a := range []asking{{method: "POST", path: "/fhir/" + typ}, {method: "PUT", path: "/fhir/" + typ + "/x"}, {method: "DELETE", path: "/fhir/" + typ + "/x"}} {
			if a.method != "DELETE" {
				a.body = bare(typ)
			}
			a.token = s.loader
			if got := s.do(a); got.status != want {
				t.Errorf("%s %s: %v, want %d", a.method, a.path, got, want)
			}
		}
	}
	for header, value := range map[string]string{"If-None-Exist": "identifier=1", "If-None-Match": "*"} {
		if got := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: weight(t, "x", "p1", 1), header: map[string]string{header: value}}); got.status != http.StatusNotImplemented {
			t.Errorf("%s: %v", header, got)
		}
	}
	for _, a := range []asking{
		{method: "PUT", path: "/fhir/Observation?patient=p1", body: weight(t, "x", "p1", 1)},
		{method: "DELETE", path: "/fhir/Observation?patient=p1"},
		{method: "PATCH", path: "/fhir/Observation/o1", body: `[]`},
		{method: "PATCH", path: "/fhir/Observation?patient=p1", body: `[]`},
	} {
		a.token = s.loader
		if got := s.do(a); got.status != http.StatusNotImplemented || !strings.Contains(string(got.body), "not-supported") {
			t.Errorf("%s %s: %v", a.method, a.path, got)
		}
	}
	for name, r := range map[string]*fhir.Resource{
		"id is an identifier": resourceOf(t, `{"resourceType":"Patient","id":"MRN-1","identifier":[{"value":"MRN-1"}]}`),
		"no patient":          resourceOf(t, `{"resourceType":"Observation","id":"n1","status":"final","code":{"text":"x"}}`),
		"two patients":        resourceOf(t, `{"resourceType":"Appointment","id":"n2","status":"booked","participant":[{"actor":{"reference":"Patient/p1"}},{"actor":{"reference":"Patient/p2"}}]}`),
		"somebody elsewhere":  resourceOf(t, `{"resourceType":"Observation","id":"n3","status":"final","code":{"text":"x"},"subject":{"reference":"http://evil/fhir/Patient/p1"}}`),
	} {
		if got := s.do(asking{method: "PUT", path: "/fhir/" + r.Ref().String(), token: s.loader, body: r}); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// written says what the log has of a write that went wrong.
func (s *scene) written(since uint64) []chain.Kind {
	return lo.Filter(kinds(s.since(since)), func(k chain.Kind, _ int) bool { return k == chain.Write || k == chain.WriteFailed })
}

func TestAWriteThatTheStoreDoesNotTakeIsClosed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		what   fault
		status int
		stored bool
		kinds  []chain.Kind
	}{
		"refused as invalid":               {invalid, 422, false, []chain.Kind{chain.Write, chain.WriteFailed}},
		"refused for now":                  {refused, 503, false, []chain.Kind{chain.Write, chain.WriteFailed}},
		"the request got lost":             {unheard, 503, false, []chain.Kind{chain.Write, chain.WriteFailed}},
		"carried out, and the answer lost": {lost, 200, true, []chain.Kind{chain.Write}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			before := s.Log.Size()
			s.line.when(func(r *http.Request) fault { return lo.Ternary(writes(r), tc.what, fine) })
			a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9)})
			s.line.when(nil)
			if a.status != tc.status || strings.Contains(string(a.body), "SECRET") {
				t.Errorf("%v, want %d", a, tc.status)
			}
			if strings.Contains(s.logs.String(), "SECRET") {
				t.Error("the store's words are in our log")
			}
			if got := s.written(before); !slices.Equal(got, tc.kinds) {
				t.Errorf("entries %v, want %v", got, tc.kinds)
			}
			want := lo.Ternary(tc.stored, `W/"2"`, `W/"1"`)
			if got := s.get(s.doctor, "/fhir/Observation/o1"); got.status != 200 || got.header.Get("ETag") != want {
				t.Errorf("afterwards %v %s, want %s", got, got.header.Get("ETag"), want)
			}
			// The next write goes on from what is there.
			if got := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 10), header: map[string]string{"If-Match": want}}); got.status != 200 {
				t.Errorf("next write: %v", got)
			}
		})
	}
}

func TestAWriteOfWhichNothingIsKnownIsReadBackUntilItIs(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"carried out": true, "not carried out": false} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			before := s.Log.Size()
			s.line.when(func(r *http.Request) fault {
				return lo.Ternary(writes(r), lo.Ternary(stored, lost, unheard), refused)
			})
			a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9)})
			if a.status != http.StatusServiceUnavailable {
				t.Fatalf("%v", a)
			}
			if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 10)}); a.status != http.StatusServiceUnavailable {
				t.Errorf("another write meanwhile: %v", a)
			}
			s.line.when(nil)
			want := lo.Ternary(stored, `W/"2"`, `W/"1"`)
			s.eventually("it is settled", func() bool {
				a := s.get(s.doctor, "/fhir/Observation/o1")
				return a.status == 200 && a.header.Get("ETag") == want && len(s.written(before)) == lo.Ternary(stored, 1, 2)
			})
			s.eventually("it takes writes again", func() bool {
				return s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 10)}).status == 200
			})
		})
	}
}

func TestAWriteThatCannotBeClosedIsClosedLater(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.Log.Size()
	s.line.when(func(r *http.Request) fault { return lo.Ternary(writes(r), invalid, fine) })
	s.chain.failWhen(func(e chain.Entry) bool { return e.Kind == chain.WriteFailed })
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9)})
	if a.status != http.StatusServiceUnavailable || !slices.Equal(s.written(before), []chain.Kind{chain.Write}) {
		t.Errorf("%v %v", a, s.written(before))
	}
	s.chain.failWhen(nil)
	s.eventually("it is closed", func() bool { return slices.Equal(s.written(before), []chain.Kind{chain.Write, chain.WriteFailed}) })
}

func TestAnIndexThatFailsLosesNoWrite(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.Log.Size()
	s.chain.first = func(chain.Entry) { s.check(s.index.Close()) } // between the look into it and the write
	a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: weight(t, "x", "p1", 9)})
	if a.status != http.StatusServiceUnavailable {
		t.Fatalf("%v", a)
	}
	_ = s.gateway.Close()
	s.openIndex("index.db")
	s.open()
	var id string
	for _, b := range s.since(before) {
		if b.Kind == chain.Write {
			id = b.Resources[0].ID
		}
	}
	if got := s.get(s.doctor, "/fhir/Observation/"+id); got.status != 200 {
		t.Errorf("after a restart: %v", got)
	}
}

func TestAtStartEveryOpenWriteIsReadBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := context.Background()
	// What a gateway leaves that was killed between log and store, and between
	// store and index.
	attributes := func(r *fhir.Resource) policy.Resource {
		a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now())
		s.check(err)
		return a
	}
	intend := func(r *fhir.Resource, stored bool) {
		envelope, err := s.Sealer.Seal(r, attributes(r), 1)
		s.check(err)
		digest := envelope.Digest()
		_, err = s.Log.Append(ctx, chain.Entry{
			Kind: chain.Write, Actor: "Client/loader", Action: policy.Create, Patient: "Patient/p1", Correlation: r.ID(), Decision: "permit",
			Resources: []chain.Resource{{Type: r.Type(), ID: r.ID(), Revision: 1, Digest: digest[:]}},
		})
		s.check(err)
		if stored {
			skeleton, err := records.Skeleton(r, envelope)
			s.check(err)
			_, err = s.upstream.Put(ctx, skeleton, "")
			s.check(err)
		}
	}
	s.check(s.gateway.Close())
	before := s.Log.Size()
	intend(weight(t, "k1", "p1", 1), true)
	intend(weight(t, "k2", "p1", 2), false)
	s.open()
	if got := s.written(before); !slices.Equal(got, []chain.Kind{chain.Write, chain.Write, chain.WriteFailed}) {
		t.Errorf("entries %v", got)
	}
	if a := s.get(s.doctor, "/fhir/Observation/k1"); a.status != 200 {
		t.Errorf("in the store: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation/k2"); a.status != 404 {
		t.Errorf("not in the store: %v", a)
	}
	if _, err := s.index.Current(ctx, "Observation", "k2"); !errors.Is(err, index.ErrNotFound) {
		t.Errorf("index: %v", err)
	}
	// Nothing is done twice.
	size := s.Log.Size()
	s.restart()
	if got := s.written(size); len(got) != 0 {
		t.Errorf("a second start wrote %v", got)
	}
}

func TestAnEmptyIndexIsFilledFromLogAndStore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	put := func(day int) {
		if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", day)}); a.status != 200 && a.status != 201 {
			t.Fatal(a)
		}
	}
	put(8)
	s.load(s.loader, weight(t, "gone", "p1", 3))
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/gone", token: s.loader}); a.status != 204 {
		t.Fatal(a)
	}
	history := s.get(s.doctor, "/fhir/Observation/o1/_history")
	s.check(s.gateway.Close())
	size := s.Log.Size()
	s.openIndex("another.db")
	s.open()
	if got := s.written(size); len(got) != 0 {
		t.Errorf("filling the index wrote %v", got)
	}
	again := s.get(s.doctor, "/fhir/Observation/o1/_history")
	versions := func(a reply) string {
		return strings.Join(lo.Map(a.bundle(t).Entries, func(e fhir.BundleEntry, _ int) string { return string(e.Resource.JSON()) }), "\n")
	}
	if versions(again) != versions(history) {
		t.Errorf("history was\n%s\nis\n%s", versions(history), versions(again))
	}
	if a := s.get(s.doctor, "/fhir/Observation/gone"); a.status != 410 {
		t.Errorf("deleted: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Patient?identifier=MRN-00p1-77"); !slices.Equal(a.matches(t), []string{"Patient/p1"}) {
		t.Errorf("look-up: %v", a)
	}
	put(9)
}

func TestUntilEarlierWritesAreSettledNothingIsServed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.check(s.gateway.Close())
	_, err := s.Log.Append(context.Background(), chain.Entry{
		Kind: chain.Write, Action: policy.Create, Patient: "Patient/p1", Resources: []chain.Resource{{Type: "Observation", ID: "k3", Revision: 1, Digest: make([]byte, 32)}},
	})
	s.check(err)
	s.line.when(func(*http.Request) fault { return refused })
	s.open()
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusServiceUnavailable {
		t.Errorf("%v", a)
	}
	if ready, _ := s.gateway.Ready(); ready {
		t.Error("it says that it is ready")
	}
	s.line.when(nil)
	s.eventually("it serves", func() bool { return s.get(s.doctor, "/fhir/Observation/o1").status == http.StatusOK })
}

func TestNothingIsWrittenAfterTheSignOutThatCameFirst(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	session, err := s.sessions.Token(s.loader)
	s.check(err)
	before := s.Log.Size()
	s.chain.mu.Lock()
	s.chain.first = func(chain.Entry) { s.SignOut(session.Subject) } // between the decision and its entry
	s.chain.mu.Unlock()
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9)})
	if a.status != http.StatusForbidden {
		t.Errorf("%v", a)
	}
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.SignOut, chain.Write, chain.WriteFailed}) {
		t.Errorf("entries %v", got)
	}
	if got := s.get(s.doctor, "/fhir/Observation/o1"); got.header.Get("ETag") != `W/"1"` {
		t.Errorf("%v", got)
	}
}

func TestPatientsAreMadeOneByAdministratorsAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.Relate(policy.Relation{Kind: policy.Treats, Subject: "Practitioner/d1", Patient: "Patient/p1"})
	linked := resourceOf(t, `{"resourceType":"Patient","id":"p1","link":[{"other":{"reference":"Patient/p2"},"type":"replaces"}]}`)
	a := s.do(asking{method: "PUT", path: "/fhir/Patient/p1", token: s.doctor, body: linked})
	if a.status != http.StatusUnprocessableEntity && a.status != http.StatusNotFound {
		t.Errorf("%v", a)
	}
	if got := s.get(s.loader, "/fhir/Patient/p1"); got.status == 200 && strings.Contains(string(got.body), "replaces") {
		t.Errorf("%v", got)
	}
}

func TestARecordOfOthersInTheStoreIsNotOverwritten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ctx := context.Background()
	_, err := s.upstream.Put(ctx, weight(t, "theirs", "p1", 3), "")
	s.check(err)
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/theirs", token: s.loader, body: weight(t, "theirs", "p1", 4)}); a.status != http.StatusConflict {
		t.Errorf("%v", a)
	}
	v, err := s.upstream.Read(ctx, "Observation", "theirs")
	s.check(err)
	if !strings.Contains(string(v.Resource.JSON()), "2026-01-03") {
		t.Errorf("it is not as it was: %s", v.Resource.JSON())
	}
}

func TestADeletedRecordComesBackUnderTheNextRevision(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	remove := func() reply { return s.do(asking{method: "DELETE", path: "/fhir/Observation/o1", token: s.loader}) }
	if a := remove(); a.status != 204 || a.header.Get("ETag") != `W/"2"` {
		t.Fatalf("%v", a)
	}
	if a := remove(); a.status != 204 || len(a.entries(t)) != 1 {
		t.Errorf("deleted twice: %v", a)
	}
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 11)})
	if a.status != http.StatusCreated || a.header.Get("ETag") != `W/"3"` {
		t.Fatalf("%v", a)
	}
	if got := s.get(s.doctor, "/fhir/Observation/o1"); got.status != 200 || got.header.Get("ETag") != `W/"3"` {
		t.Errorf("%v", got)
	}
	if b := s.get(s.doctor, "/fhir/Observation/o1/_history").bundle(t); len(b.Entries) != 3 {
		t.Errorf("%d versions", len(b.Entries))
	}
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/o1", token: s.loader}); a.status != 204 {
		t.Errorf("%v", a)
	}
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p2", 11)}); a.status != http.StatusForbidden {
		t.Errorf("another patient's in its place: %v", a)
	}
}
