# METADATA
# title: Writing
# description: |
#   Documenting care waits neither for consent nor for a consent's denial. It
#   needs a role that may write the type, and a care relationship; or a
#   registered system client that may write the type.
package wardkey.write

import data.wardkey.relations

# METADATA
# title: Which types a role creates and updates
types := {
	"doctor": {
		"AllergyIntolerance", "CarePlan", "CareTeam", "Condition", "DiagnosticReport", "DocumentReference",
		"Encounter", "Immunization", "ImagingStudy", "MedicationAdministration", "MedicationRequest",
		"Observation", "Procedure", "QuestionnaireResponse", "ServiceRequest",
	},
	"nurse": {
		"AllergyIntolerance", "CarePlan", "DocumentReference", "Immunization", "MedicationAdministration",
		"Observation", "Procedure", "QuestionnaireResponse", "SupplyDelivery",
	},
	"pharmacist": {
		"AllergyIntolerance", "MedicationAdministration", "MedicationDispense", "MedicationStatement",
		"SupplyDelivery",
	},
}

# METADATA
# title: A write
# description: Deleting needs a records role, and leaves history.
verdict(item) := {"permit": true, "reason": "permitted", "rule": "write.client", "uses": []} if {
	item.registered
} else := {"permit": true, "reason": "permitted", "rule": "write.records", "uses": []} if {
	input.action == "delete"
	input.roles.records
	input.purpose == "RECORDMGT"
} else := {"reason": "role", "rule": "write.role"} if {
	not documents(item)
} else := {"permit": true, "reason": "permitted", "rule": "write.relation", "uses": [kind]} if {
	kind := relations.kind(item)
} else := {"reason": "no-relation", "rule": "write.no_relation"}

# METADATA
# title: A role of the caller documents that type
documents(item) if {
	input.action != "delete"
	some role in input.roles
	types[role][item.type]
}
