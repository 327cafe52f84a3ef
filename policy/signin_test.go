package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// attempt is a sign-in of Dr Chen until the evening, with claims changed.
func attempt(h *policytest.Hospital, edits map[string]any) policy.SignIn {
	session := h.Session()
	end := h.Now.Add(8 * time.Hour).UnixMilli()
	return policy.SignIn{
		Session: session, Client: policytest.App, End: end, Form: policy.FormIDToken,
		Token: h.IDToken("Practitioner/7", []string{"doctor"}, policy.SessionNonce(session, policytest.App, end), edits),
	}
}

func TestSignInEstablishesASubject(t *testing.T) {
	h := policytest.New(t, func(trust *policy.Trust) { trust.FHIRBase = "https://hospital.example/fhir" })
	st := attempt(h, map[string]any{"roles": []string{"nurse", "doctor", "ceo", "doctor"}, "fhirUser": "https://hospital.example/fhir/Practitioner/7"})
	if err := h.Apply(policy.KindSignIn, "", st.Encode()); err != nil {
		t.Fatal(err)
	}
	got, ok := h.State.Session(h.Index)
	if !ok || got.ID != "Practitioner/7" || !slices.Equal(got.Roles, []string{"doctor", "nurse"}) || got.Client != policytest.App ||
		got.Session != st.Session || got.SignIn != h.Index || got.End != st.End || got.Issuer != policytest.Issuer || got.Sub != "sub-Practitioner/7" {
		t.Errorf("Session() = %+v, %t", got, ok)
	}
	if _, ok := h.State.Session(h.Index + 1); ok {
		t.Error("a session that nobody began")
	}
}

// TestSignInRefusesTokens: every way in which a token is not what it should be.
func TestSignInRefusesTokens(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Unix()
	for name, edits := range map[string]map[string]any{
		"another issuer":           {"iss": "https://other.example"},
		"issuer with a slash":      {"iss": policytest.Issuer + "/"},
		"no issuer":                {"iss": nil},
		"no subject":               {"sub": nil},
		"no audience":              {"aud": nil},
		"another audience":         {"aud": "somebody"},
		"two audiences":            {"aud": []string{policytest.Audience, "somebody"}},
		"another authorised party": {"azp": "somebody"},
		"no expiry":                {"exp": nil},
		"expired this second":      {"exp": now, "iat": now - 60},
		"expired a second ago":     {"exp": now - 1},
		"expiry in a text":         {"exp": "1795442400"},
		"expiry with a fraction":   {"exp": float64(now) + 100.5},
		"huge expiry":              {"exp": int64(1) << 60},
		"negative issue":           {"iat": -1},
		"no issue":                 {"iat": nil},
		"issued in the future":     {"iat": now + 11},
		"not yet valid":            {"nbf": now + 30},
		"odd not-before":           {"nbf": "soon"},
		"no nonce":                 {"nonce": nil},
		"another nonce":            {"nonce": policy.SessionNonce("another", policytest.App, 1)},
		"no person":                {"fhirUser": nil},
		"a list of persons":        {"fhirUser": []string{"Practitioner/7"}},
		"a person elsewhere":       {"fhirUser": "https://elsewhere.example/fhir/Practitioner/7"},
		"an odd person":            {"fhirUser": "Practitioner/../7"},
		"a role as a person":       {"fhirUser": "PractitionerRole/7"},
		"a client as a person":     {"fhirUser": "Client/loader"},
		"no roles":                 {"roles": nil},
		"a role without a mapping": {"roles": []string{"system", "patient", "Doctor"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			err := h.Apply(policy.KindSignIn, "", attempt(h, edits).Encode())
			if !errors.Is(err, policy.ErrRefused) || !errors.Is(err, policy.ErrToken) {
				t.Errorf("Apply() = %v, want ErrRefused and ErrToken", err)
			}
			if _, ok := h.State.Session(h.Index); ok {
				t.Error("there is a session all the same")
			}
		})
	}
}

// resign takes a token apart and puts it together with other parts.
func resign(token string, change func(header map[string]any, payload string) (map[string]any, string), signature func(input string) []byte) string {
	parts := strings.Split(token, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	header := map[string]any{}
	_ = json.Unmarshal(raw, &header)
	changed, body := change(header, string(payload))
	encoded, _ := json.Marshal(changed)
	input := base64.RawURLEncoding.EncodeToString(encoded) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
	return input + "." + base64.RawURLEncoding.EncodeToString(signature(input))
}

func TestSignInRefusesForgedSignatures(t *testing.T) {
	same := func(edits map[string]any) func(map[string]any, string) (map[string]any, string) {
		return func(h map[string]any, p string) (map[string]any, string) {
			maps.Copy(h, edits)
			maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
			return h, p
		}
	}
	by := func(name string) func(string) []byte {
		return func(input string) []byte { return sign(name, []byte(input)) }
	}
	for name, forge := range map[string]func(token string) string{
		"no algorithm": func(s string) string {
			return resign(s, same(map[string]any{"alg": "none"}), func(string) []byte { return nil })
		},
		"the public key as a secret": func(s string) string {
			return resign(s, same(map[string]any{"alg": "HS256"}), func(input string) []byte { return hmacSHA256(policytest.Public(policytest.Issuer), input) })
		},
		"an algorithm that is not listed": func(s string) string { return resign(s, same(map[string]any{"alg": "ES256"}), by(policytest.Issuer)) },
		"another key":                     func(s string) string { return resign(s, same(nil), by("mallory")) },
		"a key in the header": func(s string) string {
			return resign(s, same(map[string]any{"jwk": jose.JSONWebKey{Key: policytest.Public("mallory"), KeyID: policytest.Issuer}}), by("mallory"))
		},
		"a key elsewhere": func(s string) string {
			return resign(s, same(map[string]any{"jku": "https://mallory.example/keys", "kid": "mallory"}), by("mallory"))
		},
		"no kid":      func(s string) string { return resign(s, same(map[string]any{"kid": nil}), by(policytest.Issuer)) },
		"another kid": func(s string) string { return resign(s, same(map[string]any{"kid": "../etc"}), by(policytest.Issuer)) },
		"an access token": func(s string) string {
			return resign(s, same(map[string]any{"typ": "at+jwt"}), by(policytest.Issuer))
		},
		"a critical extension": func(s string) string {
			return resign(s, same(map[string]any{"crit": []string{"exp"}}), by(policytest.Issuer))
		},
		"another payload": func(s string) string {
			i := strings.LastIndexByte(s, '.')
			forged := resign(s, func(h map[string]any, p string) (map[string]any, string) {
				return h, strings.Replace(p, "doctor", "records", 1)
			}, func(string) []byte { return nil })
			return forged + s[i+1:]
		},
		"a claim twice": func(s string) string {
			return resign(s, func(h map[string]any, p string) (map[string]any, string) {
				return h, strings.Replace(p, "{", `{"fhirUser":"Practitioner/1",`, 1)
			}, by(policytest.Issuer))
		},
		"two documents": func(s string) string {
			return resign(s, func(h map[string]any, p string) (map[string]any, string) { return h, p + "{}" }, by(policytest.Issuer))
		},
		"no object": func(s string) string {
			return resign(s, func(h map[string]any, _ string) (map[string]any, string) { return h, `"iss"` }, by(policytest.Issuer))
		},
		"dots":      func(string) string { return strings.Repeat(".", 10_000) },
		"a bomb":    func(s string) string { return s + strings.Repeat("A", 17<<10) },
		"encrypted": func(string) string { return "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA" },
		"nothing":   func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			st := attempt(h, nil)
			st.Token = forge(st.Token)
			if err := h.Apply(policy.KindSignIn, "", st.Encode()); !errors.Is(err, policy.ErrRefused) {
				t.Errorf("Apply() = %v, want ErrRefused", err)
			}
		})
	}
}

// TestSignInTakesWhatProvidersSign: RS256 and ES384, a list of one audience,
// nested roles, and no typ.
func TestSignInTakesWhatProvidersSign(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := policytest.New(t, func(trust *policy.Trust) {
		i := &trust.Issuers[0]
		i.Algorithms = []string{"RS256", "ES384"}
		i.RoleClaim = "realm_access.roles"
		i.Keys = policy.NewJWKS(jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "r"}, jose.JSONWebKey{Key: ecKey.Public(), KeyID: "e", Algorithm: "ES384"})
	})
	for kid, key := range map[string]jose.SigningKey{"r": {Algorithm: jose.RS256, Key: rsaKey}, "e": {Algorithm: jose.ES384, Key: ecKey}} {
		st := attempt(h, map[string]any{"aud": []string{policytest.Audience}, "azp": policytest.Audience, "realm_access": map[string]any{"roles": []string{"nurse"}}, "auth_time": 1.5})
		signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithHeader("kid", kid))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(st.Token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		if st.Token, err = jws.CompactSerialize(); err != nil {
			t.Fatal(err)
		}
		if err := h.Apply(policy.KindSignIn, "", st.Encode()); err != nil {
			t.Errorf("%s: %v", key.Algorithm, err)
		}
		if s, _ := h.State.Session(h.Index); !slices.Equal(s.Roles, []string{"nurse"}) {
			t.Errorf("%s: roles %v", key.Algorithm, s.Roles)
		}
	}
}

func TestSignInIsForOneSession(t *testing.T) {
	for name, change := range map[string]func(*policytest.Hospital, *policy.SignIn){
		"another session":       func(h *policytest.Hospital, s *policy.SignIn) { s.Session = h.Session() },
		"a later end":           func(_ *policytest.Hospital, s *policy.SignIn) { s.End++ },
		"another client":        func(_ *policytest.Hospital, s *policy.SignIn) { s.Client = "other" },
		"a client of no people": func(_ *policytest.Hospital, s *policy.SignIn) { s.Client = policytest.Loader },
		"an unknown client":     func(_ *policytest.Hospital, s *policy.SignIn) { s.Client = "nobody" },
		"another form":          func(_ *policytest.Hospital, s *policy.SignIn) { s.Form = policy.FormClientAssertion },
		"no form":               func(_ *policytest.Hospital, s *policy.SignIn) { s.Form = "" },
		"a short session id":    func(_ *policytest.Hospital, s *policy.SignIn) { s.Session = "short" },
		"an odd session id":     func(_ *policytest.Hospital, s *policy.SignIn) { s.Session = strings.Repeat("/", 30) },
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, func(trust *policy.Trust) {
				other := trust.Clients[0]
				other.ID = "other"
				trust.Clients = append(trust.Clients, other)
			})
			st := attempt(h, nil)
			change(h, &st)
			if err := h.Apply(policy.KindSignIn, "", st.Encode()); !errors.Is(err, policy.ErrRefused) {
				t.Errorf("Apply() = %v, want ErrRefused", err)
			}
		})
	}
}

func TestSessionIsNoLongerThanItsClientMayHave(t *testing.T) {
	for name, tc := range map[string]struct {
		lifetime, wanted time.Duration
		ok               bool
	}{
		"as long":                    {2 * time.Hour, 2 * time.Hour, true},
		"a millisecond longer":       {2 * time.Hour, 2*time.Hour + time.Millisecond, false},
		"an hour if nothing is said": {0, time.Hour, true},
		"no more than an hour then":  {0, time.Hour + time.Millisecond, false},
		"twelve hours at most":       {12 * time.Hour, 12*time.Hour + time.Millisecond, false},
		"ended already":              {time.Hour, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, func(trust *policy.Trust) { trust.Clients[0].Lifetime = policy.Duration(tc.lifetime) })
			session, end := h.Session(), h.Now.Add(tc.wanted).UnixMilli()
			st := policy.SignIn{
				Session: session, Client: policytest.App, End: end, Form: policy.FormIDToken,
				Token: h.IDToken("Practitioner/7", []string{"doctor"}, policy.SessionNonce(session, policytest.App, end), nil),
			}
			if err := h.Apply(policy.KindSignIn, "", st.Encode()); (err == nil) != tc.ok {
				t.Errorf("Apply() = %v", err)
			}
		})
	}
}

func TestSignInCannotBeReplayed(t *testing.T) {
	h := policytest.New(t, nil)
	st := attempt(h, nil).Encode()
	if err := h.Apply(policy.KindSignIn, "", st); err != nil {
		t.Fatal(err)
	}
	first := h.Index
	for _, later := range []time.Duration{0, time.Minute, 4 * time.Hour, 48 * time.Hour} {
		h.Now = h.Now.Add(later)
		if err := h.Apply(policy.KindSignIn, "", st); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("after %s: Apply() = %v, want ErrRefused", later, err)
		}
	}
	e := h.Event(policy.KindSignOut, "", nil)
	e.SignIn = first
	if err := h.ApplyEvent(e); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.State.Session(first); ok {
		t.Error("signed out, and still there")
	}
	if err := h.ApplyEvent(e); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("signed out twice: %v", err)
	}
}

// TestEndedSessionsAreForgotten, but not before every entry decided at its own
// time can have asked for them.
func TestEndedSessionsAreForgotten(t *testing.T) {
	h := policytest.New(t, nil)
	first := h.SignIn("Practitioner/7", h.Now.Add(time.Hour), "doctor")
	h.Now = h.Now.Add(time.Hour + 30*time.Minute)
	h.SignIn("Practitioner/8", h.Now.Add(time.Hour), "nurse")
	if _, ok := h.State.Session(first.SignIn); !ok {
		t.Error("forgotten half an hour after its end")
	}
	h.Now = h.Now.Add(4 * time.Hour)
	h.SignIn("Practitioner/8", h.Now.Add(time.Hour), "nurse")
	if _, ok := h.State.Session(first.SignIn); ok {
		t.Error("remembered for ever")
	}
}

func TestSignInNamesItsActor(t *testing.T) {
	h := policytest.New(t, nil)
	e := h.Event(policy.KindSignIn, "", attempt(h, nil).Encode())
	e.Actor = "Practitioner/8"
	if err := h.ApplyEvent(e); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("Apply() = %v, want ErrRefused", err)
	}
	e.Actor = "Practitioner/7"
	if err := h.ApplyEvent(e); err != nil {
		t.Error(err)
	}
	zero := h.Event(policy.KindSignIn, "", attempt(h, nil).Encode())
	zero.Index = 0
	if err := h.ApplyEvent(zero); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("in the genesis: %v, want ErrRefused", err)
	}
}

func TestClientAssertions(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	now := start.Unix()
	for name, tc := range map[string]struct {
		edits  map[string]any
		change func(*policy.SignIn)
		ok     bool
	}{
		"good":                 {ok: true},
		"five minutes exactly": {edits: map[string]any{"exp": now + 300}, ok: true},
		"a second longer":      {edits: map[string]any{"exp": now + 301}},
		"another issuer":       {edits: map[string]any{"iss": "other"}},
		"another subject":      {edits: map[string]any{"sub": "other"}},
		"another audience":     {edits: map[string]any{"aud": policytest.TokenURL + "/"}},
		"no jti":               {edits: map[string]any{"jti": nil}},
		"another session":      {change: func(s *policy.SignIn) { s.Session = strings.Repeat("x", 43) }},
		"a user client":        {change: func(s *policy.SignIn) { s.Client = policytest.App }},
		"signed by the issuer": {change: func(s *policy.SignIn) {
			s.Token = policytest.JWT(policytest.Issuer, map[string]any{
				"iss": policytest.Loader, "sub": policytest.Loader, "aud": policytest.TokenURL, "jti": "x", "iat": now, "exp": now + 60,
			})
			s.Session = policy.AssertionSession(s.Token)
		}},
		"a day long session": {change: func(s *policy.SignIn) { s.End = start.Add(24 * time.Hour).UnixMilli() }},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			assertion := h.Assertion(policytest.Loader, tc.edits)
			st := policy.SignIn{
				Session: policy.AssertionSession(assertion), Client: policytest.Loader, End: h.Now.Add(time.Hour).UnixMilli(),
				Token: assertion, Form: policy.FormClientAssertion,
			}
			if tc.change != nil {
				tc.change(&st)
			}
			if err := h.Apply(policy.KindSignIn, "", st.Encode()); (err == nil) != tc.ok {
				t.Fatalf("Apply() = %v", err)
			}
			if s, ok := h.State.Session(h.Index); ok != tc.ok || (ok && (s.ID != "Client/loader" || !slices.Equal(s.Roles, []string{"system"}))) {
				t.Errorf("Session() = %+v, %t", s, ok)
			}
		})
	}
}

func TestAssertionsCountOnce(t *testing.T) {
	h := policytest.New(t, nil)
	for i, ok := range []bool{true, false} {
		assertion := h.Assertion(policytest.Loader, map[string]any{"jti": "once", "exp": h.Now.Add(time.Duration(60+i) * time.Second).Unix()})
		st := policy.SignIn{
			Session: policy.AssertionSession(assertion), Client: policytest.Loader, End: h.Now.Add(time.Hour).UnixMilli(),
			Token: assertion, Form: policy.FormClientAssertion,
		}
		if err := h.Apply(policy.KindSignIn, "", st.Encode()); (err == nil) != ok {
			t.Errorf("use %d: Apply() = %v", i+1, err)
		}
	}
}
