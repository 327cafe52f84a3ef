package records

import (
	"encoding/json"
	"strings"

	"github.com/wardkey/wardkey/fhir"
)

// Missing names the first element that R4 requires of the resource's type and
// that it lacks, or that is there in another shape than such an element has: a
// status that is no string, say. It is "" for a resource that lacks nothing. The
// answer is a path and never a value.
//
// It looks at the elements that a skeleton has, to their depth, and no further:
// that codes are of their value sets, and invariants, are the store's and its
// validator's to judge.
func Missing(r *fhir.Resource) string { return lacking(r.Type(), required()[r.Type()], r.Tree()) }

// lacking looks at one object.
func lacking(path string, shapes map[string]any, tree map[string]any) string {
	first := ""
	for key, shape := range shapes {
		name := strings.TrimPrefix(key, "_")
		at := path + "." + name
		if list, many := shape.([]any); many && len(list) > 0 && list[0] == "&?" {
			continue
		}
		if conditional(at) || shape == "&?" {
			continue
		}
		if at = fault(at, name, shape, tree, key != name); at != "" && (first == "" || at < first) {
			first = at // maps have no order; the answer has
		}
	}
	return first
}

// conditional is true of elements that a skeleton has for the sake of an
// invariant, and that a record may do without.
func conditional(path string) bool {
	switch path {
	case "AllergyIntolerance.clinicalStatus", "Appointment.start", "Appointment.end", "Appointment.participant.actor",
		"AppointmentResponse.actor", "Organization.name":
		return true
	}
	return false
}

// fault says what is wrong with one element: its path, or that of something in
// it.
func fault(at, name string, shape any, tree map[string]any, primitive bool) string {
	value, there := tree[name]
	if !there {
		if _, explained := tree["_"+name]; explained { // a primitive that is absent for a stated reason
			return ""
		}
		if base, choice := choiceOf(name); choice && chosen(tree, base) {
			return ""
		}
		return at
	}
	switch s := shape.(type) {
	case string:
		_, text := value.(string)
		_, object := value.(map[string]any)
		if s == "=" && !text || s == "&" && !object {
			return at
		}
		if _, list := value.([]any); list || primitive && object {
			return at
		}
	case []any:
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return at
		}
		inner, _ := s[0].(map[string]any)
		for _, item := range list {
			fields, ok := item.(map[string]any)
			if inner == nil {
				continue
			}
			if !ok {
				return at
			}
			if deeper := lacking(at, inner, fields); deeper != "" {
				return deeper
			}
		}
	case map[string]any:
		if constant, ok := s["!"]; ok {
			if !alike(constant, value) {
				return at
			}
			return ""
		}
		fields, ok := value.(map[string]any)
		if !ok {
			return at
		}
		return lacking(at, s, fields)
	}
	return ""
}

// alike tells whether two values are of one JSON type.
func alike(a, b any) bool {
	var ok bool
	switch a.(type) {
	case string:
		_, ok = b.(string)
	case map[string]any:
		_, ok = b.(map[string]any)
	case []any:
		_, ok = b.([]any)
	case json.Number:
		_, ok = b.(json.Number)
	}
	return ok
}

// choiceOf is the name in front of the type of an element that has a choice of
// types: code of codeCodeableConcept.
func choiceOf(name string) (string, bool) {
	for _, typ := range []string{"CodeableConcept", "DateTime", "Coding", "Period"} {
		if base, ok := strings.CutSuffix(name, typ); ok && base != "" {
			return base, true
		}
	}
	return "", false
}

// chosen tells whether an element of that choice is there in any of its types.
func chosen(tree map[string]any, base string) bool {
	for name := range tree {
		rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "_"), base)
		if ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' {
			return true
		}
	}
	return false
}
