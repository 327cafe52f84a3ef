package idp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/samber/lo"
)

// authorize sends a code for the person that login_hint names to the client's
// address, or asks who is there. What is wrong with the client or its address
// is shown here and never redirected to (RFC 6749 §4.1.2.1).
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, problem("invalid_request", "the form does not parse"))
		return
	}
	for name, values := range r.Form {
		if len(values) > 1 { // RFC 6749 §3.1: parameters must not be included more than once
			answer(w, http.StatusBadRequest, problem("invalid_request", name+" is given more than once"))
			return
		}
	}
	client, known := p.client(r.Form.Get("client_id"))
	redirect := r.Form.Get("redirect_uri")
	if !known || !client.allows(redirect) {
		answer(w, http.StatusBadRequest, problem("invalid_request", "unknown client or redirect_uri"))
		return
	}
	back := func(values url.Values) {
		if state := r.Form.Get("state"); state != "" {
			values.Set("state", state)
		}
		values.Set("iss", p.Issuer)                                           // RFC 9207
		http.Redirect(w, r, withQuery(redirect, values), http.StatusSeeOther) //nolint:gosec // the address is a registered one
	}
	switch {
	case r.Form.Get("response_type") != "code":
		back(url.Values{"error": {"unsupported_response_type"}})
	case !slices.Contains(strings.Fields(r.Form.Get("scope")), "openid"):
		back(url.Values{"error": {"invalid_scope"}})
	case r.Form.Get("code_challenge_method") != "S256" || !s256().MatchString(r.Form.Get("code_challenge")):
		back(url.Values{"error": {"invalid_request"}, "error_description": {"PKCE with S256 is required"}})
	case r.Form.Get("nonce") == "":
		back(url.Values{"error": {"invalid_request"}, "error_description": {"a nonce is required"}})
	default:
		person, found := lo.Find(p.People, func(x Person) bool { return x.Login == r.Form.Get("login_hint") })
		if !found {
			p.ask(w, r.Form)
			return
		}
		back(url.Values{"code": {p.issue(grant{
			client: client.ID, redirect: redirect, person: person,
			challenge: r.Form.Get("code_challenge"), nonce: r.Form.Get("nonce"),
			ends: p.Now().Add(codeLife),
		})}})
	}
}

// issue remembers a grant under a fresh code, and forgets those that ended.
func (p *Provider) issue(g grant) string {
	code := random()
	now := p.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, old := range p.codes {
		if !now.Before(old.ends) {
			delete(p.codes, c)
		}
	}
	p.codes[code] = g
	return code
}

// token exchanges a code for an ID token. A code is spent by the first attempt,
// right or wrong.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, problem("invalid_request", "the form does not parse"))
		return
	}
	form := r.PostForm
	if form.Get("grant_type") != "authorization_code" {
		answer(w, http.StatusBadRequest, problem("unsupported_grant_type", "only authorization_code is known here"))
		return
	}
	p.mu.Lock()
	g, found := p.codes[form.Get("code")]
	delete(p.codes, form.Get("code"))
	p.mu.Unlock()
	now := p.Now()
	verifier := form.Get("code_verifier")
	switch {
	case !found || !now.Before(g.ends) || form.Get("client_id") != g.client || form.Get("redirect_uri") != g.redirect:
		answer(w, http.StatusBadRequest, problem("invalid_grant", "the code is unknown, spent or another's"))
		return
	case len(verifier) < 43 || subtle.ConstantTimeCompare([]byte(challenge(verifier)), []byte(g.challenge)) != 1:
		answer(w, http.StatusBadRequest, problem("invalid_grant", "the code_verifier does not match"))
		return
	}
	token, err := p.idToken(g, now)
	if err != nil {
		answer(w, http.StatusInternalServerError, problem("server_error", "the token could not be signed"))
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"id_token":     token,
		"access_token": random(), // RFC 6749 §5.1 wants one; nothing here takes it
		"token_type":   "Bearer",
		"expires_in":   int(tokenLife.Seconds()),
		"scope":        "openid fhirUser",
	})
}

// ask shows the people as links, each the same request with its login_hint.
func (p *Provider) ask(w http.ResponseWriter, form url.Values) {
	type link struct{ Name, Login, URL string }
	links := lo.Map(p.People, func(x Person, _ int) link {
		q := url.Values{}
		for k := range form {
			q.Set(k, form.Get(k))
		}
		q.Set("login_hint", x.Login)
		return link{Name: x.Name, Login: x.Login, URL: p.Issuer + "/authorize?" + q.Encode()}
	})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	_ = page().Execute(w, links) // the caller has gone; there is nobody left to tell
}

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("who").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Who is there?</title>
<style>body{font:1.1rem/1.6 system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem}</style>
<h1>Who is there?</h1>
<p>This is the demonstration's identity provider. It asks for no password; a real one would.</p>
<ul>{{range .}}<li><a href="{{.URL}}">{{.Name}}</a> ({{.Login}})</li>{{end}}</ul></html>
`))
})

// s256 matches a SHA-256 digest in base64url without padding.
var s256 = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) })

// withQuery adds values to an address that may have a query of its own.
func withQuery(address string, values url.Values) string {
	u, err := url.Parse(address)
	if err != nil {
		panic("idp: a redirect address that was compared does not parse: " + err.Error())
	}
	q := u.Query()
	for k := range values {
		q.Set(k, values.Get(k))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func problem(code, description string) map[string]string {
	return map[string]string{"error": code, "error_description": description}
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}
