package policy

import "strings"

// Code systems, as they stand in codings "system|code".
const (
	SystemPurpose             = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	SystemConfidentiality     = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	SystemSensitivity         = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
	SystemObservationValue    = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
	SystemResourceType        = "http://hl7.org/fhir/resource-types"
	SystemObservationCategory = "http://terminology.hl7.org/CodeSystem/observation-category"
	SystemLOINC               = "http://loinc.org"
	SystemSNOMED              = "http://snomed.info/sct"
	SystemRole                = "https://wardkey.org/fhir/CodeSystem/role"
)

// Coding joins a system and a code.
func Coding(system, code string) string { return system + "|" + code }

// Code returns what stands behind the last bar of "system|code", or all of s.
func Code(s string) string { return s[strings.LastIndexByte(s, '|')+1:] }

// systemOf returns what stands before the last bar.
func systemOf(s string) string {
	if i := strings.LastIndexByte(s, '|'); i >= 0 {
		return s[:i]
	}
	return ""
}

// isRef tells whether s is a relative reference "Type/id" to one of the types.
func isRef(s string, types ...string) bool {
	typ, id, ok := strings.Cut(s, "/")
	if !ok || id == "" || len(id) > 64 || typ == "" {
		return false
	}
	for _, t := range types {
		if t == typ {
			return !strings.ContainsFunc(id, notID)
		}
	}
	return false
}

// notID tells runes that cannot stand in a FHIR id.
func notID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
}
