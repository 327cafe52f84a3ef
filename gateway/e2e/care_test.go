package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestACareRelationshipLetsADoctorDocumentAndNobodyInventsOne(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	write := func(token string) reply {
		return h.ask(t, http.MethodPost, "/fhir/Observation", token, observation(h.Patients.B, 71), "Content-Type", "application/fhir+json")
	}
	if r := write(h.Tokens.SecondDoctor); r.status != http.StatusForbidden {
		t.Fatalf("without a relationship: %d %s", r.status, r.body)
	}
	r := h.ask(t, http.MethodPost, "/api/relations/preview", h.Tokens.SecondDoctor, map[string]any{
		"kind": "treats", "subject": h.Refs.SecondDoctor, "patient": h.Refs.PatientB, "until": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	})
	if r.status != http.StatusOK {
		t.Fatalf("preview: %d %s", r.status, r.body)
	}
	var shown struct {
		Relation json.RawMessage `json:"relation"`
		Digest   string          `json:"digest"`
	}
	if err := json.Unmarshal(r.body, &shown); err != nil {
		t.Fatal(err)
	}
	digest, err := base64.RawURLEncoding.DecodeString(shown.Digest)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(signer, seed string) reply {
		return h.ask(t, http.MethodPost, "/api/relations", h.Tokens.SecondDoctor, map[string]any{
			"relation":   shown.Relation,
			"signatures": []any{map[string]any{"signer": signer, "value": signature(t, seed, "wardkey-relation-v1\x00", digest)}},
		})
	}
	for who, r := range map[string]reply{
		"the doctor, for the ADT system": signed("adt", h.Keys.SecondDoctor),
		"the doctor":                     signed(h.Refs.SecondDoctor, h.Keys.SecondDoctor),
		"a registrar":                    signed("registrar", h.Keys.Registrar),
	} {
		if r.status < 400 || r.status >= 500 {
			t.Errorf("signed by %s: %d %s", who, r.status, r.body)
		}
	}
	if r := write(h.Tokens.SecondDoctor); r.status != http.StatusForbidden {
		t.Fatalf("after forged relationships: %d", r.status)
	}
	if r := signed("adt", h.Keys.ADT); r.status >= 300 {
		t.Fatalf("signed by the ADT system: %d %s", r.status, r.body)
	}
	if r := write(h.Tokens.SecondDoctor); r.status != http.StatusCreated || r.entry() == "" {
		t.Errorf("with the relationship: %d %s", r.status, r.body)
	}
	if r := write(h.Tokens.Doctor); r.status != http.StatusForbidden {
		t.Errorf("another doctor: %d", r.status)
	}
	// Treating is no consent: reading still waits for the patient.
	if r := h.ask(t, http.MethodGet, "/fhir/"+h.Refs.PatientB, h.Tokens.SecondDoctor, nil); r.status != http.StatusNotFound {
		t.Errorf("reading without consent: %d", r.status)
	}
}

// TestAnApplicationSignsItsUserInKnowingNothingButTheIssuer goes the way of any
// OpenID Connect application: discovery, code with PKCE, and the exchange of the
// ID token for a session.
func TestAnApplicationSignsItsUserInKnowingNothingButTheIssuer(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	found := h.ask(t, http.MethodGet, h.IDP+"/.well-known/openid-configuration", "", nil).json(t)
	authorize, _ := found["authorization_endpoint"].(string)
	token, _ := found["token_endpoint"].(string)

	form := func(to string, v url.Values) map[string]any {
		t.Helper()
		r := h.ask(t, http.MethodPost, to, "", []byte(v.Encode()), "Content-Type", "application/x-www-form-urlencoded")
		if r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", to, r.status, r.body)
		}
		return r.json(t)
	}
	const app, verifier, redirect = "demo-patient", "a-verifier-that-nobody-guesses-0123456789abcdef", "http://localhost:5555/demo/callback"
	begun := form("/oauth/session", url.Values{"client_id": {app}})
	session, _ := begun["session"].(string)
	nonce, _ := begun["nonce"].(string)
	sum := sha256.Sum256([]byte(verifier))
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(authorize + "?" + url.Values{
		"response_type": {"code"}, "client_id": {app}, "redirect_uri": {redirect}, "scope": {"openid fhirUser"}, "state": {"x"}, "nonce": {nonce},
		"login_hint": {"patient-b"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	back, err := resp.Location()
	if err != nil || !strings.HasPrefix(back.String(), redirect+"?") {
		t.Fatalf("sent back to %v, %v", back, err)
	}
	signed := form(token, url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "client_id": {app}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	})
	idToken, _ := signed["id_token"].(string)
	exchange := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {app}, "session": {session},
		"subject_token": {idToken}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
	// The patient has a key, and the identity provider's word alone is not enough.
	exchange.Set("signature", signature(t, h.Keys.Patient, "wardkey-signin-v1\x00", []byte(nonce)))
	if r := h.ask(t, http.MethodPost, "/oauth/token", "", []byte(exchange.Encode()), "Content-Type", "application/x-www-form-urlencoded"); r.status != http.StatusBadRequest {
		t.Errorf("by another patient's key: %d %s", r.status, r.body)
	}
	exchange.Set("signature", signature(t, h.Keys.PatientB, "wardkey-signin-v1\x00", []byte(nonce)))
	access, _ := form("/oauth/token", exchange)["access_token"].(string)
	if r := h.ask(t, http.MethodGet, "/fhir/"+h.Refs.PatientB, access, nil); r.status != http.StatusOK {
		t.Errorf("with the session: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, "/fhir/"+h.Refs.Patient, access, nil); r.status != http.StatusNotFound {
		t.Errorf("another patient's record: %d", r.status)
	}
	// An ID token opens one session, once.
	r := h.ask(t, http.MethodPost, "/oauth/token", "", []byte(exchange.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if r.status != http.StatusBadRequest {
		t.Errorf("used again: %d %s", r.status, r.body)
	}
	other, _ := form("/oauth/session", url.Values{"client_id": {app}})["session"].(string)
	exchange.Set("session", other)
	r = h.ask(t, http.MethodPost, "/oauth/token", "", []byte(exchange.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if r.status != http.StatusBadRequest {
		t.Errorf("for another session: %d %s", r.status, r.body)
	}
}

func TestABatchAnswersEachOfItsEntriesAsIfItHadComeAlone(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	get := func(url string) map[string]any {
		return map[string]any{"request": map[string]any{"method": "GET", "url": url}}
	}
	r := h.ask(t, http.MethodPost, "/fhir", h.Tokens.Patient, map[string]any{
		"resourceType": "Bundle", "type": "batch", "entry": []any{
			get(h.Refs.Patient), get(h.Refs.PatientB), get("Observation?patient=" + h.Patients.A + "&_count=1"), get("Observation?colour=red"),
		},
	}, "Content-Type", "application/fhir+json")
	if r.status != http.StatusOK {
		t.Fatalf("batch: %d %s", r.status, r.body)
	}
	entries, _ := r.json(t)["entry"].([]any)
	for i, want := range []string{"200", "404", "200", "400"} {
		if i >= len(entries) {
			t.Fatalf("%d entries", len(entries))
		}
		response, _ := entries[i].(map[string]any)["response"].(map[string]any)
		if status, _ := response["status"].(string); !strings.HasPrefix(status, want) {
			t.Errorf("entry %d: %q, want %s", i, status, want)
		}
	}
	if got := len(strings.Split(r.entry(), ",")); got < 3 {
		t.Errorf("Wardkey-Entry is %q", r.entry())
	}
}
