package records

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

func TestSkeletonGivesTheEnvelopeBack(t *testing.T) {
	l := newLab(t)
	r, e := l.sealed(t)
	skeleton, err := Skeleton(r, e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := FromSkeleton(skeleton)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Encode(), e.Encode()) {
		t.Error("another envelope came back")
	}
}

func TestSkeletonKeepsPatientAndStatusAndMasksTheRest(t *testing.T) {
	l := newLab(t)
	for name, tc := range map[string]struct{ resource, want string }{
		"observation": {
			`{"resourceType":"Observation","id":"x","meta":{"profile":["http://canary"],"tag":[{"code":"canary"}]},"text":{"status":"generated","div":"<div>canary</div>"},"status":"final","code":{"text":"canary"},"subject":{"reference":"Patient/p1","display":"canary"},"note":[{"text":"canary"}]}`,
			`{"resourceType":"Observation","id":"x","code":MASKED,"status":"final","subject":{"reference":"Patient/p1"}}`,
		},
		"another subject": {
			`{"resourceType":"Observation","id":"x","status":"final","code":{"text":"canary"},"subject":{"reference":"Group/canary"}}`,
			`{"resourceType":"Observation","id":"x","code":MASKED,"status":"final"}`,
		},
		"required subject, not a patient": {
			`{"resourceType":"Condition","id":"x","subject":{"reference":"Group/canary"}}`,
			`{"resourceType":"Condition","id":"x","subject":MASKED}`,
		},
		"nested and repeated": {
			`{"resourceType":"DocumentReference","id":"x","status":"current","subject":{"reference":"Patient/p1"},"content":[{"attachment":{"data":"Y2FuYXJ5","title":"canary"}},{"attachment":{"url":"http://canary"}}]}`,
			`{"resourceType":"DocumentReference","id":"x","content":[{"attachment":MASKED}],"status":"current","subject":{"reference":"Patient/p1"}}`,
		},
		"codes that must be of a value set": {
			`{"resourceType":"MedicationRequest","id":"x","status":"active","intent":"reflex-order","medicationReference":{"reference":"#canary"},"subject":{"reference":"Patient/p1"}}`,
			`{"resourceType":"MedicationRequest","id":"x","intent":"order","medicationCodeableConcept":MASKED,"status":"active","subject":{"reference":"Patient/p1"}}`,
		},
		"no status where one is required": {
			`{"resourceType":"Observation","id":"x","code":{"text":"canary"}}`,
			`{"resourceType":"Observation","id":"x","_status":MASKED,"code":MASKED}`,
		},
		"a patient": {
			`{"resourceType":"Patient","id":"x","name":[{"family":"canary"}],"gender":"female","birthDate":"1970-01-01"}`,
			`{"resourceType":"Patient","id":"x"}`,
		},
		"a list of subjects": {
			`{"resourceType":"Account","id":"x","status":"active","subject":[{"reference":"Device/canary"},{"reference":"Patient/p1","display":"canary"}]}`,
			`{"resourceType":"Account","id":"x","status":"active","subject":[{"reference":"Patient/p1"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, "%s", tc.resource)
			e, err := l.sealer.Seal(r, policy.Resource{Type: r.Type(), ID: "x", Patient: "Patient/p1"}, 1)
			if err != nil {
				t.Fatal(err)
			}
			skeleton, err := Skeleton(r, e)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(skeleton.JSON()), "canary") {
				t.Errorf("content is left in %s", skeleton.JSON())
			}
			tags := skeleton.Meta().Security
			if len(tags) != 1 || tags[0].String() != "http://terminology.hl7.org/CodeSystem/v3-ObservationValue|MASKED" || skeleton.Meta().Profile != nil {
				t.Errorf("meta %+v, want MASKED and nothing else", skeleton.Meta())
			}
			bare, err := skeleton.With(func(tree map[string]any) { delete(tree, "meta"); delete(tree, "modifierExtension") })
			if err != nil {
				t.Fatal(err)
			}
			mask := `{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}`
			want := parse(t, "%s", strings.ReplaceAll(tc.want, "MASKED", mask))
			if !bytes.Equal(bare.Canonical(), want.Canonical()) {
				t.Errorf("skeleton\n%s, want\n%s", bare.Canonical(), want.Canonical())
			}
		})
	}
}

func TestBinaryCarriesTheEnvelopeAsItsData(t *testing.T) {
	l := newLab(t)
	r := parse(t, `{"resourceType":"Binary","id":"b1","contentType":"application/pdf","data":"Y2FuYXJ5"}`)
	e, err := l.sealer.Seal(r, policy.Resource{Type: "Binary", ID: "b1", Patient: "Patient/p1"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	skeleton, err := Skeleton(r, e)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(skeleton.JSON()); strings.Contains(s, "pdf") || strings.Contains(s, "Y2FuYXJ5") || strings.Contains(s, "xtension") {
		t.Errorf("skeleton %.300s", s)
	}
	again, err := FromSkeleton(skeleton)
	if err != nil || again.Digest() != e.Digest() {
		t.Errorf("FromSkeleton() = %v", err)
	}
	_, err = FromSkeleton(r)
	if skeletonErr, ok := errors.AsType[*SkeletonError](err); !ok || !skeletonErr.Foreign {
		t.Errorf("a foreign Binary: %v", err)
	}
}

// Every type that can be sealed has a skeleton that can be read back.
func TestEveryTypeOfTheTableIsDressedAndUndressed(t *testing.T) {
	l := newLab(t)
	types := lo.Keys(required())
	if len(types) < 110 {
		t.Fatalf("only %d types", len(types))
	}
	for _, typ := range types {
		if !fhir.KnownType(typ) {
			t.Errorf("%s is no type of R4", typ)
			continue
		}
		r := parse(t, `{"resourceType":%q,"id":"x"}`, typ)
		e, err := l.sealer.Seal(r, policy.Resource{Type: typ, ID: "x", Patient: "Patient/p1"}, 1)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		skeleton, err := Skeleton(r, e)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		if _, err := FromSkeleton(skeleton); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	clinical := strings.Fields(`AllergyIntolerance CarePlan CareTeam Condition Coverage Device DiagnosticReport DocumentReference
		Encounter Goal Immunization Location Medication MedicationDispense MedicationRequest Observation Organization Patient
		Practitioner PractitionerRole Procedure Provenance QuestionnaireResponse RelatedPerson ServiceRequest Specimen
		ImagingStudy MedicationAdministration SupplyDelivery Claim ExplanationOfBenefit Media MolecularSequence Task`)
	for _, typ := range clinical {
		if !slices.Contains(types, typ) {
			t.Errorf("%s cannot be sealed", typ)
		}
	}
}

func TestBadAndForeignSkeletonsAreToldApart(t *testing.T) {
	l := newLab(t)
	r, e := l.sealed(t)
	text := base64.StdEncoding.EncodeToString(e.Encode())
	extension := func(value string) string {
		return `{"url":"` + EnvelopeURL + `","valueBase64Binary":"` + value + `"}`
	}
	with := func(id, extensions string) *fhir.Resource {
		return parse(t, `{"resourceType":"Observation","id":%q,"modifierExtension":[%s]}`, id, extensions)
	}
	if _, err := FromSkeleton(with("o1", extension(text))); err != nil {
		t.Fatal(err)
	}
	loose := text[:len(text)-1] // another last character with the same bits, or missing padding
	for name, tc := range map[string]struct {
		resource *fhir.Resource
		foreign  bool
	}{
		"no envelope":         {r, true},
		"another extension":   {with("o1", `{"url":"https://elsewhere/","valueBoolean":true}`), true},
		"twice":               {with("o1", extension(text)+","+extension(text)), false},
		"no value":            {with("o1", `{"url":"`+EnvelopeURL+`"}`), false},
		"not base64":          {with("o1", extension("###")), false},
		"loose base64":        {with("o1", extension(loose)), false},
		"truncated":           {with("o1", extension(text[:len(text)-400])), false},
		"of another id":       {with("o2", extension(text)), false},
		"of another type":     {parse(t, `{"resourceType":"Condition","id":"o1","modifierExtension":[%s]}`, extension(text)), false},
		"something else":      {with("o1", extension(base64.StdEncoding.EncodeToString([]byte("hello")))), false},
		"extension an object": {parse(t, `{"resourceType":"Observation","id":"o1","modifierExtension":{"url":"x"}}`), true},
	} {
		_, err := FromSkeleton(tc.resource)
		skeletonErr, ok := errors.AsType[*SkeletonError](err)
		if !ok || skeletonErr.Foreign != tc.foreign {
			t.Errorf("%s: %v, want a *SkeletonError, foreign: %v", name, err, tc.foreign)
		}
	}
	other := parse(t, `{"resourceType":"Observation","id":"o2","status":"final"}`)
	if _, err := Skeleton(other, e); err == nil {
		t.Error("dressed another's envelope")
	}
}
