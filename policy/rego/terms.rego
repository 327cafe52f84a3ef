# METADATA
# title: Terms
# description: |
#   The codes that are understood, and how they stand to each other. A code that
#   is not here is not understood: a permit loses it, and a deny that has it
#   denies everything it could mean.
package wardkey.terms

# METADATA
# title: What an action does
actions := {
	"read": "show",
	"search": "show",
	"history": "show",
	"create": "change",
	"update": "change",
	"delete": "change",
	"lookup": "find",
}

# METADATA
# title: Roles of those who work here
workforce := {"admin", "auditor", "doctor", "nurse", "pharmacist", "records", "researcher"}

# METADATA
# title: All roles
roles := workforce | {"patient", "system"}

# METADATA
# title: Purposes of use (v3-ActReason)
purposes := {
	"BTG", "CAREMGT", "CLINTRCH", "COVERAGE", "ETREAT", "FAMRQT", "HLEGAL", "HOPERAT", "HPAYMT", "HRESCH",
	"HTEST", "PATADMIN", "PATRQT", "PUBHLTH", "PWATRNY", "RECORDMGT", "SUPNWK", "TREAT",
}

# METADATA
# title: Purposes a role may ever state
role_purposes := {
	"admin": {"HOPERAT", "HPAYMT", "PATADMIN"},
	"auditor": {"HLEGAL", "HOPERAT"},
	"doctor": {"BTG", "CAREMGT", "ETREAT", "PUBHLTH", "TREAT"},
	"nurse": {"BTG", "CAREMGT", "ETREAT", "TREAT"},
	"patient": {"FAMRQT", "PATRQT", "PWATRNY", "SUPNWK"},
	"pharmacist": {"BTG", "CAREMGT", "ETREAT", "TREAT"},
	"records": {"COVERAGE", "HOPERAT", "HPAYMT", "PATADMIN", "PUBHLTH", "RECORDMGT", "TREAT"},
	"researcher": {"CLINTRCH", "HRESCH"},
}

# METADATA
# title: The purpose a role means when its client fixes none
role_defaults := {
	"admin": "HOPERAT",
	"auditor": "HOPERAT",
	"doctor": "TREAT",
	"nurse": "TREAT",
	"patient": "PATRQT",
	"pharmacist": "TREAT",
	"records": "RECORDMGT",
	"researcher": "HRESCH",
}

# METADATA
# title: Confidentiality (v3-Confidentiality), least first
confidentiality := ["U", "L", "M", "N", "R", "V"]

# METADATA
# title: Sensitivities (v3-ActCode)
sensitivities := {
	"BH", "ETH", "ETHUD", "GDIS", "GENDER", "HIV", "MH", "OPIOIDUD", "PSY", "PSYTHPN", "SDV", "SEX", "STD",
	"SUD", "VIP",
}

# METADATA
# title: What lies below a code
# description: A deny of the code also denies these. A permit of it does not permit them.
below := {
	"purposes": {
		"ETREAT": {"BTG"},
		"HRESCH": {"CLINTRCH"},
		"TREAT": {"BTG", "ETREAT"},
	},
	"sensitivities": {
		"BH": {"ETH", "ETHUD", "MH", "OPIOIDUD", "PSY", "PSYTHPN", "SUD"},
		"ETH": {"ETHUD", "OPIOIDUD", "SUD"},
		"MH": {"PSY", "PSYTHPN"},
		"PSY": {"PSYTHPN"},
		"STD": {"HIV"},
		"SUD": {"ETHUD", "OPIOIDUD"},
	},
}

# METADATA
# title: How a statement may name particular records
meanings := {"authoredby", "instance", "related"}
