package fhir_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/gofhir/fhirpath"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/types"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

const observation = `{"resourceType":"Observation","id":"o","meta":{"lastUpdated":"2021-01-02T03:04:05.678Z","tag":[{"code":"t"}]},"status":"final",
"category":[{"coding":[{"system":"http://c","code":"vital-signs"},{"code":"bare"}]},{"text":"only text"}],
"code":{"coding":[{"system":"http://loinc.org","code":"8302-2","display":"Body Height"}]},
"identifier":[{"system":"urn:i","value":"4711"}],"subject":{"reference":"Patient/a"},"encounter":{"reference":"https://other/Encounter/e"},
"performer":[{"reference":"Practitioner/p"},{"display":"nobody"},{"reference":"#x"}],
"effectivePeriod":{"start":"2020-01-01","end":"2020-01-02T10:00:00Z"},
"valueQuantity":{"value":178.50,"unit":"cm","system":"http://unitsofmeasure.org","code":"cm"},
"component":[{"code":{"coding":[{"code":"c1"}]},"valueQuantity":{"value":5,"comparator":"<","unit":"mg"}}]}`

func TestValuesAreTyped(t *testing.T) {
	r := parse(t, observation)
	for param, want := range map[string][]string{
		"_id":                  {"|o"},
		"_lastUpdated":         {"2021-01-02T03:04:05.678Z/2021-01-02T03:04:05.679Z"},
		"_tag":                 {"|t"},
		"status":               {"http://hl7.org/fhir/observation-status|final"},
		"category":             {"http://c|vital-signs", "|bare"},
		"code":                 {"http://loinc.org|8302-2"},
		"identifier":           {"urn:i|4711"},
		"subject":              {"Patient/a"},
		"patient":              {"Patient/a"},
		"encounter":            {"elsewhere https://other/Encounter/e"},
		"performer":            {"Practitioner/p", "elsewhere #x"},
		"date":                 {"2020-01-01T00:00:00.000Z/2020-01-02T10:00:01.000Z"},
		"value-quantity":       {"178.50 http://unitsofmeasure.org|cm cm"},
		"combo-code":           {"http://loinc.org|8302-2", "|c1"},
		"combo-value-quantity": {"178.50 http://unitsofmeasure.org|cm cm", "<5 | mg"},
		"value-concept":        nil,
		"device":               nil,
	} {
		vs, err := fhir.Values(param, r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range vs {
			switch {
			case v.Kind == fhir.TypeToken:
				got = append(got, v.Coding.String())
			case v.Kind == fhir.TypeReference && v.Text != "":
				got = append(got, "elsewhere "+v.Text)
			case v.Kind == fhir.TypeReference:
				got = append(got, v.Ref.String())
			case v.Kind == fhir.TypeDate:
				got = append(got, fhir.FormatInstant(v.Period.From)+"/"+fhir.FormatInstant(v.Period.To))
			case v.Kind == fhir.TypeQuantity:
				got = append(got, fmt.Sprint(v.Comparator, v.Number, " ", v.Coding, " ", v.Text))
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", param, got, want)
		}
	}
	if _, err := fhir.Values("nonsense", r); err == nil {
		t.Error("an unknown parameter has values")
	}
	if got := fhir.Codings("date", r); got != nil {
		t.Errorf("codings of a date: %v", got)
	}
}

func TestDatesOfEveryShapeHaveAPeriod(t *testing.T) {
	for in, want := range map[string]string{
		`{"resourceType":"Observation","effectiveDateTime":"2020-02"}`:                                               "2020-02-01/2020-03-01",
		`{"resourceType":"Observation","effectiveInstant":"2020-02-01T00:00:00Z"}`:                                   "2020-02-01/2020-02-01",
		`{"resourceType":"Observation","effectivePeriod":{"start":"2020-02-01"}}`:                                    "2020-02-01/-",
		`{"resourceType":"Observation","effectivePeriod":{"end":"2020-02-01"}}`:                                      "-/2020-02-02",
		`{"resourceType":"Observation","effectiveTiming":{"event":["2020-03-01","2020-01-01","2020-02-01"]}}`:        "2020-01-01/2020-03-02",
		`{"resourceType":"Observation","effectiveTiming":{"repeat":{"boundsPeriod":{"start":"2020","end":"2021"}}}}`: "2020-01-01/2022-01-01",
		`{"resourceType":"Observation","effectiveTiming":{"repeat":{"count":1}}}`:                                    "none",
		`{"resourceType":"Observation","effectiveDateTime":"yesterday"}`:                                             "none",
		`{"resourceType":"Observation","effectivePeriod":{"start":"yesterday","end":"2020"}}`:                        "none",
		`{"resourceType":"Observation","_effectiveDateTime":{"extension":[{"url":"x","valueCode":"unknown"}]}}`:      "none",
		`{"resourceType":"Observation","effectivePeriod":{"extension":[{"url":"x","valueCode":"unknown"}]}}`:         "none",
	} {
		vs, err := fhir.Values("date", parse(t, in))
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if len(vs) == 1 {
			got = day(vs[0].Period.From) + "/" + day(vs[0].Period.To)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func day(t interface {
	IsZero() bool
	Format(string) string
}) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02")
}

func TestNamesAndAddressesAreSearchedByPart(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","deceasedDateTime":"2020","name":[{"use":"official","text":"T","family":"F","given":["G1","G2"],"prefix":["P"]}],
		"address":[{"use":"home","line":["L1"],"city":"C","postalCode":"1"}],"telecom":[{"system":"phone","value":"555"},{"system":"email","value":"a@b"}]}`)
	for param, want := range map[string][]string{
		"name": {"T", "F", "G1", "G2", "P"}, "address": {"L1", "C", "1"}, "family": {"F"}, "given": {"G1", "G2"}, "address-city": {"C"},
		"phone": {"|555"}, "email": {"|a@b"}, "telecom": {"|555", "|a@b"}, "deceased": {"|true"}, "address-use": {"http://hl7.org/fhir/address-use|home"},
	} {
		vs, err := fhir.Values(param, r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range vs {
			if v.Kind == fhir.TypeToken {
				v.Text = v.Coding.String()
			}
			got = append(got, v.Text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", param, got, want)
		}
	}
	if got := fhir.Codings("deceased", parse(t, `{"resourceType":"Patient","deceasedBoolean":false}`)); len(got) != 1 || got[0].Code != "false" {
		t.Errorf("alive: %v", got)
	}
}

// TestValuesAgreeWithTheFHIRPathEngine holds the walk that most expressions take against the engine,
// for every parameter on samples of every type.
func TestValuesAgreeWithTheFHIRPathEngine(t *testing.T) {
	samples := map[string][]*fhir.Resource{}
	for _, r := range slices.Concat(fhirtest.Synthea(), fhirtest.Genomics(fhir.Ref{Type: "Patient", ID: "p"})) {
		if len(samples[r.Type()]) < 40 {
			samples[r.Type()] = append(samples[r.Type()], r)
		}
	}
	compared := 0
	for typ, rs := range samples {
		for _, p := range fhir.Params(typ) {
			compiled, err := fhirpath.Compile(p.Expression)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				want, err := compiled.EvaluateWithContext(withTypes(r))
				if err != nil {
					t.Fatalf("%s on %s: %v", p.Expression, r, err)
				}
				got, err := p.Values(r)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := len(got) == 0, !tells(p.Type, want); a != b {
					t.Errorf("%s of %s: %v, the engine says %v", p.Name, r, got, want)
				}
				compared += len(want)
			}
		}
	}
	if compared < 5000 {
		t.Errorf("only %d values compared", compared)
	}
}

// withTypes lets the engine resolve references to the sample data's types.
func withTypes(r *fhir.Resource) *eval.Context {
	ctx := eval.NewContext(r.JSON())
	ctx.SetResolver(typesOnly{})
	return ctx
}

type typesOnly struct{}

func (typesOnly) Resolve(_ context.Context, reference string) ([]byte, error) {
	ref, err := fhir.ParseRef(reference, "")
	return []byte(`{"resourceType":"` + ref.Type + `"}`), err
}

// tells says whether any of the engine's results can be a value of the parameter type.
func tells(kind string, found types.Collection) bool {
	return slices.ContainsFunc(found, func(v types.Value) bool {
		o, isObject := v.(*types.ObjectValue)
		if !isObject {
			return true
		}
		has := func(names ...string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return len(o.GetCollection(n)) > 0 })
		}
		switch kind {
		case fhir.TypeReference:
			return has("reference")
		case fhir.TypeToken:
			return has("coding", "code", "value")
		case fhir.TypeQuantity:
			return has("value")
		default:
			return true
		}
	})
}
