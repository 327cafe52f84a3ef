package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wardkey/wardkey/gateway"
)

func TestNothingThatIsSentIsRepeatedAtLength(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	long := strings.Repeat("Zanzibar-", 4000)
	portal := s.signIn("Patient/p1")
	short := long[:9*800]
	for _, a := range []asking{
		{method: "GET", path: "/fhir/Observation/" + short, token: s.doctor},
		{method: "GET", path: "/fhir/Observation?" + short + "=1", token: s.doctor},
		{method: "GET", path: "/fhir/Observation?code=" + short, token: s.doctor},
		{method: "GET", path: "/fhir/Observation", token: s.doctor, header: map[string]string{"Wardkey-Purpose": short, "Accept": short}},
		{method: "GET", path: "/fhir/Observation", token: short},
		{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: `{"resourceType":"Observation","id":"o1","` + long + `":1,"` + long + `":1}`},
		{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: `{"resourceType":"Observation","id":"o1","subject":{"reference":"` + long + `"}}`},
		{method: "POST", path: "/oauth/session", body: map[string]string{"client_id": long}},
		{method: "POST", path: "/oauth/token", body: url.Values{"grant_type": {long}, "client_id": {long}, "subject_token": {long}}},
		{method: "POST", path: "/api/grants/preview", token: portal, body: map[string]any{"patient": "Patient/p1", "actors": []string{long}, "purposes": []string{long}, "until": long}},
		{method: "POST", path: "/api/grants/preview", token: portal, body: map[string]any{"patient": "Patient/p1", long: 1}},
		{method: "POST", path: "/api/enrol", body: map[string]any{"person": long, "key": "AAAA", "token": long}},
		{method: "POST", path: "/api/relations", token: s.doctor, body: map[string]any{"relation": map[string]any{"id": long}, "signatures": []any{}}},
	} {
		if got := s.do(a); got.status < http.StatusBadRequest || len(got.body) > 2000 {
			t.Errorf("%s %.60s: %d with %d bytes", a.method, a.path, got.status, len(got.body))
		}
	}
	for line := range strings.SplitSeq(s.logs.String(), "\n") {
		if len(line) > 2000 {
			t.Errorf("a log line of %d bytes: %.300s", len(line), line)
		}
	}
}

func FuzzClip(f *testing.F) {
	for _, s := range []string{"", "short", strings.Repeat("é", 300), "two\nlines\x00", "\xff\xfe", strings.Repeat("\xe4", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := gateway.Clip(s)
		if len(got) > 410 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00") {
			t.Errorf("Clip(%q) = %q", s, got)
		}
	})
}
