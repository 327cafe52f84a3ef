// Package idp is the identity provider of the demonstration hospital: a small
// OpenID Connect issuer with its own listener and its own keys, so that the
// gateway has somebody else's word for who is signed in, as it would have in a
// hospital.
//
// It promises what a relying party leans on: discovery and keys at the usual
// addresses (OpenID Connect Discovery 1.0), the authorization code flow with
// PKCE and S256 alone (RFC 7636; RFC 9700 §2.1.1), codes that work once, and ID
// tokens signed with RS256 that carry the nonce, fhirUser and roles. Begin with
// [GenerateKeys] and [New].
//
// What it leaves out is what makes it a demonstration: it asks nobody for a
// password. Whoever reaches its listener may be any of its people, by login_hint
// or by a click. It knows no refresh tokens, no userinfo and no logout.
package idp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/samber/lo"
)

// A Person is somebody who may sign in.
type Person struct {
	Login    string   // what login_hint names, and the token's sub
	Name     string   // shown on the page that asks who is there
	FHIRUser string   // relative reference, as in "Practitioner/7"
	Roles    []string // values of the claim "roles"
}

// A Client is an application that may ask for sign-ins: a public one, proven by
// PKCE alone.
type Client struct {
	ID string
	// Redirects are the addresses codes may be sent to, compared as strings,
	// except that a loopback address may come with any port (RFC 8252 §7.3).
	Redirects []string
}

// Config is what [New] needs. All fields but Now are required.
type Config struct {
	Issuer  string // the base of every address, without a trailing slash
	Keys    *Keys
	People  []Person
	Clients []Client
	Now     func() time.Time // time.Now if nil
}

const (
	codeLife  = time.Minute      // RFC 6749 §4.1.2 allows ten
	tokenLife = 10 * time.Minute // an ID token is spent at once, or not at all
)

// A Provider is the running issuer. Its methods may be called concurrently.
type Provider struct {
	Config

	mu    sync.Mutex // guards codes
	codes map[string]grant
}

// A grant is what one authorization code stands for.
type grant struct {
	client, redirect, challenge, nonce string
	person                             Person
	ends                               time.Time
}

// New returns an issuer ready to serve. It refuses an issuer that is not a
// plain http or https address, and an empty set of people or clients.
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("issuer %q is not an http address", c.Issuer)
	case c.Keys == nil:
		return nil, fmt.Errorf("issuer %s has no keys", c.Issuer)
	case len(c.People) == 0 || len(c.Clients) == 0:
		return nil, fmt.Errorf("issuer %s has nobody to sign in, or nowhere to", c.Issuer)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Provider{Config: c, codes: map[string]grant{}}, nil
}

// Handler serves discovery, keys, authorization and tokens.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	return mux
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                p.Issuer,
		"authorization_endpoint":                p.Issuer + "/authorize",
		"token_endpoint":                        p.Issuer + "/token",
		"jwks_uri":                              p.Issuer + "/jwks",
		"scopes_supported":                      []string{"openid", "profile", "fhirUser"},
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"grant_types_supported":                 []string{"authorization_code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
		"token_endpoint_auth_methods_supported": []string{"none"},
		"code_challenge_methods_supported":      []string{"S256"},
		"claims_supported":                      []string{"iss", "sub", "aud", "exp", "iat", "nonce", "name", "fhirUser", "roles"},
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, p.Keys.Public())
}

// idToken states who signed in, to whom, and the nonce that was asked for.
func (p *Provider) idToken(g grant, now time.Time) (string, error) {
	return jwt.Signed(p.Keys.signer).Claims(jwt.Claims{
		Issuer:   p.Issuer,
		Subject:  g.person.Login,
		Audience: jwt.Audience{g.client},
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(tokenLife)),
	}).Claims(map[string]any{
		"nonce":    g.nonce,
		"name":     g.person.Name,
		"fhirUser": g.person.FHIRUser,
		"roles":    g.person.Roles,
	}).Serialize()
}

func (p *Provider) client(id string) (Client, bool) {
	return lo.Find(p.Clients, func(c Client) bool { return c.ID == id })
}

// allows reports whether codes may be sent to redirect.
func (c Client) allows(redirect string) bool {
	return slices.ContainsFunc(c.Redirects, func(registered string) bool {
		return redirect == registered || sameButPort(redirect, registered)
	})
}

// sameButPort compares two loopback addresses without their ports.
func sameButPort(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	if errA != nil || errB != nil || ua.Hostname() != ub.Hostname() || ua.User != nil || ua.Fragment != "" {
		return false
	}
	loopback := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, ub.Hostname())
	return loopback && ua.Scheme == "http" && ub.Scheme == "http" && ua.Path == ub.Path && ua.RawQuery == ub.RawQuery
}

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller may have gone
}
