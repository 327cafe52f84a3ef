package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/policy"
)

func parse(t testing.TB, s string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(s), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func describe(t testing.TB, r *fhir.Resource) policy.Resource {
	t.Helper()
	a, err := policy.Describe(r, policy.DefaultLabelling(), time.UnixMilli(1_700_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ms(s string) int64 {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return at.UnixMilli()
}

func TestDescribeTellsWhatDecisionsNeed(t *testing.T) {
	r := parse(t, `{"resourceType":"Observation","id":"o1","status":"final",
		"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],
		"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"},{"system":"http://loinc.org","code":"1"}]},
		"subject":{"reference":"Patient/p1"},"encounter":{"reference":"Encounter/e1"},"effectiveDateTime":"2022-11-06",
		"performer":[{"reference":"Practitioner/7"}],"valueQuantity":{"value":1.0}}`)
	got := describe(t, r)
	want := policy.Resource{
		Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "N",
		Codes: []string{"http://loinc.org|1", "http://loinc.org|8867-4"}, Categories: []string{policy.Coding(policy.SystemObservationCategory, "vital-signs")},
		From: ms("2022-11-06T00:00:00Z"), To: ms("2022-11-07T00:00:00Z"), Encounter: "Encounter/e1", Author: "Practitioner/7",
		Size: len(r.JSON()), Updated: 1_700_000_000_000,
	}
	if string(got.Encode()) != string(want.Encode()) {
		t.Errorf("Describe() = %+v, want %+v", got, want)
	}
	again, err := policy.DecodeResource(got.Encode())
	if err != nil || string(again.Encode()) != string(got.Encode()) {
		t.Errorf("decoded again: %+v, %v", again, err)
	}
}

// TestEveryTypeOfTheSampleIsDescribed: each record has its patient, and a code
// and a date where its type has them.
func TestEveryTypeOfTheSampleIsDescribed(t *testing.T) {
	clear := []string{"Organization", "Location", "Practitioner", "PractitionerRole", "Medication"}
	undated := []string{"Patient", "Device"}
	types := map[string]int{}
	for _, r := range fhirtest.Synthea() {
		types[r.Type()]++
		if types[r.Type()] > 60 {
			continue
		}
		a := describe(t, r)
		if slices.Contains(clear, a.Type) {
			if a.Patient != "" {
				t.Errorf("%s belongs to %s", a.Type, a.Patient)
			}
			continue
		}
		if !strings.HasPrefix(a.Patient, "Patient/") {
			t.Errorf("%s/%s belongs to %q", a.Type, a.ID, a.Patient)
		}
		if a.From == 0 && !slices.Contains(undated, a.Type) {
			t.Errorf("%s/%s has no date", a.Type, a.ID)
		}
		byReference := strings.Contains(string(r.JSON()), `"medicationReference"`) // the Medication has the code
		if len(a.Codes) == 0 && a.Type != "Patient" && a.Type != "CareTeam" && !byReference {
			t.Errorf("%s/%s has no code", a.Type, a.ID)
		}
		if _, err := policy.DecodeResource(a.Encode()); err != nil {
			t.Errorf("%s/%s: %v", a.Type, a.ID, err)
		}
	}
	if len(types) < 21 {
		t.Errorf("%d types", len(types))
	}
}

// TestSensitiveRecordsAreLabelled: those that the default rules are for, and
// most records are not.
func TestSensitiveRecordsAreLabelled(t *testing.T) {
	want := map[string]string{
		"55758-7": "MH", "44261-6": "MH", "89204-2": "MH", "70274-6": "MH", "55757-9": "MH", "44249-1": "MH", "89206-7": "MH", "69737-5": "MH",
		"72109-2": "SUD", "75626-2": "SUD", "82666-9": "SUD", "82667-7": "SUD", "76499-3": "SDV", "76504-0": "SDV",
		"706893006": "SDV", "361055000": "SUD",
	}
	seen := map[string]bool{}
	labelled, all := 0, 0
	for _, r := range fhirtest.Synthea() {
		a := describe(t, r)
		all++
		if len(a.Sens) > 0 {
			labelled++
		}
		if (a.Conf == "N") != (len(a.Sens) == 0) {
			t.Errorf("%s/%s is %s with %v", a.Type, a.ID, a.Conf, a.Sens)
		}
		for _, c := range a.Codes {
			if sens, ok := want[policy.Code(c)]; ok {
				seen[policy.Code(c)] = true
				if a.Conf != "R" || !slices.Contains(a.Sens, policy.Coding(policy.SystemSensitivity, sens)) {
					t.Errorf("%s %s is %s with %v, want R with %s", a.Type, c, a.Conf, a.Sens, sens)
				}
			}
		}
	}
	if len(seen) != len(want) {
		t.Errorf("of %d codes the sample has %d", len(want), len(seen))
	}
	if labelled*5 > all {
		t.Errorf("%d of %d records are sensitive", labelled, all)
	}
	for _, r := range fhirtest.Genomics(fhir.Ref{Type: "Patient", ID: "p1"}) {
		a := describe(t, r)
		genetic := slices.Contains(a.Sens, policy.Coding(policy.SystemSensitivity, "GDIS"))
		if (a.Type == "Observation" || a.Type == "DiagnosticReport") && (!genetic || a.Conf != "R") {
			t.Errorf("%s/%s is %s with %v", a.Type, a.ID, a.Conf, a.Sens)
		}
	}
}

func TestOwnLabelsOnlyRaise(t *testing.T) {
	record := func(code, security string) *fhir.Resource {
		return parse(t, `{"resourceType":"Observation","id":"o1","meta":{"security":[`+security+`]},"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"`+code+`"}]},"subject":{"reference":"Patient/p1"}}`)
	}
	label := func(system, code string) string { return `{"system":"` + system + `","code":"` + code + `"}` }
	mh, sud := policy.Coding(policy.SystemSensitivity, "MH"), policy.Coding(policy.SystemSensitivity, "SUD")
	for name, tc := range map[string]struct {
		code, security string
		conf           string
		sens           []string
	}{
		"normal":                        {"1", "", "N", nil},
		"low does not lower":            {"1", label(policy.SystemConfidentiality, "L"), "N", nil},
		"normal does not lower a rule":  {"44261-6", label(policy.SystemConfidentiality, "N"), "R", []string{mh}},
		"restricted":                    {"1", label(policy.SystemConfidentiality, "R"), "R", nil},
		"very restricted":               {"44261-6", label(policy.SystemConfidentiality, "V"), "V", []string{mh}},
		"an unknown confidentiality":    {"1", label(policy.SystemConfidentiality, "X"), "V", nil},
		"a sensitivity":                 {"1", label(policy.SystemSensitivity, "SUD"), "R", []string{sud}},
		"one more sensitivity":          {"44261-6", label(policy.SystemSensitivity, "SUD"), "R", []string{mh, sud}},
		"Part 2 is substance use":       {"1", label(policy.SystemSensitivity, "42CFRPart2"), "R", []string{sud}},
		"handling is no sensitivity":    {"1", label(policy.SystemSensitivity, "NORDSCLCD"), "N", nil},
		"completeness is none either":   {"1", label(policy.SystemObservationValue, "SUBSETTED"), "N", nil},
		"a label of another system":     {"1", label("https://example.org/labels", "secret"), "R", []string{"https://example.org/labels|secret"}},
		"a label without a system":      {"1", `{"code":"secret"}`, "R", []string{"|secret"}},
		"an unknown sensitivity counts": {"1", label(policy.SystemSensitivity, "NEW"), "R", []string{policy.Coding(policy.SystemSensitivity, "NEW")}},
	} {
		if a := describe(t, record(tc.code, tc.security)); a.Conf != tc.conf || !slices.Equal(a.Sens, tc.sens) {
			t.Errorf("%s: %s with %v", name, a.Conf, a.Sens)
		}
	}
}

// TestLabelsSeeTheWholeRecord: a sensitive code in a reason, a component or a
// contained resource labels the record.
func TestLabelsSeeTheWholeRecord(t *testing.T) {
	hiv := `{"coding":[{"system":"http://snomed.info/sct","code":"86406008"}]}`
	for name, body := range map[string]string{
		"a reason":             `"reasonCode":[` + hiv + `]`,
		"a contained resource": `"contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/p1"},"code":` + hiv + `}]`,
		"a contained label":    `"contained":[{"resourceType":"Condition","id":"c","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]},"subject":{"reference":"Patient/p1"}}]`,
	} {
		a := describe(t, parse(t, `{"resourceType":"MedicationRequest","id":"m","status":"active","intent":"order","subject":{"reference":"Patient/p1"},`+body+`}`))
		if a.Conf != "R" || !slices.Contains(a.Sens, policy.Coding(policy.SystemSensitivity, "HIV")) {
			t.Errorf("%s: %s with %v", name, a.Conf, a.Sens)
		}
	}
}

func TestClinicalTimes(t *testing.T) {
	for name, tc := range map[string]struct {
		body     string
		from, to int64
	}{
		"an encounter that is open": {`"resourceType":"Encounter","status":"in-progress","class":{"code":"AMB"},"period":{"start":"2022-01-01T00:00:00Z"}`, ms("2022-01-01T00:00:00Z"), 0},
		"a period":                  {`"resourceType":"Encounter","status":"finished","class":{"code":"AMB"},"period":{"start":"2022-01-01","end":"2022-01-02"}`, ms("2022-01-01T00:00:00Z"), ms("2022-01-03T00:00:00Z")},
		"a month":                   {`"resourceType":"Condition","onsetDateTime":"2022-02"`, ms("2022-02-01T00:00:00Z"), ms("2022-03-01T00:00:00Z")},
		"only when it was recorded": {`"resourceType":"Condition","recordedDate":"2022-02-01"`, ms("2022-02-01T00:00:00Z"), ms("2022-02-02T00:00:00Z")},
		"the epoch is no absence":   {`"resourceType":"Condition","onsetDateTime":"1970-01-01"`, -1, ms("1970-01-02T00:00:00Z")},
		"before the epoch":          {`"resourceType":"Condition","onsetDateTime":"1969-12-31"`, ms("1969-12-31T00:00:00Z"), 1},
		"none":                      {`"resourceType":"Condition","onsetString":"as a child"`, 0, 0},
		"a supply":                  {`"resourceType":"SupplyDelivery","patient":{"reference":"Patient/p1"},"occurrenceDateTime":"2022-02-01"`, ms("2022-02-01T00:00:00Z"), ms("2022-02-02T00:00:00Z")},
	} {
		a := describe(t, parse(t, `{`+tc.body+`,"id":"x"}`))
		if a.From != tc.from || a.To != tc.to {
			t.Errorf("%s: from %d to %d, want from %d to %d", name, a.From, a.To, tc.from, tc.to)
		}
	}
}

// TestWhatIsSaidTwiceIsNotSaid: of two authors neither is the author.
func TestWhatIsSaidTwiceIsNotSaid(t *testing.T) {
	body := `{"resourceType":"Observation","id":"o","status":"final","code":{},"subject":{"reference":"Patient/p1"},"performer":[{"reference":"Practitioner/7"}%s]}`
	for more, want := range map[string]string{
		"": "Practitioner/7", `,{"reference":"Practitioner/7"}`: "Practitioner/7", `,{"reference":"Practitioner/8"}`: "", `,{"reference":"https://elsewhere.example/Practitioner/8"}`: "",
	} {
		if a := describe(t, parse(t, strings.Replace(body, "%s", more, 1))); a.Author != want {
			t.Errorf("performer%s: %q", more, a.Author)
		}
	}
}

func TestDescribeRefusesTwoPatients(t *testing.T) {
	r := parse(t, `{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/p1"},"contained":[{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p2"}}]}`)
	if a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now()); err == nil {
		t.Errorf("Describe() = %+v", a)
	}
	if _, err := policy.Describe(nil, policy.DefaultLabelling(), time.Now()); err == nil {
		t.Error("nothing is described")
	}
}

func TestLabellingIsReadStrictly(t *testing.T) {
	good := "rules:\n  - name: x\n    sensitivities: [MH]\n    codes: [http://loinc.org|1]\n"
	if _, err := policy.ParseLabelling([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"an unknown key":             {"name: x", "name: x\n    colour: red"},
		"an unknown sensitivity":     {"MH", "XX"},
		"a code without a system":    {"http://loinc.org|1", "1"},
		"no name":                    {"name: x", "name: ''"},
		"nothing to apply to":        {"    codes: [http://loinc.org|1]\n", ""},
		"an empty profile":           {"codes: [http://loinc.org|1]", "profiles: ['']"},
		"no label":                   {"    sensitivities: [MH]\n", ""},
		"an unknown confidentiality": {"name: x", "name: x\n    confidentiality: Q"},
		"an empty rule":              {"rules:\n", "rules:\n  -\n"},
		"a rule twice named":         {"name: x", "name: x\n    name: y"},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if _, err := policy.ParseLabelling([]byte(bad)); err == nil {
			t.Errorf("%s is read:\n%s", name, bad)
		}
	}
}

// TestAnsweredFormsAreLabelledLikeTheirScores: a form's questions, and the form
// by its canonical, say as much as its total.
func TestAnsweredFormsAreLabelledLikeTheirScores(t *testing.T) {
	for name, tc := range map[string]struct {
		resource string
		want     string
	}{
		"a question of PHQ-9 as an observation": {`{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"44260-8"}]}}`, "R"},
		"PHQ-9 by its canonical":                {`{"resourceType":"QuestionnaireResponse","id":"q","status":"completed","questionnaire":"http://loinc.org/q/44249-1|2.0"}`, "R"},
		"PHQ-9 by a question's link id":         {`{"resourceType":"QuestionnaireResponse","id":"q","status":"completed","questionnaire":"Questionnaire/7","item":[{"linkId":"/44249-1/44250-9"}]}`, "R"},
		"a form about something else":           {`{"resourceType":"QuestionnaireResponse","id":"q","status":"completed","questionnaire":"http://loinc.org/q/74465-6","item":[{"linkId":"/1"},{"linkId":"2"}]}`, "N"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := fhir.Parse([]byte(tc.resource), fhir.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if a := describe(t, r); a.Conf != tc.want || (len(a.Sens) > 0) != (tc.want == "R") {
				t.Errorf("confidentiality %s, sensitivities %v, want %s", a.Conf, a.Sens, tc.want)
			}
		})
	}
}
