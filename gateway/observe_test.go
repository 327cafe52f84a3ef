package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/records"
)

func practitioner(t testing.TB, id, family string) *fhir.Resource {
	t.Helper()
	return resourceOf(t, fmt.Sprintf(`{"resourceType":"Practitioner","id":%q,"active":true,"name":[{"family":%q}]}`, id, family))
}

func TestTypesInClearAreScopeCheckedAndLoggedWithoutCustodians(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.load(s.loader, practitioner(t, "d1", "Okafor"), practitioner(t, "d2", "Ito"), practitioner(t, "d3", "Okada"))
	for _, c := range s.Custodians {
		c.Sleep()
	}
	before := s.Log.Size()
	a := s.get(s.doctor, "/fhir/Practitioner/d1")
	if a.status != 200 || a.resource(t).ID() != "d1" || a.header.Get("ETag") == "" {
		t.Fatalf("%v", a)
	}
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Access}) {
		t.Errorf("entries %v", got)
	}
	found := s.get(s.doctor, "/fhir/Practitioner?family=oka&_count=1")
	if found.status != 200 || len(found.matches(t)) != 1 || len(found.entries(t)) != 1 {
		t.Errorf("%v", found)
	}
	if all, pages := s.pages(s.doctor, "/fhir/Practitioner?family=oka&_count=1"); len(all) != 2 || pages < 2 {
		t.Errorf("%v in %d pages", all, pages)
	}
	for _, link := range found.bundle(t).Links {
		if !strings.HasPrefix(link.URL, s.server.URL+"/fhir/") {
			t.Errorf("a link leaves our base: %s", link.URL)
		}
	}
	for query, status := range map[string]int{"?nonsense=1": 400, "?_include=Practitioner:x": 400, "?name=Ito&name:exact=Ito": 200, "?_has:Observation:performer:code=1": 400, "?family:foo=x": 400} {
		if a := s.get(s.doctor, "/fhir/Practitioner"+query); a.status != status {
			t.Errorf("%s: %v", query, a)
		}
	}
	absent := s.get(s.doctor, "/fhir/Practitioner/none")
	if absent.status != 404 || len(absent.entries(t)) != 1 {
		t.Errorf("%v", absent)
	}
	if a := s.get(s.signInNarrow(), "/fhir/Practitioner/d1"); a.status != 403 {
		t.Errorf("without the scope: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Practitioner/d1/_history"); a.status != 200 || len(a.bundle(t).Entries) != 1 {
		t.Errorf("history: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Practitioner/d1/_history/1"); a.status != 200 {
		t.Errorf("vread: %v", a)
	}
}

// signInNarrow signs in with scopes that do not cover Practitioner; custodians
// are woken for it.
func (s *scene) signInNarrow() string {
	s.t.Helper()
	for _, c := range s.Custodians {
		c.Wake()
	}
	return s.signInTo("scoped", "", "Practitioner/d1", "doctor")
}

func TestTypesInClearAreWrittenByLoadersAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if a := s.do(asking{method: "POST", path: "/fhir/Practitioner", token: s.doctor, body: practitioner(t, "x", "X")}); a.status != 403 {
		t.Errorf("by a doctor: %v", a)
	}
	before := s.Log.Size()
	s.load(s.loader, practitioner(t, "d1", "Okafor"))
	if got := kinds(s.since(before)); !slices.Equal(got, []chain.Kind{chain.Write}) {
		t.Errorf("entries %v", got)
	}
	version := s.get(s.doctor, "/fhir/Practitioner/d1").header.Get("ETag")
	put := func(match string) reply {
		return s.do(asking{method: "PUT", path: "/fhir/Practitioner/d1", token: s.loader, body: practitioner(t, "d1", "Okafor-Lee"), header: map[string]string{"If-Match": match}})
	}
	if a := put(`W/"99"`); a.status != 412 && a.status != 409 {
		t.Errorf("another version: %v", a)
	}
	if a := put(version); a.status != 200 {
		t.Errorf("%v", a)
	}
	before = s.Log.Size()
	s.line.when(func(r *http.Request) fault { return lo.Ternary(writes(r), lost, fine) })
	if a := put(""); a.status != 200 {
		t.Errorf("the answer got lost: %v", a)
	}
	s.line.when(func(r *http.Request) fault { return lo.Ternary(writes(r), invalid, fine) })
	if a := put(""); a.status != 422 {
		t.Errorf("refused: %v", a)
	}
	s.line.when(nil)
	if got := s.written(before); !slices.Equal(got, []chain.Kind{chain.Write, chain.Write, chain.WriteFailed}) {
		t.Errorf("entries %v", got)
	}
	if a := s.do(asking{method: "DELETE", path: "/fhir/Practitioner/d1", token: s.loader}); a.status != 204 {
		t.Errorf("delete: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Practitioner/d1"); a.status != 404 {
		t.Errorf("deleted: %v", a)
	}
}

func TestASealedTypeNeverPassesThrough(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.line.when(func(r *http.Request) fault {
		return lo.Ternary(strings.Contains(r.URL.Path, "Practitioner"), foreign, fine)
	})
	if a := s.get(s.doctor, "/fhir/Practitioner?family=x"); a.status == 200 && len(a.matches(t)) != 0 || strings.Contains(string(a.body), "Observation/o2") {
		t.Errorf("a store that answers a search with another type: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Practitioner/o2"); a.status == 200 {
		t.Errorf("a store that answers a read with another type: %v", a)
	}
}

func TestTheCapabilityStatementIsWhatWorks(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	a := s.do(asking{method: "GET", path: "/fhir/metadata", header: map[string]string{"Origin": "https://app.example"}})
	if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%v %v", a, a.header)
	}
	tree := a.resource(t).Tree()
	rest := tree["rest"].([]any)[0].(map[string]any)
	if !strings.Contains(string(a.body), s.server.URL+"/oauth/token") {
		t.Error("no token endpoint")
	}
	declared := map[string][]string{}
	for _, r := range rest["resource"].([]any) {
		r := r.(map[string]any)
		typ := r["type"].(string)
		for _, p := range r["searchParam"].([]any) {
			declared[typ] = append(declared[typ], p.(map[string]any)["name"].(string))
		}
	}
	for typ, params := range map[string][]string{
		"Observation": {"patient", "code", "category", "date", "_id", "_lastUpdated", "subject", "encounter"}, "Patient": {"_id", "identifier", "birthdate", "family"},
		"Condition": {"patient", "onset-date"}, "Practitioner": {"name"},
	} {
		if !lo.Every(declared[typ], params) {
			t.Errorf("%s: %v, want %v", typ, declared[typ], params)
		}
	}
	values := map[string]string{"token": "x", "reference": "Patient/p1", "date": "2020", "string": "x", "number": "1", "quantity": "1", "uri": "urn:x"}
	for typ, params := range declared {
		for _, p := range fhir.Params(typ) {
			if typ == "Patient" && p.Name != "_id" {
				continue // look-ups go by combinations
			}
			value := values[p.Type]
			if p.Type == "reference" && p.Target != nil && !slices.Contains(p.Target, "Patient") {
				value = p.Target[0] + "/x"
			}
			a := s.get(s.doctor, "/fhir/"+typ+"?"+p.Name+"="+value)
			if works := a.status == 200; works != slices.Contains(params, p.Name) {
				t.Errorf("%s?%s=%s: %d, declared: %v", typ, p.Name, value, a.status, !works)
			}
		}
	}
	for _, typ := range []string{"AuditEvent", "Consent", "Provenance", "Questionnaire"} {
		if declared[typ] != nil {
			t.Errorf("%s is declared", typ)
		}
	}
}

func TestCORSIsWhereItBelongs(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	for path, public := range map[string]bool{"/fhir/metadata": true, "/fhir/.well-known/smart-configuration": true, "/fhir/Patient/p1": false, "/fhir": false, "/api/grants": false, "/oauth/token": false} {
		a := w.do(asking{method: "OPTIONS", path: path, header: map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}})
		if public != (a.status == 204 && a.header.Get("Access-Control-Allow-Origin") == "*") || !public && a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		if strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s lets tokens through: %v", path, a.header)
		}
	}
	a := w.do(asking{method: "GET", path: "/fhir/.well-known/smart-configuration"})
	o := a.object(t)
	if a.status != 200 || o["token_endpoint"] != w.server.URL+"/oauth/token" || o["authorization_endpoint"] != nil || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("%v", a)
	}
	if a := w.get(w.signIn("Practitioner/d1", "doctor"), "/fhir/Patient/x"); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", a.header)
	}
}

func TestTheAdminListenerTellsHowThingsStand(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.gateway.AdminHandler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		body, err := io.ReadAll(w.Result().Body)
		s.check(err)
		return w.Code, string(body)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("healthz %d", status)
	}
	s.get(s.doctor, "/fhir/Observation/o1")
	if status, body := get("/readyz"); status != 200 {
		t.Errorf("readyz %d %s", status, body)
	}
	status, body := get("/metrics")
	for _, metric := range []string{`gateway_requests_total{method="GET",route="/fhir/:type/:id",status="200"}`, "gateway_request_seconds_bucket", `gateway_decisions_total{reason="permitted"}`, "gateway_open_intents"} {
		if status != 200 || !strings.Contains(body, metric) {
			t.Errorf("no %s", metric)
		}
	}
	if strings.Contains(body, "o1") || strings.Contains(body, "p1") {
		t.Error("metrics hold ids")
	}
	for _, c := range s.Custodians[:2] {
		c.Sleep()
	}
	s.get(s.doctor, "/fhir/Observation/o1")
	s.eventually("it is not ready", func() bool { status, _ := get("/readyz"); return status == 503 })
	if status, _ := get("/fhir/metadata"); status != 404 {
		t.Errorf("the admin listener serves FHIR: %d", status)
	}
}

func TestClosingWritesDownWhatWasReturned(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.Log.Size()
	for range 3 {
		s.get(s.doctor, "/fhir/Observation/o1")
	}
	s.get(s.doctor, "/fhir/Observation?patient=p1&date=2026-01-05")
	s.check(s.gateway.Close())
	var returned int
	for _, b := range s.since(before) {
		if b.Kind == chain.Returned {
			returned++
			if len(b.Returned) != 1 || b.Patient != "Patient/p1" || b.Correlation == "" {
				t.Errorf("%+v", b.Entry)
			}
		}
	}
	if returned != 4 {
		t.Errorf("%d follow-ups, want 4", returned)
	}
}

func TestFollowUpsWaitForALogThatFailsForAWhile(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	failed := make(chan struct{}, 64)
	s.chain.failWhen(func(e chain.Entry) bool {
		if e.Kind == chain.Returned {
			failed <- struct{}{}
		}
		return e.Kind == chain.Returned
	})
	a := s.get(s.doctor, "/fhir/Observation/o1")
	correlation := s.body(a.entries(t)[0]).Correlation
	<-failed
	s.chain.failWhen(nil)
	s.eventually("it is in the log", func() bool {
		return lo.SomeBy(s.since(0), func(b *chain.Body) bool { return b.Kind == chain.Returned && b.Correlation == correlation })
	})
}

func TestTooManyRequestsAtOnceAreToldToComeBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, wardOptions{edit: func(c *gateway.Config) { c.Limits.Requests = 1 }})
	arrived, release := make(chan struct{}), make(chan struct{})
	s.line.when(func(*http.Request) fault {
		close(arrived)
		<-release
		return fine
	})
	done := make(chan reply)
	go func() { done <- s.get(s.doctor, "/fhir/Observation/o1") }()
	<-arrived
	a := s.get(s.doctor, "/fhir/Observation/o1")
	s.line.when(nil)
	close(release)
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%v", a)
	}
	if first := <-done; first.status != 200 {
		t.Errorf("the first: %v", first)
	}
}

func TestTheChainIsServedToMirrors(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.loader()
	w.check(w.Log.Publish(t.Context()))
	a := w.get("", "/chain/checkpoint")
	if a.status != 200 || !strings.HasPrefix(string(a.body), "hospital.example/log\n") {
		t.Errorf("%v", a)
	}
}

func TestOutcomesAreJSONForEveryKindOfMistake(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, path := range []string{"/fhir/Observation/none", "/api/grants?patient=x", "/nowhere"} {
		a := s.get(s.doctor, path)
		var o struct {
			ResourceType string
			Issue        []struct {
				Severity, Code string
				Details        struct{ Text string }
			}
		}
		if err := json.Unmarshal(a.body, &o); err != nil || o.ResourceType != "OperationOutcome" || len(o.Issue) != 1 || o.Issue[0].Code == "" || o.Issue[0].Details.Text == "" {
			t.Errorf("%s: %v", path, a)
		}
	}
}

// completed adds what R4 requires of the type, as a skeleton has it.
func completed(t testing.TB, s *scene, r *fhir.Resource) *fhir.Resource {
	t.Helper()
	bare, err := records.Skeleton(r, s.Seal(r))
	s.check(err)
	tree := r.Tree()
	for name, v := range bare.Tree() {
		if _, there := tree[name]; !there && name != "meta" && name != "modifierExtension" {
			tree[name] = v
		}
	}
	out, err := fhir.New(tree)
	s.check(err)
	return out
}

func TestEveryTypeThatIsDeclaredIsSealedAndOpened(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	portal := s.signIn("Patient/p1")
	for typ, mode := range gateway.DefaultModes() {
		if mode != gateway.Seal || typ == "Patient" {
			continue
		}
		// Whatever element names the patient in this type, it is among these.
		const p = `{"reference":"Patient/p1"}`
		r := resourceOf(t, `{"resourceType":"`+typ+`","id":"t1","patient":`+p+`,"subject":`+p+`,"beneficiary":`+p+`,"candidate":`+p+`,"individual":`+p+`,
			"for":`+p+`,"deliverTo":`+p+`,"actor":`+p+`,"participant":[{"actor":`+p+`,"status":"accepted"}],"note":"canary-of-`+typ+`"}`)
		r = completed(t, s, r)
		if a := s.do(asking{method: "PUT", path: "/fhir/" + typ + "/t1", token: s.loader, body: r}); a.status != http.StatusCreated {
			t.Errorf("%s: %v", typ, a)
			continue
		}
		stored, err := s.upstream.Read(t.Context(), typ, "t1")
		s.check(err)
		if strings.Contains(string(stored.Resource.JSON()), "canary") {
			t.Errorf("%s is in clear", typ)
		}
		a := s.get(portal, "/fhir/"+typ+"/t1")
		if a.status != http.StatusOK {
			t.Errorf("%s: %v", typ, a)
			continue
		}
		if bare, err := a.resource(t).WithoutMeta(); err != nil || string(bare.Canonical()) != string(r.Canonical()) {
			t.Errorf("%s came back as another: %v", typ, a)
		}
	}
}
