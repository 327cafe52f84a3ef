package demo

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/policy"
)

// A cast is the synthetic data of one demonstration, under ids of its own: in
// the data a patient's id is the medical record number, and Wardkey's ids never
// are.
type cast struct {
	clear  []*fhir.Resource // what the hospital knows of itself; left in the clear
	sealed []*fhir.Resource // the patients' records, dependencies first

	practitioners []*fhir.Resource
	patients      map[string]*fhir.Resource // the patients with a part, by login
	byRef         map[string]*fhir.Resource
}

// wanted are the parts that need a patient with a full record, in the order in
// which suitable patients are given them.
func wanted() []string {
	return []string{storyReader, storyExpiry, storyWithdraw, patientA, patientB}
}

// newCast draws fresh ids. With only set to a positive number, the cast is a
// reduced one of so many patients, those with a part first.
func newCast(only int) (*cast, error) {
	all := fhirtest.Synthea()
	parts, err := assign(all)
	if err != nil {
		return nil, err
	}
	genomic, err := fhir.ParseRef("Patient/"+parts[storyReader], "")
	if err != nil {
		return nil, fmt.Errorf("the story's patient: %w", err)
	}
	all = append(all, fhirtest.Genomics(genomic)...)
	if only > 0 {
		if all, err = fewer(all, parts, only); err != nil {
			return nil, err
		}
	}
	names := map[string]string{}
	renamed := fhirtest.Renamed(all, func(r fhir.Ref) string {
		key := r.Type + "/" + r.ID
		if names[key] == "" {
			names[key] = newID()
		}
		return names[key]
	})
	c := &cast{patients: map[string]*fhir.Resource{}}
	c.clear, c.sealed = lo.FilterReject(renamed, func(r *fhir.Resource, _ int) bool { return inClear(r.Type()) })
	c.practitioners = lo.Filter(c.clear, func(r *fhir.Resource, _ int) bool { return r.Type() == "Practitioner" })
	c.byRef = lo.KeyBy(renamed, func(r *fhir.Resource) string { return r.Type() + "/" + r.ID() })
	for part, id := range parts {
		c.patients[part] = c.byRef["Patient/"+names["Patient/"+id]]
		if c.patients[part] == nil {
			return nil, fmt.Errorf("the data has no patient %s any more", part)
		}
	}
	return c, nil
}

// assign finds patients whose records have something for every step: vital
// signs, laboratory results, and surveys labelled mental health.
func assign(all []*fhir.Resource) (map[string]string, error) {
	type counts struct{ vitals, labs, mental int }
	seen := map[string]*counts{}
	for _, r := range all {
		owner, owned, err := fhir.Owner(r)
		if err != nil {
			return nil, fmt.Errorf("owner of %s/%s: %w", r.Type(), r.ID(), err)
		}
		if r.Type() != "Observation" || !owned {
			continue
		}
		n := seen[owner.ID]
		if n == nil {
			n = &counts{}
			seen[owner.ID] = n
		}
		switch {
		case hasCategory(r, "vital-signs"):
			n.vitals++
		case hasCategory(r, "laboratory"):
			n.labs++
		case mentalHealth(r):
			n.mental++
		}
	}
	parts := map[string]string{}
	rest := wanted()
	for _, p := range all {
		if p.Type() != "Patient" || len(rest) == 0 {
			continue
		}
		if n := seen[p.ID()]; n != nil && n.vitals >= 10 && n.labs >= 10 && n.mental >= 3 {
			parts[rest[0]], rest = p.ID(), rest[1:]
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("the data has no patient fit for %v", rest)
	}
	return parts, nil
}

// A reduced cast has so many resources of each type that is nobody's, and of each
// type of a patient's, observations excepted: those are what the story is about.
const (
	fewerClear  = 20
	fewerOthers = 5
)

// fewer reduces the data to the records of n patients, and some of what is
// nobody's: the embedded store follows no references.
func fewer(all []*fhir.Resource, parts map[string]string, n int) ([]*fhir.Resource, error) {
	keep := lo.SliceToMap(lo.Values(parts), func(id string) (string, bool) { return id, true })
	for _, r := range all {
		if r.Type() == "Patient" && len(keep) < n {
			keep[r.ID()] = true
		}
	}
	var out []*fhir.Resource
	kept := map[string]int{} // by owner and type
	for _, r := range all {
		owner, owned, err := fhir.Owner(r)
		if err != nil {
			return nil, fmt.Errorf("owner of %s/%s: %w", r.Type(), r.ID(), err)
		}
		most := fewerClear
		switch {
		case owned && !keep[owner.ID]:
			continue
		case owned && r.Type() == "Observation":
			most = len(all)
		case owned:
			most = fewerOthers
		}
		if key := owner.ID + "/" + r.Type(); kept[key] < most {
			kept[key]++
			out = append(out, r)
		}
	}
	return out, nil
}

// of returns the records of one patient, of one type.
func (c *cast) of(patient, typ string) []*fhir.Resource {
	return lo.Filter(c.sealed, func(r *fhir.Resource, _ int) bool {
		owner, owned, err := fhir.Owner(r)
		return err == nil && owned && owner.ID == patient && r.Type() == typ
	})
}

// described returns what policy decides on, as the gateway computed it too.
func described(r *fhir.Resource) (policy.Resource, error) {
	a, err := policy.Describe(r, policy.DefaultLabelling(), r.Meta().LastUpdated)
	if err != nil {
		return policy.Resource{}, fmt.Errorf("describe %s/%s: %w", r.Type(), r.ID(), err)
	}
	return a, nil
}

func hasCategory(r *fhir.Resource, code string) bool {
	return lo.ContainsBy(fhir.Codings("category", r), func(c fhir.Coding) bool { return c.Code == code })
}

// mentalHealth asks the labelling rules, not the story's own opinion.
func mentalHealth(r *fhir.Resource) bool {
	a, err := described(r)
	return err == nil && lo.Contains(a.Sens, policy.Coding(policy.SystemSensitivity, "MH"))
}

// inClear names the types that the gateway observes rather than seals.
func inClear(typ string) bool {
	return lo.Contains([]string{"Practitioner", "PractitionerRole", "Organization", "Location", "Medication"}, typ)
}

// newID is a random UUID (RFC 9562 §5.4): an id that says nothing.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
