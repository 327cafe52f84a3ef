package fhir_test

import (
	"fmt"
	"net/url"

	"github.com/wardkey/wardkey/fhir"
)

func ExampleParse() {
	r, err := fhir.Parse([]byte(`{
		"resourceType": "Observation", "id": "weight",
		"subject": {"reference": "Patient/7"},
		"valueQuantity": {"value": 71.50, "unit": "kg"}
	}`), fhir.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	owner, _, _ := fhir.Owner(r)
	fmt.Println(r, "of", owner)
	fmt.Println(string(r.Canonical()))

	_, err = fhir.Parse([]byte(`{"resourceType":"Observation","subject":{"reference":"Patient/7"},"subject":{"reference":"Patient/8"}}`), fhir.Limits{})
	fmt.Println(err)
	// Output:
	// Observation/weight of Patient/7
	// {"id":"weight","resourceType":"Observation","subject":{"reference":"Patient/7"},"valueQuantity":{"unit":"kg","value":71.50}}
	// invalid resource: subject: a duplicate element
}

func ExampleMatch() {
	r, _ := fhir.New(map[string]any{
		"resourceType": "Observation", "id": "weight", "effectiveDateTime": "2026-02-03",
		"code": map[string]any{"coding": []any{map[string]any{"system": "http://loinc.org", "code": "29463-7"}}},
	})
	q, err := fhir.ParseQuery("Observation", url.Values{"code": {"http://loinc.org|29463-7"}, "date": {"ge2026-02"}}, fhir.QueryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	found, _ := fhir.Match(q, r)
	fmt.Println(found)

	_, err = fhir.ParseQuery("Observation", url.Values{"subject.name": {"Smith"}}, fhir.QueryOptions{})
	fmt.Println(err)
	// Output:
	// true
	// search parameter "subject.name": chained parameters are not supported
}
