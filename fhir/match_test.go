package fhir_test

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
)

const base = "https://hospital.example/fhir"

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func query(t testing.TB, typ, s string) fhir.Query {
	t.Helper()
	values, err := url.ParseQuery(s)
	if err != nil {
		t.Fatal(err)
	}
	q, err := fhir.ParseQuery(typ, values, fhir.QueryOptions{Base: base, Now: now})
	if err != nil {
		t.Fatalf("ParseQuery(%s): %v", s, err)
	}
	return q
}

func matches(t *testing.T, s string, r *fhir.Resource) bool {
	t.Helper()
	q := query(t, r.Type(), s)
	found, err := fhir.Match(q, r)
	if err != nil {
		t.Fatalf("Match(%s): %v", s, err)
	}
	// What a query is rendered as must find the same.
	again, err := fhir.ParseQuery(r.Type(), q.Values(), fhir.QueryOptions{Base: base, Now: now})
	if err != nil || !reflect.DeepEqual(again.Values(), q.Values()) {
		t.Fatalf("ParseQuery(%v) = %+v, %v", q.Values(), again, err)
	}
	if same, err := fhir.Match(again, r); err != nil || same != found {
		t.Errorf("%s, rendered %v, finds %v, %v", s, q.Values(), same, err)
	}
	return found
}

func TestSearchesFindWhatR4Says(t *testing.T) {
	r := parse(t, observation)
	for s, want := range map[string]bool{
		"": true, "_id=o": true, "_id=x": false, "_id=x,o": true, "_id=O": false, "_id:not=x": true,

		// Tokens.
		"code=8302-2": true, "code=http://loinc.org|8302-2": true, "code=http://loinc.org|": true, "code=|8302-2": false,
		"code=http://snomed.info/sct|8302-2": false, "code=8302": false, "code=8302-2,x": true, "code=x,http://loinc.org|8302-2": true,
		"category=bare": true, "category=|bare": true, "category=|vital-signs": false, "category=vital-signs&category=bare": true,
		"category=vital-signs&category=x": false, "category=http://c|bare": false, "code:not=8302-2": false, "code:not=x": true,
		"code:not=x,8302-2": false, "value-concept:not=x": true, "identifier=urn:i|4711": true, "identifier=4711": true,
		"status=final": true, "status=|final": true, "status=http://hl7.org/fhir/observation-status|final": true, "status=http://x|final": false,
		"_tag=t": true, "_tag=http://x|t": false, "_security=R": false,

		// Missing.
		"device:missing=true": true, "device:missing=false": false, "code:missing=true": false, "code:missing=false": true,

		// References.
		"subject=Patient/a": true, "subject=a": true, "subject:Patient=a": true, "subject:Group=a": false, "subject=Group/a": false,
		"subject=" + base + "/Patient/a": true, "patient=a": true, "patient=Patient/a": true, "patient=b": false, "patient=b,a": true,
		"performer=Practitioner/p": true, "performer=p": true, "performer=Organization/p": false, "encounter=Encounter/e": false,

		// Dates; the period is from 2020-01-01 to 2020-01-02T10:00:01.
		"date=2020": true, "date=2020-01": true, "date=2020-01-01": false, "date=eq2020-01": true, "date=ne2020-01": false, "date=ne2020-01-01": true,
		"date=gt2019-12-31": true, "date=gt2020-01-01": true, "date=gt2020-01-02": false, "date=gt2020-01-02T09:00:00Z": true, "date=gt2020": false,
		"date=lt2020-01-02": true, "date=lt2020-01-01": false, "date=lt2020-01-01T01:00:00Z": true, "date=ge2020-01-01": true, "date=ge2020": true,
		"date=ge2020-01-03": false, "date=le2020": true, "date=le2019": false, "date=le2020-01-01T00:00:00Z": false, "date=sa2019-12-31": true,
		"date=sa2020-01-01": false, "date=eb2020-01-03": true, "date=eb2020-01-02": false, "date=ap2020": true, "date=ap2024": false,
		"date=ap2020-06": true, "date=ge2020-01-01&date=le2020-01-31": true, "date=ge2020-01-01&date=le2019-01-31": false,
		"_lastUpdated=2021-01-02": true, "_lastUpdated=gt2021-01-02": false, "_lastUpdated=lt2021-01-02T03:04:05.678Z": false,
		"_lastUpdated=2021-01-02T03:04:05.678Z": true, "_lastUpdated=ge2021-01-02T03:04:05.678Z": true,

		// Quantities; 178.50 cm.
		"value-quantity=178.5": true, "value-quantity=178.50": true, "value-quantity=178.500": true, "value-quantity=178": false, "value-quantity=179": true,
		"value-quantity=178.5|http://unitsofmeasure.org|cm": true, "value-quantity=178.5||cm": true, "value-quantity=178.5||m": false,
		"value-quantity=178.5|http://x|cm": false, "value-quantity=gt178": true, "value-quantity=gt178.5": false, "value-quantity=ge178.5": true,
		"value-quantity=lt178.5": false, "value-quantity=le178.5": true, "value-quantity=1.785e2": true, "value-quantity=ap170": true,
		"value-quantity=ap100": false, "value-quantity=ne178.5": false, "value-quantity=sa178": true, "value-quantity=eb179": true,
		"combo-value-quantity=lt5||mg": true, "combo-value-quantity=gt5||mg": false, "combo-value-quantity=5||mg": false,
	} {
		if got := matches(t, s, r); got != want {
			t.Errorf("%s finds it: %v", s, got)
		}
	}
	if found, err := fhir.Match(query(t, "Patient", ""), r); found || err != nil {
		t.Errorf("a search for patients finds an observation: %v, %v", found, err)
	}
}

func TestStringSearchFoldsCaseAndAccents(t *testing.T) {
	r := parse(t, `{"resourceType":"Patient","name":[{"family":"Müller-Lüdenscheidt","given":["ÉLISE","Ann  Mary"]}],"address":[{"line":["12, Rue d'Été"]}]}`)
	for s, want := range map[string]bool{
		"family=muller": true, "family=MÜLLER": true, "family=mu\u0308ller": true, "family=ludenscheidt": false, "family:contains=LUDEN": true,
		"family:exact=Müller-Lüdenscheidt": true, "family:exact=müller-lüdenscheidt": false, "family:exact=Müller": false, "given=elise": true, "given=el": true,
		"given=mary": false, "given=ann mary": true, "given:contains=mary": true, "name=elise": true, "name=mull": true, "name=x,elise": true,
		`address=12\, rue`: true, "address=12,rue": true, "address=13,rue": false, "name=elise&name=muller": true, "name=elise&name=x": false,
	} {
		values := strings.ReplaceAll(strings.ReplaceAll(s, " ", "%20"), "+", "%2B")
		if got := matches(t, values, r); got != want {
			t.Errorf("%s finds it: %v", s, got)
		}
	}
}

func TestFoldIsWhatStringSearchCompares(t *testing.T) {
	for in, want := range map[string]string{"  ÉLISE\t Ann ": "elise ann", "e\u0301": "e", "": "", "İ": "i", "straße": "straße", "O'Neil": "o'neil"} {
		if got := fhir.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOpenPeriodsReachToTheEndOfTime(t *testing.T) {
	open := parse(t, `{"resourceType":"Encounter","period":{"start":"2020-01-01"}}`)
	since := parse(t, `{"resourceType":"Encounter","period":{"end":"2020-01-01"}}`)
	for s, want := range map[string][2]bool{
		"date=gt2900": {true, false}, "date=lt2900": {true, true}, "date=2020": {false, false}, "date=lt1900": {false, true},
		"date=sa2019": {true, false}, "date=eb2021": {false, true}, "date=ap2020-01-01": {true, true}, "date=ge2020": {true, false}, "date=le2020": {false, true},
	} {
		if got := [2]bool{matches(t, s, open), matches(t, s, since)}; got != want {
			t.Errorf("%s finds %v, want %v", s, got, want)
		}
	}
}

func TestCanonicalReferencesAreSearchedByURL(t *testing.T) {
	r := parse(t, `{"resourceType":"CarePlan","instantiatesCanonical":["http://p/1|2.0"],"subject":{"reference":"`+base+`/Patient/a"},"meta":{"profile":["http://q|1"]}}`)
	for s, want := range map[string]bool{
		"instantiates-canonical=http://p/1": true, "instantiates-canonical=http://p/1%7C2.0": true, "instantiates-canonical=http://p/1%5C%7C2.0": true,
		"instantiates-canonical=http://p/2": false, "_profile=http://q": true, "_profile=http://q%7C1": true, "_profile=http://q%7C2": false,
		"subject=Patient/a": true, "patient=a": true,
	} {
		if got := matches(t, s, r); got != want {
			t.Errorf("%s finds it: %v", s, got)
		}
	}
}

func TestZonelessDatesAreInTheQuerysZone(t *testing.T) {
	east := time.FixedZone("", 10*3600)
	r := parse(t, `{"resourceType":"Observation","effectiveDateTime":"2020-01-01T20:00:00Z"}`)
	for zone, want := range map[*time.Location]bool{nil: true, east: false} {
		q, err := fhir.ParseQuery("Observation", url.Values{"date": {"2020-01-01"}}, fhir.QueryOptions{Zone: zone})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fhir.Match(q, r); got != want || err != nil {
			t.Errorf("in %v: %v, %v", zone, got, err)
		}
	}
}

func TestWhatCannotBeServedIsAnError(t *testing.T) {
	for s, reason := range map[string]string{
		"nonsense=1":                         "unknown for Observation",
		"Code=1":                             "unknown",
		"name=x":                             "unknown",
		"_has:Provenance:target:agent=x":     "unknown",
		"_include=Observation:subject":       "unknown",
		"_filter=x":                          "unknown",
		"_contained=both":                    "unknown",
		"_text=x":                            "full text",
		"_content=x":                         "full text",
		"code-value-quantity=x$gt5":          "composite",
		"subject.name=x":                     "chained",
		"subject:Patient.name=x":             "chained",
		"subject:Patient.=x":                 "chained",
		"code:above=x":                       "modifier",
		"code:in=http://vs":                  "modifier",
		"code:text=x":                        "modifier",
		"code:exact=x":                       "modifier",
		"code:=x":                            "modifier",
		"code:not:not=x":                     "modifier",
		"subject:identifier=x":               "modifier",
		"subject:not=x":                      "modifier",
		"date:exact=2020":                    "modifier",
		"subject:Practitioner=x":             "never refers",
		"subject=Practitioner/x":             "never refers",
		"patient=Group/x":                    "never refers",
		"subject:Patient=Patient/x":          "not an id",
		"patient=http://evil/Patient/a":      "another server",
		"subject=https://upstream/Patient/B": "another server",
		"patient=Patient/a/_history/1":       "version",
		"patient=../Patient/a":               "malformed",
		"patient=urn:uuid:a":                 "within a document",
		"patient=%23a":                       "within a document",
		"patient=Patient?identifier=a":       "conditional",
		"patient=":                           "missing",
		"code=":                              "missing",
		"code=a,,b":                          "missing",
		"code=a,":                            "missing",
		"code=%7C":                           "system|code",
		"code=a%7Cb%7Cc":                     "system|code",
		`code=a%5C`:                          "backslash",
		`code=a%5Cb`:                         "backslash",
		"device:missing=maybe":               "true or false",
		"date=yesterday":                     "prefix",
		"date=xx2020":                        "prefix",
		"date=2020-13":                       "not a FHIR date",
		"date=gt":                            "not a FHIR date",
		"value-quantity=five":                "prefix",
		"value-quantity=5%7Cmg":              "number|system|code",
		"value-quantity=05":                  "not a number",
		"value-quantity=1e999":               "not a number",
		"value-quantity=NaN":                 "not a number",
		"value-string=%20":                   "nothing to look for",
		"_count=-1":                          "not a number",
		"_count=x":                           "not a number",
		"_count=1&_count=2":                  "exactly one",
		"_count=":                            "exactly one",
		"_sort=nonsense":                     "_sort",
		"_sort=":                             "exactly one",
		"_sort=date,":                        "_sort",
		"_id=" + strings.Repeat("a,", 2000) + "a": "more than",
		"code=" + strings.Repeat("a", 5000):       "too long",
		"_page=" + strings.Repeat("a", 1025):      "pages",
	} {
		values, err := url.ParseQuery(s)
		if err != nil {
			t.Fatal(err)
		}
		q, err := fhir.ParseQuery("Observation", values, fhir.QueryOptions{Base: base})
		e, ok := errors.AsType[*fhir.QueryError](err)
		if !ok || !strings.Contains(e.Error(), reason) {
			t.Errorf("ParseQuery(%.40s) = %+v, %v, want %q", s, q, err, reason)
		}
		if len(q.Terms) > 0 {
			t.Errorf("ParseQuery(%.40s): terms beside an error", s)
		}
	}
	if _, err := fhir.ParseQuery("Nonsense", nil, fhir.QueryOptions{}); err == nil {
		t.Error("a type that does not exist can be searched")
	}
	many := url.Values{"code": slices.Repeat([]string{"a"}, 65)}
	if _, err := fhir.ParseQuery("Observation", many, fhir.QueryOptions{}); err == nil {
		t.Error("65 parameters are not too many")
	}
}

func TestControlParametersAreRead(t *testing.T) {
	values := url.Values{"_count": {"5000"}, "_sort": {"-date,code"}, "_page": {"x y"}, "_format": {"json"}, "code": {"a"}}
	q, err := fhir.ParseQuery("Observation", values, fhir.QueryOptions{MaxCount: 100, Ignore: []string{"_format"}})
	if err != nil {
		t.Fatal(err)
	}
	if q.Count != 100 || q.CountOnly || q.Page != "x y" || len(q.Sort) != 2 || !q.Sort[0].Descending || q.Sort[0].Param.Name != "date" || q.Sort[1].Descending {
		t.Errorf("%+v", q)
	}
	if got, want := q.Values().Encode(), "_count=100&_page=x+y&_sort=-date%2Ccode&code=a"; got != want {
		t.Errorf("Values() = %s, want %s", got, want)
	}
	if terms := q.Term("code"); len(terms) != 1 || len(q.Term("date")) != 0 || terms[0].Values[0].Coding.Code != "a" {
		t.Errorf("Term() = %+v", terms)
	}
	if q := query(t, "Observation", "_count=0"); !q.CountOnly || q.Values().Get("_count") != "0" {
		t.Errorf("_count=0: %+v", q)
	}
}

func TestOrderFollowsSort(t *testing.T) {
	var rs []*fhir.Resource
	for _, body := range []string{`"id":"none"`, `"id":"b","effectiveDateTime":"2020-02"`, `"id":"a","effectiveDateTime":"2020-02"`,
		`"id":"late","effectiveDateTime":"2021"`, `"id":"open","effectivePeriod":{"start":"2019","end":"2022"}`} {
		rs = append(rs, parse(t, `{"resourceType":"Observation",`+body+`}`))
	}
	for sort, want := range map[string]string{"date,_id": "open a b late none", "-date,-_id": "open late b a none", "_id": "a b late none open"} {
		got := slices.Clone(rs)
		slices.SortStableFunc(got, query(t, "Observation", "_sort="+sort).Order)
		var ids []string
		for _, r := range got {
			ids = append(ids, r.ID())
		}
		if s := strings.Join(ids, " "); s != want {
			t.Errorf("by %s: %s, want %s", sort, s, want)
		}
	}
	low, high := parse(t, `{"resourceType":"Observation","valueQuantity":{"value":9}}`), parse(t, `{"resourceType":"Observation","valueQuantity":{"value":10}}`)
	if query(t, "Observation", "_sort=value-quantity").Order(low, high) >= 0 {
		t.Error("9 comes after 10")
	}
}

func TestSearchesOnTheSamplesFindWhatAnEyeFinds(t *testing.T) {
	all := fhirtest.Synthea()
	count := func(typ, s string) (n int) {
		q := query(t, typ, s)
		for _, r := range all {
			found, err := fhir.Match(q, r)
			if err != nil {
				t.Fatal(err)
			}
			if found {
				n++
			}
		}
		return n
	}
	patient := fhirtest.Patients()[0].ID()
	byHand := 0
	for _, r := range all {
		if s := string(r.JSON()); r.Type() == "Observation" && strings.Contains(s, `"Patient/`+patient+`"`) && strings.Contains(s, `"http://loinc.org","code":"8302-2"`) {
			byHand++
		}
	}
	if got := count("Observation", "patient="+patient+"&code=http://loinc.org%7C8302-2"); got != byHand || got == 0 {
		t.Errorf("%d heights, by hand %d", got, byHand)
	}
	if before, after := count("Observation", "date=lt2022"), count("Observation", "date=ge2022"); before+after != count("Observation", "") || before*after == 0 {
		t.Errorf("%d before 2022 and %d since", before, after)
	}
	if male, others := count("Patient", "gender=male"), count("Patient", "gender:not=male"); male+others != 20 || male*others == 0 {
		t.Errorf("%d male, %d others", male, others)
	}
}

// FuzzParseQuery: what is accepted is rendered as a query that means the same.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{
		"code=http://loinc.org|8302-2,|x&date=ge2020&date=lt2021-01-01T00:00", "subject:Patient=a&_sort=-date&_count=10", `code=a\,b\|c\$\\d`,
		"value-quantity=gt5.40|http://u|mg", "value-string:contains=é", "device:missing=true", "_id=a,b&_lastUpdated=ap2020", "_page=x&code:not=y",
	} {
		f.Add(s)
	}
	sample := parse(f, observation)
	f.Fuzz(func(t *testing.T, s string) {
		values, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		o := fhir.QueryOptions{Base: base, Now: now}
		q, err := fhir.ParseQuery("Observation", values, o)
		if err != nil {
			if _, ok := errors.AsType[*fhir.QueryError](err); !ok {
				t.Fatalf("an error that is no QueryError: %v", err)
			}
			return
		}
		terms := 0
		for name, vs := range values {
			if name != "_count" && name != "_sort" && name != "_page" {
				terms += len(vs)
			}
		}
		if len(q.Terms) != terms {
			t.Fatalf("%d terms of %d", len(q.Terms), terms)
		}
		again, err := fhir.ParseQuery("Observation", q.Values(), o)
		if err != nil || !reflect.DeepEqual(again.Values(), q.Values()) {
			t.Fatalf("rendered %v, read again %+v, %v", q.Values(), again, err)
		}
		a, err := fhir.Match(q, sample)
		b, err2 := fhir.Match(again, sample)
		if a != b || err != nil || err2 != nil {
			t.Fatalf("finds %v, %v; rendered %v, %v", a, err, b, err2)
		}
	})
}
