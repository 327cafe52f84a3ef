package fhir_test

import (
	"errors"
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

func TestOwnerIsWhomTheRecordIsAbout(t *testing.T) {
	for name, tc := range map[string]struct {
		in    string
		owner string // "" for none
		err   error
	}{
		"the patient":                   {`{"resourceType":"Patient","id":"a"}`, "Patient/a", nil},
		"a linked patient confers none": {`{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/b"}}]}`, "Patient/a", nil},
		"a patient without an id":       {`{"resourceType":"Patient"}`, "", nil},
		"subject":                       {`{"resourceType":"Observation","subject":{"reference":"Patient/a"}}`, "Patient/a", nil},
		"a version of the patient":      {`{"resourceType":"Observation","subject":{"reference":"Patient/a/_history/3"}}`, "Patient/a", nil},
		"patient":                       {`{"resourceType":"AllergyIntolerance","patient":{"reference":"Patient/a"}}`, "Patient/a", nil},
		"patient where it is subject":   {`{"resourceType":"Observation","patient":{"reference":"Patient/a"}}`, "", nil},
		"device":                        {`{"resourceType":"Device","patient":{"reference":"Patient/a"}}`, "Patient/a", nil},
		"task":                          {`{"resourceType":"Task","for":{"reference":"Patient/a"},"focus":{"reference":"Patient/b"}}`, "Patient/a", nil},
		"beneficiary alone":             {`{"resourceType":"Coverage","beneficiary":{"reference":"Patient/a"},"subscriber":{"reference":"Patient/b"}}`, "Patient/a", nil},
		"appointment":                   {`{"resourceType":"Appointment","participant":[{"actor":{"reference":"Practitioner/x"}},{"actor":{"reference":"Patient/a"}}]}`, "Patient/a", nil},
		"two in one appointment":        {`{"resourceType":"Appointment","participant":[{"actor":{"reference":"Patient/b"}},{"actor":{"reference":"Patient/a"}}]}`, "", fhir.ErrManyOwners},
		"the same one twice":            {`{"resourceType":"Account","subject":[{"reference":"Patient/a"},{"reference":"Patient/a"}]}`, "Patient/a", nil},
		"focus confers none":            {`{"resourceType":"Observation","focus":[{"reference":"Patient/a"}]}`, "", nil},
		"focus changes nothing":         {`{"resourceType":"Observation","subject":{"reference":"Patient/a"},"focus":[{"reference":"Patient/b"}]}`, "Patient/a", nil},
		"performer confers none":        {`{"resourceType":"Observation","performer":[{"reference":"Patient/a"}]}`, "", nil},
		"author confers none":           {`{"resourceType":"DocumentReference","author":[{"reference":"Patient/a"}]}`, "", nil},
		"a group":                       {`{"resourceType":"Observation","subject":{"reference":"Group/g"}}`, "", nil},
		"a location":                    {`{"resourceType":"Observation","subject":{"reference":"Location/l"}}`, "", nil},
		"only an identifier":            {`{"resourceType":"Observation","subject":{"identifier":{"value":"1"}}}`, "", nil},
		"nobody":                        {`{"resourceType":"Observation"}`, "", nil},
		"outside of any compartment":    {`{"resourceType":"Organization","subject":{"reference":"Patient/a"}}`, "", nil},
		"elsewhere":                     {`{"resourceType":"Observation","subject":{"reference":"http://evil/Patient/a"}}`, "", fhir.ErrForeignRef},
		"not resolved yet":              {`{"resourceType":"Observation","subject":{"reference":"urn:uuid:a"}}`, "", fhir.ErrLocalRef},
		"contained":                     {`{"resourceType":"Observation","subject":{"reference":"#p"},"contained":[{"resourceType":"Patient","id":"p"}]}`, "", fhir.ErrLocalRef},
		"conditional":                   {`{"resourceType":"Observation","subject":{"reference":"Patient?identifier=a"}}`, "", fhir.ErrConditionalRef},
		"a path":                        {`{"resourceType":"Observation","subject":{"reference":"Patient/../b"}}`, "", fhir.ErrBadRef},
		"a number":                      {`{"resourceType":"Observation","subject":{"reference":1}}`, "", fhir.ErrBadRef},
		"somebody else inside":          {`{"resourceType":"DiagnosticReport","subject":{"reference":"Patient/a"},"contained":[{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/b"}}]}`, "", fhir.ErrManyOwners},
		"the same one inside":           {`{"resourceType":"DiagnosticReport","subject":{"reference":"Patient/a"},"contained":[{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a"}}]}`, "Patient/a", nil},
		"a neighbour inside":            {`{"resourceType":"DiagnosticReport","subject":{"reference":"Patient/a"},"contained":[{"resourceType":"Observation","id":"o","subject":{"reference":"#p"}}]}`, "Patient/a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			owner, ok, err := fhir.Owner(parse(t, tc.in))
			if !errors.Is(err, tc.err) || ok != (tc.owner != "") || ok && owner.String() != tc.owner {
				t.Errorf("Owner() = %v, %v, %v, want %q, %v", owner, ok, err, tc.owner, tc.err)
			}
		})
	}
}

func TestEveryClinicalSampleHasAnOwner(t *testing.T) {
	clear := map[string]bool{"Organization": true, "Location": true, "Practitioner": true, "PractitionerRole": true, "Medication": true}
	for _, r := range fhirtest.Synthea() {
		if _, ok, err := fhir.Owner(r); err != nil || ok == clear[r.Type()] {
			t.Errorf("Owner(%s) = %v, %v", r, ok, err)
		}
		if fhir.InPatientCompartment(r.Type()) == clear[r.Type()] {
			t.Errorf("InPatientCompartment(%s) = %v", r.Type(), clear[r.Type()])
		}
	}
}
