# METADATA
# title: Care relationships
# description: |
#   What a relationship allows, by its kind and the role of whom it serves.
#   "admitted-to" stands for an admission to a unit that the caller belongs to:
#   the one composition there is. A relationship opens nothing alone; it says
#   who may use a consent, and who may write.
package wardkey.relations

# METADATA
# title: What treating allows
care := {"read", "search", "history", "create", "update"}

# METADATA
# title: Kind, role, purpose, actions
allows := {
	"treats": {
		"doctor": {"TREAT": care, "CAREMGT": care},
		"nurse": {"TREAT": care, "CAREMGT": care},
		"pharmacist": {"TREAT": care},
	},
	"admitted-to": {
		"doctor": {"TREAT": care, "CAREMGT": care},
		"nurse": {"TREAT": care, "CAREMGT": care},
		"pharmacist": {"TREAT": care},
	},
	"covers-for": {
		"doctor": {"TREAT": care},
		"nurse": {"TREAT": care},
	},
}

# METADATA
# title: The relationship relied on
# description: The first of those that allow it, so that its end is the decision's.
kind(item) := "treats" if {
	allowed(item, "treats")
} else := "admitted-to" if {
	allowed(item, "admitted-to")
} else := "covers-for" if {
	allowed(item, "covers-for")
}

# METADATA
# title: A relationship of that kind is there and allows the action for the purpose
allowed(item, kind) if {
	item.relations[kind]
	some role in input.roles
	allows[kind][role][input.purpose][input.action]
}
