package fhir_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
)

func TestParseRefTakesOnlyOurOwn(t *testing.T) {
	const base = "https://hospital.example/fhir"
	for in, want := range map[string]struct {
		ref fhir.Ref
		err error
	}{
		"Patient/7":                                   {ref: fhir.Ref{Type: "Patient", ID: "7"}},
		"Patient/7/_history/2":                        {ref: fhir.Ref{Type: "Patient", ID: "7", Version: "2"}},
		base + "/Patient/7":                           {ref: fhir.Ref{Type: "Patient", ID: "7"}},
		base + "/Patient/7/_history/a.b":              {ref: fhir.Ref{Type: "Patient", ID: "7", Version: "a.b"}},
		"http://hospital.example/fhir/Patient/7":      {err: fhir.ErrForeignRef},
		"HTTPS://hospital.example/fhir/Patient/7":     {err: fhir.ErrForeignRef},
		"https://hospital.example/fhirx/Patient/7":    {err: fhir.ErrForeignRef},
		"https://hospital.example:443/fhir/Patient/7": {err: fhir.ErrForeignRef},
		"https://u@hospital.example/fhir/Patient/7":   {err: fhir.ErrForeignRef},
		"https://evil/?" + base + "/Patient/7":        {err: fhir.ErrForeignRef},
		base + "//Patient/7":                          {err: fhir.ErrBadRef},
		base + "/../Patient/7":                        {err: fhir.ErrBadRef},
		base + "/https://evil/Patient/7":              {err: fhir.ErrBadRef},
		"//hospital.example/fhir/Patient/7":           {err: fhir.ErrBadRef},
		"/Patient/7":                                  {err: fhir.ErrBadRef},
		"Patient/7/":                                  {err: fhir.ErrBadRef},
		"Patient/":                                    {err: fhir.ErrBadRef},
		"Patient":                                     {err: fhir.ErrBadRef},
		"":                                            {err: fhir.ErrBadRef},
		"patient/7":                                   {err: fhir.ErrBadRef},
		"Patients/7":                                  {err: fhir.ErrBadRef},
		"Patient/..":                                  {err: fhir.ErrBadRef},
		"Patient/a%2fb":                               {err: fhir.ErrBadRef},
		"Patient/7?x=1":                               {err: fhir.ErrBadRef},
		"Patient/7#x":                                 {err: fhir.ErrBadRef},
		"Patient/7|1":                                 {err: fhir.ErrBadRef},
		"Patient/7/_history/":                         {err: fhir.ErrBadRef},
		"Patient/7/_history/1/2":                      {err: fhir.ErrBadRef},
		"Patient/7/name":                              {err: fhir.ErrBadRef},
		" Patient/7":                                  {err: fhir.ErrBadRef},
		"Patient／7":                                   {err: fhir.ErrBadRef},
		"Patient/" + strings.Repeat("a", 65):          {err: fhir.ErrBadRef},
		"Patient?identifier=x":                        {err: fhir.ErrConditionalRef},
		"urn:uuid:13f34265-335c-4853-bc38-0815315edafa": {err: fhir.ErrLocalRef},
		"#p": {err: fhir.ErrLocalRef},
	} {
		got, err := fhir.ParseRef(in, base)
		if got != want.ref || !errors.Is(err, want.err) {
			t.Errorf("ParseRef(%q) = %+v, %v, want %+v, %v", in, got, err, want.ref, want.err)
		}
	}
	if _, err := fhir.ParseRef("https://hospital.example/fhir/Patient/7", ""); !errors.Is(err, fhir.ErrForeignRef) {
		t.Errorf("without a base: %v", err)
	}
	if got, err := fhir.ParseRef(base+"/Patient/7", base+"/"); err != nil || got.ID != "7" {
		t.Errorf("with a slash after the base: %v, %v", got, err)
	}
}

func TestValidIDIsWhatFHIRSaysLessPaths(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "A-b.9": true, "-": true, "a..": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "..": false, strings.Repeat("x", 65): false, "a_b": false, "a b": false, "é": false, "a/b": false, "a\x00": false, "a\n": false,
	} {
		if fhir.ValidID(id) != want {
			t.Errorf("ValidID(%q) = %v", id, !want)
		}
	}
}

func TestKnownTypesAreThoseOfR4(t *testing.T) {
	if n := len(fhir.Types()); n != 146 {
		t.Errorf("%d types, R4 has 146 that can be instantiated", n)
	}
	for typ, want := range map[string]bool{"Patient": true, "VisionPrescription": true, "Account": true, "Parameters": true,
		"Resource": false, "DomainResource": false, "patient": false, "": false, "Actor": false, "SubscriptionStatus": false} {
		if fhir.KnownType(typ) != want {
			t.Errorf("KnownType(%q) = %v", typ, !want)
		}
	}
}

// FuzzParseRef: a reference that is accepted is written back as it came, less the
// base, and can be put into a path as it is.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"Patient/7", "Patient/7/_history/2", "https://h/fhir/Patient/7", "urn:uuid:x", "#a", "Patient?x=y", "Patient/..", "//Patient/7"} {
		f.Add(s, "https://h/fhir")
	}
	f.Fuzz(func(t *testing.T, s, base string) {
		ref, err := fhir.ParseRef(s, base)
		if err != nil {
			if ref != (fhir.Ref{}) {
				t.Errorf("%+v beside an error", ref)
			}
			return
		}
		if !strings.HasSuffix(s, ref.String()) || s != ref.String() && s != strings.TrimSuffix(base, "/")+"/"+ref.String() {
			t.Errorf("ParseRef(%q, %q) = %s", s, base, ref)
		}
		if strings.ContainsAny(ref.String(), "?#%\\ ") || strings.Contains(ref.String(), "/../") {
			t.Errorf("%q does not belong into a path", ref)
		}
		if again, err := fhir.ParseRef(ref.String(), ""); err != nil || again != ref {
			t.Errorf("ParseRef(%q) = %v, %v", ref, again, err)
		}
	})
}
