package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// filled is a hospital with grants of one patient to as many doctors, and of
// others in the index, and a doctor of the one who reads.
func filled(b *testing.B, own, others int) (*policytest.Hospital, policy.Request) {
	h := policytest.New(b, nil)
	for i := range own {
		h.State.Put(vitals(b, h, "Patient/a", fmt.Sprintf("Practitioner/%d", i+1)))
	}
	for i := range others {
		g := vitals(b, h, "Patient/a", fmt.Sprintf("Practitioner/%d", i%1000))
		g.Patient = fmt.Sprintf("Patient/o-%d", i/10)
		h.State.Put(g)
	}
	doctor := h.SignIn("Practitioner/1", h.Now.Add(2*time.Hour), "doctor")
	return h, policy.Request{Subject: doctor, Action: policy.Read, Purpose: "TREAT", Scopes: allScopes, Resource: pulse("Patient/a")}
}

// variants: "new" makes OPA evaluate every time; with "seen" the engine has seen
// such a situation before, as nearly always.
var variants = []string{"new", "seen"}

// BenchmarkDecide decides one read. The goal is 25 µs, with any number of grants.
func BenchmarkDecide(b *testing.B) {
	for _, size := range []struct{ own, others int }{{1, 0}, {10, 0}, {1000, 0}, {10, 100_000}} {
		h, req := filled(b, size.own, size.others)
		for _, variant := range variants {
			b.Run(fmt.Sprintf("own=%d/others=%d/%s", size.own, size.others, variant), func(b *testing.B) {
				e := newEngine(b)
				for b.Loop() {
					if variant == "new" {
						e.Forget()
					}
					if d := e.Decide(b.Context(), h.State, req, h.Now); !d.Permit {
						b.Fatal(d)
					}
				}
			})
		}
	}
}

// BenchmarkDecideWorst decides where everything must be looked at: a thousand
// grants of one patient to one doctor, of which none is for this record.
func BenchmarkDecideWorst(b *testing.B) {
	h, req := filled(b, 0, 0)
	for range 1000 {
		h.State.Put(vitals(b, h, "Patient/a", "Practitioner/1"))
	}
	req.Resource.Categories = nil
	e := newEngine(b)
	for b.Loop() {
		if d := e.Decide(b.Context(), h.State, req, h.Now); d.Permit {
			b.Fatal(d)
		}
	}
}

// BenchmarkDecideAll decides a page of fifty records of four kinds. The goal is
// 5 µs each.
func BenchmarkDecideAll(b *testing.B) {
	h, req := filled(b, 10, 100_000)
	page := make([]policy.Resource, 50)
	for i := range page {
		page[i] = pulse("Patient/a")
		page[i].ID = fmt.Sprintf("r%d", i)
		switch i % 5 {
		case 1:
			page[i].Categories = nil
		case 2:
			page[i].Conf = "R"
		case 3:
			page[i].Type = "Condition"
		}
	}
	for _, variant := range variants {
		b.Run(variant, func(b *testing.B) {
			e := newEngine(b)
			for b.Loop() {
				if variant == "new" {
					e.Forget()
				}
				if ds := e.DecideAll(b.Context(), h.State, req, page, h.Now); !ds[0].Permit || ds[1].Permit {
					b.Fatal(ds[0], ds[1])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(page)), "ns/record")
		})
	}
}

// BenchmarkApply takes in a grant: decoding, the sentence, the signature.
func BenchmarkApply(b *testing.B) {
	h := policytest.New(b, nil)
	h.Enrol("Patient/a", "Patient/a")
	e := h.Event(policy.KindGrant, "Patient/a", policytest.Sign(vitals(b, h, "Patient/a", "Practitioner/1"), "Patient/a", "").Encode())
	for b.Loop() {
		if err := h.State.Check(e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDescribe makes the attributes of a record.
func BenchmarkDescribe(b *testing.B) {
	r := parse(b, `{"resourceType":"Observation","id":"o1","status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2022-11-06","valueQuantity":{"value":1.0}}`)
	for b.Loop() {
		if _, err := policy.Describe(r, policy.DefaultLabelling(), noon); err != nil {
			b.Fatal(err)
		}
	}
}
