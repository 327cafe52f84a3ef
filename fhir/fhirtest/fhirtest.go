// Package fhirtest has the records of twenty synthetic patients and a few genomic
// reports, for tests and demonstrations.
//
// Begin with [Synthea]. A patient's id is their medical record number there, which is
// no id for a server to use: rename with [Renamed] before loading. [Genomics] gives the
// genomic reports to a patient. [Canaries] lists what must not be readable anywhere
// once these records are sealed. The records are made up as a whole; no person is
// behind them.
package fhirtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"slices"
	"sync"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// data holds one resource a line. Sources: Synthea (Apache-2.0, output free of restrictions) but for
// genomics, which are examples of HL7's Genomics Reporting guide (CC0).
//
//go:embed data/*.ndjson.gz
var data embed.FS

// Synthea returns 5,881 resources: 20 patients, all that belongs to them, and the places and people
// that cared for them. The order is always the same, and what a resource refers to comes
// before it. The resources are shared; the slice is the caller's.
func Synthea() []*fhir.Resource { return slices.Clone(synthea()) }

var synthea = sync.OnceValue(func() []*fhir.Resource {
	var all []*fhir.Resource
	for _, typ := range []string{
		"Organization", "Location", "Practitioner", "PractitionerRole", "Medication", "Patient", "Device",
		"Encounter", "Condition", "CareTeam", "AllergyIntolerance", "CarePlan", "Observation", "DiagnosticReport",
		"DocumentReference", "ImagingStudy", "Immunization", "MedicationRequest", "MedicationAdministration",
		"Procedure", "SupplyDelivery",
	} {
		all = append(all, read(typ)...)
	}
	return all
})

// Patients returns the 20 patients of [Synthea].
func Patients() []*fhir.Resource {
	return lo.Filter(synthea(), func(r *fhir.Resource, _ int) bool { return r.Type() == "Patient" })
}

// read panics on a broken file, which is a part of the program.
func read(name string) []*fhir.Resource {
	file, err := data.Open("data/" + name + ".ndjson.gz")
	if err != nil {
		panic(err)
	}
	defer file.Close()
	lines, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		panic(err)
	}
	var rs []*fhir.Resource
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		r, err := fhir.Parse(bytes.TrimSpace(scanner.Bytes()), fhir.Limits{})
		if err != nil {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
		rs = append(rs, r)
	}
	if err := scanner.Err(); err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return rs
}

// Renamed returns the resources under new ids, with every reference among them rewritten, in
// contained resources too. References to what is not in rs stay as they are. It
// panics if id returns what is no FHIR id.
func Renamed(rs []*fhir.Resource, id func(fhir.Ref) string) []*fhir.Resource {
	renamed := make(map[fhir.Ref]string, len(rs))
	for _, r := range rs {
		renamed[r.Ref()] = id(r.Ref())
	}
	return lo.Map(rs, func(r *fhir.Resource, _ int) *fhir.Resource {
		out := must(r.MapReferences(func(s string) string {
			ref, err := fhir.ParseRef(s, "")
			if err != nil {
				return s
			}
			if to, ok := renamed[ref.Current()]; ok {
				ref.ID = to
			}
			return ref.String()
		}))
		return must(out.WithID(renamed[r.Ref()]))
	})
}

func must(r *fhir.Resource, err error) *fhir.Resource {
	if err != nil {
		panic(err)
	}
	return r
}
