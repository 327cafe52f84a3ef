package store_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/fhir/store"
)

// server is a store behind a real listener.
type server struct {
	testing.TB
	*store.Store
	http *httptest.Server
	path string
}

func start(t testing.TB, c store.Config) *server {
	t.Helper()
	if c.Path == "" {
		c.Path = filepath.Join(t.TempDir(), "fhir.db")
	}
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	h.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	return &server{TB: t, Store: s, http: h, path: c.Path}
}

// reply is an answer, read and parsed.
type reply struct {
	status   int
	header   http.Header
	resource *fhir.Resource // nil without a body
}

type header map[string]string

func (s *server) do(method, path string, h header, body string) reply {
	s.Helper()
	r, err := s.try(context.Background(), method, path, h, body)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *server) try(ctx context.Context, method, path string, h header, body string) (reply, error) {
	target := path
	if !strings.HasPrefix(path, "http") {
		target = s.http.URL + path
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	for name, value := range h {
		req.Header.Set(name, value)
	}
	resp, err := s.http.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header}
	if len(data) == 0 {
		return r, nil
	}
	if got := resp.Header.Get("Content-Type"); got != "application/fhir+json;charset=utf-8" {
		return r, fmt.Errorf("%s %s: content type %q", method, path, got)
	}
	r.resource, err = fhir.Parse(data, fhir.Limits{Bytes: 64 << 20})
	return r, err
}

func (s *server) put(r *fhir.Resource, h header) reply {
	s.Helper()
	return s.do("PUT", "/fhir/"+r.Ref().String(), h, string(r.JSON()))
}

// load puts many resources, sixteen at a time.
func (s *server) load(rs []*fhir.Resource) {
	s.Helper()
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(16)
	for _, r := range rs {
		group.Go(func() error {
			got, err := s.try(ctx, "PUT", "/fhir/"+r.Ref().String(), header{"Prefer": "return=minimal"}, string(r.JSON()))
			if err == nil && got.status != http.StatusCreated {
				err = fmt.Errorf("PUT %s: status %d", r.Ref(), got.status)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.Fatal(err)
	}
}

// want checks a status and, of an error, the code of its OperationOutcome.
func (s *server) want(r reply, status int, code string) {
	s.Helper()
	if r.status != status {
		s.Fatalf("status %d, want %d: %v", r.status, status, fhir.Issues(r.resource))
	}
	if code == "" {
		return
	}
	issues := fhir.Issues(r.resource)
	if len(issues) != 1 || issues[0].Code != code || issues[0].Severity != "error" || issues[0].Details == "" {
		s.Fatalf("issues %+v, want one error with code %q", issues, code)
	}
}

func (s *server) bundle(r reply) fhir.Bundle {
	s.Helper()
	if r.status != http.StatusOK {
		s.Fatalf("status %d: %v", r.status, fhir.Issues(r.resource))
	}
	b, err := fhir.ParseBundle(r.resource, 0)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// all follows the pages of a search or history and returns its entries.
func (s *server) all(path string) []fhir.BundleEntry {
	s.Helper()
	var entries []fhir.BundleEntry
	for path != "" {
		b := s.bundle(s.do("GET", path, nil, ""))
		entries = append(entries, b.Entries...)
		next, _ := lo.Find(b.Links, func(l fhir.Link) bool { return l.Relation == "next" })
		path = next.URL
	}
	return entries
}

func ids(entries []fhir.BundleEntry) []string {
	return lo.Map(entries, func(e fhir.BundleEntry, _ int) string { return e.Resource.ID() })
}

func parse(t testing.TB, json string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(json), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sent is a resource without what a server adds.
func sent(t testing.TB, r *fhir.Resource) string {
	t.Helper()
	m := r.Meta()
	m.VersionID, m.LastUpdated = "", time.Time{}
	bare, err := r.WithMeta(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(bare.Canonical())
}

func TestOneLifeOfAResource(t *testing.T) {
	s := start(t, store.Config{})
	created := s.do("POST", "/fhir/Patient", nil, `{"resourceType":"Patient","id":"mine","active":true}`)
	s.want(created, http.StatusCreated, "")
	id := created.resource.ID()
	if len(id) != 36 || id == "mine" {
		t.Errorf("the id is %q, want a UUID of the server's", id)
	}
	path := "/fhir/Patient/" + id
	if got, want := created.header.Get("Location"), s.http.URL+path+"/_history/1"; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	read := s.do("GET", path, nil, "")
	s.want(read, http.StatusOK, "")
	if got := read.header.Get("ETag"); got != `W/"1"` || read.resource.Meta().VersionID != "1" {
		t.Errorf("ETag %s, versionId %q", got, read.resource.Meta().VersionID)
	}
	updated, err := http.ParseTime(read.header.Get("Last-Modified"))
	if at := read.resource.Meta().LastUpdated; err != nil || !updated.Equal(at.Truncate(time.Second)) || time.Since(at) > time.Minute {
		t.Errorf("Last-Modified %v (%v), lastUpdated %v", updated, err, at)
	}

	second := fmt.Sprintf(`{"resourceType":"Patient","id":%q,"active":false,"meta":{"versionId":"77","profile":["http://p"]}}`, id)
	s.want(s.do("PUT", path, header{"If-Match": `W/"2"`}, second), http.StatusPreconditionFailed, "conflict")
	s.want(s.do("PUT", path, header{"If-Match": `W/"1"`}, second), http.StatusOK, "")
	s.want(s.do("PUT", path, header{"If-Match": `W/"1"`}, second), http.StatusPreconditionFailed, "conflict")
	s.want(s.do("DELETE", path, header{"If-Match": `W/"1"`}, ""), http.StatusPreconditionFailed, "conflict")

	deleted := s.do("DELETE", path, header{"If-Match": `W/"2"`}, "")
	s.want(deleted, http.StatusNoContent, "")
	if got := deleted.header.Get("ETag"); got != `W/"3"` {
		t.Errorf("the deletion's ETag is %s", got)
	}
	s.want(s.do("GET", path, nil, ""), http.StatusGone, "deleted")
	s.want(s.do("GET", path+"/_history/3", nil, ""), http.StatusGone, "deleted")
	s.want(s.do("PUT", path, header{"If-Match": `W/"3"`}, second), http.StatusPreconditionFailed, "conflict")
	s.want(s.do("DELETE", path, nil, ""), http.StatusNoContent, "")
	if n := len(s.all("/fhir/Patient")); n != 0 {
		t.Errorf("a search finds %d deleted resources", n)
	}

	again := s.do("PUT", path, nil, second)
	s.want(again, http.StatusCreated, "")
	if v := again.resource.Meta(); v.VersionID != "4" || len(v.Profile) != 1 {
		t.Errorf("meta %+v, want version 4 and the profile", v)
	}
	old := s.do("GET", path+"/_history/1", nil, "")
	s.want(old, http.StatusOK, "")
	if got := sent(t, old.resource); got != fmt.Sprintf(`{"active":true,"id":%q,"resourceType":"Patient"}`, id) {
		t.Errorf("version 1 is %s", got)
	}

	history := s.all(path + "/_history?_count=3")
	methods := lo.Map(history, func(e fhir.BundleEntry, _ int) string {
		return e.Request.Method + " " + e.Response.Status + " " + e.Response.ETag + lo.Ternary(e.Resource == nil, " -", "")
	})
	want := []string{`PUT 200 W/"4"`, `DELETE 204 W/"3" -`, `PUT 200 W/"2"`, `POST 201 W/"1"`}
	if strings.Join(methods, "\n") != strings.Join(want, "\n") {
		t.Errorf("history %q, want %q", methods, want)
	}
}

func TestEveryResourceComesBackAsItWasSent(t *testing.T) {
	s := start(t, store.Config{})
	resources := append(fhirtest.Synthea(), fhirtest.Genomics(fhirtest.Patients()[0].Ref())...)
	resources = lo.UniqBy(resources, (*fhir.Resource).Ref)
	// Of the many, some: the last of each type.
	resources = lo.Flatten(lo.Values(lo.MapValues(lo.GroupBy(resources, (*fhir.Resource).Type), func(rs []*fhir.Resource, _ string) []*fhir.Resource {
		return lo.Slice(rs, len(rs)-60, len(rs))
	})))
	s.load(resources)
	for _, r := range resources {
		got := s.do("GET", "/fhir/"+r.Ref().String(), nil, "")
		if got.status != http.StatusOK || sent(t, got.resource) != sent(t, r) {
			t.Fatalf("%s came back with status %d, or changed", r.Ref(), got.status)
		}
	}
	for typ, of := range lo.GroupBy(resources, (*fhir.Resource).Type) {
		if found := s.all("/fhir/" + typ + "?_count=100"); len(found) != len(of) {
			t.Errorf("%d of %d %s found", len(found), len(of), typ)
		}
	}
}

func TestEveryErrorIsAnOutcome(t *testing.T) {
	s := start(t, store.Config{Resource: fhir.Limits{Bytes: 2000, Depth: 20}})
	ok := `{"resourceType":"Patient","id":"p"}`
	s.want(s.do("PUT", "/fhir/Patient/p", nil, ok), http.StatusCreated, "")
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	for name, tc := range map[string]struct {
		method, path string
		header       header
		body         string
		status       int
		code         string
	}{
		"another path":              {"GET", "/elsewhere", nil, "", 404, "not-found"},
		"a path like ours":          {"GET", "/fhirx/Patient", nil, "", 404, "not-found"},
		"the root":                  {"POST", "/fhir", nil, `{"resourceType":"Bundle"}`, 405, "not-supported"},
		"unknown type":              {"GET", "/fhir/Pattern/p", nil, "", 404, "not-supported"},
		"a type in lower case":      {"GET", "/fhir/patient/p", nil, "", 404, "not-supported"},
		"absent":                    {"GET", "/fhir/Patient/q", nil, "", 404, "not-found"},
		"absent history":            {"GET", "/fhir/Patient/q/_history", nil, "", 404, "not-found"},
		"absent version":            {"GET", "/fhir/Patient/p/_history/2", nil, "", 404, "not-found"},
		"foreign version":           {"GET", "/fhir/Patient/p/_history/abc", nil, "", 404, "not-found"},
		"signed version":            {"GET", "/fhir/Patient/p/_history/+1", nil, "", 404, "not-found"},
		"a bad id":                  {"GET", "/fhir/Patient/p_q", nil, "", 400, "value"},
		"an escaped slash":          {"GET", "/fhir/Patient/a%2Fb", nil, "", 400, "value"},
		"a long id":                 {"GET", "/fhir/Patient/" + strings.Repeat("a", 65), nil, "", 400, "value"},
		"too deep a path":           {"GET", "/fhir/Patient/p/_history/1/x", nil, "", 404, "not-found"},
		"an operation":              {"POST", "/fhir/Patient/$match", nil, ok, 404, "not-supported"},
		"a patch":                   {"PATCH", "/fhir/Patient/p", nil, ok, 405, "not-supported"},
		"a type's history":          {"GET", "/fhir/Patient/_history", nil, "", 404, "not-supported"},
		"conditional update":        {"PUT", "/fhir/Patient?_id=p", nil, ok, 405, "not-supported"},
		"conditional create":        {"POST", "/fhir/Patient", header{"If-None-Exist": "_id=p"}, ok, 400, "not-supported"},
		"a parameter of a read":     {"GET", "/fhir/Patient/p?_summary=true", nil, "", 400, "not-supported"},
		"a parameter of a history":  {"GET", "/fhir/Patient/p/_history?_at=2020", nil, "", 400, "not-supported"},
		"a bad count of a history":  {"GET", "/fhir/Patient/p/_history?_count=-1", nil, "", 400, "not-supported"},
		"a malformed query":         {"GET", "/fhir/Patient?name=%zz", nil, "", 400, "invalid"},
		"an unknown parameter":      {"GET", "/fhir/Patient?shoe-size=44", nil, "", 400, "not-supported"},
		"an unknown modifier":       {"GET", "/fhir/Patient?name:sounds=x", nil, "", 400, "not-supported"},
		"a bad date":                {"GET", "/fhir/Patient?birthdate=2020-13", nil, "", 400, "not-supported"},
		"sorting":                   {"GET", "/fhir/Patient?_sort=name", nil, "", 400, "not-supported"},
		"including":                 {"GET", "/fhir/Patient?_include=Patient:organization", nil, "", 400, "not-supported"},
		"an invented page":          {"GET", "/fhir/Patient?_page=abcd", nil, "", 400, "value"},
		"a page and more":           {"GET", "/fhir/Patient?_page=abcd&name=x", nil, "", 400, "not-supported"},
		"a search as JSON":          {"POST", "/fhir/Patient/_search", nil, ok, 415, "not-supported"},
		"a malformed form":          {"POST", "/fhir/Patient/_search", form, "%zz", 400, "invalid"},
		"a form too long":           {"POST", "/fhir/Patient/_search", form, "name=" + strings.Repeat("x", 20_000), 413, "too-long"},
		"asking for XML":            {"GET", "/fhir/Patient/p", header{"Accept": "application/fhir+xml"}, "", 406, "not-supported"},
		"asking for XML in the URL": {"GET", "/fhir/Patient/p?_format=xml", header{"Accept": "application/fhir+json"}, "", 406, "not-supported"},
		"asking for R5":             {"GET", "/fhir/Patient/p", header{"Accept": "application/fhir+json; fhirVersion=5.0"}, "", 406, "not-supported"},
		"sending XML":               {"PUT", "/fhir/Patient/p", header{"Content-Type": "application/fhir+xml"}, "<Patient/>", 415, "not-supported"},
		"sending Latin-1":           {"PUT", "/fhir/Patient/p", header{"Content-Type": "application/fhir+json; charset=latin1"}, ok, 415, "not-supported"},
		"sending gzip":              {"PUT", "/fhir/Patient/p", header{"Content-Encoding": "gzip"}, ok, 415, "not-supported"},
		"not JSON":                  {"PUT", "/fhir/Patient/p", nil, `{"resourceType":`, 400, "structure"},
		"a duplicate key":           {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"p","active":true,"active":false}`, 400, "structure"},
		"two documents":             {"PUT", "/fhir/Patient/p", nil, ok + ok, 400, "structure"},
		"too deep":                  {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"p","extension":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}", 400, "structure"},
		"too large":                 {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"p","language":"` + strings.Repeat("x", 2000) + `"}`, 413, "too-long"},
		"another type":              {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Group","id":"p"}`, 400, "value"},
		"another id":                {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"q"}`, 400, "value"},
		"no id":                     {"PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient"}`, 400, "value"},
		"a malformed If-Match":      {"PUT", "/fhir/Patient/p", header{"If-Match": "1"}, ok, 412, "conflict"},
		"any version":               {"PUT", "/fhir/Patient/p", header{"If-Match": "*"}, ok, 412, "conflict"},
		"updating what is not":      {"PUT", "/fhir/Patient/new", header{"If-Match": `W/"1"`}, `{"resourceType":"Patient","id":"new"}`, 412, "conflict"},
		"deleting what is not":      {"DELETE", "/fhir/Patient/new", header{"If-Match": `W/"1"`}, "", 412, "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{TB: t, http: s.http}
			s.want(s.do(tc.method, tc.path, tc.header, tc.body), tc.status, tc.code)
		})
	}
	if got := s.do("GET", "/fhir/Patient/p", nil, ""); got.header.Get("ETag") != `W/"1"` {
		t.Error("one of these changed the resource")
	}
}

func TestNegotiation(t *testing.T) {
	s := start(t, store.Config{})
	s.want(s.do("PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"p"}`), http.StatusCreated, "")
	for _, accept := range []string{"*/*", "application/json", "application/*;q=0.1", "application/fhir+xml;q=0.9, application/fhir+json;q=0.5", "application/fhir+json;fhirVersion=4.0"} {
		s.want(s.do("GET", "/fhir/Patient/p", header{"Accept": accept}, ""), http.StatusOK, "")
	}
	for _, format := range []string{"json", "application/fhir%2Bjson", "application/fhir+json"} {
		s.want(s.do("GET", "/fhir/Patient/p?_format="+format, header{"Accept": "text/html"}, ""), http.StatusOK, "")
	}
	s.want(s.do("GET", "/fhir/Patient/p", header{"If-None-Match": `W/"2", W/"1"`}, ""), http.StatusNotModified, "")
	s.want(s.do("GET", "/fhir/Patient/p", header{"If-None-Match": `W/"2"`}, ""), http.StatusOK, "")
	if head := s.do("HEAD", "/fhir/Patient/p", nil, ""); head.status != http.StatusOK || head.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %+v", head)
	}
	if allow := s.do("PATCH", "/fhir/Patient/p", nil, "{}").header.Get("Allow"); allow != "GET, HEAD, PUT, DELETE" {
		t.Errorf("Allow: %s", allow)
	}
	body := `{"resourceType":"Patient","id":"p"}`
	if r := s.do("PUT", "/fhir/Patient/p", header{"Prefer": "return=minimal"}, body); r.resource != nil || r.header.Get("ETag") != `W/"2"` {
		t.Errorf("minimal: %+v", r)
	}
	if r := s.do("PUT", "/fhir/Patient/p", header{"Prefer": "return=OperationOutcome"}, body); r.resource.Type() != "OperationOutcome" {
		t.Errorf("an outcome was preferred, and %s came", r.resource.Type())
	}
}

func TestTheBaseOfLinksIsAsConfigured(t *testing.T) {
	s := start(t, store.Config{Base: "https://ehr.example/store/fhir/"})
	r := s.do("PUT", "/fhir/Patient/p", nil, `{"resourceType":"Patient","id":"p"}`)
	if got := r.header.Get("Location"); got != "https://ehr.example/store/fhir/Patient/p/_history/1" {
		t.Errorf("Location %s", got)
	}
	b := s.bundle(s.do("GET", "/fhir/Patient?_id=p", nil, ""))
	if b.Entries[0].FullURL != "https://ehr.example/store/fhir/Patient/p" || b.Links[0].URL != "https://ehr.example/store/fhir/Patient?_id=p" {
		t.Errorf("full URL %s, self %s", b.Entries[0].FullURL, b.Links[0].URL)
	}
	absolute := `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"https://ehr.example/store/fhir/Patient/p"}}`
	s.do("PUT", "/fhir/Observation/o", nil, absolute)
	for _, q := range []string{"subject=Patient/p", "patient=p", "subject=https://ehr.example/store/fhir/Patient/p"} {
		if n := len(s.all("/fhir/Observation?" + q)); n != 1 {
			t.Errorf("%s finds %d", q, n)
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.db")
	for name, c := range map[string]store.Config{
		"no path":           {},
		"no such folder":    {Path: filepath.Join(path, "not", "there")},
		"negative":          {Path: path, Page: -1},
		"pages over pages":  {Path: path, Page: 20, MaxPage: 10},
		"a relative base":   {Path: path, Base: "/fhir"},
		"a base with query": {Path: path, Base: "http://h/fhir?x=y"},
		"a base with user":  {Path: path, Base: "http://u@h/fhir"},
	} {
		if s, err := store.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		}
	}
}

func TestCapabilitiesAreTrue(t *testing.T) {
	s := start(t, store.Config{})
	r := s.do("GET", "/fhir/metadata", nil, "")
	s.want(r, http.StatusOK, "")
	rest := r.resource.Tree()["rest"].([]any)[0].(map[string]any)
	resources := rest["resource"].([]any)
	if len(resources) < 140 {
		t.Fatalf("%d types", len(resources))
	}
	handler := s.Handler()
	for _, each := range resources {
		resource := each.(map[string]any)
		typ := resource["type"].(string)
		params, _ := resource["searchParam"].([]any)
		query := url.Values{}
		for _, p := range params {
			query.Add(p.(map[string]any)["name"].(string)+":missing", "false")
		}
		if len(params) < 5 {
			t.Errorf("%s has %d search parameters", typ, len(params))
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/fhir/"+typ+"?"+query.Encode(), nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: a search by all its parameters: %d %s", typ, w.Code, w.Body)
		}
	}
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	s := start(t, store.Config{InFlight: 1})
	body, stall := io.Pipe()
	arrived, done := make(chan struct{}), make(chan int)
	arrive := sync.OnceFunc(func() { close(arrived) })
	go func() {
		req := httptest.NewRequest("PUT", "/fhir/Patient/p", readerFunc(func(p []byte) (int, error) {
			arrive()
			return body.Read(p)
		}))
		req.Header.Set("Content-Type", "application/fhir+json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		done <- w.Code
	}()
	<-arrived
	r := s.do("GET", "/fhir/metadata", nil, "")
	s.want(r, http.StatusServiceUnavailable, "throttled")
	_, _ = stall.Write([]byte(`{"resourceType":"Patient","id":"p"}`))
	_ = stall.Close()
	if code := <-done; code != http.StatusCreated {
		t.Errorf("the request that was first: %d", code)
	}
	s.want(s.do("GET", "/fhir/metadata", nil, ""), http.StatusOK, "")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
