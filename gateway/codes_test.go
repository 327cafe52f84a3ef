package gateway_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestCodesThatFHIRDoesNotKnowAreNotSealed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	good := string(weight(t, "coded", "p1", 5).JSON())
	for _, status := range []string{"bogus", "", " ", "FINAL"} {
		bad := strings.Replace(good, `"status":"final"`, `"status":"`+status+`"`, 1)
		a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: bad})
		if a.status != http.StatusUnprocessableEntity || !strings.Contains(string(a.body), "Observation.status") {
			t.Errorf("status %q: %d %s", status, a.status, a.body)
		}
	}
	empty := strings.Replace(good, "canary-note-coded", " ", 1)
	if a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: empty}); a.status != http.StatusUnprocessableEntity || !strings.Contains(string(a.body), "Observation.note[0].text") {
		t.Errorf("an empty text: %d %s", a.status, a.body)
	}
	if a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: good}); a.status != http.StatusCreated {
		t.Errorf("as R4 has it: %d %s", a.status, a.body)
	}
}
