package fhir_test

import (
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

// kilobyte is an observation of about 1 kB.
func kilobyte() []byte {
	for _, r := range fhirtest.Synthea() {
		if n := len(r.JSON()); r.Type() == "Observation" && n > 950 && n < 1100 {
			return r.JSON()
		}
	}
	panic("none")
}

func BenchmarkParse(b *testing.B) {
	in := kilobyte()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fhir.Parse(in, fhir.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	r := parse(b, string(kilobyte()))
	b.ReportAllocs()
	for b.Loop() {
		r.Canonical()
	}
}

func BenchmarkMatch(b *testing.B) {
	r := parse(b, string(kilobyte()))
	patient, _, _ := fhir.Owner(r)
	for name, s := range map[string]string{
		"patient":           "patient=" + patient.ID,
		"patient+code+date": "patient=" + patient.ID + "&code=http://loinc.org%7C" + fhir.Codings("code", r)[0].Code + "&date=ge1990",
		"_id":               "_id=" + r.ID(),
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkMatch(b, "Observation", s, r)
		})
	}
	b.Run("through the FHIRPath engine", func(b *testing.B) {
		benchmarkMatch(b, "Patient", "phone:missing=false", fhirtest.Patients()[0])
	})
}

func benchmarkMatch(b *testing.B, typ, s string, r *fhir.Resource) {
	q := query(b, typ, s)
	b.ReportAllocs()
	for b.Loop() {
		if found, err := fhir.Match(q, r); err != nil || !found {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkOwner(b *testing.B) {
	r := parse(b, string(kilobyte()))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := fhir.Owner(r); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAllValues is what a store does when it indexes a resource.
func BenchmarkAllValues(b *testing.B) {
	r := parse(b, string(kilobyte()))
	params := fhir.Params("Observation")
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range params {
			if _, err := p.Values(r); err != nil {
				b.Fatal(err)
			}
		}
	}
}
