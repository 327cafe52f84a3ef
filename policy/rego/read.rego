# METADATA
# title: Reading
# description: |
#   Workforce needs a consent, and a grant or a relationship. A grant that the
#   patient signed is consent and grant at once.
package wardkey.read

import data.wardkey.implicit
import data.wardkey.relations
import data.wardkey.timing

# METADATA
# title: A read, a search or a version
verdict(item) := {"reason": "approvals", "rule": "read.emergency"} if {
	input.purpose in {"BTG", "ETREAT"} # these need a reason and signatures each time
} else := {"reason": "not-understood", "rule": "read.not_understood"} if {
	item.denies["not-understood"]
} else := {"reason": "hard-deny", "rule": "read.hard"} if {
	item.denies.hard
} else := {"reason": "consent-deny", "rule": "read.denied"} if {
	item.denies.consent
} else := {"permit": true, "reason": "permitted", "rule": "read.granted", "uses": ["grant"]} if {
	item.permits.grant
} else := {"permit": true, "reason": "permitted", "rule": "read.related", "uses": [source, kind]} if {
	source := consent(item)
	kind := relations.kind(item)
} else := {"reason": reason, "rule": "read.timing"} if {
	reason := timing.miss(item)
} else := {"reason": "no-grant", "rule": "read.no_grant"} if {
	consent(item)
} else := {"reason": "no-consent", "rule": "read.no_consent"}

# METADATA
# title: Where the consent comes from
consent(item) := "consent" if {
	item.permits.consent
} else := "implicit" if {
	implicit.permits(item)
}
