package fhir_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

func TestBundlesSurviveARoundTrip(t *testing.T) {
	total := 2
	at := time.Date(2020, 1, 2, 3, 4, 5, 6e6, time.UTC)
	want := fhir.Bundle{
		Type: "searchset", Total: &total, ID: "b", Timestamp: at,
		Links:    []fhir.Link{{Relation: "self", URL: `https://h/fhir/Patient?name="x"`}, {Relation: "next", URL: "https://h/fhir?_page=2"}},
		Security: []fhir.Coding{{System: "s", Code: "R", Display: "restricted"}},
		Entries: []fhir.BundleEntry{
			{FullURL: "https://h/fhir/Patient/a", Resource: parse(t, `{"resourceType":"Patient","id":"a","x":1.50}`), SearchMode: "match"},
			{Resource: fhir.Outcome(fhir.Issue{Severity: "information"}), SearchMode: "outcome"},
			{
				Request:  &fhir.BundleRequest{Method: "DELETE", URL: "Patient/a", IfMatch: `W/"1"`, IfNoneMatch: "*", IfNoneExist: "identifier=x", IfModifiedSince: at},
				Response: &fhir.BundleResponse{Status: "204 No Content", Location: "Patient/a/_history/2", ETag: `W/"2"`, LastModified: at, Outcome: fhir.Outcome()},
			},
		},
	}
	r, err := want.Resource()
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, string(r.JSON())) // what is put together unseen must be valid
	if string(again.JSON()) != string(r.JSON()) {
		t.Errorf("Resource() is not compact:\n%s\n%s", r.JSON(), again.JSON())
	}
	got, err := fhir.ParseBundle(again, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Entries {
		if a, b := got.Entries[i].Resource, want.Entries[i].Resource; (a == nil) != (b == nil) || a != nil && string(a.JSON()) != string(b.JSON()) {
			t.Errorf("entry %d holds %v, want %v", i, a, b)
		}
		got.Entries[i].Resource, want.Entries[i].Resource = nil, nil
	}
	if got, want := got.Entries[2].Response.Outcome, want.Entries[2].Response.Outcome; string(got.JSON()) != string(want.JSON()) {
		t.Errorf("outcome %s", got.JSON())
	}
	got.Entries[2].Response.Outcome, want.Entries[2].Response.Outcome = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ParseBundle() = %+v\nwant %+v", got, want)
	}
}

func TestBundlesRefuseNonsense(t *testing.T) {
	negative := -1
	for name, b := range map[string]fhir.Bundle{
		"negative total": {Type: "searchset", Total: &negative},
		"bad id":         {Type: "searchset", ID: "a/b"},
		"invalid UTF-8":  {Type: "searchset", Links: []fhir.Link{{"self", "\xff"}}},
		"NUL":            {Type: "searchset", Links: []fhir.Link{{"self", "\x00"}}},
	} {
		if r, err := b.Resource(); err == nil {
			t.Errorf("%s: %s", name, r.JSON())
		}
	}
	for name, in := range map[string]string{
		"another type":           `{"resourceType":"Patient"}`,
		"entry a string":         `{"resourceType":"Bundle","entry":["x"]}`,
		"resource a string":      `{"resourceType":"Bundle","entry":[{"resource":"x"}]}`,
		"resource without type":  `{"resourceType":"Bundle","entry":[{"resource":{}}]}`,
		"resource with a bad id": `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"/"}}]}`,
		"request a list":         `{"resourceType":"Bundle","entry":[{"request":[]}]}`,
		"method a number":        `{"resourceType":"Bundle","entry":[{"request":{"method":1}}]}`,
		"total a fraction":       `{"resourceType":"Bundle","total":1.5}`,
		"total negative":         `{"resourceType":"Bundle","total":-1}`,
		"total a string":         `{"resourceType":"Bundle","total":"1"}`,
		"timestamp a date":       `{"resourceType":"Bundle","timestamp":"2020"}`,
		"link a string":          `{"resourceType":"Bundle","link":["x"]}`,
		"entry not a list":       `{"resourceType":"Bundle","entry":{"resource":{"resourceType":"Patient"}}}`,
	} {
		if b, err := fhir.ParseBundle(parse(t, in), 0); err == nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
	_, err := fhir.ParseBundle(parse(t, `{"resourceType":"Bundle","entry":[{},{},{}]}`), 2)
	if !errors.Is(err, fhir.ErrTooManyEntries) {
		t.Errorf("three of two: %v", err)
	}
}
