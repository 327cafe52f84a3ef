package demo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// A browser signs people in at the identity provider as an application would:
// the authorization code flow with PKCE (RFC 7636).
type browser struct {
	http   http.Client
	issuer string
}

// browser is one that follows no redirects: the code is in the address that the
// provider sends back to, and nobody listens there.
func (h *Hospital) browser() *browser {
	b := &browser{http: *h.outside, issuer: h.issuer()}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

// idToken returns the ID token of the person called login for the application
// app, with the given nonce.
func (b *browser) idToken(ctx context.Context, app, login, nonce string) (string, error) {
	verifier, state := random(), random()
	sum := sha256.Sum256([]byte(verifier))
	asked := url.Values{
		"response_type": {"code"}, "client_id": {app}, "redirect_uri": {redirectOf(app)},
		"scope": {"openid fhirUser"}, "state": {state}, "nonce": {nonce}, "login_hint": {login},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.issuer+"/authorize?"+asked.Encode(), nil)
	if err != nil {
		return "", fmt.Errorf("sign in %s: %w", login, err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("sign in %s: %w", login, err)
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("sign in %s: the issuer answered %s and sent nobody back", login, resp.Status)
	}
	got := back.Query()
	if got.Get("state") != state || got.Get("iss") != b.issuer || got.Get("code") == "" {
		return "", fmt.Errorf("sign in %s: the issuer sent back %q", login, got.Get("error"))
	}
	return b.redeem(ctx, app, login, got.Get("code"), verifier)
}

// redeem exchanges the code for the token.
func (b *browser) redeem(ctx context.Context, app, login, code, verifier string) (string, error) {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "client_id": {app},
		"redirect_uri": {redirectOf(app)}, "code_verifier": {verifier},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("redeem code of %s: %w", login, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("redeem code of %s: %w", login, err)
	}
	defer resp.Body.Close()
	var answer struct {
		IDToken string `json:"id_token"`
		Error   string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("redeem code of %s: %w", login, err)
	}
	if answer.IDToken == "" {
		return "", fmt.Errorf("redeem code of %s: %w", login, errors.New(answer.Error))
	}
	return answer.IDToken, nil
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}
