package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// related is a doctor who treats p1, may therefore write, and was granted
// nothing to read.
func related(s *scene, practitioner string) string {
	s.Relate(policy.Relation{Kind: policy.Treats, Subject: practitioner, Patient: "Patient/p1"})
	return s.signIn(practitioner, "doctor")
}

func TestWhoMayNotReadARecordMayNotReplaceItEither(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	token := related(s, "Practitioner/d3")
	put := func(token, id, match string) reply {
		a := asking{method: "PUT", path: "/fhir/Observation/" + id, token: token, body: weight(t, id, "p1", 9)}
		if match != "" {
			a.header = map[string]string{"If-Match": match}
		}
		return s.do(a)
	}
	for _, match := range []string{"", `W/"1"`, `W/"7"`} {
		hidden, absent := put(token, "o1", match), put(token, "xx", match)
		if hidden.status != http.StatusNotFound || comparable(hidden) != comparable(absent) {
			t.Errorf("If-Match %q: %v, absent %v", match, hidden, absent)
		}
		if b := s.body(hidden.entries(t)[0]); b.Kind != chain.Deny || b.Patient != "Patient/p1" {
			t.Errorf("entry %+v", b.Entry)
		}
	}
	if got := s.get(s.doctor, "/fhir/Observation/o1"); got.header.Get("ETag") != `W/"1"` {
		t.Errorf("it is as it was: %v", got)
	}
	// The twin: the relationship and a grant to read.
	s.GrantTo("Practitioner/d3", "Patient/p1", time.Hour)
	if a := put(token, "o1", `W/"7"`); a.status != http.StatusPreconditionFailed {
		t.Errorf("a reader hears of versions: %v", a)
	}
	if a := put(token, "o1", `W/"1"`); a.status != 200 || len(a.body) == 0 {
		t.Errorf("a reader writes: %v", a)
	}
}

func TestWhoWroteARecordMayCorrectItUnseen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	token := related(s, "Practitioner/d3")
	mine := func(id string) *fhir.Resource {
		return resourceOf(t, strings.Replace(string(weight(t, id, "p1", 9).JSON()), `"status"`, `"performer":[{"reference":"Practitioner/d3"}],"status"`, 1))
	}
	made := s.do(asking{method: "POST", path: "/fhir/Observation", token: token, body: mine("x")})
	if made.status != http.StatusCreated || len(made.body) != 0 {
		t.Fatalf("a relationship writes, and shows nothing: %v", made)
	}
	id := strings.Split(strings.TrimPrefix(made.header.Get("Location"), s.server.URL+"/fhir/Observation/"), "/")[0]
	a := s.do(asking{method: "PUT", path: "/fhir/Observation/" + id, token: token, body: mine(id)})
	if a.status != 200 || len(a.body) != 0 || a.header.Get("ETag") != `W/"2"` {
		t.Errorf("%v", a)
	}
}

func TestLabelsThatWereKeptAreNotToldToWhoMayNotReadThem(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	restricted, err := weight(t, "o1", "p1", 5).WithMeta(fhir.Meta{Security: []fhir.Coding{{System: policy.SystemConfidentiality, Code: "R"}}})
	s.check(err)
	put := func(r *fhir.Resource) reply {
		return s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: r})
	}
	if a := put(restricted); a.status != 200 || len(a.body) == 0 {
		t.Errorf("what the loader sent itself: %v", a)
	}
	if a := put(weight(t, "o1", "p1", 6)); a.status != 200 || len(a.body) != 0 {
		t.Errorf("a label kept from before: %v", a)
	}
}

func TestWhatWouldBeWrongOnceSealedIsNotSealed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const code = `"code":{"text":"canary"}`
	const p1 = `"subject":{"reference":"Patient/p1"}`
	for text, says := range map[string]string{
		`"status":"final",` + p1:                "Observation.code",
		code + `,` + p1:                         "Observation.status",
		`"status":7,` + code + `,` + p1:         "Observation.status",
		`"status":["final"],` + code + `,` + p1: "Observation.status",
		`"status":"final",` + code + `,"subject":{"reference":"Patient/p1/_history/1"}`:         "Observation.subject",
		`"status":"final",` + code + `,"subject":{"reference":"Patient/canary"}`:                "does not exist",
		`"status":"final",` + code + `,` + p1 + `,"effectiveDateTime":"canary"`:                 "Observation.effectiveDateTime",
		`"status":"final",` + code + `,` + p1 + `,"effectiveDateTime":5`:                        "Observation.effectiveDateTime",
		`"status":"final",` + code + `,` + p1 + `,"effectivePeriod":{"start":"2026-13-01"}`:     "Observation.effectivePeriod.start",
		`"status":"final",` + code + `,` + p1 + `,"issued":"canary"`:                            "Observation.issued",
		`"status":"final",` + code + `,"subject":{"reference":"http://canary/fhir/Patient/p1"}`: "",
	} {
		r := resourceOf(t, `{"resourceType":"Observation","id":"n1",`+text+`}`)
		before := len(s.line.requests())
		a := s.do(asking{method: "PUT", path: "/fhir/Observation/n1", token: s.loader, body: r})
		if a.status != 422 || !strings.Contains(string(a.body), says) || strings.Contains(string(a.body), "canary") {
			t.Errorf("%s: %v, want 422 naming %q", text, a, says)
		}
		if slices.ContainsFunc(s.line.requests()[before:], func(q string) bool { return strings.HasPrefix(q, "PUT") }) {
			t.Errorf("%s: the store was written to", text)
		}
	}
	own := resourceOf(t, `{"resourceType":"Observation","id":"n1","status":"final",`+code+`,"subject":{"reference":"`+s.server.URL+`/fhir/Patient/p1"}}`)
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/n1", token: s.loader, body: own}); a.status != 201 ||
		!strings.Contains(string(a.body), `{"reference":"Patient/p1"}`) {
		t.Errorf("our own base: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation?patient=p1&_id=n1"); len(a.matches(t)) != 1 {
		t.Errorf("it is p1's: %v", a)
	}
}

func TestWhoMayNotWriteIsNotToldWhichPatientsExist(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	post := func(patient string) reply {
		return s.do(asking{method: "POST", path: "/fhir/Observation", token: s.doctor, body: weight(t, "x", patient, 9)})
	}
	if there, none := post("p2"), post("nobody"); there.status != 403 || comparable(there) != comparable(none) {
		t.Errorf("%v, nobody %v", there, none)
	}
}

func TestALinkBetweenPatientsIsNotWritten(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	linked := resourceOf(t, `{"resourceType":"Patient","id":"p1","link":[{"other":{"reference":"Patient/p2"},"type":"replaces"}]}`)
	before := s.Log.Size()
	a := s.do(asking{method: "PUT", path: "/fhir/Patient/p1", token: s.loader, body: linked})
	if a.status != 422 || !strings.Contains(string(a.body), "Patient.link") || len(a.entries(t)) != 1 {
		t.Errorf("%v", a)
	}
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Deny}) {
		t.Errorf("entries %v", got)
	}
	if a := s.do(asking{method: "PUT", path: "/fhir/Patient/p1", token: s.loader, body: patient(t, "p1")}); a.status != 200 {
		t.Errorf("without a link: %v", a)
	}
}
