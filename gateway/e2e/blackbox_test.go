package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// observation is one that the tests write themselves.
func observation(patient string, value int) map[string]any {
	return map[string]any{
		"resourceType": "Observation", "status": "final",
		"category":          []any{map[string]any{"coding": []any{map[string]any{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}}}},
		"code":              map[string]any{"coding": []any{map[string]any{"system": "http://loinc.org", "code": "8867-4"}}},
		"subject":           map[string]any{"reference": "Patient/" + patient},
		"effectiveDateTime": "2026-11-23T10:00:00Z",
		"valueQuantity":     map[string]any{"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
	}
}

// create writes an observation as the loader and returns its id.
func (h *hospital) create(t *testing.T, patient string, value int) string {
	t.Helper()
	r := h.ask(t, http.MethodPost, "/fhir/Observation", h.Tokens.Loader, observation(patient, value), "Content-Type", "application/fhir+json")
	if r.status != http.StatusCreated || r.entry() == "" {
		t.Fatalf("create: %d %s, entry %q", r.status, r.body, r.entry())
	}
	id, _ := r.json(t)["id"].(string)
	if !strings.HasPrefix(r.header.Get("Location"), h.FHIR+"/Observation/"+id+"/_history/1") {
		t.Errorf("Location is %q", r.header.Get("Location"))
	}
	return id
}

func signature(t *testing.T, seed, domain string, digest []byte) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(b), append([]byte(domain), digest...)))
}

// statementDigest computes what a patient signs with nothing but the JSON that
// was shown, JSON and CBOR: what anybody's software can do.
func statementDigest(t *testing.T, document map[string]any) []byte {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := mode.Marshal(integers(t, tree))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(encoded)
	return sum[:]
}

func integers(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = integers(t, v[k])
		}
		return v
	case []any:
		for i := range v {
			v[i] = integers(t, v[i])
		}
		return v
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			t.Fatalf("a statement holds the number %s", v)
		}
		return n
	default:
		return v
	}
}

// preview asks for a grant of a patient's heart rates to the doctor.
func (h *hospital) preview(t *testing.T, token, patient string, until time.Time) (grant any, digest []byte) {
	t.Helper()
	r := h.ask(t, http.MethodPost, "/api/grants/preview", token, map[string]any{
		"patient": "Patient/" + patient, "actors": []string{h.Refs.Doctor}, "classes": []string{"Observation"},
		"categories": []string{"vital-signs"}, "purposes": []string{"TREAT"},
		"until": until.UTC().Format(time.RFC3339),
	})
	if r.status != http.StatusOK {
		t.Fatalf("preview: %d %s", r.status, r.body)
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.UseNumber()
	var shown map[string]any
	if err := dec.Decode(&shown); err != nil {
		t.Fatal(err)
	}
	digest = statementDigest(t, map[string]any{"grant": shown["grant"], "sentence": shown["sentence"]})
	if shown["digest"] != base64.RawURLEncoding.EncodeToString(digest) {
		t.Fatalf("the digest shown, %v, is not that of the statement shown, %x", shown["digest"], digest)
	}
	return shown["grant"], digest
}

func TestAGrantOpensItsWithdrawalClosesAndNobodyElseCanSignIt(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	id := h.create(t, h.Patients.A, 61)
	url := "/fhir/Observation/" + id
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil); r.status != http.StatusNotFound {
		t.Fatalf("before the grant: %d", r.status)
	}
	grant, digest := h.preview(t, h.Tokens.Patient, h.Patients.A, time.Now().Add(10*time.Minute))
	for name, seed := range map[string]string{"the doctor": h.Keys.Doctor, "another patient": h.Keys.PatientB, "governance": h.Keys.Governance[0]} {
		r := h.ask(t, http.MethodPost, "/api/grants", h.Tokens.Patient, map[string]any{"grant": grant, "signature": signature(t, seed, "wardkey-grant-v1\x00", digest)})
		if r.status < 400 || r.status >= 500 {
			t.Errorf("signed by %s: %d %s", name, r.status, r.body)
		}
	}
	if r := h.ask(t, http.MethodPost, "/api/grants", h.Tokens.Patient, map[string]any{"grant": grant, "signature": signature(t, h.Keys.Patient, "wardkey-withdraw-v1\x00", digest)}); r.status < 400 || r.status >= 500 {
		t.Errorf("signed as a withdrawal: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil); r.status != http.StatusNotFound {
		t.Fatalf("after forged grants: %d", r.status)
	}
	r := h.ask(t, http.MethodPost, "/api/grants", h.Tokens.Patient, map[string]any{"grant": grant, "signature": signature(t, h.Keys.Patient, "wardkey-grant-v1\x00", digest)})
	if r.status != http.StatusOK && r.status != http.StatusCreated {
		t.Fatalf("grant: %d %s", r.status, r.body)
	}
	made := r.json(t)
	r = h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil)
	if r.status != http.StatusOK || r.entry() == "" {
		t.Fatalf("with the grant: %d %s", r.status, r.body)
	}
	if value := r.json(t)["valueQuantity"]; fmt.Sprint(value.(map[string]any)["value"]) != "61" {
		t.Errorf("read %v", value)
	}
	for name, token := range map[string]string{"second-doctor": h.Tokens.SecondDoctor, "nurse": h.Tokens.Nurse, "outsider": h.Tokens.Outsider} {
		if r := h.ask(t, http.MethodGet, url, token, nil); r.status != http.StatusNotFound {
			t.Errorf("%s, whom it does not name: %d", name, r.status)
		}
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil, "Wardkey-Purpose", "HRESCH"); r.status != http.StatusForbidden {
		t.Errorf("for a purpose that the session does not have: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil, "Wardkey-Purpose", "CAREMGT"); r.status != http.StatusNotFound {
		t.Errorf("for a purpose that was not granted: %d", r.status)
	}
	withdraw := fmt.Sprintf("/api/grants/%s/withdraw", made["id"])
	if r := h.ask(t, http.MethodPost, withdraw, h.Tokens.Patient, map[string]any{"signature": signature(t, h.Keys.Doctor, "wardkey-withdraw-v1\x00", digest)}); r.status < 400 {
		t.Errorf("withdrawn by the doctor's key: %d", r.status)
	}
	if r := h.ask(t, http.MethodPost, withdraw, h.Tokens.Patient, map[string]any{"signature": signature(t, h.Keys.Patient, "wardkey-withdraw-v1\x00", digest)}); r.status != http.StatusOK {
		t.Fatalf("withdraw: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Doctor, nil); r.status != http.StatusNotFound {
		t.Errorf("after the withdrawal: %d", r.status)
	}
}

func TestHiddenAndAbsentAreToldAlike(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	hidden := h.create(t, h.Patients.B, 62)
	for _, token := range []string{h.Tokens.Outsider, h.Tokens.Doctor, h.Tokens.Patient} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := h.ask(t, method, "/fhir/Observation/"+hidden, token, nil)
			b := h.ask(t, method, "/fhir/Observation/never-there", token, nil)
			if a.status != http.StatusNotFound || b.status != http.StatusNotFound || !bytes.Equal(a.body, b.body) {
				t.Errorf("%s: hidden %d %s, absent %d %s", method, a.status, a.body, b.status, b.body)
			}
			if x, y := slices.Sorted(maps.Keys(a.header)), slices.Sorted(maps.Keys(b.header)); !slices.Equal(x, y) {
				t.Errorf("%s: headers %v and %v", method, x, y)
			}
			if a.entry() == "" || b.entry() == "" {
				t.Errorf("%s: entries %q and %q", method, a.entry(), b.entry())
			}
		}
	}
}

func TestTheLoaderCreatesUpdatesAndDeletes(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	id := h.create(t, h.Patients.B, 63)
	url := "/fhir/Observation/" + id
	changed := observation(h.Patients.B, 64)
	changed["id"] = id
	put := func(match string) reply {
		return h.ask(t, http.MethodPut, url, h.Tokens.Loader, changed, "Content-Type", "application/fhir+json", "If-Match", match)
	}
	if r := put(`W/"1"`); r.status != http.StatusOK || r.header.Get("ETag") != `W/"2"` {
		t.Fatalf("update: %d %s, ETag %s", r.status, r.body, r.header.Get("ETag"))
	}
	if r := put(`W/"1"`); r.status != http.StatusPreconditionFailed {
		t.Errorf("update of an old version: %d", r.status)
	}
	moved := observation(h.Patients.A, 64)
	moved["id"] = id
	if r := h.ask(t, http.MethodPut, url, h.Tokens.Loader, moved, "Content-Type", "application/fhir+json"); r.status != http.StatusForbidden {
		t.Errorf("moved to another patient: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.PatientB, nil); r.status != http.StatusOK || !strings.Contains(string(r.body), `"value":64`) {
		t.Errorf("the patient reads %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, url+"/_history/1", h.Tokens.PatientB, nil); r.status != http.StatusOK || !strings.Contains(string(r.body), `"value":63`) {
		t.Errorf("the patient reads version 1: %d %s", r.status, r.body)
	}
	for name, token := range map[string]string{"doctor": h.Tokens.Doctor, "patient": h.Tokens.PatientB, "outsider": h.Tokens.Outsider} {
		if r := h.ask(t, http.MethodDelete, url, token, nil); r.status < 400 {
			t.Errorf("deleted by %s: %d", name, r.status)
		}
	}
	if r := h.ask(t, http.MethodDelete, url, h.Tokens.Loader, nil); r.status != http.StatusNoContent && r.status != http.StatusOK {
		t.Fatalf("delete: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.PatientB, nil); r.status != http.StatusGone {
		t.Errorf("deleted, to who could read it: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, url, h.Tokens.Outsider, nil); r.status != http.StatusNotFound {
		t.Errorf("deleted, to anybody else: %d", r.status)
	}
}

func TestWhatIsNotUnderstoodIsRefusedAndReachesNothing(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	own, err := json.Marshal(observation(h.Patients.A, 65))
	if err != nil {
		t.Fatal(err)
	}
	mrn := map[string]any{"resourceType": "Patient", "id": "mrn-4711", "identifier": []any{map[string]any{"system": "urn:mrn", "value": "mrn-4711"}}}
	for name, tc := range map[string]struct {
		method, path string
		body         any
		headers      []string
		want         int
	}{
		"unknown parameter":     {"GET", "/fhir/Observation?patient=" + h.Patients.A + "&colour=red", nil, nil, 400},
		"unknown modifier":      {"GET", "/fhir/Observation?patient=" + h.Patients.A + "&code:fuzzy=x", nil, nil, 400},
		"foreign reference":     {"GET", "/fhir/Observation?patient=http://evil.example/Patient/" + h.Patients.A, nil, nil, 400},
		"dots":                  {"GET", "/fhir/Patient/x/../" + h.Patients.A, nil, nil, 400},
		"encoded slash":         {"GET", "/fhir/Patient/x%2F" + h.Patients.A, nil, nil, 400},
		"double slash":          {"GET", "/fhir//Patient/" + h.Patients.A, nil, nil, 400},
		"semicolon":             {"GET", "/fhir/Patient/" + h.Patients.A + ";x=1", nil, nil, 400},
		"odd id":                {"GET", "/fhir/Patient/a_b", nil, nil, 400},
		"unknown type":          {"GET", "/fhir/Unicorn/1", nil, nil, 404},
		"unsupported method":    {"PATCH", "/fhir/Observation", []byte(`[]`), []string{"Content-Type", "application/json-patch+json"}, 501},
		"duplicate keys":        {"POST", "/fhir/Observation", []byte(`{"resourceType":"Observation","status":"final","status":"final"}`), nil, 400},
		"two documents":         {"POST", "/fhir/Observation", append(slices.Clone(own), own...), nil, 400},
		"not JSON":              {"POST", "/fhir/Observation", []byte(`<Observation/>`), nil, 400},
		"too deep":              {"POST", "/fhir/Observation", []byte(deep), nil, 400},
		"another type":          {"POST", "/fhir/Condition", own, nil, 400},
		"XML":                   {"POST", "/fhir/Observation", []byte(`<Observation/>`), []string{"Content-Type", "application/fhir+xml"}, 415},
		"wants XML":             {"GET", "/fhir/Patient/" + h.Patients.A, nil, []string{"Accept", "application/fhir+xml"}, 406},
		"no subject":            {"POST", "/fhir/Observation", []byte(`{"resourceType":"Observation","status":"final"}`), nil, 422},
		"id is an identifier":   {"PUT", "/fhir/Patient/mrn-4711", mrn, nil, 422},
		"an audit event":        {"POST", "/fhir/AuditEvent", []byte(`{"resourceType":"AuditEvent"}`), nil, 403},
		"an oversized document": {"POST", "/fhir/Observation", bytes.Repeat([]byte(" "), 11<<20), nil, 413},
	} {
		headers := tc.headers
		if len(headers) == 0 && tc.body != nil {
			headers = []string{"Content-Type", "application/fhir+json"}
		}
		r := h.ask(t, tc.method, tc.path, h.Tokens.Loader, tc.body, headers...)
		if r.status != tc.want {
			t.Errorf("%s: %d, want %d: %.300s", name, r.status, tc.want, r.body)
		}
		if r.status >= 400 && !strings.Contains(string(r.body), "OperationOutcome") {
			t.Errorf("%s: the answer is no OperationOutcome: %.300s", name, r.body)
		}
	}
}
