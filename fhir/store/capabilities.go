package store

import (
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// capabilities is the CapabilityStatement: what [Store.Handler] does, and no more.
// Its search parameters are those that fhir.ParseQuery takes.
func capabilities(date time.Time) (*fhir.Resource, error) {
	type object = map[string]any
	interactions := lo.Map([]string{"read", "vread", "update", "delete", "history-instance", "create", "search-type"},
		func(code string, _ int) any { return object{"code": code} })

	resources := lo.Map(fhir.Types(), func(typ string, _ int) any {
		resource := object{
			"type":              typ,
			"interaction":       interactions,
			"versioning":        "versioned", // If-Match is honoured, not demanded
			"readHistory":       true,
			"updateCreate":      true,
			"conditionalCreate": false,
			"conditionalRead":   "not-match",
			"conditionalUpdate": false,
			"conditionalDelete": "not-supported",
		}
		if params := fhir.Params(typ); len(params) > 0 {
			resource["searchParam"] = lo.Map(params, func(p fhir.Param, _ int) any {
				return object{"name": p.Name, "type": p.Type}
			})
		}
		return resource
	})
	return fhir.New(object{
		"resourceType":   "CapabilityStatement",
		"status":         "active",
		"date":           fhir.FormatInstant(date),
		"kind":           "instance",
		"software":       object{"name": "Wardkey FHIR store"},
		"implementation": object{"description": "An embedded FHIR store"},
		"fhirVersion":    "4.0.1",
		"format":         []any{fhirJSON, "json"},
		"rest": []any{object{
			"mode":     "server",
			"resource": resources,
		}},
	})
}
