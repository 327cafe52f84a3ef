package fhir_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

func TestCanonicalIsEqualForEqualContentAlone(t *testing.T) {
	a := parse(t, `{"resourceType":"Observation","valueQuantity":{"value":1.50,"unit":"kg"},"code":{"text":"w\u0065ight"}}`)
	b := parse(t, `{ "code":{"text":"weight"}, "resourceType":"Observation", "valueQuantity":{"unit":"kg","value":1.50}}`)
	c := parse(t, `{"resourceType":"Observation","valueQuantity":{"value":1.5,"unit":"kg"},"code":{"text":"weight"}}`)
	if string(a.Canonical()) != string(b.Canonical()) {
		t.Errorf("order counts:\n%s\n%s", a.Canonical(), b.Canonical())
	}
	if string(a.Canonical()) == string(c.Canonical()) {
		t.Error("1.50 and 1.5 are one measurement")
	}
	if want := `{"code":{"text":"weight"},"resourceType":"Observation","valueQuantity":{"unit":"kg","value":1.50}}`; string(a.Canonical()) != want {
		t.Errorf("Canonical() = %s", a.Canonical())
	}
}

func TestEverySampleSurvivesItsTree(t *testing.T) {
	for _, r := range fhirtest.Synthea() {
		built, err := fhir.New(r.Tree())
		if err != nil || !bytes.Equal(built.Canonical(), r.Canonical()) {
			t.Errorf("New(Tree()) of %s = %v, %v", r, built, err)
		}
		var theirs any
		if err := json.Unmarshal(r.JSON(), &theirs); err != nil {
			t.Errorf("%s: %v", r, err)
		}
		same, err := r.MapReferences(func(s string) string { return s })
		if err != nil || !bytes.Equal(same.JSON(), r.JSON()) {
			t.Errorf("MapReferences() of %s = %v, %v", r, same, err)
		}
	}
}

func TestResourcesNeverChange(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","id":"a","name":[{"family":"Before"}]}`)
	before := string(r.JSON())
	tree := r.Tree()
	tree["name"].([]any)[0].(map[string]any)["family"] = "After"
	changed, err := r.With(func(tree map[string]any) { tree["id"] = "b"; delete(tree, "name") })
	if err != nil {
		t.Fatal(err)
	}
	if string(changed.JSON()) != `{"resourceType":"Patient","id":"b"}` {
		t.Errorf("With() = %s", changed.JSON())
	}
	if _, err := r.WithID("c"); err != nil {
		t.Error(err)
	}
	_ = append(r.JSON(), "x"...)
	if string(r.JSON()) != before {
		t.Errorf("it is now %s", r.JSON())
	}
}

func TestWithChecksAgain(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","id":"a"}`)
	for name, edit := range map[string]func(map[string]any){
		"bad id":            func(tree map[string]any) { tree["id"] = "a/b" },
		"no type":           func(tree map[string]any) { delete(tree, "resourceType") },
		"float":             func(tree map[string]any) { tree["x"] = 1.5 },
		"null":              func(tree map[string]any) { tree["x"] = nil },
		"smuggled number":   func(tree map[string]any) { tree["x"] = json.Number(`1,"active":true`) },
		"number with space": func(tree map[string]any) { tree["x"] = json.Number(" 1") },
		"invalid UTF-8":     func(tree map[string]any) { tree["x"] = "\xff" },
		"NUL":               func(tree map[string]any) { tree["x"] = "\x00" },
		"smuggled name":     func(tree map[string]any) { tree[`x":1,"y`] = 1 },
		"a tree in itself":  func(tree map[string]any) { tree["x"] = tree },
		"nil resource":      func(tree map[string]any) { tree["contained"] = []any{(*fhir.Resource)(nil)} },
		"too deep": func(tree map[string]any) {
			var deep any = "x"
			for range 70 {
				deep = []any{deep}
			}
			tree["x"] = deep
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := r.With(edit); err == nil {
				t.Errorf("With() = %s", got.JSON())
			}
		})
	}
}

func TestNewTakesGoValues(t *testing.T) {
	inner := parse(t, `{"resourceType":"Medication","id":"m","code":{"text":"x"}}`)
	r, err := fhir.New(map[string]any{
		"resourceType": "Basic", "id": "b", "active": true, "c": []string{"x", "y"}, "n": []any{1, int64(-2), uint64(3), json.Number("4.50"), nil},
		"contained": []any{inner}, "coding": []map[string]any{{"code": "<&>"}}, "meta": map[string]any{"versionId": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resourceType":"Basic","id":"b","meta":{"versionId":"1"},"active":true,"c":["x","y"],"coding":[{"code":"<&>"}],` +
		`"contained":[{"resourceType":"Medication","id":"m","code":{"text":"x"}}],"n":[1,-2,3,4.50,null]}`
	if string(r.JSON()) != want {
		t.Errorf("JSON() = %s\nwant     %s", r.JSON(), want)
	}
}

func TestMetaSurvivesARoundTrip(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","meta":{"id":"m","versionId":"7","lastUpdated":"2020-02-03T04:05:06.789+02:00","source":"urn:x",`+
		`"profile":["http://p"],"security":[{"system":"s","code":"R","display":"d"}],"tag":[{"code":"t","version":"1"}]},"id":"a","active":true}`)
	want := fhir.Meta{
		VersionID: "7", LastUpdated: time.Date(2020, 2, 3, 2, 5, 6, 789e6, time.UTC), Source: "urn:x", Profile: []string{"http://p"},
		Security: []fhir.Coding{{System: "s", Code: "R", Display: "d"}}, Tag: []fhir.Coding{{Code: "t", Version: "1"}},
		Rest: map[string]any{"id": "m"},
	}
	if got := r.Meta(); !reflect.DeepEqual(got, want) {
		t.Fatalf("Meta() = %+v\nwant     %+v", got, want)
	}
	without, err := r.WithoutMeta()
	if err != nil || string(without.JSON()) != `{"resourceType":"Patient","id":"a","active":true}` {
		t.Fatalf("WithoutMeta() = %s, %v", without.JSON(), err)
	}
	again, err := without.WithMeta(want)
	if err != nil || !reflect.DeepEqual(again.Meta(), want) {
		t.Fatalf("WithMeta() = %v, %v", again, err)
	}
	if none, err := again.WithMeta(fhir.Meta{}); err != nil || string(none.JSON()) != string(without.JSON()) {
		t.Errorf("a zero meta leaves %s, %v", none.JSON(), err)
	}
	for name, bad := range map[string]fhir.Meta{
		"NUL":           {Source: "a\x00"},
		"invalid UTF-8": {Tag: []fhir.Coding{{Code: "\xff"}}},
		"smuggled":      {Rest: map[string]any{`a":1,"b`: 1}},
		"security":      {Rest: map[string]any{"security": "R"}},
	} {
		if got, err := r.WithMeta(bad); err == nil {
			t.Errorf("%s: WithMeta() = %s", name, got.JSON())
		}
	}
}

func TestResourcesPrintTheirNameAndNothingElse(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","id":"a","name":[{"family":"Schuppe920"}]}`)
	if got := fmt.Sprintf("%v %s %#v %+v", r, r, r, r); got != "Patient/a Patient/a Patient/a Patient/a" {
		t.Errorf("printed %s", got)
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("read", "resource", r)
	if s := out.String(); !strings.Contains(s, `"resource":"Patient/a"`) || strings.Contains(s, "Schuppe920") {
		t.Errorf("logged %s", s)
	}
	// Written out as JSON on purpose, it is whole.
	if got, err := json.Marshal(map[string]any{"r": r}); err != nil || string(got) != `{"r":`+string(r.JSON())+`}` {
		t.Errorf("Marshal() = %s, %v", got, err)
	}
}

func TestReferencesAreFoundAndReplacedEverywhere(t *testing.T) {
	r := parse(t, `{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a","display":"reference"},`+
		`"contained":[{"resourceType":"Basic","id":"c","subject":{"reference":"Patient/a"}}],`+
		`"extension":[{"url":"x","valueReference":{"reference":"Patient/b","identifier":{"assigner":{"reference":"#c"}}}}],"note":[{"text":"Patient/a"}]}`)
	var got []string
	for s := range r.References() {
		got = append(got, s)
	}
	if want := []string{"Patient/a", "Patient/a", "Patient/b", "#c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("References() = %q, want %q", got, want)
	}
	mapped, err := r.MapReferences(func(s string) string { return strings.Replace(s, "Patient/a", `Patient/"z`, 1) })
	if err != nil {
		t.Fatal(err)
	}
	if got := string(mapped.JSON()); strings.Count(got, `Patient/\"z`) != 2 || !strings.Contains(got, `"text":"Patient/a"`) {
		t.Errorf("MapReferences() = %s", got)
	}
	parse(t, string(mapped.JSON()))
	if _, err := r.MapReferences(func(string) string { return "\x00" }); err == nil {
		t.Error("a reference may become anything")
	}
}

func TestCodingsAreWrittenAsText(t *testing.T) {
	for _, c := range []fhir.Coding{{System: "http://loinc.org", Code: "8302-2"}, {Code: "final"}, {System: "s"}} {
		if got := fhir.ParseCoding(c.String()); got != c {
			t.Errorf("ParseCoding(%q) = %+v", c.String(), got)
		}
	}
}

func TestOutcomesAreAlwaysResources(t *testing.T) {
	issues := []fhir.Issue{
		{Details: "no \x00 here \xff", Diagnostics: `"quoted"`, Expression: []string{"Patient.name", "x"}},
		{Severity: "warning", Code: "not-found"},
	}
	r := parse(t, string(fhir.Outcome(issues...).JSON()))
	want := []fhir.Issue{
		{Severity: "error", Code: "processing", Details: "no   here \ufffd", Diagnostics: `"quoted"`, Expression: []string{"Patient.name", "x"}},
		{Severity: "warning", Code: "not-found"},
	}
	if got := fhir.Issues(r); r.Type() != "OperationOutcome" || !reflect.DeepEqual(got, want) {
		t.Errorf("Issues() = %+v", got)
	}
	if fhir.Issues(parse(t, `{"resourceType":"Patient"}`)) != nil || fhir.Issues(nil) != nil {
		t.Error("issues of what is no outcome")
	}
	if got := fhir.Issues(fhir.Outcome()); len(got) != 1 || got[0].Severity != "information" {
		t.Errorf("an empty outcome says %+v", got)
	}
}
