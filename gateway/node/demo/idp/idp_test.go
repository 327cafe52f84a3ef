package idp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const verifier = "a-verifier-that-is-long-enough-to-be-one-0123456789"

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValues(GenerateKeys)

type provider struct {
	*Provider
	base string
	now  time.Time
}

func start(t *testing.T) *provider {
	t.Helper()
	keys, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	server := httptest.NewUnstartedServer(nil)
	p.base = "http://" + server.Listener.Addr().String()
	p.Provider, err = New(Config{
		Issuer: p.base, Keys: keys, Now: func() time.Time { return p.now },
		People:  []Person{{Login: "doctor", Name: "A <doctor>", FHIRUser: "Practitioner/7", Roles: []string{"doctor"}}},
		Clients: []Client{{ID: "app", Redirects: []string{"http://localhost/cb"}}, {ID: "other", Redirects: []string{"https://other.example/cb?x=1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = p.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return p
}

func asked() url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {"http://localhost:1234/cb"}, "scope": {"openid fhirUser"},
		"state": {"s"}, "nonce": {"n"}, "login_hint": {"doctor"}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
}

func with(v url.Values, key string, values ...string) url.Values {
	if len(values) == 0 {
		v.Del(key)
	} else {
		v[key] = values
	}
	return v
}

// authorize returns the answer's status and the query it redirects with.
func (p *provider) authorize(t *testing.T, v url.Values) (int, url.Values) {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(p.base + "/authorize?" + v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, to.Query()
}

func redeeming(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "client_id": {"app"},
		"redirect_uri": {"http://localhost:1234/cb"}, "code_verifier": {verifier},
	}
}

func (p *provider) redeem(t *testing.T, v url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := http.PostForm(p.base+"/token", v)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("a token answer may be cached")
	}
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestASignInGivesAnIDTokenThatRelyingPartiesCanCheck(t *testing.T) {
	p := start(t)
	status, back := p.authorize(t, asked())
	if status != http.StatusSeeOther || back.Get("state") != "s" || back.Get("iss") != p.base {
		t.Fatalf("authorize: %d %v", status, back)
	}
	status, answer := p.redeem(t, redeeming(back.Get("code")))
	if status != http.StatusOK {
		t.Fatalf("token: %d %v", status, answer)
	}
	raw, _ := answer["id_token"].(string)
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(p.base + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			t.Fatal("a private key is published")
		}
	}
	var claims struct {
		jwt.Claims
		Nonce    string   `json:"nonce"`
		FHIRUser string   `json:"fhirUser"`
		Roles    []string `json:"roles"`
	}
	key := set.Key(token.Headers[0].KeyID)
	if len(key) != 1 {
		t.Fatalf("key %q is not published", token.Headers[0].KeyID)
	}
	if err := token.Claims(key[0], &claims); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: p.base, AnyAudience: jwt.Audience{"app"}, Time: p.now}); err != nil {
		t.Error(err)
	}
	if claims.Nonce != "n" || claims.FHIRUser != "Practitioner/7" || claims.Subject != "doctor" || fmt.Sprint(claims.Roles) != "[doctor]" {
		t.Errorf("claims %+v", claims)
	}
}

func TestACodeIsGoodOnceForItsClientAndVerifierAndAMinute(t *testing.T) {
	for name, spoil := range map[string]func(p *provider, v url.Values) url.Values{
		"another verifier":     func(_ *provider, v url.Values) url.Values { return with(v, "code_verifier", verifier+"x") },
		"no verifier":          func(_ *provider, v url.Values) url.Values { return with(v, "code_verifier") },
		"the challenge itself": func(_ *provider, v url.Values) url.Values { return with(v, "code_verifier", challenge(verifier)) },
		"another client":       func(_ *provider, v url.Values) url.Values { return with(v, "client_id", "other") },
		"another address":      func(_ *provider, v url.Values) url.Values { return with(v, "redirect_uri", "http://localhost:9/cb") },
		"another grant type":   func(_ *provider, v url.Values) url.Values { return with(v, "grant_type", "password") },
		"an invented code":     func(_ *provider, v url.Values) url.Values { return with(v, "code", "x") },
		"a minute later": func(p *provider, v url.Values) url.Values {
			p.now = p.now.Add(time.Minute)
			return v
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			_, back := p.authorize(t, asked())
			if status, answer := p.redeem(t, spoil(p, redeeming(back.Get("code")))); status != http.StatusBadRequest || answer["error"] == "" {
				t.Errorf("answered %d %v", status, answer)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		p := start(t)
		_, back := p.authorize(t, asked())
		if status, _ := p.redeem(t, redeeming(back.Get("code"))); status != http.StatusOK {
			t.Fatalf("first: %d", status)
		}
		if status, _ := p.redeem(t, redeeming(back.Get("code"))); status != http.StatusBadRequest {
			t.Errorf("second: %d", status)
		}
	})
}

func TestNothingIsSentToAnAddressThatIsNotRegistered(t *testing.T) {
	p := start(t)
	for _, redirect := range []string{
		"http://localhost:1234/other", "https://localhost/cb", "http://evil.example/cb", "http://localhost.evil.example/cb",
		"http://user@localhost/cb", "http://localhost/cb?x=1", "http://localhost/cb#f", "http://127.0.0.1/cb", "", "://",
		"https://other.example/cb?x=1",
	} {
		if status, back := p.authorize(t, with(asked(), "redirect_uri", redirect)); status != http.StatusBadRequest || back != nil {
			t.Errorf("%q: %d %v", redirect, status, back)
		}
	}
	if status, back := p.authorize(t, with(asked(), "client_id", "nobody")); status != http.StatusBadRequest || back != nil {
		t.Errorf("unknown client: %d %v", status, back)
	}
	if status, back := p.authorize(t, with(asked(), "redirect_uri", "http://localhost/cb", "http://evil.example")); status != http.StatusBadRequest || back != nil {
		t.Errorf("doubled: %d %v", status, back)
	}
}

func TestARequestWithoutPKCEOrNonceIsSentBackWithoutACode(t *testing.T) {
	p := start(t)
	for name, v := range map[string]url.Values{
		"no challenge":    with(asked(), "code_challenge"),
		"plain":           with(asked(), "code_challenge_method", "plain"),
		"no method":       with(asked(), "code_challenge_method"),
		"short challenge": with(asked(), "code_challenge", "abc"),
		"no nonce":        with(asked(), "nonce"),
		"no openid":       with(asked(), "scope", "fhirUser"),
		"implicit":        with(asked(), "response_type", "id_token"),
	} {
		status, back := p.authorize(t, v)
		if status != http.StatusSeeOther || back.Get("error") == "" || back.Get("code") != "" || back.Get("state") != "s" {
			t.Errorf("%s: %d %v", name, status, back)
		}
	}
}

func TestWhoSaysNotWhoTheyAreIsAsked(t *testing.T) {
	p := start(t)
	resp, err := http.Get(p.base + "/authorize?" + with(asked(), "login_hint").Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "login_hint=doctor") || strings.Contains(string(page), "<doctor>") {
		t.Errorf("%d %s", resp.StatusCode, page)
	}
}

func TestDiscoveryDescribesWhatIsThere(t *testing.T) {
	p := start(t)
	resp, err := http.Get(p.base + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d["issuer"] != p.base || d["jwks_uri"] != p.base+"/jwks" || fmt.Sprint(d["code_challenge_methods_supported"]) != "[S256]" {
		t.Errorf("discovery %v", d)
	}
}

func TestKeysSurviveBeingKept(t *testing.T) {
	keys, err := GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keys.Secret()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(keys.Public())
	if err != nil {
		t.Fatal(err)
	}
	after, err := json.Marshal(again.Public())
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("other keys came back")
	}
	if s := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys); strings.Contains(s, "0x") || strings.Contains(s, "PRIVATE") {
		t.Errorf("keys print as %s", s)
	}
	for _, bad := range [][]byte{nil, secret[:100], append(secret, secret...), []byte("x")} {
		if _, err := ParseKeys(bad); err == nil {
			t.Errorf("%.20q was taken for keys", bad)
		}
	}
}
