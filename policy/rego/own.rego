# METADATA
# title: A person's own record
# description: |
#   A patient reads it always, and a guardian as the patient would, within the
#   relation.
package wardkey.own

# METADATA
# title: For which purposes a guardian reads
guardians := {"PATRQT", "FAMRQT", "PWATRNY"}

# METADATA
# title: What patients may write about themselves
writes := {"QuestionnaireResponse": {"create"}}

# METADATA
# title: The patient
self(item) := {"permit": true, "reason": "permitted-own", "rule": "own.self", "uses": ["self"]} if {
	input.roles.patient
	input.purpose == "PATRQT"
	allowed(item)
}

# METADATA
# title: A guardian
guardian(item) := {"permit": true, "reason": "permitted-own", "rule": "own.guardian", "uses": ["guardian-of"]} if {
	input.roles.patient
	guardians[input.purpose]
	allowed(item)
}

# METADATA
# title: What may be done with one's own record
allowed(_) if input.does == "show"

allowed(item) if writes[item.type][input.action]
