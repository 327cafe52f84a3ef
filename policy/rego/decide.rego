# METADATA
# title: Decisions
# description: |
#   The first line that applies decides. A verdict without "permit" denies, and
#   so does no verdict at all. Which statements match was found before; here
#   stands what follows from it.
package wardkey.decide

import data.wardkey.lookup
import data.wardkey.own
import data.wardkey.read
import data.wardkey.write

# METADATA
# title: One verdict for each item of a page, in its order
# entrypoint: true
verdicts := [verdict(item) | some item in input.items]

# METADATA
# title: The verdict on one item
# description: |
#   The gate first: a session that the log established and that has not ended,
#   scopes that allow the interaction, a purpose that is stated and that client
#   and role may state; there is no default. Who fails there hears nothing else.
#   Then the layers: legal deny > organisation's deny > consent deny > consent;
#   law and organisation only deny. A person's own record comes before what the organisation
#   denies; only the law stops it.
#   The first line is the usual case of the others, taken out for speed: who is
#   let in, for treatment, to what nothing denies and the patient granted.
verdict(item) := {"permit": true, "reason": "permitted", "rule": "read.granted", "uses": ["grant"]} if {
	input.session
	input.stated
	input.does == "show"
	input.purpose == "TREAT"
	item.scope
	item.denies == set()
	item.permits == {"grant"}
} else := {"reason": "no-session", "rule": "gate.session"} if {
	not input.session
} else := {"reason": "scope", "rule": "gate.scope"} if {
	not item.scope
} else := {"reason": "purpose", "rule": "gate.purpose"} if {
	not input.stated
} else := {"reason": "legal-deny", "rule": "layers.legal"} if {
	item.denies.legal
} else := said if {
	item.relations.self
	said := own.self(item)
} else := said if {
	item.relations["guardian-of"]
	said := own.guardian(item)
} else := {"reason": "org-deny", "rule": "layers.organisation"} if {
	item.denies.org
} else := said if {
	input.does == "show"
	said := read.verdict(item)
} else := said if {
	input.does == "change"
	said := write.verdict(item)
} else := said if {
	input.does == "find"
	said := lookup.verdict(item)
} else := {"reason": "error", "rule": "decide.silence"}
