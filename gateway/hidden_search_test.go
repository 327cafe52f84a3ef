package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/policy"
)

// left is how many entries a search left, by its header and by the log's length:
// both can be counted from outside.
func (s *scene) left(token, path string) (header int, gap uint64, bodies []*chain.Body) {
	s.t.Helper()
	before := s.Log.Size()
	a := s.get(token, path)
	if a.status != 200 {
		s.t.Fatalf("%s: %v", path, a)
	}
	for _, b := range s.since(before) {
		if b.Kind != chain.Returned { // of an earlier answer, in its own time
			bodies = append(bodies, b)
		}
	}
	return len(a.entries(s.t)), uint64(len(bodies)), bodies
}

func TestHowManyEntriesASearchLeavesDoesNotTellWhatExists(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.load(s.loader, patient(t, "p3"), weight(t, "h1", "p2", 1), weight(t, "h2", "p2", 2), weight(t, "h3", "p3", 3), weight(t, "gone", "p2", 4))
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/gone", token: s.loader}); a.status != 204 {
		t.Fatal(a)
	}
	// d2 could be permitted something about p2, though none of what is there.
	s.GrantTo("Practitioner/d2", "Patient/p2", time.Hour)
	some := s.signIn("Practitioner/d2", "doctor")
	nobody := s.signIn("Practitioner/d3", "doctor")
	for _, token := range []string{s.doctor, nobody} {
		for _, ids := range [][]string{
			{"h1,h2", "h1,h3", "x1,x2", "h1,x1", "gone,h1", "gone,x1"},
			{"h1", "x1", "gone", "x1,x1", "h1,h1"},
			{"h1,h2,h3", "x1,x2,x3", "h1,x1,h3"},
			{"h1,h2&code=29463-7", "x1,x2&code=29463-7", "h1,h2&code=nothing", "h1&_id=x1", "x1&_id=x2"},
		} {
			for _, id := range ids {
				names := len(strings.Split(strings.ReplaceAll(strings.Split(id, "&code")[0], "&_id=", ","), ","))
				if id == "x1,x1" || id == "h1,h1" {
					names = 1
				}
				header, gap, bodies := s.left(token, "/fhir/Observation?_id="+id)
				if header != names || gap != uint64(names) {
					t.Errorf("_id=%s: %d in the header, %d in the log, want %d", id, header, gap, names)
				}
				for _, b := range bodies {
					if b.Kind != chain.Deny || b.Count != 1 || len(b.Resources) != 0 {
						t.Errorf("_id=%s: entry %+v", id, b.Entry)
					}
				}
			}
		}
		for _, patients := range [][]string{{"p2", "x1"}, {"p2,p3", "x1,x2", "p2,x1"}, {"p3,p2,x9", "x1,x2,x3"}} {
			names := len(strings.Split(patients[0], ","))
			for _, p := range patients {
				for _, path := range []string{"Observation?patient=" + p, "Condition?patient=" + p, "Observation?patient=" + p + "&_id=h1,h2", "Patient?_id=" + p} {
					if header, gap, _ := s.left(token, "/fhir/"+path); header != names || gap != uint64(names) {
						t.Errorf("%s: %d in the header, %d in the log, want %d", path, header, gap, names)
					}
				}
			}
		}
	}
	for _, p := range []string{"p2", "x1"} {
		if header, gap, _ := s.left(some, "/fhir/Patient?_id="+p); header != 1 || gap != 1 {
			t.Errorf("%s: %d in the header, %d in the log", p, header, gap)
		}
	}
	// What is hidden is its patient's to see; what does not exist is nobody's.
	_, _, bodies := s.left(s.doctor, "/fhir/Observation?_id=h1,x1,o1")
	patients := fmt.Sprint(bodies[0].Patient, "/", bodies[1].Patient, "/", bodies[2].Patient)
	if patients != "/Patient/p1/Patient/p2" {
		t.Errorf("under %s", patients)
	}
	if bodies[1].Kind != chain.Access || len(bodies[1].Resources) != 1 {
		t.Errorf("what was permitted: %+v", bodies[1].Entry)
	}
}

func TestASearchThatNamesNobodyLeavesOneEntryWhateverIsHidden(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, p := range []string{"p1", "p2"} {
		s.GrantTo("Practitioner/d2", "Patient/"+p, time.Hour)
	}
	token := s.signIn("Practitioner/d2", "doctor")
	hide := func(id, patient string) {
		r := weight(t, id, patient, 7)
		s.load(s.loader, resourceOf(t, strings.Replace(string(r.JSON()), `"resourceType"`,
			`"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},"resourceType"`, 1)))
	}
	empty, _, _ := s.left(token, "/fhir/Observation?code=other")
	hide("r1", "p1")
	hide("r2", "p2")
	none, gap, _ := s.left(token, "/fhir/Observation?date=2026-01-07")
	if empty != 1 || none != 1 || gap != 1 {
		t.Errorf("%d entries without hidden records, %d with (%d in the log)", empty, none, gap)
	}
	shown, _, _ := s.left(token, "/fhir/Observation?date=2026-01-05,2026-01-07")
	if shown != 1 {
		t.Errorf("%d entries for one patient shown and another hidden", shown)
	}
}

// counting is a policy that counts the records it decides on together.
type counting struct {
	*policy.Engine
	records atomic.Int64
}

func (c *counting) DecideAll(ctx context.Context, s *policy.State, req policy.Request, rs []policy.Resource, now time.Time) []policy.Decision {
	c.records.Add(int64(len(rs)))
	return c.Engine.DecideAll(ctx, s, req, rs, now)
}

func TestADeniedSearchDoesNotLookAtThePatientsRecords(t *testing.T) {
	t.Parallel()
	var counted *counting
	s := newScene(t, wardOptions{edit: func(c *gateway.Config) {
		counted = &counting{Engine: c.Engine.(*policy.Engine)}
		c.Engine = counted
	}})
	for i := range 40 {
		s.load(s.loader, weight(t, fmt.Sprintf("m%d", i), "p2", 1+i%20))
	}
	nobody := s.signIn("Practitioner/d3", "doctor")
	count := func(path string) int64 {
		before := counted.records.Load()
		if a := s.get(nobody, path); a.status != 200 || len(a.matches(t)) != 0 {
			t.Fatal(a)
		}
		return counted.records.Load() - before
	}
	if many, none := count("/fhir/Observation?patient=p2"), count("/fhir/Observation?patient=x9"); many != none {
		t.Errorf("%d decisions about a patient with records, %d about nobody", many, none)
	}
	_, _, bodies := s.left(nobody, "/fhir/Observation?patient=p2")
	if len(bodies) != 1 || bodies[0].Kind != chain.Deny || bodies[0].Patient != "Patient/p2" || bodies[0].Count != 1 {
		t.Errorf("%+v", bodies)
	}
}
