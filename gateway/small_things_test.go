package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
)

func TestABatchToTheBaseWithASlashIsABatch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for path, want := range map[string]int{"/fhir": 200, "/fhir/": 200, "/fhir/?_format=json": 200, "/fhir//": 400, "/fhir/Observation/": 400} {
		if a := s.do(asking{method: "POST", path: path, token: s.doctor, body: batchOf("batch", ask("GET", "Observation/o1", nil))}); a.status != want {
			t.Errorf("%s: %v, want %d", path, a, want)
		}
	}
	if a := s.get(s.doctor, "/fhir/"); a.status != 400 {
		t.Errorf("a GET: %v", a)
	}
}

func TestABatchNamesItsEntriesInTheirOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for range 3 {
		var asked []fhir.BundleEntry
		for range 12 {
			asked = append(asked, ask("GET", "Observation/o1", nil), ask("GET", "Observation?patient=p1,p2", nil))
		}
		a := s.do(asking{method: "POST", path: "/fhir", token: s.doctor, body: batchOf("batch", asked...)})
		if got := a.entries(t); len(got) != 36 || !slices.IsSorted(got) {
			t.Errorf("%v", got)
		}
	}
}

func TestAMistakeIsNamedForWhatItIs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for query, want := range map[string][2]string{
		"Observation?patient=http://canary/Patient/p1": {`"value"`, "patient"},
		"Observation?date=canary":                      {`"value"`, "date"},
		"Observation?_count=canary":                    {`"value"`, "_count"},
		"Observation?foo=canary":                       {`"not-supported"`, "foo"},
		"Observation?code:in=canary":                   {`"not-supported"`, "code:in"},
		"Observation?performer.name=canary":            {`"not-supported"`, "performer"},
	} {
		a := s.get(s.doctor, "/fhir/"+query)
		if text := string(a.body); a.status != 400 || !strings.Contains(text, want[0]) || !strings.Contains(text, want[1]) || strings.Contains(text, "canary") {
			t.Errorf("%s: %v, want %v", query, a, want)
		}
	}
	twice := `{"resourceType":"Observation","code":{"coding":[{"system":"canary","system":"canary"}]}}`
	if a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: twice}); a.status != 400 ||
		!strings.Contains(string(a.body), "code.coding[0].system: a duplicate") || strings.Contains(string(a.body), "canary") {
		t.Errorf("%v", a)
	}
	if a := s.do(asking{method: "POST", path: "/api/relations", token: s.doctor, body: `{"relation":{"kind":"canary","kind":"x"}}`}); a.status != 400 ||
		!strings.Contains(string(a.body), "relation.kind: is there twice") || strings.Contains(string(a.body), "canary") {
		t.Errorf("%v", a)
	}
}
