package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/policy"
)

// TestAnEntryStatesOneReasonThatIsThatOfAllItsRecords: custodians refuse an entry
// with another reason than their own.
func TestAnEntryStatesOneReasonThatIsThatOfAllItsRecords(t *testing.T) {
	t.Parallel()
	for want, reasons := range map[string][]policy.Reason{
		"[[]]":              nil,
		"[[a]]":             {"a"},
		"[[a a]]":           {"a", "a"},
		"[[a a] [b b] [c]]": {"a", "b", "a", "c", "b"},
	} {
		if parts, denied := gateway.Parts(reasons...); fmt.Sprint(parts) != want || denied != 1 {
			t.Errorf("%v: %v with %d denials, want %s with 1", reasons, parts, denied, want)
		}
	}
}

func TestEntriesSayWithWhichScopesAndInWhichSession(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	session, err := s.sessions.Token(s.doctor)
	s.check(err)
	for _, path := range []string{"/fhir/Observation/o1", "/fhir/Observation/none"} {
		e := s.body(s.get(s.doctor, path).entries(t)[0])
		if fmt.Sprint(e.Scopes) != fmt.Sprint(session.Scope) || e.Client != session.Subject.Client || e.Session != session.Subject.Session ||
			e.Role != "doctor" || e.Actor != "Practitioner/d1" || e.Context != "" || e.Action != policy.Read || e.Purpose != "TREAT" {
			t.Errorf("%s: %+v", path, e.Entry)
		}
	}
}

func TestAPutThatCreatesATypeInClearSaysWhere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	put := func() reply {
		return s.do(asking{method: http.MethodPut, path: "/fhir/Practitioner/new", token: s.loader, body: practitioner(t, "new", "Okafor")})
	}
	if a := put(); a.status != http.StatusCreated || !strings.HasPrefix(a.header.Get("Location"), s.server.URL+"/fhir/Practitioner/new/_history/") {
		t.Errorf("%v, Location %q", a, a.header.Get("Location"))
	}
	if a := put(); a.status != http.StatusOK || a.header.Get("Location") != "" {
		t.Errorf("again: %v, Location %q", a, a.header.Get("Location"))
	}
}
