package records_test

import (
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/records"
)

func TestWhatARecordLacksIsNamedByItsPath(t *testing.T) {
	for text, want := range map[string]string{
		`{"resourceType":"Observation","status":"final","code":{"text":"x"}}`:                                                      "",
		`{"resourceType":"Observation","_status":{"extension":[{"url":"u","valueCode":"unknown"}]},"code":{"text":"x"}}`:           "",
		`{"resourceType":"Observation","code":{"text":"x"}}`:                                                                       "Observation.status",
		`{"resourceType":"Observation"}`:                                                                                           "Observation.code",
		`{"resourceType":"Observation","status":7,"code":{"text":"x"}}`:                                                            "Observation.status",
		`{"resourceType":"Observation","status":["final"],"code":{"text":"x"}}`:                                                    "Observation.status",
		`{"resourceType":"Observation","status":"final","code":[{"text":"x"}]}`:                                                    "Observation.code",
		`{"resourceType":"Condition","subject":"Patient/p1"}`:                                                                      "Condition.subject",
		`{"resourceType":"MedicationRequest","status":"a","intent":"order","subject":{},"medicationReference":{"reference":"#m"}}`: "",
		`{"resourceType":"MedicationRequest","status":"a","intent":"order","subject":{}}`:                                          "MedicationRequest.medicationCodeableConcept",
		`{"resourceType":"MedicationRequest","status":"a","intent":1,"subject":{},"medicationReference":{}}`:                       "MedicationRequest.intent",
		`{"resourceType":"Immunization","status":"completed","vaccineCode":{},"patient":{},"occurrenceString":"once"}`:             "",
		`{"resourceType":"Appointment","status":"proposed","participant":[{"status":"accepted"}]}`:                                 "",
		`{"resourceType":"Appointment","status":"proposed","participant":[{"status":"accepted"},{}]}`:                              "Appointment.participant.status",
		`{"resourceType":"Appointment","status":"proposed","participant":[]}`:                                                      "Appointment.participant",
		`{"resourceType":"DocumentReference","status":"current","content":[{}]}`:                                                   "DocumentReference.content.attachment",
		`{"resourceType":"Patient","id":"p1"}`:                                                                                     "",
	} {
		r, err := fhir.Parse([]byte(text), fhir.Limits{})
		if err != nil {
			if want == "Appointment.participant" {
				continue // an empty list is no FHIR at all
			}
			t.Fatalf("%s: %v", text, err)
		}
		if got := records.Missing(r); got != want {
			t.Errorf("%s lacks %q, want %q", text, got, want)
		}
	}
}

func TestNothingIsMissingInRecordsOfOtherSystems(t *testing.T) {
	for _, r := range append(fhirtest.Synthea(), fhirtest.Genomics(fhir.Ref{Type: "Patient", ID: "p1"})...) {
		if lacks := records.Missing(r); lacks != "" {
			t.Errorf("%s lacks %s", r.Ref(), lacks)
		}
	}
}
