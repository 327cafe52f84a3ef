package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// enrol enrols a new key for a person over HTTP.
func (w *ward) enrol(person string) ed25519.PrivateKey {
	w.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	w.check(err)
	a := w.do(asking{method: "POST", path: "/api/enrol", body: map[string]string{
		"person": person, "key": base64.RawURLEncoding.EncodeToString(public), "token": w.Issuer.EnrolToken(w.t, person, public),
	}})
	if a.status != http.StatusCreated {
		w.t.Fatalf("enrol: %v", a)
	}
	if w.keys == nil {
		w.keys = map[string]ed25519.PrivateKey{}
	}
	w.keys[person] = key
	return key
}

// preview asks for a grant of a patient to a doctor.
func (w *ward) preview(token, patient string, change ...string) reply {
	w.t.Helper()
	in := map[string]any{
		"patient": patient, "actors": []string{"Practitioner/d1"}, "classes": []string{"Observation"}, "categories": []string{"vital-signs"},
		"purposes": []string{"TREAT"}, "until": w.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	for i := 0; i+1 < len(change); i += 2 {
		in[change[i]] = change[i+1]
	}
	return w.do(asking{method: "POST", path: "/api/grants/preview", token: token, body: in})
}

func digestOf(t testing.TB, a reply) [32]byte {
	t.Helper()
	digest, err := base64.RawURLEncoding.DecodeString(a.object(t)["digest"].(string))
	if err != nil || len(digest) != 32 {
		t.Fatalf("digest of %v: %v", a, err)
	}
	return [32]byte(digest)
}

func TestAPatientGrantsAndWithdrawsOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.load(w.loader(), patient(t, "p1"), weight(t, "o1", "p1", 5))
	doctor, patient := w.signIn("Practitioner/d1", "doctor"), w.signIn("Patient/p1")
	key := w.enrol("Patient/p1")

	preview := w.preview(patient, "Patient/p1")
	if preview.status != 200 {
		t.Fatal(preview)
	}
	sentence := preview.object(t)["sentence"].(map[string]any)
	if sentence["en"] == "" || sentence["zh"] == "" {
		t.Errorf("no sentence: %v", preview)
	}
	digest := digestOf(t, preview)
	signed := map[string]any{"grant": preview.object(t)["grant"], "signature": signatureOf(key, policy.GrantMessage(digest))}
	if a := w.get(doctor, "/fhir/Observation/o1"); a.status != 404 {
		t.Errorf("before: %v", a)
	}
	granted := w.do(asking{method: "POST", path: "/api/grants", token: patient, body: signed})
	if granted.status != http.StatusCreated {
		t.Fatal(granted)
	}
	id := granted.object(t)["id"].(string)
	if b := w.body(granted.entries(t)[0]); b.Kind != chain.Grant || b.Patient != "Patient/p1" || b.Actor != "Patient/p1" || float64(granted.entries(t)[0]) != granted.object(t)["entry"] {
		t.Errorf("entry %+v", b.Entry)
	}
	if a := w.get(doctor, "/fhir/Observation/o1"); a.status != 200 {
		t.Errorf("granted: %v", a)
	}
	if a := w.do(asking{method: "POST", path: "/api/grants", token: patient, body: signed}); a.status != 200 {
		t.Errorf("the same grant again: %v", a)
	}

	list := w.get(patient, "/api/grants?patient=Patient/p1")
	grants := list.object(t)["grants"].([]any)
	if len(grants) != 1 || grants[0].(map[string]any)["status"] != "active" || len(list.entries(t)) != 1 {
		t.Errorf("%v", list)
	}

	withdraw := asking{method: "POST", path: "/api/grants/" + id + "/withdraw", token: patient, body: map[string]string{"signature": signatureOf(key, policy.WithdrawMessage(digest))}}
	other := withdraw
	other.token = doctor
	if a := w.do(other); a.status != 404 {
		t.Errorf("withdrawn by the doctor: %v", a)
	}
	wrong := withdraw
	wrong.body = map[string]string{"signature": signatureOf(key, policy.GrantMessage(digest))}
	if a := w.do(wrong); a.status != 422 {
		t.Errorf("a signature for something else: %v", a)
	}
	if a := w.do(withdraw); a.status != 200 {
		t.Errorf("withdraw: %v", a)
	}
	if a := w.get(doctor, "/fhir/Observation/o1"); a.status != 404 {
		t.Errorf("withdrawn: %v", a)
	}
	if a := w.get(patient, "/api/grants?patient=Patient/p1"); !strings.Contains(string(a.body), "withdrawn") {
		t.Errorf("%v", a)
	}
}

func TestNobodyGrantsForAnother(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	p1, p2, doctor := w.signIn("Patient/p1"), w.signIn("Patient/p2"), w.signIn("Practitioner/d1", "doctor")
	key, foreign := w.enrol("Patient/p1"), w.enrol("Patient/p2")
	for name, token := range map[string]string{"another patient": p2, "the doctor": doctor} {
		if a := w.preview(token, "Patient/p1"); a.status != 403 {
			t.Errorf("preview by %s: %v", name, a)
		}
		if a := w.get(token, "/api/grants?patient=Patient/p1"); a.status != 403 {
			t.Errorf("list by %s: %v", name, a)
		}
	}
	preview := w.preview(p1, "Patient/p1")
	digest := digestOf(t, preview)
	grant := preview.object(t)["grant"].(map[string]any)
	post := func(token string, grant any, signature string) reply {
		return w.do(asking{method: "POST", path: "/api/grants", token: token, body: map[string]any{"grant": grant, "signature": signature}})
	}
	size := w.Log.Size()
	changed := map[string]any{}
	w.check(json.Unmarshal(lo.Must(json.Marshal(grant)), &changed))
	changed["purposes"] = []string{policy.SystemPurpose + "|TREAT", policy.SystemPurpose + "|HRESCH"}
	unknown := map[string]any{}
	w.check(json.Unmarshal(lo.Must(json.Marshal(grant)), &unknown))
	unknown["extra"] = 1
	good := signatureOf(key, policy.GrantMessage(digest))
	for name, tc := range map[string]struct {
		a      reply
		status int
	}{
		"signed by another key":         {post(p1, grant, signatureOf(foreign, policy.GrantMessage(digest))), 422},
		"in another's session":          {post(p2, grant, good), 403},
		"in the doctor's session":       {post(doctor, grant, good), 403},
		"changed after signing":         {post(p1, changed, good), 422},
		"with something not understood": {post(p1, unknown, good), 400},
		"without a signature":           {post(p1, grant, ""), 422},
		"a signature that is no text":   {post(p1, grant, "***"), 400},
		"without a token":               {post("", grant, good), 401},
	} {
		if tc.a.status != tc.status {
			t.Errorf("%s: %v, want %d", name, tc.a, tc.status)
		}
	}
	for _, body := range w.since(size) {
		if body.Kind == chain.Grant {
			t.Error("one of them is in the log")
		}
	}
	if a := post(p1, grant, good); a.status != 201 {
		t.Errorf("the patient's own: %v", a)
	}
}

func TestPreviewsAreStrict(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	token := w.signIn("Patient/p1")
	for name, change := range map[string][]string{
		"unknown field":   {"colour", "blue"},
		"no such purpose": {"from", "yesterday"},
		"in the past":     {"until", "2001-01-01T00:00:00Z"},
		"not a patient":   {"patient", "Practitioner/d1"},
		"elsewhere":       {"patient", "http://evil/Patient/p1"},
	} {
		if a := w.preview(token, "Patient/p1", change...); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %v", name, a)
		}
	}
	for name, body := range map[string]string{"twice": `{"patient":"Patient/p1","patient":"Patient/p2"}`, "folded": `{"patient":"Patient/p1","Patient":"Patient/p2"}`, "two": `{}{}`, "a list": `[]`, "empty": ``} {
		if a := w.do(asking{method: "POST", path: "/api/grants/preview", token: token, body: body}); a.status != 400 {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := w.do(asking{method: "POST", path: "/api/grants/preview?x=1", token: token, body: `{}`}); a.status != 400 {
		t.Errorf("a parameter: %v", a)
	}
	if a := w.do(asking{method: "POST", path: "/api/grants/preview", token: token, body: `{}`, header: map[string]string{"Content-Type": "text/plain"}}); a.status != 415 {
		t.Errorf("text: %v", a)
	}
}

func TestAGrantThatTooFewCustodiansHoldIsRecordedAndSaysSo(t *testing.T) {
	t.Parallel() // it mostly waits
	w := newWard(t)
	token, key := w.signIn("Patient/p1"), w.enrol("Patient/p1")
	preview := w.preview(token, "Patient/p1")
	w.Custodians[0].Sleep()
	w.Custodians[1].Sleep()
	began := time.Now()
	a := w.do(asking{method: "POST", path: "/api/grants", token: token, body: map[string]any{
		"grant": preview.object(t)["grant"], "signature": signatureOf(key, policy.GrantMessage(digestOf(t, preview))),
	}})
	if took := time.Since(began); a.status != 503 || took > 3*time.Second || len(a.entries(t)) != 1 || !strings.Contains(string(a.body), "ecorded") {
		t.Errorf("%v after %s", a, took)
	}
	if b := w.body(a.entries(t)[0]); b.Kind != chain.Grant {
		t.Errorf("%+v", b.Entry)
	}
}

func TestARelationshipIsTheRegisteredSignersToMake(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	preview := s.do(asking{method: "POST", path: "/api/relations/preview", token: s.doctor, body: map[string]string{
		"kind": "treats", "subject": "Practitioner/d1", "patient": "Patient/p1", "until": s.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}})
	if preview.status != 200 {
		t.Fatal(preview)
	}
	message := policy.RelationMessage(digestOf(t, preview))
	post := func(token, signer string, key ed25519.PrivateKey) reply {
		return s.do(asking{method: "POST", path: "/api/relations", token: token, body: map[string]any{
			"relation": preview.object(t)["relation"], "signatures": []any{map[string]string{"signer": signer, "value": signatureOf(key, message)}},
		}})
	}
	_, forged, err := ed25519.GenerateKey(rand.Reader)
	s.check(err)
	create := func() reply {
		return s.do(asking{method: "POST", path: "/fhir/Observation", token: s.doctor, body: weight(t, "x", "p1", 9)})
	}
	if a := post(s.doctor, "adt", forged); a.status != 422 {
		t.Errorf("forged: %v", a)
	}
	if a := post("", "somebody", s.ADT); a.status != 422 {
		t.Errorf("not registered: %v", a)
	}
	if a := create(); a.status != 403 {
		t.Errorf("before: %v", a)
	}
	a := post("", "adt", s.ADT)
	if a.status != 201 {
		t.Fatal(a)
	}
	if b := s.body(a.entries(t)[0]); b.Kind != chain.Relation || b.Patient != "Patient/p1" || b.Actor != "adt" {
		t.Errorf("%+v", b.Entry)
	}
	if a := create(); a.status != 201 {
		t.Errorf("after: %v", a)
	}
	if a := post("not-a-token", "adt", s.ADT); a.status != 401 {
		t.Errorf("who says who they are must be it: %v", a)
	}
}

func TestAKeyIsEnrolledByTheIdentityProvidersWordAboutThisKey(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	w.check(err)
	another, _, err := ed25519.GenerateKey(rand.Reader)
	w.check(err)
	key := base64.RawURLEncoding.EncodeToString(public)
	size := w.Log.Size()
	for name, body := range map[string]map[string]string{
		"a token about another key":    {"person": "Patient/p1", "key": key, "token": w.Issuer.EnrolToken(t, "Patient/p1", another)},
		"a token about another person": {"person": "Patient/p1", "key": key, "token": w.Issuer.EnrolToken(t, "Patient/p2", public)},
		"a token to sign in with":      {"person": "Patient/p1", "key": key, "token": w.Issuer.IDToken(t, "Patient/p1", policy.EnrolNonce(public))},
		"no token":                     {"person": "Patient/p1", "key": key},
		"a key that is none":           {"person": "Patient/p1", "key": "AAAA", "token": w.Issuer.EnrolToken(t, "Patient/p1", []byte{0, 0, 0})},
	} {
		if a := w.do(asking{method: "POST", path: "/api/enrol", body: body}); a.status != 422 {
			t.Errorf("%s: %v", name, a)
		}
	}
	if len(w.since(size)) != 0 {
		t.Error("anybody fills the log")
	}
	w.enrol("Patient/p1")
	if a := w.do(asking{method: "POST", path: "/api/enrol", body: map[string]string{
		"person": "Patient/p1", "key": key, "token": w.Issuer.EnrolToken(t, "Patient/p1", public),
	}}); a.status != 422 {
		t.Errorf("a second key without the first one's word: %v", a)
	}
}
