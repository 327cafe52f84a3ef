package demo

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/policy"
)

// sessions are the access tokens of the demonstration's people, by login.
type sessions map[string]string

// signInAll signs everybody in afresh: people at the identity provider, the
// loader by its own assertion.
func (h *Hospital) signInAll(ctx context.Context, c caller) (sessions, error) {
	var mu sync.Mutex // guards out
	out := sessions{}
	var all errgroup.Group
	all.SetLimit(8)
	keep := func(login string, in func() (string, error)) {
		all.Go(func() error {
			token, err := in()
			if err != nil {
				return fmt.Errorf("sign in %s: %w", login, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out[login] = token
			return nil
		})
	}
	for _, p := range h.pocket.People {
		keep(p.Login, func() (string, error) { return h.signIn(ctx, c, p) })
	}
	keep(loader, func() (string, error) { return h.signInLoader(ctx, c) })
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// tokenAnswer is a token endpoint's answer (RFC 6749 §5.1).
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
}

// signIn opens a session: the gateway says which nonce binds it, the identity
// provider signs that nonce, and so do patients with their own key; the gateway
// gives a token for the signatures.
func (h *Hospital) signIn(ctx context.Context, c caller, p person) (string, error) {
	var start struct {
		Session string `json:"session"`
		Nonce   string `json:"nonce"`
	}
	a, err := c.form(ctx, "/oauth/session", url.Values{"client_id": {p.App}}, &start)
	if err != nil {
		return "", err
	}
	if a.status >= 300 {
		return "", a.unexpected("a session")
	}
	idToken, err := h.browser().idToken(ctx, p.App, p.Login, start.Nonce)
	if err != nil {
		return "", err
	}
	form := url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"}, // RFC 8693
		"client_id":          {p.App},
		"session":            {start.Session},
		"subject_token":      {idToken},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
	if p.proves() {
		form.Set("signature", base64url(ed25519.Sign(p.key(), policy.SignInMessage(start.Nonce))))
	}
	return h.exchange(ctx, c, form)
}

// signInLoader proves the loader by its own signature (RFC 7523).
func (h *Hospital) signInLoader(ctx context.Context, c caller) (string, error) {
	private, _, err := h.pocket.loaderKey()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: private}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("loader's signer: %w", err)
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: loader, Subject: loader, Audience: jwt.Audience{h.base() + "/oauth/token"}, ID: random(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(4 * time.Minute)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("loader's assertion: %w", err)
	}
	return h.exchange(ctx, c, url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
		"client_id":             {loader},
	})
}

// exchange asks the token endpoint.
func (h *Hospital) exchange(ctx context.Context, c caller, form url.Values) (string, error) {
	var got tokenAnswer
	a, err := c.form(ctx, "/oauth/token", form, &got)
	switch {
	case err != nil:
		return "", err
	case a.status != http.StatusOK:
		return "", a.unexpected("a token")
	case got.AccessToken == "":
		return "", errors.New("the token endpoint gave no token")
	}
	return got.AccessToken, nil
}

// enrolAll registers the keys of everybody who signs, each by an ID token that is
// for enrolling alone and whose nonce is bound to the key: the gateway could
// neither have made it up nor have asked for it as a sign-in.
func (h *Hospital) enrolAll(ctx context.Context, c caller) error {
	var all errgroup.Group
	all.SetLimit(8)
	for _, p := range h.pocket.People {
		if !p.signs() {
			continue
		}
		all.Go(func() error {
			if err := h.enrol(ctx, c, p); err != nil {
				return fmt.Errorf("enrol %s: %w", p.Login, err)
			}
			return nil
		})
	}
	return all.Wait()
}

func (h *Hospital) enrol(ctx context.Context, c caller, p person) error {
	key, ok := p.key().Public().(ed25519.PublicKey)
	if !ok {
		return errors.New("not an Ed25519 key")
	}
	token, err := h.browser().idToken(ctx, enrolApp, p.Login, policy.EnrolNonce(key))
	if err != nil {
		return err
	}
	a, err := c.post(ctx, "/api/enrol", map[string]string{"person": p.Ref, "key": base64url(key), "token": token}, nil)
	if err != nil {
		return err
	}
	if a.status >= 300 {
		return a.unexpected("the key to be enrolled")
	}
	return nil
}
