package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/gateway"
)

// raw sends bytes as they are: an http.Client would tidy them up.
func (w *ward) raw(request string) (status int, closing bool, body string) {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	w.check(err)
	defer conn.Close()
	w.check(conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, request)
	w.check(err)
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	w.check(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	w.check(err)
	return res.StatusCode, res.Close, string(data)
}

func TestTargetsThatCouldBeReadTwoWaysAreRefusedBeforeRouting(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, target := range []string{
		"/fhir/Patient/p1/../p2", "/fhir/Patient/p1%2F..%2Fp2", "/fhir/Patient//p2", "/fhir/Patient/p2;x=1", "/fhir/Patient/p2%00", "/fhir/Patient/%70%31",
		"/fhir/Patient/p1/", "/fhir//Patient/p1", "//fhir/Patient/p1", "/fhir/./Patient/p1", "/fhir/Patient/p1%20", "/fhir/Patient/p1%0d%0aX:1",
		"/fhir/Patient/p%C3%A9", "/fhir/Patient/p\u00e9", "/fhir/Patient/p1\\p2", "/fhir/Patient/p1%", "/fhir/Patient/p1%zz", "/fhir/Patient/p1?_format=json;x=1",
		"http://evil.example/fhir/Patient/p1", "/fhir/Patient?name=%zz", "/fhir/Patient?name=%ff", "/fhir/Patient?name=a%00b", "/fhir/Patient/p1?x=%c0%af",
	} {
		status, _, body := s.raw(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", target, s.doctor))
		if status != http.StatusBadRequest || strings.Contains(body, "Canary") {
			t.Errorf("%q: %d %s", target, status, body)
		}
	}
	if status, _, _ := s.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); status != http.StatusBadRequest && status != http.StatusOK {
		t.Errorf("OPTIONS *: %d", status) // net/http answers it by itself, without content
	}
}

func TestRequestsThatCouldBeTwoAreRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	head := "Host: x\r\nAuthorization: Bearer " + s.doctor + "\r\n"
	for name, request := range map[string]string{
		"CL.TE":                     "POST /fhir/Observation/_search HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n0\r\n\r\n",
		"two lengths":               "POST /fhir/Observation/_search HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"a space before the colon":  "GET /fhir/Observation/o1 HTTP/1.1\r\n" + head + "X-Y : 1\r\n\r\n",
		"a body on GET":             "GET /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Content-Length: 2\r\nContent-Type: application/fhir+json\r\n\r\n{}",
		"a chunked body on GET":     "GET /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two hosts":                 "GET /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Host: y\r\n\r\n",
		"two purposes":              "GET /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Wardkey-Purpose: TREAT\r\nWardkey-Purpose: TREAT\r\n\r\n",
		"a body on HEAD":            "HEAD /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Content-Length: 2\r\n\r\n{}",
		"a body on DELETE":          "DELETE /fhir/Observation/o1 HTTP/1.1\r\n" + head + "Content-Length: 2\r\n\r\n{}",
		"a body on GET of metadata": "GET /fhir/metadata HTTP/1.1\r\n" + head + "Content-Length: 2\r\n\r\n{}",
	} {
		status, closing, body := s.raw(request)
		// With both, net/http obeys RFC 9112 §6.1 and drops the length; the
		// connection ends, so there is no second request to smuggle.
		if status != http.StatusBadRequest && (name != "CL.TE" || !closing) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestEveryMistakeHasItsDocumentedAnswer(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	deep := strings.Repeat(`{"extension":[`, 80) + strings.Repeat(`]}`, 80)
	ok := string(weight(t, "o1", "p1", 5).JSON())
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(ok))
	_ = z.Close()
	put := func(body string, header ...string) asking {
		a := asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: body, header: map[string]string{}}
		for i := 0; i+1 < len(header); i += 2 {
			a.header[header[i]] = header[i+1]
		}
		return a
	}
	get := func(path string, header ...string) asking {
		a := asking{method: "GET", path: path, token: s.doctor, header: map[string]string{}}
		for i := 0; i+1 < len(header); i += 2 {
			a.header[header[i]] = header[i+1]
		}
		return a
	}
	before, written := s.Log.Size(), len(s.line.requests())
	for name, tc := range map[string]struct {
		ask    asking
		status int
	}{
		"not JSON":                    {put(`{`), 400},
		"empty":                       {put(``), 400},
		"not an object":               {put(`[]`), 400},
		"duplicate key":               {put(`{"resourceType":"Observation","id":"o1","subject":{"reference":"Patient/p1"},"subject":{"reference":"Patient/p2"}}`), 400},
		"duplicate key, escaped":      {put(`{"resourceType":"Observation","id":"o1","status":"final","st\u0061tus":"final"}`), 400},
		"two documents":               {put(ok + ok), 400},
		"byte order mark":             {put("\ufeff" + ok), 400},
		"NUL":                         {put(strings.Replace(ok, "final", "fin\u0000al", 1)), 400},
		"escaped NUL":                 {put(strings.Replace(ok, "final", `fin\u0000al`, 1)), 400},
		"not UTF-8":                   {put(strings.Replace(ok, "final", "fin\xffal", 1)), 400},
		"too deep":                    {put(`{"resourceType":"Observation","id":"o1","x":` + deep + `}`), 400},
		"another type":                {put(`{"resourceType":"Condition","id":"o1"}`), 400},
		"another id":                  {put(`{"resourceType":"Observation","id":"o2"}`), 400},
		"an odd id":                   {put(`{"resourceType":"Observation","id":"o/1"}`), 400},
		"no type":                     {put(`{"id":"o1"}`), 400},
		"too large":                   {put(`{"resourceType":"Observation","id":"o1","note":[{"text":"` + strings.Repeat("x", 11<<20) + `"}]}`), 413},
		"XML":                         {put(`<Observation/>`, "Content-Type", "application/fhir+xml"), 415},
		"XML that says it is JSON":    {put(`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Observation>&e;</Observation>`), 400},
		"JSON that says it is text":   {put(ok, "Content-Type", "text/plain"), 415},
		"a patch":                     {put(ok, "Content-Type", "application/json-patch+json"), 415},
		"another version of FHIR":     {put(ok, "Content-Type", "application/fhir+json; fhirVersion=5.0"), 415},
		"another charset":             {put(ok, "Content-Type", "application/fhir+json; charset=utf-16"), 415},
		"compressed":                  {put(zipped.String(), "Content-Encoding", "gzip"), 415},
		"Accept XML":                  {get("/fhir/Observation/o1", "Accept", "application/fhir+xml"), 406},
		"Accept JSON at no price":     {get("/fhir/Observation/o1", "Accept", "application/fhir+json;q=0"), 406},
		"_format XML":                 {get("/fhir/Observation/o1?_format=xml"), 406},
		"_format twice":               {get("/fhir/Observation/o1?_format=json&_format=xml"), 406},
		"parameter on a read":         {get("/fhir/Observation/o1?patient=p1"), 400},
		"_summary on a read":          {get("/fhir/Observation/o1?_summary=true"), 400},
		"_pretty":                     {get("/fhir/Observation/o1?_pretty=true"), 400},
		"parameter on a vread":        {get("/fhir/Observation/o1/_history/1?x=1"), 400},
		"parameter on a history":      {get("/fhir/Observation/o1/_history?_since=2020"), 400},
		"parameter on a create":       {asking{method: "POST", path: "/fhir/Observation?x=1", token: s.loader, body: ok}, 400},
		"parameter on an update":      {asking{method: "PUT", path: "/fhir/Observation/o1?x=1", token: s.loader, body: ok}, 400},
		"parameter on a delete":       {asking{method: "DELETE", path: "/fhir/Observation/o1?x=1", token: s.loader}, 400},
		"parameter on metadata":       {get("/fhir/metadata?x=1"), 400},
		"an id that is none":          {get("/fhir/Observation/" + strings.Repeat("x", 65)), 400},
		"an id with an underscore":    {get("/fhir/Observation/a_b"), 400},
		"a type that is none":         {get("/fhir/Nothing/1"), 404},
		"a type that is not served":   {get("/fhir/AuditEvent/1"), 404},
		"an address that is none":     {get("/fhir/Observation/o1/extra"), 404},
		"outside everything":          {get("/nothing"), 404},
		"the history of a type":       {get("/fhir/Observation/_history"), 403},
		"the history of everything":   {get("/fhir/_history"), 403},
		"a compartment":               {get("/fhir/Patient/p2/Observation"), 404},
		"an operation":                {get("/fhir/Patient/p1/$everything"), 404},
		"a search with a JSON body":   {asking{method: "POST", path: "/fhir/Observation/_search", token: s.doctor, body: `{"patient":"p1"}`}, 415},
		"DELETE of everything":        {asking{method: "DELETE", path: "/fhir", token: s.loader}, 405},
		"PUT on a search":             {asking{method: "PUT", path: "/fhir/Observation/_search", token: s.loader, body: ok}, 400},
		"TRACE":                       {asking{method: "TRACE", path: "/fhir/Observation/o1", token: s.doctor}, 405},
		"an invented method":          {asking{method: "STEAL", path: "/fhir/Observation/o1", token: s.doctor}, 405},
		"OPTIONS where it is nothing": {asking{method: "OPTIONS", path: "/fhir/Observation/o1", token: s.doctor}, 405},
		"a purpose not allowed":       {get("/fhir/Observation/o1", "Wardkey-Purpose", "BTG"), 403},
		"a purpose that is none":      {get("/fhir/Observation/o1", "Wardkey-Purpose", "FUN"), 403},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.do(tc.ask)
			if a.status != tc.status {
				t.Fatalf("%v, want %d", a, tc.status)
			}
			if tc.ask.method != "HEAD" {
				r := a.resource(t)
				if r.Type() != "OperationOutcome" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/fhir+json") {
					t.Errorf("not an OperationOutcome: %v %s", a, a.header.Get("Content-Type"))
				}
			}
			if a.status == 405 && a.header.Get("Allow") == "" {
				t.Error("no Allow")
			}
			for header, want := range map[string]string{"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"} {
				if a.header.Get(header) != want {
					t.Errorf("%s: %q", header, a.header.Get(header))
				}
			}
			if strings.Contains(string(a.body), "canary") {
				t.Errorf("it tells: %s", a.body)
			}
		})
	}
	for _, k := range kinds(s.since(before)) {
		if k != chain.Deny {
			t.Errorf("a mistake left a %s in the log", k)
		}
	}
	if got := s.line.requests()[written:]; len(got) > 0 {
		t.Errorf("a mistake reached the store: %v", got)
	}
}

func TestJSONIsTakenInAllItsNames(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, accept := range []string{"", "*/*", "application/*", "application/json", "application/fhir+json", "application/fhir+json; fhirVersion=4.0", "text/html, application/json;q=0.5", "application/fhir+xml;q=0.9, application/fhir+json"} {
		if a := s.do(asking{method: "GET", path: "/fhir/Observation/o1", token: s.doctor, header: map[string]string{"Accept": accept}}); a.status != 200 {
			t.Errorf("Accept %q: %v", accept, a)
		}
	}
	for _, format := range []string{"json", "application/json", "application/fhir%2Bjson", "application/fhir+json"} {
		a := s.do(asking{method: "GET", path: "/fhir/Observation/o1?_format=" + format, token: s.doctor, header: map[string]string{"Accept": "application/xml"}})
		if a.status != 200 {
			t.Errorf("_format %q: %v", format, a)
		}
	}
}

func TestEveryFaultOfATokenIsTheSame(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ended := s.signIn("Practitioner/d3", "doctor")
	if a := s.do(asking{method: "POST", path: "/oauth/revoke", body: url.Values{"token": {ended}}}); a.status != 200 {
		t.Fatal(a)
	}
	var first string
	before := s.Log.Size()
	for name, header := range map[string]http.Header{
		"none":             {},
		"unknown":          {"Authorization": {"Bearer " + strings.Repeat("A", 43)}},
		"short":            {"Authorization": {"Bearer x"}},
		"long":             {"Authorization": {"Bearer " + strings.Repeat(".", 20_000)}},
		"signed out":       {"Authorization": {"Bearer " + ended}},
		"basic":            {"Authorization": {"Basic " + s.doctor}},
		"no scheme":        {"Authorization": {s.doctor}},
		"twice":            {"Authorization": {"Bearer " + s.doctor, "Bearer " + s.doctor}},
		"with a comma":     {"Authorization": {"Bearer " + s.doctor + ","}},
		"in lower case":    {"Authorization": {"Bearer " + strings.ToLower(s.doctor)}},
		"as a cookie":      {"Cookie": {"access_token=" + s.doctor}},
		"an unsigned JWT":  {"Authorization": {"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkMSJ9."}},
		"the ID token":     {"Authorization": {"Bearer " + s.Issuer.IDToken(t, "Practitioner/d1", "n", "doctor")}},
		"padded":           {"Authorization": {"Bearer " + s.doctor + "="}},
		"a header of ours": {"X-Patient-Id": {"p1"}, "X-Forwarded-User": {"Practitioner/d1"}},
	} {
		r, err := http.NewRequest("GET", s.server.URL+"/fhir/Observation/o1", nil)
		s.check(err)
		r.Header = header
		res, err := s.server.Client().Do(r)
		s.check(err)
		body, err := io.ReadAll(res.Body)
		s.check(err)
		_ = res.Body.Close()
		res.Header.Del("Date")
		res.Header.Del("X-Request-Id")
		got := fmt.Sprint(res.StatusCode, res.Header, string(body))
		if first == "" {
			first = got
		}
		if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") == "" || got != first {
			t.Errorf("%s: %s, others %s", name, got, first)
		}
	}
	if len(s.since(before)) != 0 {
		t.Error("anybody can fill the log without a token")
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1?access_token="+s.doctor); a.status != 400 {
		t.Errorf("a token in the URL: %v", a)
	}
	status, _, _ := s.raw("GET /fhir/Observation/o1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("x", 2<<20) + "\r\n\r\n")
	if status != 431 && status != 401 {
		t.Errorf("two megabytes of token: %d", status)
	}
}

func TestEndedSessionsOpenNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 200 {
		t.Fatal(a)
	}
	s.Clock.Move(61 * time.Minute)
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 401 {
		t.Errorf("%v", a)
	}
}

func TestAPurposeIsStatedOrFixedAndNeverInvented(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	undecided := s.signInTo("undecided", "", "Practitioner/d1", "doctor")
	ask := func(purpose string) reply {
		a := asking{method: "GET", path: "/fhir/Observation/o1", token: undecided}
		if purpose != "" {
			a.header = map[string]string{"Wardkey-Purpose": purpose}
		}
		return s.do(a)
	}
	for purpose, want := range map[string]int{"TREAT": 200, "HRESCH": 403, "treat": 403, "TREAT,ETREAT": 403, "http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT": 403} {
		if a := ask(purpose); a.status != want {
			t.Errorf("%q: %v", purpose, a)
		}
	}
	before := s.Log.Size()
	a := ask("")
	bodies := s.since(before)
	// Clients of one role may have the role's own purpose as the default.
	if a.status == 403 && (len(bodies) != 1 || bodies[0].Kind != chain.Deny || bodies[0].Reason != "purpose") {
		t.Errorf("without a purpose: %v %v", a, kinds(bodies))
	}
}

func TestLinksAreOnOurBaseWhateverTheHeadersSay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, header := range []string{"Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL", "X-HTTP-Method-Override", "X-Patient-Id"} {
		value := map[string]string{"Forwarded": "host=evil.example", "X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/fhir/Observation/o2", "X-Patient-Id": "p2"}[header]
		if value == "" {
			value = "evil.example"
		}
		_, _, body := s.raw(fmt.Sprintf("GET /fhir/Observation?patient=p1 HTTP/1.1\r\n%s%s: %s\r\nAuthorization: Bearer %s\r\n\r\n",
			lo.Ternary(header == "Host", "", "Host: x\r\n"), header, value, s.doctor))
		if strings.Contains(body, "evil") || !strings.Contains(body, s.server.URL+"/fhir/Observation/o1") {
			t.Errorf("%s: %s", header, body)
		}
	}
}

func TestEveryRouteRefusesATokenWithoutScopes(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	token := w.signInTo("nothing", "", "Practitioner/d1", "doctor")
	open := map[string]string{
		"/fhir/metadata": "read before anything else", "/fhir/.well-known/smart-configuration": "likewise",
		"/oauth/session": "where tokens come from", "/oauth/token": "likewise", "/oauth/revoke": "the token is what it needs",
		"/chain/*": "commitments, for mirrors",
	}
	routes := w.gateway.Routes()
	if len(routes) < 25 {
		t.Fatalf("%d routes", len(routes))
	}
	for _, r := range routes {
		if open[r.Path] != "" {
			continue
		}
		path := strings.NewReplacer(":type", "Observation", ":id", "o1", ":revision", "1", "*", "x").Replace(r.Path)
		if a := w.do(asking{method: r.Method, path: path, token: token}); a.status != 401 && a.status != 403 && a.status != 404 {
			t.Errorf("%s %s: %v", r.Method, r.Path, a)
		}
		if r.Path == "/api/enrol" || r.Path == "/api/relations" {
			continue // the statement is its own proof
		}
		if a := w.do(asking{method: r.Method, path: path}); a.status != 401 {
			t.Errorf("%s %s without a token: %v", r.Method, r.Path, a)
		}
	}
}

func TestScopesNarrowWhatASessionMayAskFor(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	narrow := s.signInTo("scoped", "user/Observation.r", "Practitioner/d1", "doctor")
	for path, want := range map[string]int{"/fhir/Observation/o1": 200, "/fhir/Observation?patient=p1": 403, "/fhir/Patient/p1": 403, "/fhir/Condition/x": 403} {
		before := s.Log.Size()
		a := s.get(narrow, path)
		if a.status != want {
			t.Errorf("%s: %v", path, a)
		}
		if want == 403 {
			if b := s.since(before); len(b) != 1 || b[0].Reason != "scope" || b[0].Patient != "" {
				t.Errorf("%s left %v", path, kinds(b))
			}
		}
	}
	if a := s.do(asking{method: "POST", path: "/fhir/Observation", token: narrow, body: weight(t, "x", "p1", 1)}); a.status != 403 {
		t.Errorf("create: %v", a)
	}
}

func TestLogLinesHoldNoContent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.GrantTo("Practitioner/d1", "Patient/p2", time.Hour)
	secret := "Zanzibar-Secret"
	for _, a := range []asking{
		{method: "GET", path: "/fhir/Observation/o1", token: s.doctor},
		{method: "GET", path: "/fhir/Observation/" + secret, token: s.doctor},
		{method: "GET", path: "/fhir/Patient?name=" + secret + "&birthdate=1970-02-03", token: s.doctor},
		{method: "GET", path: "/fhir/Patient?identifier=" + secret, token: s.doctor},
		{method: "GET", path: "/fhir/Observation?" + secret + "=1", token: s.doctor},
		{method: "GET", path: "/" + secret, token: s.doctor},
		{method: secret[:8], path: "/fhir/Observation/o1", token: s.doctor},
		{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: `{"resourceType":"Observation","id":"o1","` + secret + `":1,"` + secret + `":1}`},
		{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: `{"resourceType":"Observation","id":"o1","subject":{"reference":"` + secret + `"}}`},
		{method: "POST", path: "/oauth/token", body: url.Values{"grant_type": {secret}, "subject_token": {secret}}},
		{method: "POST", path: "/api/grants", token: s.signIn("Patient/p1"), body: map[string]any{"grant": secret}},
		{method: "POST", path: "/fhir", token: s.loader, body: `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/` + secret + `"}}]}`},
	} {
		s.do(a)
	}
	s.line.when(func(r *http.Request) fault { return lo.Ternary(writes(r), invalid, fine) })
	s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 9)})
	s.check(s.gateway.Close())
	for line := range strings.Lines(s.logs.String()) {
		for _, canary := range []string{secret, "Canary-", "canary-note", "MRN-00", "555-0100", "Yellow", "29463-7", "SECRET-OF-THE-STORE", s.doctor, s.loader} {
			if strings.Contains(line, canary) {
				t.Errorf("%q in a log line: %s", canary, line)
			}
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func FuzzTargetsThatPassHaveOneReading(f *testing.F) {
	for _, seed := range []string{"/fhir/Patient/p1", "/fhir/Patient/../p2", "/fhir/a%2fb?x=1", "/?", "", "*", "/a?b#c", "//", "/fhir/$op", "/fhir/é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if gateway.CheckTarget(target) != nil {
			return
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return // refused further down
		}
		path, _, _ := strings.Cut(target, "?")
		if u.Path != path || u.RawPath != "" || u.Host != "" || strings.Contains(u.Path, "//") || strings.Contains(u.Path+"/", "/../") || strings.Contains(u.Path+"/", "/./") {
			t.Errorf("%q is read as %+v", target, u)
		}
	})
}

func FuzzJSONThatPassesHasEachMemberOnce(f *testing.F) {
	for _, seed := range []string{`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"a":{"b":[{"c":1}]}}`, `{}{}`, `[`, `"x"`, `{"a":1}`, `{"\u0061":1,"a":2}`, ` {} `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if gateway.OnceEach(data) != nil {
			return
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatalf("%q passes and is not JSON: %v", data, err)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		// As many members come out as went in: none was swallowed by another.
		if count(data) != count(again) {
			t.Errorf("%q has lost members: %q", data, again)
		}
	})
}

// count is how many tokens there are.
func count(data []byte) (n int) {
	for d := json.NewDecoder(bytes.NewReader(data)); ; n++ {
		if _, err := d.Token(); err != nil {
			return n
		}
	}
}
