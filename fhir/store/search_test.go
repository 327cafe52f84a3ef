package store_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/fhir/store"
)

// questions are searches that a type's own data suggests: for each parameter some of its
// values, asked in every way there is.
func questions(typ string, resources []*fhir.Resource) []url.Values {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`).Replace
	var all []url.Values
	ask := func(name string, values ...string) {
		for _, v := range values {
			if v != "" && len(v) < 2000 {
				all = append(all, url.Values{name: {v}})
			}
		}
	}
	for _, p := range fhir.Params(typ) {
		values := lo.FlatMap(resources, func(r *fhir.Resource, _ int) []fhir.Value {
			vs, err := p.Values(r)
			if err != nil {
				return nil
			}
			return vs
		})
		if len(values) == 0 {
			continue
		}
		ask(p.Name+":missing", "true", "false")
		for _, v := range []fhir.Value{values[0], values[len(values)/2]} {
			switch v.Kind {
			case fhir.TypeToken:
				system, code := escape(v.Coding.System), escape(v.Coding.Code)
				ask(p.Name, code, system+"|"+code, "|"+code, system+"|", "nothing,"+code, strings.ToUpper(code))
				ask(p.Name+":not", code)
			case fhir.TypeReference:
				if v.Ref.ID != "" {
					ask(p.Name, v.Ref.String(), v.Ref.ID, "Patient/none,"+v.Ref.String())
					ask(p.Name+":"+v.Ref.Type, v.Ref.ID)
				}
				ask(p.Name, escape(v.Text))
			case fhir.TypeURI:
				ask(p.Name, escape(v.Text))
			case fhir.TypeString:
				ask(p.Name, escape(v.Text), strings.ToUpper(escape(v.Text)), v.Text[:1], escape(v.Text)+"z")
				ask(p.Name+":exact", escape(v.Text), strings.ToLower(escape(v.Text)))
				ask(p.Name+":contains", escape(v.Text[len(v.Text)/2:]))
			case fhir.TypeDate:
				day := v.Period.From.Format("2006-01-02")
				moment := v.Period.From.Format("2006-01-02T15:04:05Z")
				for _, prefix := range []string{"", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"} {
					ask(p.Name, prefix+day)
				}
				ask(p.Name, day[:4], moment, "gt"+moment, "le"+moment)
				all = append(all, url.Values{p.Name: {"ge" + day, "lt" + day[:4] + "-12-31"}})
			case fhir.TypeNumber, fhir.TypeQuantity:
				ask(p.Name, v.Number, "gt"+v.Number, "le"+v.Number)
			}
		}
	}
	// Two conditions at once, neighbours in the list.
	for i := 0; i+7 < len(all); i += 9 {
		both := url.Values{}
		for name, v := range all[i] {
			both[name] = append(both[name], v...)
		}
		for name, v := range all[i+7] {
			both[name] = append(both[name], v...)
		}
		all = append(all, both)
	}
	return all
}

// The tables only spare work: whatever is searched for, the answer is what fhir.Match
// picks from everything there is.
func TestSearchFindsExactlyWhatMatches(t *testing.T) {
	s := start(t, store.Config{MaxPage: 1000})
	const each = 12
	var asked, found atomic.Int64
	all := append(fhirtest.Synthea(), fhirtest.Genomics(fhirtest.Patients()[0].Ref())...)
	byType := lo.GroupBy(lo.UniqBy(all, (*fhir.Resource).Ref), (*fhir.Resource).Type)
	t.Run("types", func(t *testing.T) {
		for typ, resources := range byType {
			if n := len(resources); n > each {
				resources = append(resources[:each/2:each/2], resources[n-each/2:]...)
			}
			t.Run(typ, func(t *testing.T) {
				t.Parallel()
				s := &server{TB: t, Store: s.Store, http: s.http}
				s.load(resources)
				kept := lo.Map(s.all("/fhir/"+typ+"?_count=1000"), func(e fhir.BundleEntry, _ int) *fhir.Resource { return e.Resource })
				if len(kept) != len(resources) {
					t.Fatalf("%d of %d are there", len(kept), len(resources))
				}
				for _, values := range questions(typ, kept) {
					q, err := fhir.ParseQuery(typ, values, fhir.QueryOptions{Base: s.http.URL + "/fhir", Now: time.Now()})
					if err != nil {
						continue // a value that cannot be asked for
					}
					want := lo.FilterMap(kept, func(r *fhir.Resource, _ int) (string, bool) {
						matches, err := fhir.Match(q, r)
						if err != nil {
							t.Fatalf("%s: %v", values.Encode(), err)
						}
						return r.ID(), matches
					})
					got := ids(s.all("/fhir/" + typ + "?_count=1000&" + values.Encode()))
					if !slices.Equal(got, want) {
						t.Errorf("%s finds %d, and %d match", values.Encode(), len(got), len(want))
					}
					asked.Add(1)
					found.Add(int64(len(got)))
				}
			})
		}
	})
	t.Logf("%d searches found %d resources", asked.Load(), found.Load())
	if asked.Load() < 2500 || found.Load() < 5000 {
		t.Error("that is too few to mean much")
	}
}

// observations puts n of them, numbered from 1.
func (s *server) observations(n int) {
	s.Helper()
	s.load(lo.Times(n, func(i int) *fhir.Resource {
		return parse(s, fmt.Sprintf(`{"resourceType":"Observation","id":"o%03d","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"c%d"}]},
			"subject":{"reference":"Patient/p%d"},"effectiveDateTime":"2020-01-%02d"}`, i+1, i%2, i%3, i%28+1))
	}))
}

func TestUpdatedResourcesAreFoundByWhatTheyNowSay(t *testing.T) {
	s := start(t, store.Config{})
	s.observations(6)
	s.put(parse(t, `{"resourceType":"Observation","id":"o001","status":"amended","code":{"coding":[{"system":"http://loinc.org","code":"c9"}]}}`), nil)
	for query, want := range map[string]string{
		"code=c0":        "o003 o005",
		"code=c9":        "o001",
		"subject=p0":     "o004",
		"date=2020":      "o002 o003 o004 o005 o006",
		"status=amended": "o001",
	} {
		got := ids(s.all("/fhir/Observation?" + query))
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %v, want %s", query, got, want)
		}
	}
}

func TestSearchByLastUpdated(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	s := start(t, store.Config{Now: func() time.Time { return now }})
	for i := range 5 {
		s.put(parse(t, fmt.Sprintf(`{"resourceType":"Basic","id":"b%d"}`, i)), nil)
		now = now.Add(24 * time.Hour)
	}
	for query, want := range map[string]int{
		"gt2024-05-03":                      2,
		"ge2024-05-03":                      3,
		"lt2024-05-03":                      2,
		"2024-05-03":                        1,
		"2024":                              5,
		"gt2024-05-03T12:00:00.000Z":        2,
		"ge2024-05-03T12:00:00.000Z":        3,
		"2024-05-03T12:00:00.000Z":          1,
		"2024-05-03T12:00:00.001Z":          0,
		"ne2024-05-03":                      4,
		"lt2024-05-02,gt2024-05-04":         2,
		"sa2024-05-03":                      2,
		"eb2024-05-03":                      2,
		"gt2024-05-03T14:00:00.000%2B02:00": 2,
	} {
		if got := len(s.all("/fhir/Basic?_lastUpdated=" + query)); got != want {
			t.Errorf("_lastUpdated=%s finds %d, want %d", query, got, want)
		}
	}
}

func TestPagesHoldEachMatchOnce(t *testing.T) {
	s := start(t, store.Config{})
	s.observations(50)
	first := s.bundle(s.do("GET", "/fhir/Observation?code=c1&_count=10", nil, ""))
	if len(first.Entries) != 10 || first.Total != nil {
		t.Fatalf("%d entries on the first page, total %v", len(first.Entries), first.Total)
	}
	got := ids(first.Entries)
	next, ok := lo.Find(first.Links, func(l fhir.Link) bool { return l.Relation == "next" })
	if !ok {
		t.Fatal("no next link")
	}
	// What changes while somebody pages neither repeats nor hides the rest.
	s.put(parse(t, `{"resourceType":"Observation","id":"`+got[0]+`","status":"amended","code":{"coding":[{"code":"c1"}]}}`), nil)
	s.want(s.do("DELETE", "/fhir/Observation/"+got[1], nil, ""), http.StatusNoContent, "")
	got = append(got, ids(s.all(next.URL))...)
	if len(got) != 25 || len(lo.Uniq(got)) != 25 {
		t.Errorf("%d entries, %d of them different, want 25", len(got), len(lo.Uniq(got)))
	}
	whole := s.bundle(s.do("GET", "/fhir/Observation?code=c1", nil, ""))
	if whole.Total == nil || *whole.Total != 24 {
		t.Errorf("the total of all on one page is %v", whole.Total)
	}
}

func TestPageLinksAreOpaqueAndGoodForOneSearch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.db")
	var link string
	t.Run("before", func(t *testing.T) {
		s := start(t, store.Config{Path: path})
		s.observations(5)
		b := s.bundle(s.do("POST", "/fhir/Observation/_search", header{"Content-Type": "application/x-www-form-urlencoded"}, "subject=Patient/p1,Patient/p0&_count=1"))
		for _, l := range b.Links {
			if strings.Contains(l.URL, "p1") || strings.Contains(l.URL, "subject") {
				t.Errorf("the %s link says what was searched for: %s", l.Relation, l.URL)
			}
			link = lo.Ternary(l.Relation == "next", strings.TrimPrefix(l.URL, s.http.URL), link)
		}
	})
	s := start(t, store.Config{Path: path})
	if got := len(s.all(link)); got != 3 {
		t.Errorf("after a restart %d remain, want 3", got)
	}
	s.want(s.do("GET", strings.Replace(link, "Observation", "Condition", 1), nil, ""), http.StatusBadRequest, "value")
	s.want(s.do("GET", strings.Replace(link, "Observation?", "Observation/o001/_history?", 1), nil, ""), http.StatusBadRequest, "value")
	at := strings.Index(link, "_page=") + 20
	s.want(s.do("GET", link[:at]+lo.Ternary(link[at] == 'A', "B", "A")+link[at+1:], nil, ""), http.StatusBadRequest, "value")
}

func TestOneRequestLooksAtSoManyCandidates(t *testing.T) {
	s := start(t, store.Config{Candidates: 7})
	s.observations(50)
	if got := len(s.all("/fhir/Observation?status:not=draft")); got != 50 {
		t.Errorf("%d found, page by page, want 50", got)
	}
	b := s.bundle(s.do("GET", "/fhir/Observation?status:not=final", nil, ""))
	if len(b.Entries) != 0 || len(b.Links) != 2 || b.Total != nil {
		t.Errorf("an empty page that is not the last: %+v", b)
	}
	if got := len(s.all("/fhir/Observation?status:not=final")); got != 0 {
		t.Errorf("%d found, want none", got)
	}
	s.want(s.do("GET", "/fhir/Observation?_count=0", nil, ""), http.StatusBadRequest, "too-costly")
	count := s.bundle(s.do("GET", "/fhir/Observation?_count=0&_id=o001,o002", nil, ""))
	if count.Total == nil || *count.Total != 2 || len(count.Entries) != 0 {
		t.Errorf("counted %v", count.Total)
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	s := start(t, store.Config{PageBytes: 3000})
	for i := range 6 {
		s.put(parse(t, fmt.Sprintf(`{"resourceType":"Basic","id":"b%d","language":%q}`, i, strings.Repeat("x", 1000*i))), nil)
	}
	sizes := []int{}
	for path := "/fhir/Basic"; path != ""; {
		b := s.bundle(s.do("GET", path, nil, ""))
		sizes = append(sizes, len(b.Entries))
		next, _ := lo.Find(b.Links, func(l fhir.Link) bool { return l.Relation == "next" })
		path = next.URL
	}
	if fmt.Sprint(sizes) != "[2 1 1 1 1]" {
		t.Errorf("entries by page %v", sizes)
	}
	for range 4 {
		s.put(parse(t, fmt.Sprintf(`{"resourceType":"Basic","id":"b0","language":%q}`, strings.Repeat("x", 1400))), nil)
	}
	if got := len(s.all("/fhir/Basic/b0/_history")); got != 5 {
		t.Errorf("a history of %d versions, want 5", got)
	}
}

func TestHistorySince(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	s := start(t, store.Config{Now: func() time.Time { return now }})
	for range 4 {
		s.put(parse(t, `{"resourceType":"Basic","id":"b"}`), nil)
		now = now.Add(time.Hour)
	}
	if got := len(s.all("/fhir/Basic/b/_history?_count=1&_since=2024-05-01T13:00:00Z")); got != 3 {
		t.Errorf("%d versions since the second, want 3", got)
	}
	now = now.Add(-48 * time.Hour)
	r := s.put(parse(t, `{"resourceType":"Basic","id":"b"}`), nil)
	if at := r.resource.Meta().LastUpdated; at.Before(time.Date(2024, 5, 1, 15, 0, 0, 0, time.UTC)) {
		t.Errorf("with the clock set back, version 5 is of %v, before version 4", at)
	}
}

func TestPostedAndURLParametersAreOneSearch(t *testing.T) {
	s := start(t, store.Config{})
	s.observations(12)
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	b := s.bundle(s.do("POST", "/fhir/Observation/_search?code=c1", form, "patient=p0&_format=json"))
	if got := ids(b.Entries); len(got) != 2 {
		t.Errorf("found %v", got)
	}
	b = s.bundle(s.do("POST", "/fhir/Observation/_search", nil, ""))
	if len(b.Entries) != 12 {
		t.Errorf("a search without parameters finds %d", len(b.Entries))
	}
}

func TestARecordWithTooMuchToSayIsStillFound(t *testing.T) {
	s := start(t, store.Config{})
	codings := strings.Join(lo.Times(500, func(i int) string { return fmt.Sprintf(`{"system":"urn:s","code":"k%d"}`, i) }), ",")
	s.put(parse(t, `{"resourceType":"Basic","id":"many","code":{"coding":[`+codings+`]}}`), nil)
	s.put(parse(t, `{"resourceType":"Basic","id":"one","code":{"coding":[{"system":"urn:s","code":"k499"}]}}`), nil)
	if got := ids(s.all("/fhir/Basic?code=urn:s|k499")); len(got) != 2 {
		t.Errorf("found %v", got)
	}
	if got := ids(s.all("/fhir/Basic?code=urn:s|k500")); len(got) != 0 {
		t.Errorf("found %v", got)
	}
}
