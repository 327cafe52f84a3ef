# METADATA
# title: Permits that match but for one thing
# description: |
#   Of the permits that would have matched, why they do not. The order is that
#   of the reasons: the first that applies is told.
package wardkey.timing

# METADATA
# title: What is missing
miss(item) := "approvals" if {
	item.misses.approvals
} else := "withdrawn" if {
	item.misses.withdrawn
} else := "treatment-over" if {
	item.misses["treatment-over"]
} else := "expired" if {
	item.misses.expired
} else := "not-yet" if {
	item.misses["not-yet"]
}
