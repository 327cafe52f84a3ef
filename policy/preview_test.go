package policy_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
)

func ask(t testing.TB, request string) (policy.Grant, error) {
	t.Helper()
	r, err := policy.ParseGrantRequest([]byte(request))
	if err != nil {
		return policy.Grant{}, err
	}
	return policy.Preview(r, noon)
}

const vitalsRequest = `{"patient":"Patient/a","actors":["Practitioner/7","role:nurse",{"role":"doctor","ref":"Practitioner/9"}],"classes":["Observation"],"categories":["vital-signs"],"purposes":["TREAT"],"until":"2026-11-23T14:00:00Z"}`

func TestPreviewWritesCodesInFull(t *testing.T) {
	g, err := ask(t, vitalsRequest)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Actor{{Ref: "Practitioner/7"}, {Role: policy.Coding(policy.SystemRole, "nurse")}, {Role: policy.Coding(policy.SystemRole, "doctor"), Ref: "Practitioner/9"}}
	if !slices.Equal(g.Actors, want) || g.Classes[0] != policy.Coding(policy.SystemResourceType, "Observation") ||
		g.Purposes[0] != policy.Coding(policy.SystemPurpose, "TREAT") || g.Categories[0] != policy.Coding(policy.SystemObservationCategory, "vital-signs") {
		t.Errorf("Preview() = %+v", g)
	}
	if g.Labels == nil || g.Labels.MaxConf != "N" || !slices.Equal(g.Actions, []string{policy.Read, policy.Search, policy.History}) {
		t.Errorf("labels %+v, actions %v", g.Labels, g.Actions)
	}
	if g.Time.Nbf != noon.UnixMilli() || g.Time.Exp != noon.Add(2*time.Hour).UnixMilli() || g.Layer != policy.LayerGrant {
		t.Errorf("time %+v, layer %s", g.Time, g.Layer)
	}
	again, err := ask(t, strings.NewReplacer(
		`"TREAT"`, `"http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT"`, `"Observation"`, `"http://hl7.org/fhir/resource-types|Observation"`,
		`"role:nurse"`, `"https://wardkey.org/fhir/CodeSystem/role|nurse"`,
	).Replace(vitalsRequest))
	if err != nil {
		t.Fatal(err)
	}
	if again.ID == g.ID {
		t.Error("an id is used twice")
	}
	if again.ID = g.ID; again.Digest() != g.Digest() {
		t.Error("short and full codes make different grants")
	}
	document, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back policy.Grant
	if err := json.Unmarshal(document, &back); err != nil || back.Digest() != g.Digest() {
		t.Errorf("%s: %v", document, err)
	}
}

func TestPreviewLabels(t *testing.T) {
	for more, want := range map[string]policy.Labels{
		"":                          {MaxConf: "N"},
		`,"maxConfidentiality":"R"`: {MaxConf: "R"},
		`,"maxConfidentiality":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality|V"`: {MaxConf: "V"},
		`,"labels":["MH"]`:                          {MaxConf: "R", Cover: []string{policy.Coding(policy.SystemSensitivity, "MH")}},
		`,"labels":["MH"],"maxConfidentiality":"N"`: {MaxConf: "N", Cover: []string{policy.Coding(policy.SystemSensitivity, "MH")}},
	} {
		g, err := ask(t, strings.TrimSuffix(vitalsRequest, "}")+more+"}")
		if err != nil || g.Labels.MaxConf != want.MaxConf || !slices.Equal(g.Labels.Cover, want.Cover) || g.Labels.Any != nil {
			t.Errorf("%s: %+v, %v", more, g.Labels, err)
		}
	}
}

// TestPreviewNeverWidensATime: what a millisecond cannot hold is cut inwards, and
// offsets are those of the zone at each instant.
func TestPreviewTimes(t *testing.T) {
	g, err := ask(t, strings.Replace(vitalsRequest, `"until":"2026-11-23T14:00:00Z"`, `"from":"2026-11-23T12:30:00.0000001Z","until":"2027-06-23T14:00:00.9999999Z","zone":"Europe/Berlin"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if g.Time.Nbf != ms("2026-11-23T12:30:00Z")+1 || g.Time.Exp != ms("2027-06-23T14:00:00Z")+999 || g.Time.NbfOffset != 60 || g.Time.ExpOffset != 120 || g.Time.Zone != "Europe/Berlin" {
		t.Errorf("time %+v", g.Time)
	}
	deny, err := ask(t, `{"patient":"Patient/a","effect":"deny"}`)
	if err != nil || deny.Time != (policy.Time{}) || deny.Layer != policy.LayerConsent || deny.Labels != nil {
		t.Errorf("a deny of everything: %+v, %v", deny, err)
	}
}

func TestPreviewRefuses(t *testing.T) {
	with := func(old, replacement string) string { return strings.Replace(vitalsRequest, old, replacement, 1) }
	more := func(s string) string { return strings.TrimSuffix(vitalsRequest, "}") + s + "}" }
	for name, request := range map[string]string{
		"no end":                       with(`,"until":"2026-11-23T14:00:00Z"`, ""),
		"an end that has been":         with("T14:00", "T11:00"),
		"an end before the start":      more(`,"from":"2026-11-23T15:00:00Z"`),
		"a date for a time":            with("2026-11-23T14:00:00Z", "2026-11-23"),
		"no actors":                    with(`"actors":["Practitioner/7","role:nurse",{"role":"doctor","ref":"Practitioner/9"}],`, ""),
		"empty actors":                 with(`["Practitioner/7","role:nurse",{"role":"doctor","ref":"Practitioner/9"}]`, "[]"),
		"an unknown role":              with("role:nurse", "role:boss"),
		"a group":                      with("Practitioner/7", "Group/7"),
		"an odd reference":             with("Practitioner/7", "Practitioner/7/_history/1"),
		"an empty actor":               with("role:nurse", ""),
		"an actor's unknown field":     with(`"ref":"Practitioner/9"`, `"ref":"Practitioner/9","also":"x"`),
		"no purposes":                  with(`"purposes":["TREAT"],`, ""),
		"an unknown purpose":           with("TREAT", "EMRGENCY"),
		"an unknown class":             with(`["Observation"]`, `["Observations"]`),
		"an empty list":                with(`["Observation"]`, `[]`),
		"a null":                       with(`["Observation"]`, `null`),
		"an unknown field":             more(`,"scope":"all"`),
		"another case":                 with(`"patient"`, `"Patient"`),
		"a field twice":                more(`,"patient":"Patient/b"`),
		"a code without a system":      more(`,"codes":["8867-4"]`),
		"an unknown label":             more(`,"labels":["SECRET"]`),
		"an unknown ceiling":           more(`,"maxConfidentiality":"X"`),
		"a ceiling of another system":  more(`,"maxConfidentiality":"http://loinc.org|R"`),
		"a floor":                      more(`,"minConfidentiality":"R"`),
		"a hard permit":                more(`,"hard":true`),
		"an unknown zone":              more(`,"zone":"Europe/Nowhere"`),
		"the local zone":               more(`,"zone":"Local"`),
		"writing":                      more(`,"actions":["create"]`),
		"an unknown action":            more(`,"actions":["print"]`),
		"an unknown meaning":           more(`,"data":[{"meaning":"dependents","ref":"Encounter/1"}]`),
		"related to what is not known": more(`,"data":[{"meaning":"related","ref":"CarePlan/1"}]`),
		"a span that is none":          more(`,"dataFrom":"2026-01-02T00:00:00Z","dataUntil":"2026-01-02T00:00:00Z"`),
		"a treatment by nobody":        more(`,"treatment":{"until":"2026-11-23T13:00:00Z","doctor":"nurse"}`),
		"the epoch":                    more(`,"dataFrom":"1970-01-01T00:00:00Z"`),
		"no patient":                   with(`"patient":"Patient/a",`, ""),
		"a patient by number":          with("Patient/a", "a"),
		"an unknown effect":            more(`,"effect":"allow"`),
		"a deny with a ceiling":        `{"patient":"Patient/a","effect":"deny","maxConfidentiality":"R"}`,
		"two documents":                vitalsRequest + "{}",
		"a list":                       "[" + vitalsRequest + "]",
		"nothing":                      "",
	} {
		if request == vitalsRequest {
			t.Fatalf("%s: nothing changed", name)
		}
		if g, err := ask(t, request); err == nil {
			t.Errorf("%s is previewed: %+v", name, g)
		}
	}
}
