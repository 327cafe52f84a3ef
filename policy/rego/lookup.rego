# METADATA
# title: Finding a patient
# description: |
#   Who treats must find the patient before anything can be asked for: a
#   minimal view, by identifier or by name and birth date. Neither consent nor
#   its absence decides; those who are hidden stay hidden.
package wardkey.lookup

# METADATA
# title: Who may look up
roles := {"doctor", "nurse", "pharmacist", "records"}

# METADATA
# title: For which purposes
purposes := {"TREAT", "ETREAT", "BTG"}

# METADATA
# title: A patient's minimal view
verdict(item) := {"reason": "role", "rule": "lookup.role"} if {
	not may_look_up
} else := {"reason": "role", "rule": "lookup.type"} if {
	item.type != "Patient"
} else := {"reason": "role", "rule": "lookup.hidden"} if {
	item.hidden
} else := {"reason": "purpose", "rule": "lookup.purpose"} if {
	not purposes[input.purpose]
} else := {"permit": true, "reason": "permitted", "rule": "lookup.floor", "uses": []}

# METADATA
# title: The caller has a role that looks up
may_look_up if {
	some role in input.roles
	roles[role]
}
