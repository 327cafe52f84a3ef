package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
)

// batchOf makes a bundle of requests; a body may follow the URL.
func batchOf(typ string, entries ...fhir.BundleEntry) *fhir.Resource {
	return lo.Must(fhir.Bundle{Type: typ, Entries: entries}.Resource())
}

func ask(method, url string, r *fhir.Resource) fhir.BundleEntry {
	return fhir.BundleEntry{Resource: r, Request: &fhir.BundleRequest{Method: method, URL: url}}
}

func TestABatchAnswersEachEntryAsIfItHadComeAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.Log.Size()
	stale := ask("PUT", "Observation/o1", weight(t, "o1", "p1", 9))
	stale.Request.IfMatch = `W/"7"`
	a := s.do(asking{method: "POST", path: "/fhir", token: s.loader, body: batchOf("batch",
		ask("PUT", "Observation/b1", weight(t, "b1", "p1", 3)), ask("POST", "Observation", weight(t, "x", "p1", 4)), stale, ask("DELETE", "Observation/o2", nil),
	)})
	statuses := func(a reply) []string {
		return lo.Map(a.bundle(t).Entries, func(e fhir.BundleEntry, _ int) string { return e.Response.Status[:3] })
	}
	if a.status != 200 || a.bundle(t).Type != "batch-response" || !slices.Equal(statuses(a), []string{"201", "201", "412", "204"}) {
		t.Fatalf("%v", a)
	}
	if first := a.bundle(t).Entries[0].Response; first.ETag != `W/"1"` || !strings.HasPrefix(first.Location, s.server.URL+"/fhir/Observation/b1/_history/1") {
		t.Errorf("%+v", first)
	}
	if got := kinds(s.since(before)); lo.Count(got, chain.Write) != 3 || lo.Count(got, chain.Deny) != 1 || len(a.entries(t)) != 4 {
		t.Errorf("entries %v, header %v", got, a.entries(t))
	}

	before = s.Log.Size()
	a = s.do(asking{method: "POST", path: "/fhir", token: s.doctor, body: batchOf("batch",
		ask("GET", "Observation/b1", nil), ask("GET", "Observation/o2", nil), ask("GET", "Patient/p2", nil), ask("GET", "Observation?patient=p1", nil), ask("GET", "Observation/nothing", nil),
		ask("GET", s.server.URL+"/fhir/Observation/o1", nil), ask("GET", "Observation?unknown=1", nil), ask("PATCH", "Observation/o1", nil),
	)})
	if !slices.Equal(statuses(a), []string{"200", "404", "404", "200", "404", "200", "400", "501"}) {
		t.Errorf("%v", statuses(a))
	}
	entries := a.bundle(t).Entries
	if entries[0].Resource.ID() != "b1" || entries[1].Response.Outcome == nil || string(entries[1].Response.Outcome.JSON()) != string(entries[4].Response.Outcome.JSON()) {
		t.Errorf("%s", a.body)
	}
	if got := kinds(s.since(before)); len(got) != 6 || lo.Count(got, chain.Deny) != 3 {
		t.Errorf("each is in the log: %v", got)
	}
}

func TestABatchIsNoWayAroundAnything(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, e := range map[string]fhir.BundleEntry{
		"a batch in a batch":    ask("POST", "", batchOf("batch")),
		"another server":        ask("GET", "http://evil.example/fhir/Observation/o1", nil),
		"from the root":         ask("GET", "/fhir/Observation/o1", nil),
		"up":                    ask("GET", "../api/grants?patient=Patient/p1", nil),
		"down and up":           ask("GET", "Patient/p1/../../../api/grants?patient=Patient/p1", nil),
		"an escape":             ask("GET", "Observation/o1%2f..%2fo2", nil),
		"a scheme of its own":   ask("GET", "javascript://x", nil),
		"an odd method":         ask("CONNECT", "Observation/o1", nil),
		"a body on GET":         ask("GET", "Observation/o1", weight(t, "o1", "p1", 1)),
		"a space":               ask("GET", "Observation?patient=p 1", nil),
		"a newline":             ask("GET", "Observation/o1\r\nX: y", nil),
		"no request":            {Resource: weight(t, "o9", "p1", 1)},
		"no URL":                ask("GET", "", nil),
		"the base with nothing": ask("GET", s.server.URL+"/fhir", nil),
	} {
		a := s.do(asking{method: "POST", path: "/fhir", token: s.doctor, body: batchOf("batch", e)})
		if a.status != 200 && a.status != 400 || a.status == 200 && !strings.HasPrefix(a.bundle(t).Entries[0].Response.Status, "4") {
			t.Errorf("%s: %v", name, a)
		}
	}
	e := ask("POST", "Observation", weight(t, "x", "p1", 1))
	e.Request.IfNoneExist = "identifier=1"
	if a := s.do(asking{method: "POST", path: "/fhir", token: s.loader, body: batchOf("batch", e)}); !strings.HasPrefix(a.bundle(t).Entries[0].Response.Status, "501") {
		t.Errorf("conditional create: %v", a)
	}
}

func TestBundlesThatAreNoBatch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	many := lo.Times(101, func(i int) fhir.BundleEntry { return ask("GET", fmt.Sprintf("Observation/x%d", i), nil) })
	before := s.Log.Size()
	for name, tc := range map[string]struct {
		body   any
		status int
		says   string
	}{
		"transaction": {batchOf("transaction", ask("GET", "Observation/o1", nil)), http.StatusNotImplemented, "transaction"},
		"collection":  {batchOf("collection"), 400, ""},
		"no bundle":   {weight(t, "o1", "p1", 1), 400, ""},
		"no JSON":     {"{", 400, ""},
		"too many":    {batchOf("batch", many...), http.StatusRequestEntityTooLarge, "100"},
		"a form":      {`x`, 400, ""},
	} {
		a := s.do(asking{method: "POST", path: "/fhir", token: s.doctor, body: tc.body})
		if a.status != tc.status || !strings.Contains(string(a.body), tc.says) || a.resource(t).Type() != "OperationOutcome" {
			t.Errorf("%s: %v", name, a)
		}
	}
	if len(s.since(before)) != 0 {
		t.Error("something was done")
	}
	if a := s.do(asking{method: "POST", path: "/fhir", body: batchOf("batch")}); a.status != 401 {
		t.Errorf("without a token: %v", a)
	}
	if a := s.do(asking{method: "POST", path: "/fhir", token: s.doctor, body: batchOf("batch")}); a.status != 200 || len(a.bundle(t).Entries) != 0 {
		t.Errorf("an empty batch: %v", a)
	}
}
