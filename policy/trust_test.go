package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

func TestTrustReadsWhatItWrites(t *testing.T) {
	want := policytest.Trust()
	text, err := want.YAML()
	if err != nil {
		t.Fatal(err)
	}
	got, err := policy.ParseTrust(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got.Digest() != want.Digest() {
		t.Error("it is another trust")
	}
	again, err := got.YAML()
	if err != nil || string(again) != string(text) {
		t.Errorf("written again: %v\n%s", err, again)
	}
}

func TestTrustRefusesWhatCannotBeTrusted(t *testing.T) {
	for name, edit := range map[string]func(*policy.Trust){
		"no tenant":                     func(t *policy.Trust) { t.Tenant = "" },
		"an implicit policy of its own": func(t *policy.Trust) { t.Implicit = "all" },
		"no issuer's name":              func(t *policy.Trust) { t.Issuers[0].Issuer = "" },
		"no audiences":                  func(t *policy.Trust) { t.Issuers[0].Audiences = nil },
		"enrolment by sign-ins":         func(t *policy.Trust) { t.Issuers[0].EnrolAudiences = []string{"x", policytest.Audience} },
		"a nameless audience":           func(t *policy.Trust) { t.Issuers[0].EnrolAudiences = []string{""} },
		"no algorithms":                 func(t *policy.Trust) { t.Issuers[0].Algorithms = nil },
		"the algorithm none":            func(t *policy.Trust) { t.Issuers[0].Algorithms = []string{"none"} },
		"a symmetric algorithm":         func(t *policy.Trust) { t.Issuers[0].Algorithms = []string{"EdDSA", "HS256"} },
		"a private key":                 func(t *policy.Trust) { t.Issuers[0].Keys.Keys[0].Key = policytest.Key("x") },
		"a symmetric key":               func(t *policy.Trust) { t.Issuers[0].Keys.Keys[0].Key = []byte("secret") },
		"a key without kid":             func(t *policy.Trust) { t.Issuers[0].Keys.Keys[0].KeyID = "" },
		"an encryption key":             func(t *policy.Trust) { t.Issuers[0].Keys.Keys[0].Use = "enc" },
		"two keys of a kid": func(t *policy.Trust) {
			t.Issuers[0].Keys.Keys = append(t.Issuers[0].Keys.Keys, jose.JSONWebKey{Key: policytest.Public("x"), KeyID: policytest.Issuer})
		},
		"no keys":                      func(t *policy.Trust) { t.Issuers[0].Keys = policy.JWKS{} },
		"a role that there is not":     func(t *policy.Trust) { t.Issuers[0].Roles["x"] = "boss" },
		"the role system":              func(t *policy.Trust) { t.Issuers[0].Roles["x"] = "system" },
		"the role patient":             func(t *policy.Trust) { t.Issuers[0].Roles["x"] = "patient" },
		"an issuer twice":              func(t *policy.Trust) { t.Issuers = append(t.Issuers, t.Issuers[0]) },
		"a client twice":               func(t *policy.Trust) { t.Clients = append(t.Clients, t.Clients[0]) },
		"an odd client id":             func(t *policy.Trust) { t.Clients[0].ID = "a/b" },
		"a client of no kind":          func(t *policy.Trust) { t.Clients[0].Kind = "" },
		"an unknown purpose":           func(t *policy.Trust) { t.Clients[0].Purposes = []string{"EMRGENCY"} },
		"a default it may not state":   func(t *policy.Trust) { t.Clients[0].Default = "COVERAGE" },
		"a session of a day":           func(t *policy.Trust) { t.Clients[0].Lifetime = policy.Duration(24 * time.Hour) },
		"odd scopes":                   func(t *policy.Trust) { t.Clients[0].Scopes = []string{"user/*.sr"} },
		"a user client that writes":    func(t *policy.Trust) { t.Clients[0].Actions = []string{policy.Create} },
		"a system client that reads":   func(t *policy.Trust) { t.Clients[1].Actions = []string{policy.Read} },
		"a system client without keys": func(t *policy.Trust) { t.Clients[1].Keys = policy.JWKS{} },
		"a system client with HS256":   func(t *policy.Trust) { t.Clients[1].Algorithms = []string{"HS256"} },
		"no token URL":                 func(t *policy.Trust) { t.TokenURLs = nil },
		"a signer of no kind":          func(t *policy.Trust) { t.Signers[0].Kind = "boss" },
		"a signer that is a person":    func(t *policy.Trust) { t.Signers[0].ID = "Practitioner/7" },
		"a signer with half a key":     func(t *policy.Trust) { t.Signers[0].Key = t.Signers[0].Key[:16] },
		"a signer twice":               func(t *policy.Trust) { t.Signers[1].ID = t.Signers[0].ID },
		"two signers with a key":       func(t *policy.Trust) { t.Signers[1].Key = t.Signers[0].Key },
	} {
		trust := policytest.Trust()
		edit(trust)
		if err := trust.Validate(); err == nil {
			t.Errorf("%s is trusted", name)
		}
		if text, err := trust.YAML(); err == nil {
			if _, err := policy.ParseTrust(text); err == nil {
				t.Errorf("%s is trusted from YAML", name)
			}
		}
	}
}

func TestTrustIsReadStrictly(t *testing.T) {
	text, err := policytest.Trust().YAML()
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(string) string{
		"an unknown key": func(s string) string { return s + "admin: true\n" },
		"a key twice":    func(s string) string { return s + "tenant: other\n" },
		"an inner key": func(s string) string {
			return strings.Replace(s, "  kind: user\n", "  kind: user\n  superuser: true\n", 1)
		},
		"an odd duration":   func(s string) string { return strings.Replace(s, "12h0m0s", "12 hours", 1) },
		"an odd public key": func(s string) string { return strings.Replace(s, "  key: ", "  key: '!'", 1) },
	} {
		changed := edit(string(text))
		if changed == string(text) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := policy.ParseTrust([]byte(changed)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestPurposesAreThoseOfClientAndRole(t *testing.T) {
	trust := policytest.Trust()
	for name, tc := range map[string]struct {
		client string
		roles  []string
		want   string
		def    string
	}{
		"a doctor":          {policytest.App, []string{"doctor"}, "BTG CAREMGT ETREAT PUBHLTH TREAT", "TREAT"},
		"a researcher":      {policytest.App, []string{"researcher"}, "CLINTRCH HRESCH", "HRESCH"},
		"a patient":         {policytest.App, []string{"patient"}, "FAMRQT PATRQT PWATRNY", "PATRQT"},
		"nobody":            {policytest.App, nil, "", ""},
		"a system":          {policytest.Loader, []string{"system"}, "RECORDMGT", "RECORDMGT"},
		"an unknown client": {"other", []string{"doctor"}, "", ""},
	} {
		allowed, def := trust.Purposes(tc.client, tc.roles)
		if strings.Join(allowed, " ") != tc.want || def != tc.def {
			t.Errorf("%s: %v, %q", name, allowed, def)
		}
	}
	trust.Clients[0].Default = "CAREMGT"
	if _, def := trust.Purposes(policytest.App, []string{"doctor"}); def != "CAREMGT" {
		t.Errorf("the client's own default: %q", def)
	}
	if _, def := trust.Purposes(policytest.App, []string{"patient"}); def != "PATRQT" {
		t.Errorf("where the role may not state it: %q", def)
	}
}

func TestScopes(t *testing.T) {
	category := policy.Coding(policy.SystemObservationCategory, "laboratory")
	for text, want := range map[string]string{
		"user/*.rs":                "user/*.rs",
		"patient/Observation.read": "patient/Observation.rs",
		"system/*.write":           "system/*.cud",
		"patient/*.*":              "patient/*.cruds",
		"user/Patient.cruds":       "user/Patient.cruds",
		"user/Observation.rs?category=" + category:                        "user/Observation.rs?category=" + category,
		"user/Observation.r?code=http://loinc.org|1&category=" + category: "user/Observation.r?category=" + category + "&code=http://loinc.org|1",
		"openid": "", "fhirUser": "", "launch/patient": "", "offline_access": "",
	} {
		s, err := policy.ParseScopes([]string{text})
		if err != nil || s.String() != want {
			t.Errorf("%s: %q, %v", text, s, err)
		}
	}
	for _, text := range []string{
		"", "user", "user/", "user/*", "user/*.", "user/*.sr", "user/*.rr", "user/*.R", "user/*.reads", "User/*.rs", "user/Nothing.rs", "user/**.rs",
		"user/Observation.rs?", "user/Observation.rs?category", "user/Observation.rs?category=", "user/Observation.rs?category=laboratory",
		"user/Observation.rs?category:not=" + category, "user/Observation.rs?category=" + category + "&category=" + category,
		"user/Observation.rs?category=" + category + "," + category, "user/Observation.rs?category=http%3A%2F%2Floinc.org|1",
		"user/Observation.rs?_id=1", "user/Observation.read?category=" + category, " user/*.rs", "user/*.rs ", "user/*.rs user/*.cud",
		"user/Observation%2ers", "user/Observation.rs?category=" + category + "&", "system/*.cruds?x", "wheel", "launch/x",
		"user/Observation.rs?code=" + strings.Repeat("x", 600),
	} {
		if s, err := policy.ParseScopes([]string{text}); err == nil {
			t.Errorf("%q is read as %q", text, s)
		}
	}
	if _, err := policy.ParseScopes(slices.Repeat([]string{"user/*.rs"}, 300)); err == nil {
		t.Error("three hundred scopes")
	}
}

func TestScopesDoNotWiden(t *testing.T) {
	category := policy.Coding(policy.SystemObservationCategory, "laboratory")
	s, err := policy.ParseScopes([]string{"patient/Observation.rs", "user/Condition.r", "user/Observation.s?category=" + category})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		typ         string
		interaction byte
		context     string
		want        bool
	}{
		{"Observation", 'r', policy.ScopePatient, true},
		{"Observation", 'r', policy.ScopeUser, false},
		{"Observation", 'r', "", true},
		{"Observation", 's', policy.ScopeUser, true},
		{"Observation", 'c', "", false},
		{"Condition", 'r', policy.ScopeUser, true},
		{"Condition", 's', "", false},
		{"Patient", 'r', "", false},
		{"Condition", 'r', policy.ScopeSystem, false},
		{"*", 'r', "", false},
	} {
		if got := s.Allows(tc.typ, tc.interaction, tc.context); got != tc.want {
			t.Errorf("Allows(%s, %c, %s) = %t", tc.typ, tc.interaction, tc.context, got)
		}
	}
	laboratory, other := policy.Resource{Type: "Observation", Categories: []string{category}}, policy.Resource{Type: "Observation"}
	if !s.Covers(&laboratory, 's', policy.ScopeUser) || s.Covers(&other, 's', policy.ScopeUser) {
		t.Error("a restriction by category does not hold")
	}
	if (policy.Scopes{}).Allows("Observation", 'r', "") {
		t.Error("no scopes allow something")
	}
}
