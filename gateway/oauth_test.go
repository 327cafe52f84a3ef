package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/recordstest"
)

func exchange(w *ward, client, session, token string) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {client}, "session": {session},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
}

func (w *ward) start(client string) (session, nonce string) {
	w.t.Helper()
	o := w.do(asking{method: "POST", path: "/oauth/session", body: map[string]string{"client_id": client}}).object(w.t)
	return o["session"].(string), o["nonce"].(string)
}

func TestASignInIsAnEntryThatCustodiansHold(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	session, nonce := w.start(recordstest.ClientPortal)
	a := w.do(asking{method: "POST", path: "/oauth/token", body: exchange(w, recordstest.ClientPortal, session, w.Issuer.IDToken(t, "Patient/p1", nonce))})
	o := a.object(t)
	if a.status != 200 || o["token_type"] != "Bearer" || o["patient"] != "p1" || o["scope"] != "patient/*.rs" || o["issued_token_type"] == "" {
		t.Fatalf("%v", a)
	}
	if seconds := o["expires_in"].(float64); seconds < 3500 || seconds > 3600 {
		t.Errorf("expires_in %v", seconds)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("%v", a.header)
	}
	last := w.body(w.Log.Size() - 1)
	if last.Kind != chain.SignIn || last.Client != recordstest.ClientPortal || strings.Contains(string(last.Statement), o["access_token"].(string)) {
		t.Errorf("%+v", last.Entry)
	}
	holding := 0
	for _, s := range w.Quorum.Status() {
		if s.Size >= w.Log.Size() {
			holding++
		}
	}
	if holding < 3 {
		t.Errorf("%d custodians hold it", holding)
	}
}

func TestWhatIsNoSignIn(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	session, nonce := w.start(recordstest.ClientPortal)
	other, _ := w.start(recordstest.ClientPortal)
	good := w.Issuer.IDToken(t, "Patient/p1", nonce)
	form := func(edit func(url.Values)) url.Values {
		f := exchange(w, recordstest.ClientPortal, session, good)
		edit(f)
		return f
	}
	assert := func(claims map[string]any, edit func(url.Values)) url.Values {
		f := url.Values{
			"grant_type": {"client_credentials"}, "client_id": {clientLoader}, "client_assertion": {w.assertion(claims)},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		}
		edit(f)
		return f
	}
	same := func(url.Values) {}
	size := w.Log.Size()
	for name, tc := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"another session":          {form(func(f url.Values) { f.Set("session", other) }), 400, "invalid_grant"},
		"a session of nobody":      {form(func(f url.Values) { f.Set("session", "AAAA") }), 400, "invalid_grant"},
		"another client":           {form(func(f url.Values) { f.Set("client_id", recordstest.ClientEHR) }), 400, "invalid_grant"},
		"an unknown client":        {form(func(f url.Values) { f.Set("client_id", "x") }), 401, "invalid_client"},
		"a system client":          {form(func(f url.Values) { f.Set("client_id", clientLoader) }), 401, "invalid_client"},
		"a token of another nonce": {form(func(f url.Values) { f.Set("subject_token", w.Issuer.IDToken(t, "Patient/p1", "x")) }), 400, "invalid_grant"},
		"an altered token":         {form(func(f url.Values) { f.Set("subject_token", good[:len(good)-8]+"AAAAAAAA") }), 400, "invalid_grant"},
		"an unsigned token":        {form(func(f url.Values) { f.Set("subject_token", "eyJhbGciOiJub25lIn0."+strings.Split(good, ".")[1]+".") }), 400, "invalid_grant"},
		"no token":                 {form(func(f url.Values) { f.Del("subject_token") }), 400, "invalid_grant"},
		"a token bomb":             {form(func(f url.Values) { f.Set("subject_token", strings.Repeat(".", 60_000)) }), 400, "invalid_grant"},
		"another kind of token":    {form(func(f url.Values) { f.Set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt") }), 400, "invalid_request"},
		"another grant":            {form(func(f url.Values) { f.Set("grant_type", "password") }), 400, "unsupported_grant_type"},
		"no grant":                 {url.Values{}, 400, "unsupported_grant_type"},
		"a parameter twice":        {form(func(f url.Values) { f.Add("client_id", "x") }), 400, "invalid_request"},
		"a scope not registered":   {form(func(f url.Values) { f.Set("scope", "system/*.cruds") }), 400, "invalid_scope"},
		"an assertion too long":    {assert(map[string]any{"exp": w.Clock.Now().Add(time.Hour).Unix()}, same), 400, "invalid_grant"},
		"an assertion that ended":  {assert(map[string]any{"exp": w.Clock.Now().Add(-time.Minute).Unix(), "iat": w.Clock.Now().Add(-2 * time.Minute).Unix()}, same), 400, "invalid_grant"},
		"for somebody else":        {assert(map[string]any{"aud": "https://other.example/token"}, same), 400, "invalid_grant"},
		"by somebody else":         {assert(map[string]any{"iss": "x"}, same), 400, "invalid_grant"},
		"an assertion as a secret": {assert(nil, func(f url.Values) { f.Set("client_assertion_type", "x") }), 400, "invalid_request"},
		"a user's client asserts":  {assert(nil, func(f url.Values) { f.Set("client_id", recordstest.ClientEHR) }), 401, "invalid_client"},
	} {
		a := w.do(asking{method: "POST", path: "/oauth/token", body: tc.form})
		if a.status != tc.status || a.object(t)["error"] != tc.code || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v, want %d %s", name, a, tc.status, tc.code)
		}
	}
	for _, a := range []asking{
		{method: "POST", path: "/oauth/token?grant_type=client_credentials", body: url.Values{}},
		{method: "POST", path: "/oauth/token", body: "x", header: map[string]string{"Content-Type": "text/plain"}},
		{method: "POST", path: "/oauth/token", body: url.Values{"x": {strings.Repeat("y", 1<<20)}}},
		{method: "POST", path: "/oauth/session", body: `{"client_id":"portal","client_id":"ehr"}`},
	} {
		if got := w.do(a); got.status != 400 || got.object(t)["error"] != "invalid_request" {
			t.Errorf("%s: %v", a.path, got)
		}
	}
	if len(w.since(size)) != 0 {
		t.Errorf("they left %v", kinds(w.since(size)))
	}
	// What none of them used up still works, once.
	if a := w.do(asking{method: "POST", path: "/oauth/token", body: form(same)}); a.status != 200 {
		t.Errorf("%v", a)
	}
	if a := w.do(asking{method: "POST", path: "/oauth/token", body: form(same)}); a.status != 400 || a.object(t)["error"] != "invalid_grant" {
		t.Errorf("the same token again: %v", a)
	}
	once := assert(map[string]any{"jti": "once-and-never-again"}, same)
	if a := w.do(asking{method: "POST", path: "/oauth/token", body: once}); a.status != 200 {
		t.Errorf("%v", a)
	}
	for _, again := range []url.Values{once, assert(map[string]any{"jti": "once-and-never-again"}, same)} {
		if a := w.do(asking{method: "POST", path: "/oauth/token", body: again}); a.status != 400 {
			t.Errorf("the same jti again: %v", a)
		}
	}
}

func TestASessionBegunLongAgoIsNotCompleted(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	session, nonce := w.start(recordstest.ClientPortal)
	w.Clock.Move(11 * time.Minute)
	a := w.do(asking{method: "POST", path: "/oauth/token", body: exchange(w, recordstest.ClientPortal, session, w.Issuer.IDToken(t, "Patient/p1", nonce))})
	if a.status != 400 {
		t.Errorf("%v", a)
	}
}

func TestRevokingSignsOutHereAndAtTheCustodians(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	session, err := s.sessions.Token(s.doctor)
	s.check(err)
	size := s.Log.Size()
	for range 2 { // twice is no error
		if a := s.do(asking{method: "POST", path: "/oauth/revoke", body: url.Values{"token": {s.doctor}}}); a.status != 200 {
			t.Fatal(a)
		}
	}
	if got := kinds(s.since(size)); len(got) != 1 || got[0] != chain.SignOut {
		t.Errorf("entries %v", got)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 401 {
		t.Errorf("%v", a)
	}
	if _, ok := s.State.Session(session.Subject.SignIn); ok {
		t.Error("the state has it still")
	}
}

func TestASignOutByAnotherWayEndsTheTokenToo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	session, err := s.sessions.Token(s.doctor)
	s.check(err)
	s.SignOut(session.Subject)
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 401 {
		t.Errorf("%v", a)
	}
}

func TestASignInThatTooFewCustodiansHoldGivesNoToken(t *testing.T) {
	t.Parallel() // it mostly waits
	w := newWard(t)
	session, nonce := w.start(recordstest.ClientPortal)
	w.Custodians[0].Sleep()
	w.Custodians[1].Sleep()
	began := time.Now()
	a := w.do(asking{method: "POST", path: "/oauth/token", body: exchange(w, recordstest.ClientPortal, session, w.Issuer.IDToken(t, "Patient/p1", nonce))})
	if took := time.Since(began); a.status != http.StatusServiceUnavailable || a.object(t)["error"] != "temporarily_unavailable" || took > 3*time.Second {
		t.Errorf("%v after %s", a, took)
	}
}

func TestALogThatFailsSignsNobodyIn(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	session, nonce := w.start(recordstest.ClientPortal)
	w.chain.failWhen(func(chain.Entry) bool { return true })
	a := w.do(asking{method: "POST", path: "/oauth/token", body: exchange(w, recordstest.ClientPortal, session, w.Issuer.IDToken(t, "Patient/p1", nonce))})
	if a.status != http.StatusServiceUnavailable || strings.Contains(string(a.body), "access_token") {
		t.Errorf("%v", a)
	}
}

func TestScopesOfTheWrongContextAreWorthNothing(t *testing.T) {
	t.Parallel()
	w := newWard(t, wardOptions{trust: func(trust *policy.Trust) {
		trust.Clients = append(trust.Clients, policy.Client{
			ID: "muddled", Kind: policy.ClientUser, Purposes: []string{"TREAT", "PATRQT"}, Default: "TREAT", Scopes: []string{"patient/*.rs", "system/*.rs"},
		})
	}})
	doctor := w.signInTo("muddled", "", "Practitioner/d1", "doctor")
	if a := w.get(doctor, "/fhir/Observation/o1"); a.status != 403 {
		t.Errorf("a practitioner with a patient's scopes: %v", a)
	}
}
