package policy

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/samber/lo"
)

// Tokens are checked against pinned keys and the time of the entry that carries
// them, so that a replay of the log finds the same. What a token's header says
// about where keys are (jku, jwk, x5u, x5c) is not looked at.

const (
	maxToken     = 16 << 10         // bytes of a compact JWS
	maxSkew      = 10 * time.Second // how far iat and nbf may be ahead of the entry; exp has none
	maxAssertion = 300 * time.Second
)

// ErrToken is wrapped by every refusal of a token.
var ErrToken = errors.New("token refused")

// claims are those that every token here must have.
type claims struct {
	issuer   string
	subject  string
	expires  time.Time
	issued   time.Time
	nonce    string
	id       string // jti
	document map[string]any
}

// verifyIDToken checks an ID token of one of the issuers (OpenID Connect Core
// §3.1.3.7): algorithm listed, key pinned, iss and aud exact, iat, exp and nonce
// there. audiences chooses which of the issuer's are meant. now is the time of
// the entry.
func (t *Trust) verifyIDToken(token string, audiences func(Issuer) []string, now time.Time) (claims, Issuer, error) {
	refuse := func(err error) (claims, Issuer, error) {
		return claims{}, Issuer{}, fmt.Errorf("ID %w: %w", ErrToken, err)
	}
	name, err := unverifiedIssuer(token)
	if err != nil {
		return refuse(err)
	}
	issuer, ok := lo.Find(t.Issuers, func(i Issuer) bool { return i.Issuer == name })
	if !ok {
		return refuse(errors.New("its issuer is not trusted"))
	}
	c, err := verify(token, issuer.Keys, issuer.Algorithms, audiences(issuer), []string{"", "JWT"}, now)
	if err != nil {
		return refuse(err)
	}
	if c.issuer != issuer.Issuer { // the bytes verified are those looked at, but let that not matter
		return refuse(errors.New("iss changed"))
	}
	if c.nonce == "" {
		return refuse(errors.New("no nonce"))
	}
	return c, issuer, nil
}

// toSignIn and toEnrol are the audiences of the two kinds of ID tokens.
func toSignIn(i Issuer) []string { return i.Audiences }
func toEnrol(i Issuer) []string  { return i.EnrolAudiences }

// verifyAssertion checks a client's assertion (RFC 7523 §3, SMART 2.2 asymmetric
// authentication).
func (t *Trust) verifyAssertion(token string, c Client, now time.Time) (claims, error) {
	refuse := func(err error) (claims, error) {
		return claims{}, fmt.Errorf("client assertion: %w: %w", ErrToken, err)
	}
	algorithms := c.Algorithms
	if algorithms == nil {
		algorithms = []string{"RS384", "ES384"}
	}
	got, err := verify(token, c.Keys, algorithms, t.TokenURLs, []string{"", "JWT", "client-authentication+jwt"}, now)
	switch {
	case err != nil:
		return refuse(err)
	case got.issuer != c.ID || got.subject != c.ID:
		return refuse(errors.New("iss and sub are not the client"))
	case got.id == "":
		return refuse(errors.New("no jti"))
	case got.expires.Sub(got.issued) > maxAssertion:
		return refuse(fmt.Errorf("good for %s, at most %s", got.expires.Sub(got.issued), maxAssertion))
	}
	return got, nil
}

// verify checks signature, times and audience.
func verify(token string, keys JWKS, algorithms, audiences, types []string, now time.Time) (claims, error) {
	if len(token) > maxToken {
		return claims{}, fmt.Errorf("%d bytes, at most %d", len(token), maxToken)
	}
	algs := lo.Map(algorithms, func(a string, _ int) jose.SignatureAlgorithm { return jose.SignatureAlgorithm(a) })
	jws, err := jose.ParseSignedCompact(token, algs)
	if err != nil {
		return claims{}, errors.New("no compact JWS by a listed algorithm")
	}
	header := jws.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !slices.Contains(types, typ) {
		return claims{}, fmt.Errorf("typ %q", clip(typ))
	}
	key, ok := lo.Find(keys.Keys, func(k jose.JSONWebKey) bool { return k.KeyID == header.KeyID })
	if !ok || header.KeyID == "" || (key.Algorithm != "" && key.Algorithm != header.Algorithm) {
		return claims{}, errors.New("no key of that kid and algorithm")
	}
	payload, err := jws.Verify(key.Key)
	if err != nil {
		return claims{}, errors.New("bad signature")
	}
	return readClaims(payload, audiences, now)
}

func readClaims(payload []byte, audiences []string, now time.Time) (claims, error) {
	document, err := claimSet(payload)
	if err != nil {
		return claims{}, err
	}
	var c claims
	c.document = document
	c.issuer, _ = document["iss"].(string)
	c.subject, _ = document["sub"].(string)
	c.nonce, _ = document["nonce"].(string)
	c.id, _ = document["jti"].(string)
	var okExp, okIat bool
	c.expires, okExp = numericDate(document["exp"])
	c.issued, okIat = numericDate(document["iat"])
	switch {
	case c.issuer == "" || c.subject == "":
		return claims{}, errors.New("no iss or sub")
	case !okExp || !okIat:
		return claims{}, errors.New("no exp or iat in whole seconds")
	case !now.Before(c.expires):
		return claims{}, errors.New("expired")
	case c.issued.After(now.Add(maxSkew)) || !c.issued.Before(c.expires):
		return claims{}, errors.New("iat is in the future, or not before exp")
	}
	if v, there := document["nbf"]; there {
		if nbf, ok := numericDate(v); !ok || nbf.After(now.Add(maxSkew)) {
			return claims{}, errors.New("not valid yet")
		}
	}
	return c, audience(document, audiences)
}

// audience wants exactly one, and one of ours; a token for several could be
// replayed by the others. azp, where there is one, must be the same.
func audience(document map[string]any, audiences []string) error {
	aud, ok := document["aud"].(string)
	if list, isList := document["aud"].([]any); isList && len(list) == 1 {
		aud, ok = list[0].(string)
	}
	if !ok || !slices.Contains(audiences, aud) {
		return errors.New("not for us alone: aud")
	}
	if azp, there := document["azp"]; there && azp != aud {
		return errors.New("azp is another than aud")
	}
	return nil
}

// claimSet decodes a payload strictly: repeated names are refused (RFC 7519 §4
// lets one choose), numbers are kept as written.
func claimSet(payload []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	v, err := jsonValue(d, 0, func(n json.Number) (any, error) { return n, nil })
	if err != nil {
		return nil, errors.New("claims are no plain JSON object")
	}
	if d.More() {
		return nil, errors.New("something follows the claims")
	}
	document, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("claims are no plain JSON object")
	}
	return document, nil
}

// numericDate reads whole seconds between 1970 and 9999.
func numericDate(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	s, err := n.Int64()
	if err != nil || s < 0 || s > math.MaxInt32*int64(100) {
		return time.Time{}, false
	}
	return time.Unix(s, 0), true
}

// unverifiedIssuer reads iss to choose the issuer whose keys must verify.
func unverifiedIssuer(token string) (string, error) {
	if len(token) > maxToken {
		return "", fmt.Errorf("%d bytes, at most %d", len(token), maxToken)
	}
	jws, err := jose.ParseSignedCompact(token, lo.Map(algorithms, func(a string, _ int) jose.SignatureAlgorithm { return jose.SignatureAlgorithm(a) }))
	if err != nil {
		return "", errors.New("no compact JWS by a known algorithm")
	}
	document, err := claimSet(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return "", err
	}
	name, _ := document["iss"].(string)
	return name, nil
}

// person reads whom an ID token is about, and the roles that the issuer's
// mapping gives. Patients and their relatives have the role patient, whatever
// the token says; practitioners have roles of the workforce alone.
func (t *Trust) person(c claims, i Issuer) (id string, roles []string, err error) {
	claim := i.UserClaim
	if claim == "" {
		claim = "fhirUser"
	}
	id, _ = c.document[claim].(string)
	if rest, ok := strings.CutPrefix(id, strings.TrimSuffix(t.FHIRBase, "/")+"/"); ok && t.FHIRBase != "" {
		id = rest
	}
	switch {
	case isRef(id, "Patient", "RelatedPerson"):
		return id, []string{"patient"}, nil
	case !isRef(id, "Practitioner"):
		return "", nil, fmt.Errorf("ID %w: %s %q is no person here", ErrToken, claim, clip(id))
	}
	for _, value := range claimValues(c.document, i.RoleClaim) {
		if role, ok := i.Roles[value]; ok {
			roles = append(roles, role)
		}
	}
	if roles == nil {
		return "", nil, fmt.Errorf("ID %w: no role here", ErrToken)
	}
	slices.Sort(roles)
	return id, slices.Compact(roles), nil
}

// claimValues reads a claim that is a string or a list of them, at a dotted
// path ("realm_access.roles").
func claimValues(document map[string]any, path string) []string {
	if path == "" {
		path = "roles"
	}
	var v any = document
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	if s, ok := v.(string); ok {
		return []string{s}
	}
	return texts(v)
}

// rsaBits is the size of an RSA key, 0 for others.
func rsaBits(key any) int {
	if k, ok := key.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}
