package fhir

import (
	"slices"
	"strings"
	"sync"
)

// KnownType says whether s is a concrete resource type of FHIR R4 (4.0.1).
func KnownType(s string) bool {
	_, found := slices.BinarySearch(resourceTypes(), s)
	return found
}

// Types are the resource types of FHIR R4 by name. The slice is the caller's.
func Types() []string { return slices.Clone(resourceTypes()) }

// resourceTypes is sorted. Source: profiles-resources.json of FHIR R4.
var resourceTypes = sync.OnceValue(func() []string {
	return strings.Fields(`
		Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic
		Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry
		ChargeItem ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication
		CommunicationRequest CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage
		CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric
		DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis
		Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence
		EvidenceVariable ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group
		GuidanceResponse HealthcareService ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation
		ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure MeasureReport Media Medication
		MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement
		MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductIndication
		MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged
		MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader
		MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition
		OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice PaymentReconciliation
		Person PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse
		RelatedPerson RequestGroup ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject
		RiskAssessment RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition
		StructureDefinition StructureMap Subscription Substance SubstanceNucleicAcid
		SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification
		SupplyDelivery SupplyRequest Task TerminologyCapabilities TestReport TestScript ValueSet VerificationResult
		VisionPrescription
	`)
})
