package records_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
	"github.com/wardkey/wardkey/records/recordstest"
)

// sample is a few resources of every type that the sample patients have, with
// ids that say nothing.
func sample(t testing.TB, each int) []*fhir.Resource {
	t.Helper()
	taken := map[string]int{}
	var out []*fhir.Resource
	for _, r := range fhirtest.Renamed(fhirtest.Synthea(), func(ref fhir.Ref) string { return "w-" + strings.TrimLeft(ref.ID[len(ref.ID)-12:], "-") }) {
		switch r.Type() {
		case "Practitioner", "PractitionerRole", "Organization", "Location", "Medication":
			continue // stay in the clear
		}
		if taken[r.Type()]++; taken[r.Type()] <= each {
			out = append(out, r)
		}
	}
	return append(out, fhirtest.Genomics(fhir.Ref{Type: "Patient", ID: "w-genomics"})...)
}

// What an administrator of store, index and logs sees is ids, sizes and times.
func TestNothingOfTheRecordsIsInAnythingThatIsStored(t *testing.T) {
	resources := sample(t, 3)
	canaries := fhirtest.Canaries(resources)
	if len(resources) < 40 || len(canaries) < 50 {
		t.Fatalf("%d resources with %d canaries are no test", len(resources), len(canaries))
	}
	h := recordstest.New(t, recordstest.Options{Disk: true, Quorum: func(c *records.QuorumConfig) { c.Timeout = patience }})
	key, err := index.ParseKey(index.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(t.Context(), index.Config{Path: filepath.Join(h.Dir, "index.db"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	doctor := h.SignIn(doctor, "doctor")
	stored := map[string][]byte{}
	for _, r := range resources {
		a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now())
		if err != nil {
			t.Fatalf("%s: %v", r.Ref(), err)
		}
		e := h.SealAs(r, a, 1)
		if err := key.SealTerms(e, index.Terms(r)); err != nil {
			t.Fatal(err)
		}
		if err := x.Put(t.Context(), index.Row{Type: r.Type(), ID: r.ID(), Revision: 1, Patient: a.Patient, Digest: e.Digest(), Attributes: e.Attributes, Updated: time.Now()}, index.Terms(r)...); err != nil {
			t.Fatal(err)
		}
		skeleton, err := records.Skeleton(r, e)
		if err != nil {
			t.Fatalf("%s: %v", r.Ref(), err)
		}
		stored["envelope of "+r.Ref().String()] = e.Encode()
		stored["skeleton of "+r.Ref().String()] = skeleton.JSON()
		if a.Patient != "" {
			// Refused or not, what travels and is logged must say nothing.
			_, _ = h.Read(t.Context(), doctor, "TREAT", e)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(h.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		stored[path] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) < 2*len(resources)+5*3 {
		t.Fatalf("only %d things are stored", len(stored))
	}
	for name, data := range stored {
		for _, canary := range canaries {
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("%q is in %s", canary, name)
			}
		}
	}
}

func TestEverySampleRecordOpensByteForByte(t *testing.T) {
	h := recordstest.New(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout = patience }})
	patients := map[string]policy.Subject{}
	for _, r := range sample(t, 1) {
		a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now())
		if err != nil {
			t.Fatalf("%s: %v", r.Ref(), err)
		}
		if a.Patient == "" {
			continue
		}
		if _, ok := patients[a.Patient]; !ok {
			patients[a.Patient] = h.SignIn(a.Patient)
		}
		e := h.SealAs(r, a, 1)
		skeleton, err := records.Skeleton(r, e)
		if err != nil {
			t.Fatalf("%s: %v", r.Ref(), err)
		}
		if e, err = records.FromSkeleton(skeleton); err != nil {
			t.Fatalf("%s: %v", r.Ref(), err)
		}
		got, err := h.Read(t.Context(), patients[a.Patient], "PATRQT", e)
		if err != nil {
			t.Errorf("%s: %v", r.Ref(), err)
		} else if !bytes.Equal(got[0].JSON(), r.JSON()) {
			t.Errorf("%s: opened as something else", r.Ref())
		}
	}
	h.NoLie()
}
