package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
)

func basic(t testing.TB, id string) *write {
	t.Helper()
	r, err := fhir.Parse([]byte(`{"resourceType":"Basic"}`), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &write{ctx: t.Context(), done: make(chan struct{}), method: "PUT", typ: "Basic", id: id, resource: r, entries: index(r)}
}

func opened(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "fhir.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// idle is a store whose writer is not running, so that a test can be the writer.
func idle(t testing.TB) *Store {
	t.Helper()
	s := opened(t)
	w := s.writer
	w.stopping.Do(func() { close(w.stop) })
	<-w.finished
	return s
}

func TestWritesThatWaitAreCommittedTogether(t *testing.T) {
	w := idle(t).writer
	for i := range 100 {
		w.queue <- basic(t, fmt.Sprint("b", i))
	}
	group, err := w.commit(<-w.queue, w.queue)
	if err != nil || len(group) != 100 {
		t.Errorf("a commit of %d writes: %v", len(group), err)
	}
}

func TestOneBadWriteDoesNotTakeOthersWithIt(t *testing.T) {
	s := idle(t)
	good, bad, late, given := basic(t, "good"), basic(t, "no id at all"), basic(t, "late"), basic(t, "given-up")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	given.ctx = ctx
	for _, c := range []*write{bad, late, given} {
		s.writer.queue <- c
	}
	s.writer.group(good)
	for len(s.writer.queue) > 0 { // what the failed commit had not come to
		s.writer.group(<-s.writer.queue)
	}
	for _, c := range []*write{good, late} {
		<-c.done
		if c.err != nil || c.version.number != 1 {
			t.Errorf("%s: version %d, %v", c.id, c.version.number, c.err)
		}
	}
	if <-bad.done; bad.err == nil {
		t.Error("the bad one was written")
	}
	if <-given.done; !errors.Is(given.err, errCanceled) {
		t.Errorf("the one given up: %v", given.err)
	}
	for id, want := range map[string]int{"good": 200, "late": 200, "given-up": 404} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/fhir/Basic/"+id, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", id, w.Code, want)
		}
	}
}

func TestAWriterThatCannotCommitSaysSo(t *testing.T) {
	s := opened(t)
	// Another process holds the file for longer than anybody waits.
	other, err := openWriter(t.Context(), s.config.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, err := s.writer.db.ExecContext(t.Context(), "PRAGMA busy_timeout(1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	put := func() int {
		r := httptest.NewRequest("PUT", "/fhir/Basic/b", strings.NewReader(`{"resourceType":"Basic","id":"b"}`))
		r.Header.Set("Content-Type", fhirJSON)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code
	}
	if code := put(); code != http.StatusInternalServerError {
		t.Errorf("while the file is held: %d", code)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if code := put(); code != http.StatusCreated {
		t.Errorf("when it is free again: %d", code)
	}
}

func TestAPanicIsAnErrorOfOneRequest(t *testing.T) {
	s := opened(t)
	s.capabilities = func() (*fhir.Resource, error) { panic("Mrs Huang") }
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/fhir/metadata", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "OperationOutcome") || strings.Contains(w.Body.String(), "Huang") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(s.slots) != 0 {
		t.Error("the request's place is still taken")
	}
}

func TestEveryNarrowedSearchUsesAnIndex(t *testing.T) {
	s := opened(t)
	for query, want := range map[string]string{
		"code=x":                      "entry USING PRIMARY KEY (hash=?)",
		"patient=p&code=x,y":          "resource USING INTEGER PRIMARY KEY (rowid=?)",
		"_id=a,b":                     "resource USING INDEX sqlite_autoindex_resource_1 (type=? AND id=?)",
		"_lastUpdated=gt2020-01-01":   "resource USING INDEX resource_updated (type=? AND updated>?",
		"date=2020":                   "entry USING PRIMARY KEY (hash=? AND word=? AND low>? AND low<?)",
		"value-string=abc":            "entry USING PRIMARY KEY (hash=? AND word>? AND word<?)",
		"value-quantity=5":            "resource USING INDEX resource_live (type=? AND key>?)",
		"status:not=final":            "resource USING INDEX resource_live (type=? AND key>?)",
		"subject=Patient/p&date=2020": "entry USING PRIMARY KEY (hash=?)",
	} {
		r := httptest.NewRequest("GET", "/?"+query, nil)
		q, err := fhir.ParseQuery("Observation", r.URL.Query(), fhir.QueryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := candidates(q, 0, 100)
		rows, err := s.readers.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+c.sql, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var a, b, d int
			var detail string
			if err := rows.Scan(&a, &b, &d, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(plan, "\n"); !strings.Contains(all, want) {
			t.Errorf("%s: want %q in the plan\n%s", query, want, all)
		}
	}
}

func FuzzHandlerAnswersEverythingInFHIR(f *testing.F) {
	for _, seed := range [][4]string{
		{"GET", "/fhir/Patient/p", "", ""},
		{"PUT", "/fhir/Patient/p", "", `{"resourceType":"Patient","id":"p","name":[{"family":"x"}],"birthDate":"2000"}`},
		{"POST", "/fhir/Observation", "", `{"resourceType":"Observation","valueQuantity":{"value":1.50},"effectivePeriod":{"start":"2020"}}`},
		{"DELETE", "/fhir/Patient/p", "", ""},
		{"GET", "/fhir/Patient", "name=x&birthdate=ge1999&_count=2&identifier=a|b", ""},
		{"POST", "/fhir/Patient/_search", "name=x", "birthdate=2000"},
		{"GET", "/fhir/Patient/p/_history/1", "", ""},
		{"GET", "/fhir/Patient/p/_history", "_since=2020&_count=1", ""},
		{"GET", "/fhir/metadata", "_format=json", ""},
		{"GET", "/fhir//Patient/../x%00", "%zz", ""},
		{"BREW", "/fhir", "_page=AAAA", "\x00"},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	s := opened(f)
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		r := httptest.NewRequest("GET", "/", strings.NewReader(string(body)))
		r.Method, r.URL.Path, r.URL.RawPath, r.URL.RawQuery = method, path, "", query
		r.Header.Set("Content-Type", fhirJSON)
		if strings.HasSuffix(path, "_search") {
			r.Header.Set("Content-Type", formBody)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if w.Body.Len() == 0 {
			return
		}
		resource, err := fhir.Parse(w.Body.Bytes(), fhir.Limits{Bytes: 64 << 20})
		if err != nil {
			t.Fatalf("status %d: %v", w.Code, err)
		}
		if w.Code >= 400 && resource.Type() != "OperationOutcome" {
			t.Errorf("status %d with a %s", w.Code, resource.Type())
		}
	})
}

func FuzzCursorIsOnlyWhatWasSealed(f *testing.F) {
	s := opened(f)
	text, err := s.sealCursor(cursor{Query: "name=x", After: 7}, "Patient//_search")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, "Patient//_search")
	f.Add(text, "Patient/p/_history")
	f.Add(text+"A", "Patient//_search")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, given, about string) {
		c, err := s.openCursor(given, about)
		if (err == nil) != (given == text && about == "Patient//_search") {
			t.Errorf("openCursor: %+v, %v", c, err)
		}
	})
}

// What survives a power cut rests on these; killing a process cannot tell.
func TestCommitsAreSynced(t *testing.T) {
	s := opened(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000"} {
		var got string
		if err := s.writer.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", pragma, got, err, want)
		}
	}
}

func TestWhatAParameterMayAddToTheIndexIsBounded(t *testing.T) {
	var codings []string
	for i := range mostEntries + 1 {
		codings = append(codings, fmt.Sprintf(`{"code":"k%d"}`, i))
	}
	r, err := fhir.Parse([]byte(`{"resourceType":"Basic","code":{"coding":[`+strings.Join(codings, ",")+`]}}`), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if rows := index(r); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}
