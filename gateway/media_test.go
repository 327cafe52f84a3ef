package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func FuzzOnlyJSONIsAcceptable(f *testing.F) {
	for _, seed := range []string{"application/fhir+json", "*/*;q=0", "text/html,application/xml;q=0.9", "application/json;q=1e9", ";;,,", "application/fhir+json; fhirVersion=4.0", "a/b;q=\"", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		ok := acceptable(http.Header{"Accept": {accept}}, url.Values{})
		if says := strings.TrimSpace(accept) == "" || strings.Contains(accept, "*") || strings.Contains(strings.ToLower(accept), "json"); ok && !says {
			t.Errorf("%q is taken for JSON", accept)
		}
	})
}

func FuzzIfMatchIsOneTagOrNothing(f *testing.F) {
	for _, seed := range []string{`W/"1"`, `"1"`, `*`, `W/"1", W/"2"`, `W/W/"1"`, `"`, `W/"`, `W/""`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		tag, err := ifMatch(http.Header{"If-Match": {value}})
		if err == nil && tag != "" && strings.TrimSpace(value) != `"`+tag+`"` && strings.TrimSpace(value) != etag(tag) {
			t.Errorf("%q is read as %q", value, tag)
		}
	})
}

func TestTheStricterConfidentialityWins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ a, b, want string }{
		{"N", "R", "R"}, {"R", "N", "R"}, {"V", "R", "V"}, {"U", "U", "U"}, {"", "N", "N"}, {"N", "", "N"}, {"N", "made-up", "made-up"}, {"made-up", "V", "made-up"},
	} {
		if got := higher(tc.a, tc.b); got != tc.want {
			t.Errorf("higher(%q, %q) = %q, want %q", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestACommitteesNeedIsMoreThanItsLiarsAllow(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 1, 4: 3, 7: 5, 10: 7} {
		if got := needed(n); got != want {
			t.Errorf("needed(%d) = %d, want %d", n, got, want)
		}
	}
}
