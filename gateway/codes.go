package gateway

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// statuses are the codes that R4 requires in the status of the types that
// records are made of (HL7 FHIR R4, the required bindings of each type's page).
// A type that is not here is not looked at.
func statuses(typ string) []string {
	const every = "entered-in-error"
	switch typ {
	case "Observation":
		return []string{"registered", "preliminary", "final", "amended", "corrected", "cancelled", every, "unknown"}
	case "DiagnosticReport":
		return []string{"registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled", every, "unknown"}
	case "Encounter":
		return []string{"planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", every, "unknown"}
	case "Procedure":
		return []string{"preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", every, "unknown"}
	case "MedicationRequest":
		return []string{"active", "on-hold", "cancelled", "completed", every, "stopped", "draft", "unknown"}
	case "MedicationAdministration":
		return []string{"in-progress", "not-done", "on-hold", "completed", every, "stopped", "unknown"}
	case "Immunization":
		return []string{"completed", every, "not-done"}
	case "DocumentReference":
		return []string{"current", "superseded", every}
	case "CarePlan":
		return []string{"draft", "active", "on-hold", "revoked", "completed", every, "unknown"}
	case "CareTeam":
		return []string{"proposed", "active", "suspended", "inactive", every}
	case "Device":
		return []string{"active", "inactive", every, "unknown"}
	case "ImagingStudy":
		return []string{"registered", "available", "cancelled", every, "unknown"}
	case "QuestionnaireResponse":
		return []string{"in-progress", "completed", "amended", every, "stopped"}
	case "SupplyDelivery":
		return []string{"in-progress", "completed", "abandoned", every}
	}
	return nil
}

// badCode is the path of a status, or a patient's gender, that R4 does not know;
// "" if there is none.
func badCode(typ string, tree map[string]any) string {
	name, known := "status", statuses(typ)
	if typ == "Patient" {
		name, known = "gender", []string{"male", "female", "other", "unknown"}
	}
	v, there := tree[name]
	if code, _ := v.(string); there && known != nil && !slices.Contains(known, code) {
		return typ + "." + name
	}
	return ""
}

// blank is the path of the first string that says nothing, in the order of names;
// no primitive of FHIR may be empty (R4 §2.24.0.1). "" if there is none.
func blank(path string, node any) string {
	switch n := node.(type) {
	case string:
		if strings.TrimSpace(n) == "" {
			return path
		}
	case []any:
		for i, v := range n {
			if at := blank(path+"["+strconv.Itoa(i)+"]", v); at != "" {
				return at
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(n)) {
			if at := blank(path+"."+name, n[name]); at != "" {
				return at
			}
		}
	}
	return ""
}
