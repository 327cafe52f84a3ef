package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
)

// reply is what a scripted server says, in which $BASE is its own address.
type reply struct {
	status int
	header map[string]string
	body   string
}

// scripted answers requests by method and path, in words seen from HAPI or from worse.
func scripted(t *testing.T, c client.Config, replies map[string]reply) *client.Client {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); got != "application/fhir+json" {
			t.Errorf("%s %s accepts %q", r.Method, r.URL, got)
		}
		key := r.Method + " " + r.URL.RequestURI()
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "_search") {
			form, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			key += " " + string(form)
		}
		say, ok := replies[key]
		if !ok {
			t.Errorf("unexpected request: %s", key)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		base := "http://" + r.Host + "/fhir"
		w.Header().Set("Content-Type", "application/fhir+json;charset=utf-8")
		for name, value := range say.header {
			w.Header().Set(name, strings.ReplaceAll(value, "$BASE", base))
		}
		w.WriteHeader(say.status)
		_, _ = io.WriteString(w, strings.ReplaceAll(say.body, "$BASE", base))
	}))
	t.Cleanup(h.Close)
	c.Base = h.URL + "/fhir"
	return newClient(t, c)
}

const (
	patient  = `{"resourceType":"Patient","id":"p","meta":{"versionId":"v.1-a","lastUpdated":"2024-05-01T10:00:00.123+02:00"}}`
	hapiSays = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing","diagnostics":"HAPI-0550: Mrs Huang, born 1950"}]}`
)

func TestVersionsAreOpaque(t *testing.T) {
	c := scripted(t, client.Config{}, map[string]reply{
		"GET /fhir/Patient/p":                   {200, map[string]string{"ETag": `W/"v.1-a"`}, patient},
		"GET /fhir/Patient/p/_history/v.1-a":    {200, nil, patient},
		"GET /fhir/Patient/p/_history/v%3F%251": {200, map[string]string{"ETag": `W/"v?%1"`}, patient},
	})
	v, err := c.Read(t.Context(), "Patient", "p")
	if err != nil || v.VersionID != "v.1-a" || v.LastUpdated.UnixMilli() != 1714550400123 {
		t.Errorf("%+v, %v", v, err)
	}
	for _, version := range []string{"v.1-a", "v?%1"} {
		if v, err = c.VRead(t.Context(), "Patient", "p", version); err != nil || v.VersionID != version {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestHAPIWrites(t *testing.T) {
	c := scripted(t, client.Config{}, map[string]reply{
		"PUT /fhir/Patient/stale": {409, nil, hapiSays},
		"PUT /fhir/Patient/busy":  {412, nil, hapiSays},
		"PUT /fhir/Patient/bad":   {422, nil, hapiSays},
		"PUT /fhir/Patient/p": {201, map[string]string{
			"ETag": `W/"1"`, "Content-Location": "$BASE/Patient/p/_history/1", "Last-Modified": "Mon, 23 Nov 2026 13:15:12 GMT", "Content-Type": "",
		}, ""},
		"PUT /fhir/Patient/q": {200, map[string]string{"Content-Location": "$BASE/Patient/q/_history/5"}, hapiSays},
		"POST /fhir/Patient": {201, map[string]string{
			"ETag": `W/"1"`, "Location": "$BASE/Patient/1037/_history/1", "Content-Type": "",
		}, ""},
		"GET /fhir/Patient/p":          {200, map[string]string{"ETag": `W/"1"`}, patient},
		"DELETE /fhir/Patient/p":       {200, map[string]string{"Content-Location": "$BASE/Patient/p/_history/2"}, hapiSays},
		"POST /fhir/Patient/$validate": {412, nil, hapiSays},
	})
	ctx := t.Context()
	put := func(id, ifMatch string) (client.Version, error) {
		return c.Put(ctx, parse(t, fmt.Sprintf(`{"resourceType":"Patient","id":%q,"meta":{"security":[{"code":"R"}]}}`, id)), ifMatch)
	}
	for _, id := range []string{"stale", "busy"} {
		_, err := put(id, "3")
		wantIs(t, err, client.ErrConflict)
		if strings.Contains(err.Error(), "Huang") {
			t.Errorf("the error quotes the record: %v", err)
		}
	}
	_, err := put("bad", "")
	wantIs(t, err, client.ErrRejected)
	if strings.Contains(err.Error(), "Huang") || !strings.Contains(err.Error(), "422 (processing)") {
		t.Errorf("error %v", err)
	}
	v, err := put("p", "")
	if err != nil || v.VersionID != "1" || v.Resource.Meta().VersionID != "1" || len(v.Resource.Meta().Security) != 1 || v.LastUpdated.Unix() != 1795439712 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err = put("q", ""); err != nil || v.VersionID != "5" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err = c.Create(ctx, parse(t, patient)); err != nil || v.Resource.ID() != "1037" || v.VersionID != "1" {
		t.Errorf("%+v, %v", v, err)
	}
	// HAPI would delete all the same: its DELETE does not look at If-Match.
	_, err = c.Delete(ctx, "Patient", "p", "3")
	wantIs(t, err, client.ErrConflict)
	if v, err = c.Delete(ctx, "Patient", "p", "1"); err != nil || v.VersionID != "2" || !v.LastUpdated.IsZero() {
		t.Errorf("%+v, %v", v, err)
	}
	outcome, err := c.Validate(ctx, parse(t, patient))
	if err != nil || outcome.Type() != "OperationOutcome" {
		t.Errorf("validate: %v", err)
	}
}

func TestHAPIHistoryWithADeletion(t *testing.T) {
	c := scripted(t, client.Config{}, map[string]reply{
		"GET /fhir/Patient/p/_history?_count=100": {200, nil, `{"resourceType":"Bundle","type":"history","total":3,"link":[{"relation":"next","url":"$BASE?_getpages=u-1&_bundletype=history"}],"entry":[
			{"fullUrl":"$BASE/Patient/p","request":{"method":"DELETE","url":"Patient/p/_history/3"},"response":{"status":"200 OK"}}]}`},
		"GET /fhir?_getpages=u-1&_bundletype=history": {200, nil, `{"resourceType":"Bundle","type":"history","entry":[
			{"resource":` + patient + `,"request":{"method":"PUT","url":"Patient/p/_history/2"},"response":{"status":"200 OK","etag":"W/\"2\""}},
			{"resource":` + patient + `,"request":{"method":"POST","url":"Patient/p/_history/1"},"response":{"status":"201 Created","etag":"W/\"1\""}}]}`},
	})
	vs, err := c.History(t.Context(), "Patient", "p")
	if err != nil || len(vs) != 3 {
		t.Fatalf("%+v, %v", vs, err)
	}
	if v := vs[0]; !v.Deleted || v.VersionID != "3" || !v.LastUpdated.IsZero() {
		t.Errorf("the deletion: %+v", v)
	}
	if v := vs[1]; v.Deleted || v.VersionID != "2" || v.Resource == nil {
		t.Errorf("the update: %+v", v)
	}
}

func searchset(entries string) string {
	return `{"resourceType":"Bundle","type":"searchset","entry":[` + entries + `]}`
}

// Servers that lie, or are somebody else: each answer is refused, as unusable.
func TestUnusableAnswersAreRefused(t *testing.T) {
	elsewhere := atomic.Int64{}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		w.Header().Set("Content-Type", "application/fhir+json")
		_, _ = io.WriteString(w, patient)
	}))
	defer other.Close()
	read := func(c *client.Client) error { _, err := c.Read(t.Context(), "Patient", "p"); return err }
	many := func(c *client.Client) error { _, err := c.ReadMany(t.Context(), "Patient", []string{"p"}); return err }
	history := func(c *client.Client) error { _, err := c.History(t.Context(), "Patient", "p"); return err }
	create := func(c *client.Client) error { _, err := c.Create(t.Context(), parse(t, patient)); return err }
	put := func(c *client.Client) error { _, err := c.Put(t.Context(), parse(t, patient), ""); return err }
	search := "POST /fhir/Patient/_search _count=1&_id=p"
	past := "GET /fhir/Patient/p/_history?_count=100"
	for name, tc := range map[string]struct {
		call func(*client.Client) error
		key  string
		say  reply
	}{
		"another id":        {read, "GET /fhir/Patient/p", reply{200, nil, `{"resourceType":"Patient","id":"q"}`}},
		"another type":      {read, "GET /fhir/Patient/p", reply{200, nil, `{"resourceType":"Person","id":"p"}`}},
		"no version":        {read, "GET /fhir/Patient/p", reply{200, nil, `{"resourceType":"Patient","id":"p"}`}},
		"nothing":           {read, "GET /fhir/Patient/p", reply{200, nil, ``}},
		"XML":               {read, "GET /fhir/Patient/p", reply{200, map[string]string{"Content-Type": "application/fhir+xml"}, `<Patient/>`}},
		"a page":            {read, "GET /fhir/Patient/p", reply{200, map[string]string{"Content-Type": "text/html"}, `<html>`}},
		"Latin-1":           {read, "GET /fhir/Patient/p", reply{200, map[string]string{"Content-Type": "application/json; charset=latin1"}, patient}},
		"a duplicate key":   {read, "GET /fhir/Patient/p", reply{200, nil, `{"resourceType":"Patient","id":"q","id":"p"}`}},
		"too much":          {read, "GET /fhir/Patient/p", reply{200, nil, patient + strings.Repeat(" ", 5000)}},
		"not modified":      {read, "GET /fhir/Patient/p", reply{304, nil, ""}},
		"unasked":           {many, search, reply{200, nil, searchset(`{"resource":{"resourceType":"Patient","id":"q","meta":{"versionId":"1"}}}`)}},
		"unversioned":       {many, search, reply{200, nil, searchset(`{"resource":{"resourceType":"Patient","id":"p"}}`)}},
		"a history instead": {many, search, reply{200, nil, `{"resourceType":"Bundle","type":"history"}`}},
		"no bundle":         {many, search, reply{200, nil, hapiSays}},
		"a page elsewhere":  {many, search, reply{200, nil, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"` + other.URL + `/fhir?page=2"}]}`}},
		"a page above":      {many, search, reply{200, nil, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"$BASE/../admin"}]}`}},
		"a page beside":     {many, search, reply{200, nil, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"$BASE2/x"}]}`}},
		"another's history": {history, past, reply{200, nil, `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"Patient","id":"q"},"response":{"status":"200","etag":"W/\"1\""}}]}`}},
		"an empty version":  {history, past, reply{200, nil, `{"resourceType":"Bundle","type":"history","entry":[{"response":{"status":"200","etag":"W/\"1\""}}]}`}},
		"created who knows": {create, "POST /fhir/Patient", reply{201, map[string]string{"ETag": `W/"1"`, "Content-Type": ""}, ""}},
		"created another":   {create, "POST /fhir/Patient", reply{201, map[string]string{"Location": "$BASE/Person/1/_history/1", "Content-Type": ""}, ""}},
		"put, but no tag":   {put, "PUT /fhir/Patient/p", reply{200, map[string]string{"Content-Type": ""}, ""}},
		"put, but another":  {put, "PUT /fhir/Patient/p", reply{200, map[string]string{"ETag": `W/"1"`}, `{"resourceType":"Patient","id":"q"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.call(scripted(t, client.Config{AnswerBytes: 3000}, map[string]reply{tc.key: tc.say}))
			wantIs(t, err, client.ErrAnswer)
		})
	}
	for name, target := range map[string]string{"elsewhere": other.URL + "/fhir/Patient/p", "above": "/admin", "beside": "/fhirx/Patient/p"} {
		t.Run("redirected "+name, func(t *testing.T) {
			c := scripted(t, client.Config{}, map[string]reply{"GET /fhir/Patient/p": {302, map[string]string{"Location": target}, ""}})
			wantIs(t, read(c), client.ErrUnavailable)
		})
	}
	t.Run("redirected within", func(t *testing.T) {
		c := scripted(t, client.Config{}, map[string]reply{
			"GET /fhir/Patient/p":                {302, map[string]string{"Location": "$BASE/Patient/p/_history/v.1-a"}, ""},
			"GET /fhir/Patient/p/_history/v.1-a": {200, nil, patient},
		})
		if err := read(c); err != nil {
			t.Error(err)
		}
	})
	if elsewhere.Load() > 0 {
		t.Error("another server was asked")
	}
}

func TestPagesInACircleEnd(t *testing.T) {
	circle := reply{200, nil, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"$BASE?page=2"}]}`}
	c := scripted(t, client.Config{}, map[string]reply{"POST /fhir/Patient/_search _count=1&_id=p": circle, "GET /fhir?page=2": circle})
	_, err := c.ReadMany(t.Context(), "Patient", []string{"p"})
	wantIs(t, err, client.ErrAnswer)
}

func TestStatusesMeanWhatTheySay(t *testing.T) {
	for status, want := range map[int]error{
		400: client.ErrRejected, 401: client.ErrRejected, 403: client.ErrRejected, 422: client.ErrRejected,
		404: client.ErrNotFound, 410: client.ErrGone, 409: client.ErrConflict, 412: client.ErrConflict,
		408: client.ErrUnavailable, 429: client.ErrUnavailable, 500: client.ErrUnavailable, 502: client.ErrUnavailable, 503: client.ErrUnavailable,
	} {
		for _, body := range []string{hapiSays, "<html>", ""} {
			c := scripted(t, client.Config{}, map[string]reply{"GET /fhir/Patient/p": {status, nil, body}})
			_, err := c.Read(t.Context(), "Patient", "p")
			wantIs(t, err, want)
			for _, other := range []error{client.ErrRejected, client.ErrNotFound, client.ErrGone, client.ErrConflict, client.ErrUnavailable, client.ErrAnswer} {
				if !errors.Is(want, other) && errors.Is(err, other) {
					t.Errorf("status %d is both %v and %v", status, want, other)
				}
			}
		}
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	h := httptest.NewServer(nil)
	h.Close()
	c := newClient(t, client.Config{Base: h.URL})
	_, err := c.Put(t.Context(), parse(t, patient), "")
	wantIs(t, err, client.ErrUnavailable)
	_, err = c.Search(t.Context(), "Patient", url.Values{})
	wantIs(t, err, client.ErrUnavailable)
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{patient, hapiSays, searchset(`{"resource":` + patient + `}`), `{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"Patient/p/_history/3"}}]}`, "", "[", "\xff"} {
		f.Add(200, `W/"1"`, "/fhir/Patient/p/_history/1", []byte(seed))
	}
	f.Add(302, "", "//elsewhere/x", []byte{})
	f.Add(201, `"x`, "%zz", []byte(patient))
	var status atomic.Int64
	var tag, location atomic.Value
	var body atomic.Value
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		w.Header().Set("ETag", tag.Load().(string))
		w.Header().Set("Location", location.Load().(string))
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(body.Load().([]byte))
	}))
	defer h.Close()
	c := newClient(f, client.Config{Base: h.URL + "/fhir", AnswerBytes: 1 << 16})
	f.Fuzz(func(t *testing.T, code int, etag, where string, data []byte) {
		status.Store(int64(200 + uint(code)%400))
		tag.Store(etag)
		location.Store(where)
		body.Store(data)
		ctx := t.Context()
		if v, err := c.Read(ctx, "Patient", "p"); err == nil && (v.Resource.Ref() != fhir.Ref{Type: "Patient", ID: "p"} || v.VersionID == "") {
			t.Errorf("read %+v", v)
		}
		if v, err := c.Put(ctx, parse(t, patient), "1"); err == nil && (v.Resource.ID() != "p" || v.VersionID == "") {
			t.Errorf("put %+v", v)
		}
		if vs, err := c.ReadMany(ctx, "Patient", []string{"p"}); err == nil && len(vs) > 1 {
			t.Errorf("read many %+v", vs)
		}
		if vs, err := c.History(ctx, "Patient", "p"); err == nil {
			for _, v := range vs {
				if v.VersionID == "" || v.Deleted == (v.Resource != nil) {
					t.Errorf("history %+v", v)
				}
			}
		}
	})
}
