package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/policy"
)

// pages follows the next links and returns all matches in order.
func (w *ward) pages(token, path string) (refs []string, pages int) {
	w.t.Helper()
	for path != "" {
		a := w.get(token, path)
		if a.status != http.StatusOK {
			w.t.Fatalf("%s: %v", path, a)
		}
		refs = append(refs, a.matches(w.t)...)
		pages++
		next, _ := lo.Find(a.bundle(w.t).Links, func(l fhir.Link) bool { return l.Relation == "next" })
		if next.URL != "" && !strings.HasPrefix(next.URL, w.server.URL+"/fhir/") {
			w.t.Fatalf("next link leaves our base: %s", next.URL)
		}
		path = strings.TrimPrefix(next.URL, w.server.URL)
	}
	return refs, pages
}

// unsealed is what a search finds in the data as it was before sealing.
func unsealed(t testing.TB, all []*fhir.Resource, query string) []string {
	t.Helper()
	path, raw, _ := strings.Cut(query, "?")
	typ := strings.TrimPrefix(path, "/fhir/")
	values, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	values.Del("_count")
	q, err := fhir.ParseQuery(typ, values, fhir.QueryOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		matches, err := fhir.Match(q, r)
		if err != nil {
			t.Fatal(err)
		}
		if matches {
			out = append(out, r.Ref().String())
		}
	}
	slices.Sort(out)
	return out
}

// somebody is one synthetic patient's record, under ids of ours.
func somebody(t testing.TB, most int) (who string, all []*fhir.Resource) {
	t.Helper()
	ids := map[fhir.Ref]string{}
	renamed := fhirtest.Renamed(fhirtest.Synthea(), func(r fhir.Ref) string {
		if ids[r] == "" {
			ids[r] = fmt.Sprintf("w-%d", len(ids)+1)
		}
		return ids[r]
	})
	for _, r := range renamed {
		owner, ok, err := fhir.Owner(r)
		if err != nil {
			t.Fatal(err)
		}
		if !ok || who != "" && owner.ID != who {
			continue
		}
		who = owner.ID
		if all = append(all, r); len(all) == most {
			break
		}
	}
	return who, all
}

func TestASearchAnswersAsOverTheUnsealedData(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	who, all := somebody(t, 160)
	w.load(w.loader(), all...)
	token := w.signIn("Patient/" + who)
	codes := map[string]int{}
	var queries []string
	for _, r := range all {
		codes[r.Type()]++
		for _, c := range fhir.Codings("code", r) {
			if codes[r.Type()+c.Code]++; codes[r.Type()+c.Code] == 1 && len(queries) < 40 {
				queries = append(queries,
					"/fhir/"+r.Type()+"?patient="+who+"&code="+url.QueryEscape(c.System+"|"+c.Code),
					"/fhir/"+r.Type()+"?subject=Patient/"+who+"&code="+url.QueryEscape(c.Code)+"&_count=3")
			}
		}
	}
	for _, typ := range []string{"Observation", "Condition", "Encounter", "Procedure", "Immunization", "DiagnosticReport", "MedicationRequest", "CarePlan"} {
		queries = append(queries, "/fhir/"+typ, "/fhir/"+typ+"?patient=Patient/"+who, "/fhir/"+typ+"?_count=7")
	}
	queries = append(queries,
		"/fhir/Observation?category=vital-signs&date=ge2015", "/fhir/Observation?category=laboratory,vital-signs&date=lt2016&_count=5",
		"/fhir/Observation?date=2015", "/fhir/Observation?date=gt2012-06&date=le2017", "/fhir/Encounter?date=ap2015-01-01", "/fhir/Encounter?class=AMB",
		"/fhir/Condition?onset-date=sa2010", "/fhir/Procedure?date=ne2015", "/fhir/Immunization?vaccine-code=140", "/fhir/Observation?code=nothing-like-it",
		"/fhir/Observation?patient="+who+"&patient="+who, "/fhir/Observation?patient="+who+"&patient=other", "/fhir/Patient", "/fhir/Patient?_id="+who+",other")
	for _, query := range queries {
		got, _ := w.pages(token, query)
		if len(lo.Uniq(got)) != len(got) {
			t.Errorf("%s: something twice: %v", query, got)
		}
		slices.Sort(got)
		if want := unsealed(t, all, query); !slices.Equal(got, want) {
			t.Errorf("%s: %d found, want %d\n%v\n%v", query, len(got), len(want), got, want)
		}
	}
}

func TestAttributesOfferWhateverTheRecordsDo(t *testing.T) {
	t.Parallel()
	all := append(fhirtest.Synthea(), fhirtest.Genomics(fhir.Ref{Type: "Patient", ID: "p1"})...)
	if missed := gateway.Missed(t, all); len(missed) > 0 {
		t.Errorf("search parameters whose values attributes do not have: %v", missed)
	}
}

func TestASearchShowsWhatTheCallerMaySeeAndLogsOneEntryAPatient(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.load(s.loader, weight(t, "o3", "p1", 7), weight(t, "o4", "p2", 8))
	for query, want := range map[string]struct {
		found    []string
		patients []string
	}{
		"":                                 {[]string{"Observation/o3", "Observation/o1"}, []string{"Patient/p1"}},
		"?patient=p1":                      {[]string{"Observation/o3", "Observation/o1"}, []string{"Patient/p1"}},
		"?patient=Patient/p2":              {nil, []string{"Patient/p2"}},
		"?patient=p1,p2":                   {[]string{"Observation/o3", "Observation/o1"}, []string{"Patient/p1", "Patient/p2"}},
		"?patient=p1&patient=p2":           {nil, []string{"Patient/p1", "Patient/p2"}},
		"?patient=nobody":                  {nil, []string{""}},
		"?_id=o1,o2,o9":                    {[]string{"Observation/o1"}, []string{"", "Patient/p1", "Patient/p2"}},
		"?patient=p1&date=2026-01-07":      {[]string{"Observation/o3"}, []string{"Patient/p1"}},
		"?patient=p1&date=gt2026-02":       {nil, []string{"Patient/p1"}},
		"?subject=Patient/p1&code=29463-7": {[]string{"Observation/o3", "Observation/o1"}, []string{"Patient/p1"}},
		"?patient=" + s.server.URL + "/fhir/Patient/p1&_id=o1": {[]string{"Observation/o1"}, []string{"Patient/p1"}},
	} {
		t.Run(query, func(t *testing.T) {
			a := s.get(s.doctor, "/fhir/Observation"+query)
			if a.status != http.StatusOK || !slices.Equal(a.matches(t), want.found) && len(a.matches(t))+len(want.found) > 0 {
				t.Fatalf("%v: found %v, want %v", a, a.matches(t), want.found)
			}
			var correlations, patients []string
			for _, i := range a.entries(t) {
				b := s.body(i)
				correlations, patients = append(correlations, b.Correlation), append(patients, b.Patient)
				if b.Action != policy.Search || (b.Kind == chain.Deny) != (b.Count > 0 && len(b.Resources) == 0) {
					t.Errorf("entry %+v", b.Entry)
				}
			}
			if !slices.Equal(patients, want.patients) || len(lo.Uniq(correlations)) != 1 {
				t.Errorf("entries under %q, want %q, in one correlation of %v", patients, want.patients, correlations)
			}
			outcomes := lo.Filter(a.bundle(t).Entries, func(e fhir.BundleEntry, _ int) bool { return e.SearchMode == "outcome" })
			if len(outcomes) != 1 || !strings.Contains(string(outcomes[0].Resource.JSON()), "may limit") {
				t.Errorf("%d notices", len(outcomes))
			}
		})
	}
}

func TestPostSearchAnswersAsGetDoes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	get := s.get(s.doctor, "/fhir/Observation?patient=p1&code=29463-7")
	post := s.do(asking{method: "POST", path: "/fhir/Observation/_search", token: s.doctor, body: url.Values{"patient": {"p1"}, "code": {"29463-7"}}})
	mixed := s.do(asking{method: "POST", path: "/fhir/Observation/_search?patient=p1", token: s.doctor, body: url.Values{"code": {"29463-7"}}})
	for _, a := range []reply{post, mixed} {
		if a.status != 200 || !slices.Equal(a.matches(t), get.matches(t)) || len(a.matches(t)) != 1 {
			t.Errorf("%v, GET found %v", a, get.matches(t))
		}
	}
	// What the URL says and what the form says hold together: neither replaces the other.
	both := s.do(asking{method: "POST", path: "/fhir/Observation/_search?patient=p1", token: s.doctor, body: url.Values{"patient": {"p2"}}})
	if both.status != 200 || len(both.matches(t)) != 0 {
		t.Errorf("patient twice: %v", both)
	}
}

func TestPagesAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for i := range 7 {
		s.load(s.loader, weight(t, fmt.Sprintf("m%d", i), "p1", 10+i))
	}
	all, pages := s.pages(s.doctor, "/fhir/Observation?patient=p1&_count=3")
	if len(all) != 8 || pages != 3 || len(lo.Uniq(all)) != 8 {
		t.Errorf("%v in %d pages", all, pages)
	}
	first := s.get(s.doctor, "/fhir/Observation?patient=p1&_count=3").bundle(t)
	if first.Total != nil {
		t.Error("a total where not everything is on the page")
	}
	if all := s.get(s.doctor, "/fhir/Observation?patient=p1").bundle(t); all.Total == nil || *all.Total != 8 {
		t.Errorf("no total where everything is on the page: %+v", all.Total)
	}
	next, _ := lo.Find(first.Links, func(l fhir.Link) bool { return l.Relation == "next" })
	path := strings.TrimPrefix(next.URL, s.server.URL)
	s.GrantTo("Practitioner/d2", "Patient/p1", time.Hour)
	for name, a := range map[string]asking{
		"another caller":  {token: s.signIn("Practitioner/d2", "doctor"), path: path},
		"another query":   {token: s.doctor, path: strings.Replace(path, "patient=p1", "patient=p2", 1)},
		"another purpose": {token: s.doctor, path: path, header: map[string]string{"Wardkey-Purpose": "ETREAT"}},
		"another type":    {token: s.doctor, path: strings.Replace(path, "Observation", "Condition", 1)},
		"altered":         {token: s.doctor, path: path[:len(path)-12] + "AAAAAAAAAAAA"},
		"made up":         {token: s.doctor, path: "/fhir/Observation?patient=p1&_count=3&_page=1"},
	} {
		a.method = "GET"
		if got := s.do(a); got.status != http.StatusForbidden && got.status != http.StatusNotFound {
			t.Errorf("%s: %v", name, got)
		}
	}
	if a := s.get(s.doctor, path); a.status != http.StatusOK || len(a.matches(t)) != 3 {
		t.Errorf("the caller's own: %v", a)
	}
}

func TestThePageIsClamped(t *testing.T) {
	t.Parallel()
	s := newScene(t, wardOptions{edit: func(c *gateway.Config) { c.Limits.Page, c.Limits.PageMax = 1, 2 }})
	s.load(s.loader, weight(t, "o5", "p1", 9), weight(t, "o6", "p1", 9))
	for count, want := range map[string]int{"": 1, "&_count=2": 2, "&_count=1000000": 2} {
		if got := s.get(s.doctor, "/fhir/Observation?patient=p1"+count).matches(t); len(got) != want {
			t.Errorf("%q: %v", count, got)
		}
	}
}

func TestWhatAttributesDoNotAnswerIsRefusedByName(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for query, named := range map[string]string{
		"Observation?value-quantity=gt5":                  "value-quantity",
		"Observation?status=final":                        "status",
		"Observation?performer=Practitioner/1":            "performer",
		"Observation?foo=bar":                             "foo",
		"Observation?_include=Observation:performer":      "_include",
		"Observation?_include=*":                          "_include",
		"Observation?_revinclude=Provenance:target":       "_revinclude",
		"Observation?performer:Practitioner.name=Smi":     "performer:Practitioner.name",
		"Patient?_has:Observation:patient:code=1":         "_has",
		"Observation?_filter=code eq 1":                   "_filter",
		"Observation?_list=42":                            "_list",
		"Observation?code:in=http://vs":                   "code:in",
		"Observation?code:not=1":                          "code:not",
		"Observation?date:missing=true":                   "date:missing",
		"Observation?_sort=-date":                         "_sort",
		"Observation?_summary=count":                      "_summary",
		"Observation?_total=accurate":                     "_total",
		"Observation?_elements=status":                    "_elements",
		"Observation?_contained=both":                     "_contained",
		"Observation?_count=0":                            "_count",
		"Observation?_count=-1":                           "_count",
		"Observation?_count=1&_count=2":                   "_count",
		"Observation?patient=http://evil/fhir/Patient/p1": "patient",
		"Observation?subject=https://upstream/Patient/p2": "subject",
		"Observation?patient=Patient/p1/_history/1":       "patient",
		"Observation?patient=Patient/p1/../p2":            "patient",
		"Observation?patient=":                            "patient",
		"Observation?patient.identifier=1":                "patient.identifier",
		"Observation?date=yesterday":                      "date",
		"Observation?date=xx2020":                         "date",
		"Observation?focus=Patient/p2":                    "focus",
		"Encounter?subject:Patient.identifier=1":          "subject:Patient.identifier",
		"Patient?address=somewhere":                       "address",
		"Patient?name=Canary":                             "",
		"Patient?birthdate=1970-02-03":                    "",
		"Patient?birthdate=1970&name=Canary":              "birthdate",
		"Patient?identifier:of-type=1":                    "identifier:of-type",
		"Patient?telecom=555":                             "telecom",
	} {
		path, raw, _ := strings.Cut(query, "?")
		name, value, _ := strings.Cut(raw, "=")
		if strings.Count(raw, "=") == 1 {
			raw = url.QueryEscape(name) + "=" + url.QueryEscape(value)
		}
		a := s.get(s.doctor, "/fhir/"+path+"?"+raw)
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), named) {
			t.Errorf("%s: %v, want 400 naming %q", query, a, named)
		}
	}
}

func TestAPatientIsFoundByIdentifierOrByNameAndBirthDateInAMinimalView(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	stranger := s.signIn("Practitioner/d2", "doctor")
	for _, query := range []string{
		"identifier=" + url.QueryEscape("urn:mrn|MRN-00p1-77"), "identifier=MRN-00p1-77", "name=canary-p1&birthdate=1970-02-03", "family=Canary-p1&given=yellow&birthdate=1970-02-03",
	} {
		a := s.get(stranger, "/fhir/Patient?"+query)
		if a.status != 200 || !slices.Equal(a.matches(t), []string{"Patient/p1"}) {
			t.Fatalf("%s: %v", query, a)
		}
		tree := a.bundle(t).Entries[0].Resource.Tree()
		for name := range tree {
			if !slices.Contains([]string{"resourceType", "id", "meta", "name", "birthDate", "gender", "identifier"}, name) {
				t.Errorf("a look-up shows %s", name)
			}
		}
		text := string(a.body)
		if strings.Contains(text, "MRN-00p1-77\"") && !strings.Contains(query, "MRN") || strings.Contains(text, "555-0100") || !strings.Contains(text, "SUBSETTED") || !strings.Contains(text, "…-77") {
			t.Errorf("%s: %s", query, text)
		}
		b := s.body(a.entries(t)[0])
		if b.Patient != "Patient/p1" || b.Action != policy.Lookup || b.Kind != chain.Access {
			t.Errorf("entry %+v", b.Entry)
		}
	}
	full := s.get(s.doctor, "/fhir/Patient?identifier=MRN-00p1-77")
	if !strings.Contains(string(full.body), "555-0100-p1") {
		t.Errorf("who may read the patient gets the record: %v", full)
	}
	none := s.get(stranger, "/fhir/Patient?identifier=MRN-other")
	if none.status != 200 || len(none.matches(t)) != 0 || len(none.entries(t)) != 1 {
		t.Errorf("nobody: %v", none)
	}
	patient := s.signIn("Patient/p2")
	if a := s.get(patient, "/fhir/Patient?identifier=MRN-00p1-77"); a.status != 200 || len(a.matches(t)) != 0 {
		t.Errorf("a patient finds another: %v", a)
	}
}

func TestAVIPIsNotFound(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	vip, err := patient(t, "p5").WithMeta(fhir.Meta{Security: []fhir.Coding{{System: policy.SystemSensitivity, Code: "VIP"}}})
	s.check(err)
	s.load(s.loader, vip)
	stranger := s.signIn("Practitioner/d2", "doctor")
	hidden, absent := s.get(stranger, "/fhir/Patient?identifier=MRN-00p5-77"), s.get(stranger, "/fhir/Patient?identifier=MRN-00p6-77")
	if len(hidden.matches(t)) != 0 || hidden.status != absent.status {
		t.Errorf("%v", hidden)
	}
	if b := s.body(hidden.entries(t)[0]); b.Kind != chain.Deny || b.Patient != "Patient/p5" {
		t.Errorf("entry %+v", b.Entry)
	}
}
