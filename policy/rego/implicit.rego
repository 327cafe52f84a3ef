# METADATA
# title: Implicit consent
# description: |
#   The policy of IHE PCF that an installation names for patients who have said
#   nothing. "deny" and "break-glass-only" permit nothing here.
package wardkey.implicit

# METADATA
# title: What "normal" covers
normal := {"U", "L", "M", "N"}

# METADATA
# title: Treatment, payment, operations
basic := {"TREAT", "HPAYMT", "HOPERAT"}

# METADATA
# title: Consent without a statement
# description: Who withdrew a permit has said something.
permits(item) if {
	input.implicit == "basic-normal"
	basic[input.purpose]
	unsaid(item)
}

permits(item) if {
	input.implicit == "all-normal"
	unsaid(item)
}

# METADATA
# title: Normal data that no withdrawn permit covered
unsaid(item) if {
	normal[item.conf]
	not item.misses.withdrawn
}
