package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

func TestWhateverIsDoneToTheStoreTheAnswerIsOneAndInTheLog(t *testing.T) {
	var answers []string
	for name, what := range map[string]fault{"exchanged": foreign, "rolled back": swapped, "garbled": garbled} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			for _, day := range []int{9, 10} { // so that there is something to roll back to
				if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", day)}); a.status != 200 {
					t.Fatal(a)
				}
			}
			path := "/fhir/Observation/o1"
			if what == swapped {
				path += "/_history/1" // the store gives another version in its place
			}
			s.line.when(func(r *http.Request) fault {
				if strings.Contains(r.URL.Path, "/Observation/o1") {
					return what
				}
				return fine
			})
			a := s.get(s.doctor, path)
			answers = append(answers, comparable(a))
			if a.status != 500 || a.resource(t).Type() != "OperationOutcome" || strings.Contains(string(a.body), "canary") {
				t.Errorf("%v", a)
			}
			if len(a.entries(t)) != 1 {
				t.Fatalf("entries %v", a.entries(t))
			}
			b := s.body(a.entries(t)[0])
			if b.Kind != chain.Deny || b.Reason != string(policy.Failed) || b.Patient != "Patient/p1" || len(b.Resources) != 1 || b.Resources[0].ID != "o1" {
				t.Errorf("entry %+v", b.Entry)
			}
			if a := s.get(s.doctor, "/fhir/Observation?_id=o1"); what != swapped && (a.status != 500 || len(a.entries(t)) != 1) {
				t.Errorf("a search: %v", a)
			}
		})
	}
	for _, other := range answers[1:] {
		if other != answers[0] {
			t.Errorf("told apart:\n%s\n%s", answers[0], other)
		}
	}
}
