package fhirtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

func TestWhatIsReferredToComesFirst(t *testing.T) {
	all := fhirtest.Synthea()
	if len(all) != 5881 {
		t.Errorf("%d resources", len(all))
	}
	inOrder(t, all)
	again := fhirtest.Synthea()
	if !slices.Equal(all, again) || &all[0] == &again[0] {
		t.Error("the order changes, or the slice is shared")
	}
	if n := len(fhirtest.Patients()); n != 20 {
		t.Errorf("%d patients", n)
	}
}

func inOrder(t *testing.T, rs []*fhir.Resource) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range rs {
		for s := range r.References() {
			if !seen[s] {
				t.Errorf("%s refers to %s, which has not come yet", r, s)
			}
		}
		if seen[r.Ref().String()] {
			t.Errorf("%s comes twice", r)
		}
		seen[r.Ref().String()] = true
	}
}

func TestRenamedRewritesEveryReference(t *testing.T) {
	all := fhirtest.Synthea()
	n := 0
	old := map[string]bool{}
	renamed := fhirtest.Renamed(all, func(r fhir.Ref) string {
		n++
		old[r.ID] = true
		return fmt.Sprintf("n%d", n)
	})
	inOrder(t, renamed)
	for i, r := range renamed {
		if r.Type() != all[i].Type() || !strings.HasPrefix(r.ID(), "n") {
			t.Errorf("%s became %s", all[i], r)
		}
		for s := range r.References() {
			if _, id, _ := strings.Cut(s, "/"); old[id] {
				t.Errorf("%s still refers to %s", r, s)
			}
		}
	}
	// A medical record number is content and stays.
	if !strings.Contains(string(renamed[slices.Index(all, fhirtest.Patients()[0])].JSON()), fhirtest.Patients()[0].ID()) {
		t.Error("the record number is gone")
	}
}

func TestRenamedReachesContainedResourcesAndVersions(t *testing.T) {
	r := parse(t, `{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p/_history/1"},"focus":[{"reference":"Patient/q"},{"reference":"#c"},{"reference":"urn:x"}],
		"contained":[{"resourceType":"Basic","id":"c","subject":{"reference":"Patient/p"}}]}`)
	p := parse(t, `{"resourceType":"Patient","id":"p"}`)
	got := fhirtest.Renamed([]*fhir.Resource{p, r}, func(r fhir.Ref) string { return "new-" + r.ID })
	var refs []string
	for s := range got[1].References() {
		refs = append(refs, s)
	}
	if want := []string{"Patient/new-p/_history/1", "Patient/q", "#c", "urn:x", "Patient/new-p"}; !slices.Equal(refs, want) {
		t.Errorf("references %q, want %q", refs, want)
	}
}

func parse(t *testing.T, s string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(s), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGenomicsBelongToTheirPatient(t *testing.T) {
	patient := fhir.Ref{Type: "Patient", ID: "somebody"}
	all := fhirtest.Genomics(patient)
	present := map[string]bool{patient.String(): true}
	types := map[string]int{}
	for _, r := range all {
		if present[r.Ref().String()] || !fhir.ValidID(r.ID()) {
			t.Errorf("%q comes twice or has no valid id", r)
		}
		present[r.Ref().String()] = true
		types[r.Type()]++
	}
	for _, r := range all {
		if owner, ok, err := fhir.Owner(r); owner != patient || !ok || err != nil {
			t.Errorf("Owner(%s) = %v, %v, %v", r, owner, ok, err)
		}
		for s := range r.References() {
			if !present[s] && !strings.HasPrefix(s, "#") {
				t.Errorf("%s refers to %s, which is not there", r, s)
			}
		}
	}
	if types["Observation"] < 15 || types["DiagnosticReport"] != 3 || types["Patient"]+types["Organization"]+types["Bundle"] != 0 {
		t.Errorf("%v", types)
	}
	first, second := fhirtest.Genomics(patient), fhirtest.Genomics(patient)
	for i := range first {
		if string(first[i].JSON()) != string(second[i].JSON()) {
			t.Errorf("%s differs from call to call", first[i])
		}
	}
}

func TestCanariesAreInSealedRecordsAlone(t *testing.T) {
	for name, rs := range map[string][]*fhir.Resource{
		"as they are": fhirtest.Synthea(),
		"renamed":     fhirtest.Renamed(fhirtest.Synthea(), func(r fhir.Ref) string { return "x-" + r.ID[:30] }),
		"patients":    fhirtest.Patients(),
	} {
		canaries := fhirtest.Canaries(rs)
		var open, sealed strings.Builder
		for _, r := range append(fhirtest.Synthea(), rs...) {
			switch r.Type() {
			case "Practitioner", "PractitionerRole", "Organization", "Location", "Medication":
				open.Write(r.JSON())
			}
			open.WriteString(r.Type())
		}
		for _, r := range rs {
			open.WriteString(r.Ref().String())
			sealed.Write(r.JSON())
		}
		direct := 0
		for i := 0; i < len(canaries); i += max(1, len(canaries)/50) { // each is looked up in megabytes
			c := canaries[i]
			if len(c) < 8 {
				t.Errorf("%s: %q is short", name, c)
			}
			if strings.Contains(open.String(), c) {
				t.Errorf("%s: %q is also where all may read", name, c)
			}
			if strings.Contains(sealed.String(), c) {
				direct++
			}
		}
		if !slices.IsSorted(canaries) || len(canaries) < 100 || direct < 15 {
			t.Errorf("%s: %d canaries, %d of those tried are written out", name, len(canaries), direct)
		}
	}
	canaries := fhirtest.Canaries(fhirtest.Patients())
	if !slices.Contains(canaries, "999-26-2891") || !slices.Contains(canaries, "Schuppe920") {
		t.Error("a security number or a family name is no canary")
	}
	if slices.Contains(canaries, fhirtest.Patients()[0].ID()) {
		t.Error("a record number that is the id is a canary")
	}
}
