package policy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/goccy/go-yaml"
	"github.com/samber/lo"
)

// The kinds of clients.
const (
	ClientUser   = "user"   // an app that people sign in to
	ClientSystem = "system" // a system that signs its own assertions
)

// The kinds of registered signers.
const (
	SignerADT         = "adt"          // relations
	SignerRegistrar   = "registrar"    // enrolments, two at a time
	SignerGovernance  = "governance"   // legal statements
	SignerPrivacy     = "privacy"      // legal and organisational statements
	SignerPolicyAdmin = "policy-admin" // organisational statements
)

// The implicit policies of IHE PCF: what counts as consent where the patient
// has said nothing. What each permits is rego/implicit.rego.
const (
	ImplicitDeny        = "deny"
	ImplicitBreakGlass  = "break-glass-only"
	ImplicitBasicNormal = "basic-normal"
	ImplicitAllNormal   = "all-normal"
)

// MaxSession is the longest a session may be, from its token's iat.
const MaxSession = 12 * time.Hour

// Trust is whose word counts: everything a custodian pins. It is configuration,
// the same at the gateway and at every custodian, never taken from the network.
type Trust struct {
	Tenant    string   `yaml:"tenant"`             // name of the installation
	Implicit  string   `yaml:"implicit,omitempty"` // implicit policy; deny if empty
	TokenURLs []string `yaml:"tokenURLs,omitempty"`
	FHIRBase  string   `yaml:"fhirBase,omitempty"` // absolute fhirUser claims are accepted on this base
	Issuers   []Issuer `yaml:"issuers,omitempty"`
	Clients   []Client `yaml:"clients,omitempty"`
	Signers   []Signer `yaml:"signers,omitempty"`
}

// Issuer is an identity provider.
type Issuer struct {
	Issuer     string   `yaml:"issuer"`     // exactly as in iss
	Audiences  []string `yaml:"audiences"`  // acceptable aud, exactly one of which a token has
	Algorithms []string `yaml:"algorithms"` // acceptable alg

	// EnrolAudiences are acceptable aud of tokens that enrol keys, and of none
	// that sign anybody in: the nonces of sign-ins are chosen by the gateway, which
	// would choose that of a key of its own. Their clients at the issuer send
	// people back to where the gateway cannot read. With none, registrars enrol.
	EnrolAudiences []string `yaml:"enrolAudiences,omitempty"`

	Keys      JWKS              `yaml:"keys"`                // public keys
	Roles     map[string]string `yaml:"roles,omitempty"`     // claim value to role; other values give no role
	RoleClaim string            `yaml:"roleClaim,omitempty"` // "roles" if empty
	UserClaim string            `yaml:"userClaim,omitempty"` // "fhirUser" if empty
}

// Client is a registered application.
type Client struct {
	ID         string   `yaml:"id"`
	Name       string   `yaml:"name,omitempty"`
	Kind       string   `yaml:"kind"`                 // user, system
	Keys       JWKS     `yaml:"keys,omitempty"`       // system: keys of its assertions
	Algorithms []string `yaml:"algorithms,omitempty"` // system: RS384 and ES384 if empty
	Types      []string `yaml:"types,omitempty"`      // system: resource types it may write; "*" for all
	Actions    []string `yaml:"actions,omitempty"`    // system: create, update, delete
	Purposes   []string `yaml:"purposes,omitempty"`   // short codes that its sessions may state
	Default    string   `yaml:"default,omitempty"`    // purpose of a request that states none; none if empty
	Scopes     []string `yaml:"scopes,omitempty"`     // most that a session may have
	Lifetime   Duration `yaml:"lifetime,omitempty"`   // longest session; an hour if zero
}

// Signer is somebody whose statements count by registration.
type Signer struct {
	ID   string    `yaml:"id"`
	Kind string    `yaml:"kind"` // adt, registrar, governance, privacy, policy-admin
	Key  PublicKey `yaml:"key"`  // Ed25519
}

// Duration is a time.Duration written as Go writes it: "1h", "15m".
type Duration time.Duration

// MarshalYAML writes "1h0m0s".
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// UnmarshalYAML reads "1h".
func (d *Duration) UnmarshalYAML(decode func(any) error) error {
	var s string
	if err := decode(&s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// PublicKey is an Ed25519 public key, base64url without padding in YAML.
type PublicKey ed25519.PublicKey

// MarshalYAML writes base64url.
func (k PublicKey) MarshalYAML() (any, error) { return encode64(k), nil }

// UnmarshalYAML reads base64url.
func (k *PublicKey) UnmarshalYAML(decode func(any) error) error {
	var s string
	if err := decode(&s); err != nil {
		return err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	*k = b
	return nil
}

// JWKS is a JSON Web Key Set of public keys; in YAML the same mapping as in
// JSON, {keys: [{kty: RSA, kid: …, n: …, e: AQAB}]}.
type JWKS struct{ jose.JSONWebKeySet }

// NewJWKS makes a set of keys.
func NewJWKS(keys ...jose.JSONWebKey) JWKS {
	return JWKS{jose.JSONWebKeySet{Keys: keys}}
}

// IsZero tells an absent set.
func (s JWKS) IsZero() bool { return len(s.Keys) == 0 }

// MarshalYAML writes the set's JSON members.
func (s JWKS) MarshalYAML() (any, error) {
	b, err := json.Marshal(s.JSONWebKeySet)
	if err != nil {
		return nil, err
	}
	var v any
	err = json.Unmarshal(b, &v)
	return v, err
}

// UnmarshalYAML reads the set's JSON members.
func (s *JWKS) UnmarshalYAML(decode func(any) error) error {
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &s.JSONWebKeySet)
}

// maxTrust bounds a trust file.
const maxTrust = 4 << 20

// ParseTrust reads YAML strictly: unknown or repeated keys, keys of the wrong
// kind and rules that contradict each other are errors, with line and column
// where YAML knows them.
func ParseTrust(data []byte) (*Trust, error) {
	if len(data) > maxTrust {
		return nil, fmt.Errorf("trust: %d bytes, at most %d", len(data), maxTrust)
	}
	var t Trust
	if err := yaml.UnmarshalWithOptions(data, &t, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return &t, nil
}

// YAML writes what [ParseTrust] reads.
func (t *Trust) YAML() ([]byte, error) { return yaml.Marshal(t) }

// Digest is SHA-256 of the YAML: gateway and custodians compare it, for those
// that trust differently decide differently.
func (t *Trust) Digest() [32]byte {
	b, err := t.YAML()
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(b)
}

// Client returns the registered client of that id.
func (t *Trust) Client(id string) (Client, bool) {
	return lo.Find(t.Clients, func(c Client) bool { return c.ID == id })
}

// MaxEnd is the latest end of a session of the client whose token was issued at
// iat.
func (c Client) MaxEnd(iat time.Time) time.Time {
	life := time.Duration(c.Lifetime)
	if life == 0 {
		life = time.Hour
	}
	return iat.Add(min(life, MaxSession))
}

// Purposes returns the purposes, short codes sorted, that a session of the
// client with those roles may state, and the one it states when it says nothing
// ("" if it must say). They are the client's, cut to what the roles may ever
// have; a system client has no roles to cut to.
func (t *Trust) Purposes(client string, roles []string) (allowed []string, def string) {
	c, ok := t.Client(client)
	if !ok {
		return nil, ""
	}
	allowed = lo.Filter(c.Purposes, func(p string, _ int) bool {
		return c.Kind == ClientSystem || lo.SomeBy(roles, func(r string) bool { return slices.Contains(terms().RolePurposes[r], p) })
	})
	slices.Sort(allowed)
	allowed = slices.Compact(allowed)
	if slices.Contains(allowed, c.Default) {
		return allowed, c.Default
	}
	for _, r := range roles { // an app for several roles: the role's own default
		if d := terms().RoleDefaults[r]; c.Kind == ClientUser && slices.Contains(allowed, d) {
			return allowed, d
		}
	}
	return allowed, ""
}

// algorithms are the signatures accepted anywhere: asymmetric, and none of
// the RSA PKCS #1 v1.5 ones below 256 bits.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Validate reports everything that is wrong, joined.
func (t *Trust) Validate() error {
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	check(t.Tenant != "", "tenant: missing")
	check(slices.Contains([]string{"", ImplicitDeny, ImplicitBreakGlass, ImplicitBasicNormal, ImplicitAllNormal}, t.Implicit), "implicit: %q is no policy", t.Implicit)
	for _, i := range t.Issuers {
		errs = append(errs, i.validate())
	}
	for _, c := range t.Clients {
		errs = append(errs, c.validate(len(t.TokenURLs) > 0))
	}
	for _, s := range t.Signers {
		check(s.ID != "" && !isRef(s.ID, "Patient", "Practitioner"), "signer %q: an id that is no person's", s.ID)
		check(slices.Contains([]string{SignerADT, SignerRegistrar, SignerGovernance, SignerPrivacy, SignerPolicyAdmin}, s.Kind), "signer %s: kind %q", s.ID, s.Kind)
		check(len(s.Key) == ed25519.PublicKeySize, "signer %s: key of %d bytes, not %d", s.ID, len(s.Key), ed25519.PublicKeySize)
	}
	check(distinct(t.Issuers, func(i Issuer) string { return i.Issuer }), "issuers: one is there twice")
	check(distinct(t.Clients, func(c Client) string { return c.ID }), "clients: one is there twice")
	check(distinct(t.Signers, func(s Signer) string { return s.ID }), "signers: one is there twice")
	check(distinct(t.Signers, func(s Signer) string { return string(s.Key) }), "signers: two share a key")
	return errors.Join(errs...)
}

func distinct[T any](all []T, name func(T) string) bool {
	return len(lo.UniqBy(all, name)) == len(all)
}

func (i Issuer) validate() error {
	switch {
	case i.Issuer == "":
		return errors.New("issuer without a name")
	case len(i.Audiences) == 0:
		return fmt.Errorf("issuer %s: no audiences", i.Issuer)
	case slices.Contains(append(slices.Clone(i.Audiences), i.EnrolAudiences...), ""):
		return fmt.Errorf("issuer %s: an audience without a name", i.Issuer)
	case lo.Some(i.Audiences, i.EnrolAudiences):
		return fmt.Errorf("issuer %s: an audience that enrols must not sign in: %v", i.Issuer, lo.Intersect(i.Audiences, i.EnrolAudiences))
	case len(i.Algorithms) == 0 || !lo.Every(algorithms, i.Algorithms):
		return fmt.Errorf("issuer %s: algorithms %v, want some of %v", i.Issuer, i.Algorithms, algorithms)
	}
	for value, role := range i.Roles {
		if !slices.Contains(terms().Workforce, role) {
			return fmt.Errorf("issuer %s: %q gives role %q, want one of %v", i.Issuer, value, role, terms().Workforce)
		}
	}
	if err := i.Keys.validate(); err != nil {
		return fmt.Errorf("issuer %s: %w", i.Issuer, err)
	}
	return nil
}

func (c Client) validate(tokenURL bool) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("client %s: "+format, append([]any{c.ID}, a...)...)
	}
	if !isRef("Client/"+c.ID, "Client") {
		return bad("id %q: want 1 to 64 of A-Z a-z 0-9 . -", c.ID)
	}
	for _, p := range append(slices.Clone(c.Purposes), lo.Compact([]string{c.Default})...) {
		if !terms().purpose(p) {
			return bad("purpose %q", p)
		}
	}
	if c.Default != "" && !slices.Contains(c.Purposes, c.Default) {
		return bad("default purpose %s is not among its purposes", c.Default)
	}
	if c.Lifetime < 0 || time.Duration(c.Lifetime) > MaxSession {
		return bad("lifetime %s, at most %s", time.Duration(c.Lifetime), MaxSession)
	}
	if _, err := ParseScopes(c.Scopes); err != nil {
		return bad("%w", err)
	}
	switch c.Kind {
	case ClientUser:
		if !c.Keys.IsZero() || c.Types != nil || c.Actions != nil || c.Algorithms != nil {
			return bad("keys, algorithms, types and actions are for system clients")
		}
	case ClientSystem:
		if !lo.Every([]string{Create, Update, Delete}, c.Actions) {
			return bad("actions %v, want some of create, update, delete", c.Actions)
		}
		if !lo.Every(algorithms, c.Algorithms) {
			return bad("algorithms %v, want some of %v", c.Algorithms, algorithms)
		}
		if !tokenURL {
			return bad("assertions need tokenURLs to be addressed to")
		}
		if err := c.Keys.validate(); err != nil {
			return bad("%w", err)
		}
	default:
		return bad("kind %q", c.Kind)
	}
	return nil
}

// validate refuses sets with anything but distinct public keys with a kid.
// A symmetric key would let whoever reads this file sign (RFC 8725 §2.1).
func (s JWKS) validate() error {
	if len(s.Keys) == 0 {
		return errors.New("no keys")
	}
	for _, k := range s.Keys {
		if k.KeyID == "" || !k.Valid() || !k.IsPublic() {
			return fmt.Errorf("key %q: want a public key with a kid", k.KeyID)
		}
		if k.Use != "" && k.Use != "sig" {
			return fmt.Errorf("key %q: use %q", k.KeyID, k.Use)
		}
		if n := rsaBits(k.Key); n > 0 && n < 2048 {
			return fmt.Errorf("key %q: RSA of %d bits", k.KeyID, n)
		}
	}
	if !distinct(s.Keys, func(k jose.JSONWebKey) string { return k.KeyID }) {
		return errors.New("two keys of one kid")
	}
	return nil
}

// signer finds a registered signer of one of the kinds.
func (t *Trust) signer(id string, kinds ...string) (ed25519.PublicKey, bool) {
	s, ok := lo.Find(t.Signers, func(s Signer) bool { return s.ID == id && slices.Contains(kinds, s.Kind) })
	return ed25519.PublicKey(bytes.Clone(s.Key)), ok
}
