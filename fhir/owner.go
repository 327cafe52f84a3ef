package fhir

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// ErrManyOwners is returned by [Owner] for a resource that names more than one
// patient.
var ErrManyOwners = errors.New("resource belongs to more than one patient")

// Owner returns the patient whose record r is, always as the current version of
// Patient/…. ok is false for what belongs to nobody's record: types outside the
// patient compartment, subjects that are no patient (a Group, a Device) or that
// are named by an identifier alone.
//
// Membership comes from the elements that say whom the resource is about, those
// which R4's patient compartment calls subject and patient. To have performed,
// authored, received or paid for something, or to be its focus, confers none: the
// compartment of R4 is wider there than a record that has one owner may be.
//
// The error wraps [ErrManyOwners], or [ErrForeignRef], [ErrLocalRef],
// [ErrConditionalRef] or [ErrBadRef] for a subject that cannot be told. Contained
// resources must not be about anybody else either.
func Owner(r *Resource) (patient Ref, ok bool, err error) {
	if r.typ == "Patient" {
		if r.id == "" {
			return Ref{}, false, nil
		}
		patient, ok = r.Ref(), true
	}
	note := func(found Ref, known bool, err error) error {
		switch {
		case err != nil || !known:
			return err
		case ok && found != patient:
			return ErrManyOwners
		}
		patient, ok = found, true
		return nil
	}
	if err := eachSubject(r.typ, r.json, note); err != nil {
		return Ref{}, false, fmt.Errorf("owner of %s: %w", r, err)
	}
	for inner := range at(r.json, "contained") {
		err := eachSubject(textAt(inner, "resourceType"), inner, func(found Ref, known bool, err error) error {
			if err != nil {
				return nil // it may point at its neighbours and is bound to r in any case
			}
			return note(found, known, nil)
		})
		if err != nil {
			return Ref{}, false, fmt.Errorf("owner of %s: contained: %w", r, err)
		}
	}
	return patient, ok, nil
}

// eachSubject calls f for what the ownership elements of a resource of this type refer to.
func eachSubject(typ string, json []byte, f func(patient Ref, known bool, err error) error) error {
	for _, path := range ownership()[typ] {
		for subject := range at(json, path...) {
			if err := f(subjectPatient(subject)); err != nil {
				return fmt.Errorf("%s: %w", strings.Join(path, "."), err)
			}
		}
	}
	return nil
}

// subjectPatient reads a Reference. known is false if it refers to no patient.
func subjectPatient(reference []byte) (patient Ref, known bool, err error) {
	value := member(reference, "reference")
	if value == nil {
		return Ref{}, false, nil
	}
	s, _ := text(value)
	ref, err := ParseRef(s, "")
	if err != nil {
		return Ref{}, false, err
	}
	return ref.Current(), ref.Type == "Patient", nil
}

// InPatientCompartment says whether resources of the type belong to a patient's
// record as [Owner] sees it: whether there is an element that could name the patient.
func InPatientCompartment(typ string) bool {
	return typ == "Patient" || len(ownership()[typ]) > 0
}

// ownership maps types to the paths of the references that [Owner] looks at. Source: the
// patient compartment of R4 (CompartmentDefinition/patient) without performer, author, recipient
// and their like. Contract, Device and GuidanceResponse are not in it, but name a patient
// or a subject all the same.
var ownership = sync.OnceValue(func() map[string][][]string {
	table := map[string][][]string{
		"Appointment":         {{"participant", "actor"}},
		"AppointmentResponse": {{"actor"}},
		"AuditEvent":          {{"entity", "what"}},
		"Coverage":            {{"beneficiary"}},
		"EnrollmentRequest":   {{"candidate"}},
		"Provenance":          {{"target"}},
		"ResearchSubject":     {{"individual"}},
		"SupplyRequest":       {{"deliverTo"}},
		"Task":                {{"for"}},
	}
	for element, types := range map[string]string{
		"patient": `AllergyIntolerance BodyStructure Claim ClaimResponse Consent CoverageEligibilityRequest
			CoverageEligibilityResponse DetectedIssue Device EpisodeOfCare ExplanationOfBenefit FamilyMemberHistory
			Immunization ImmunizationEvaluation ImmunizationRecommendation MolecularSequence NutritionOrder
			RelatedPerson SupplyDelivery VisionPrescription`,
		"subject": `Account AdverseEvent Basic CarePlan CareTeam ChargeItem ClinicalImpression Communication
			CommunicationRequest Composition Condition Contract DeviceRequest DeviceUseStatement DiagnosticReport
			DocumentManifest DocumentReference Encounter Flag Goal GuidanceResponse ImagingStudy Invoice List
			MeasureReport Media MedicationAdministration MedicationDispense MedicationRequest MedicationStatement
			Observation Procedure QuestionnaireResponse RequestGroup RiskAssessment ServiceRequest Specimen`,
	} {
		for _, typ := range strings.Fields(types) {
			table[typ] = [][]string{{element}}
		}
	}
	return table
})
