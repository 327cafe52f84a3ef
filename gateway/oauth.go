package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/records"
)

// Names that RFC 8693, RFC 6749 and RFC 7523 give; none of them is a secret.
//
//nolint:gosec // G101 takes a name with "token" in it for one
const (
	grantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantClientCredentials = "client_credentials"
	tokenTypeIDToken       = "urn:ietf:params:oauth:token-type:id_token"
	tokenTypeAccessToken   = "urn:ietf:params:oauth:token-type:access_token"
	assertionTypeJWT       = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// oauthBody bounds a body at /oauth: an ID token and change.
const oauthBody = 64 << 10

// beginSession answers POST /oauth/session {client_id}: the session and the
// nonce that its ID token must carry.
func (g *Gateway) beginSession(c echo.Context) error {
	form, err := g.oauthForm(c)
	if err != nil {
		return g.oauthFail(c, err)
	}
	start, err := g.c.Sessions.Begin(form.Get("client_id"))
	if err != nil {
		return g.oauthFail(c, err)
	}
	return writeObject(c, http.StatusOK, map[string]any{
		"session": start.Session, "nonce": start.Nonce, "expires": start.End.UTC().Format(time.RFC3339),
	})
}

// token answers POST /oauth/token. In an exchange the parameter "signature" is
// the patient's proof of the enrolled key, where there is one: base64url, over
// [policy.SignInMessage] of the session's nonce.
func (g *Gateway) token(c echo.Context) error {
	form, err := g.oauthForm(c)
	if err != nil {
		return g.oauthFail(c, err)
	}
	if c.Request().Header.Get("Authorization") != "" {
		return g.oauthFail(c, oauthError("invalid_request"))
	}
	ctx, scope := c.Request().Context(), strings.Fields(form.Get("scope"))
	var token string
	var session *smart.Session
	grant := form.Get("grant_type")
	switch {
	case grant == grantTokenExchange && form.Get("subject_token_type") != tokenTypeIDToken,
		grant == grantClientCredentials && form.Get("client_assertion_type") != assertionTypeJWT:
		return g.oauthFail(c, oauthError("invalid_request"))
	case grant == grantTokenExchange:
		var signature []byte
		if signature, err = decode64(form.Get("signature")); err != nil {
			return g.oauthFail(c, oauthError("invalid_request"))
		}
		token, session, err = g.c.Sessions.Complete(ctx, form.Get("client_id"), form.Get("session"), form.Get("subject_token"), scope, signature)
	case grant == grantClientCredentials:
		token, session, err = g.c.Sessions.Assert(ctx, form.Get("client_id"), form.Get("client_assertion"), scope)
	default:
		return g.oauthFail(c, oauthError("unsupported_grant_type"))
	}
	if err != nil {
		return g.oauthFail(c, err)
	}
	answer := map[string]any{
		"access_token": token, "token_type": "Bearer", "scope": strings.Join(session.Scope, " "),
		"expires_in": int(session.End.Sub(g.now()).Seconds()),
	}
	if grant == grantTokenExchange {
		answer["issued_token_type"] = tokenTypeAccessToken
	}
	if patient := session.Patient(); patient != "" {
		answer["patient"] = patient
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("Pragma", "no-cache")
	return writeObject(c, http.StatusOK, answer)
}

// revoke answers POST /oauth/revoke {token}: the session is signed out. It says
// the same of tokens that never were (RFC 7009 §2.2).
func (g *Gateway) revoke(c echo.Context) error {
	form, err := g.oauthForm(c)
	if err != nil {
		return g.oauthFail(c, err)
	}
	if err := g.c.Sessions.Revoke(c.Request().Context(), form.Get("token")); err != nil {
		return g.oauthFail(c, err)
	}
	return c.NoContent(http.StatusOK)
}

// oauthForm reads a form, or the JSON object that says the same; each parameter
// once (RFC 6749 §3.2).
func (g *Gateway) oauthForm(c echo.Context) (url.Values, error) {
	r := c.Request()
	if r.URL.RawQuery != "" || r.Header.Get("Content-Encoding") != "" {
		return nil, oauthError("invalid_request")
	}
	body, err := readLimited(c, oauthBody)
	if err != nil {
		return nil, oauthError("invalid_request")
	}
	form := url.Values{}
	switch contentType := r.Header.Get("Content-Type"); {
	case formType(contentType):
		if form, err = parseQuery(string(body)); err != nil {
			return nil, oauthError("invalid_request")
		}
	case jsonType(contentType):
		var fields map[string]string
		if strictJSON(body, &fields) != nil {
			return nil, oauthError("invalid_request")
		}
		for name, value := range fields {
			form.Set(name, value)
		}
	default:
		return nil, oauthError("invalid_request")
	}
	for _, all := range form {
		if len(all) != 1 {
			return nil, oauthError("invalid_request")
		}
	}
	return form, nil
}

// oauthError is an error code of RFC 6749 §5.2.
type oauthError string

func (e oauthError) Error() string { return "oauth: " + string(e) }

// oauthProblem is the table of /oauth.
func oauthProblem(err error) (status int, code, text string) {
	if code, ok := errors.AsType[oauthError](err); ok {
		return http.StatusBadRequest, string(code), "The request cannot be understood."
	}
	for _, line := range []struct {
		sentinel   error
		status     int
		code, text string
	}{
		{smart.ErrClient, http.StatusUnauthorized, "invalid_client", "The client is not registered for this."},
		{smart.ErrScope, http.StatusBadRequest, "invalid_scope", "None of the scopes asked for is the client's."},
		{smart.ErrSignIn, http.StatusBadRequest, "invalid_grant", "The token or assertion is not accepted, or was used before."},
		{smart.ErrPending, http.StatusServiceUnavailable, "temporarily_unavailable", "Recorded, and not yet confirmed by enough custodians. Sign in again."},
		{smart.ErrTooMany, http.StatusServiceUnavailable, "temporarily_unavailable", "Too many sessions."},
		{chain.ErrUnavailable, http.StatusServiceUnavailable, "temporarily_unavailable", "The log cannot be written."},
		{records.ErrTooFewShares, http.StatusServiceUnavailable, "temporarily_unavailable", "Too few custodians."},
	} {
		if errors.Is(err, line.sentinel) {
			return line.status, line.code, line.text
		}
	}
	return http.StatusInternalServerError, "server_error", "Something went wrong here."
}

// oauthFail renders an error as RFC 6749 has it.
func (g *Gateway) oauthFail(c echo.Context, err error) error {
	status, code, text := oauthProblem(err)
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("request", requestID(c)), slog.String("code", code)}
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
		attrs = append(attrs, failure(err))
		c.Response().Header().Set("Retry-After", "2")
	}
	g.log.LogAttrs(c.Request().Context(), level, "sign-in refused", attrs...)
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("Pragma", "no-cache")
	return writeObject(c, status, map[string]any{"error": code, "error_description": text})
}

// writeObject renders a JSON object.
func writeObject(c echo.Context, status int, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return writeJSON(c, status, mediaJSON, body)
}
