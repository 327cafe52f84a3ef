package demo

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/node/demo/idp"
)

// The people of the demonstration, by the name under which they sign in.
const (
	doctor       = "doctor"
	nurse        = "nurse"
	secondDoctor = "second-doctor"
	outsider     = "outsider"
	auditor      = "auditor"
	admin        = "admin"
	patientA     = "patient"
	patientB     = "patient-b"
	loader       = "loader" // a system: it signs its own assertions

	// The patients of the story: one is read, one's grant ends, one withdraws.
	storyReader   = "story-reader"
	storyExpiry   = "story-expiry"
	storyWithdraw = "story-withdraw"
)

// The applications they use. A person's purposes and scopes are the
// application's, cut to what the role may have.
const (
	clinicApp  = "demo-clinic"
	patientApp = "demo-patient"
	auditApp   = "demo-audit"
	adminApp   = "demo-admin"

	// enrolApp is what people's own devices are to the issuer when they enrol a
	// key: its tokens sign nobody in, and those of the others enrol nothing.
	enrolApp = "demo-enrol"
)

// The addresses codes are sent to. That of enrolments is of a device's own
// scheme (RFC 8252 §7.1), where a gateway, on whatever port, reads nothing.
const (
	appRedirect   = "http://localhost/demo/callback"
	enrolRedirect = "org.wardkey.demo:/enrolled"
)

// redirectOf is where the issuer sends the codes of an application to.
func redirectOf(app string) string {
	if app == enrolApp {
		return enrolRedirect
	}
	return appRedirect
}

// A person is somebody of the demonstration. It is kept in the pocket.
type person struct {
	Login string   `json:"login"`
	Name  string   `json:"name"` // never a patient's own: it stands in the clear
	Ref   string   `json:"ref"`  // "Practitioner/…", "Patient/…"
	Roles []string `json:"roles"`
	App   string   `json:"app"`
	Seed  []byte   `json:"seed"` // Ed25519; of those who sign statements
}

func (p person) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.Seed) }

func (p person) signs() bool { return len(p.Seed) > 0 }

// proves tells who signs in with their key: patients who have one.
func (p person) proves() bool { return p.signs() && strings.HasPrefix(p.Ref, "Patient/") }

func (p person) id() string {
	r, err := fhir.ParseRef(p.Ref, "")
	if err != nil {
		return ""
	}
	return r.ID
}

// The pocket is what the demonstration's user has about them and no server
// would: everybody's keys, and where the directory has been served before.
type pocket struct {
	People     map[string]person `json:"people"`
	Loader     []byte            `json:"loader"`     // P-384 key of the loader's assertions, PKCS #8
	IDP        []byte            `json:"idp"`        // the issuer's keys
	ADT        []byte            `json:"adt"`        // Ed25519 seeds of registered signers
	Registrar  []byte            `json:"registrar"`  //
	Governance [][]byte          `json:"governance"` //
	// Addresses of the issuer and the gateway, the present ones last. Earlier
	// ones stay in the trust file: sign-ins made under them are on the chain and
	// are verified again whenever it is replayed.
	Issuers []string `json:"issuers"`
	Bases   []string `json:"bases"`
	Sealed  bool     `json:"sealed"` // the patients have been loaded
}

const pocketFile = "pocket.json"

// LogValue keeps keys out of logs.
func (pocket) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps keys out of formatted text.
func (pocket) String() string { return "[redacted]" }

// GoString keeps keys out of %#v.
func (pocket) GoString() string { return "[redacted]" }

func readPocket(dir string) (*pocket, error) {
	data, err := os.ReadFile(filepath.Join(dir, pocketFile))
	if err != nil {
		return nil, fmt.Errorf("read pocket: %w", err)
	}
	var p pocket
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read pocket: %w", err)
	}
	return &p, nil
}

func (p *pocket) write(dir string) error { return writeJSON(filepath.Join(dir, pocketFile), p) }

// newPocket gives everybody a record to be, and keys.
func newPocket(c *cast) (*pocket, error) {
	issuer, err := idp.GenerateKeys()
	if err != nil {
		return nil, err
	}
	issuerSecret, err := issuer.Secret()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate loader's key: %w", err)
	}
	loaderKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode loader's key: %w", err)
	}
	return &pocket{
		People: c.people(), Loader: loaderKey, IDP: issuerSecret,
		ADT: seed(), Registrar: seed(), Governance: [][]byte{seed(), seed(), seed()},
	}, nil
}

// people casts the parts: staff are practitioners of the data, patients the
// cast's.
func (c *cast) people() map[string]person {
	staff := func(i int) string { return "Practitioner/" + c.practitioners[i].ID() }
	all := []person{
		{Login: doctor, Name: "A doctor", Ref: staff(0), Roles: []string{"doctor"}, App: clinicApp, Seed: seed()},
		{Login: nurse, Name: "A nurse", Ref: staff(1), Roles: []string{"nurse"}, App: clinicApp, Seed: seed()},
		{Login: secondDoctor, Name: "A second doctor", Ref: staff(2), Roles: []string{"doctor"}, App: clinicApp, Seed: seed()},
		{Login: outsider, Name: "A doctor from elsewhere", Ref: staff(3), Roles: []string{"doctor"}, App: clinicApp},
		{Login: auditor, Name: "An auditor", Ref: staff(4), Roles: []string{"auditor"}, App: auditApp},
		{Login: admin, Name: "An administrator", Ref: staff(5), Roles: []string{"admin"}, App: adminApp},
	}
	for login, patient := range c.patients {
		all = append(all, person{
			Login: login, Name: "The patient called " + login, Ref: "Patient/" + patient.ID(),
			Roles: []string{"patient"}, App: patientApp, Seed: seed(),
		})
	}
	return lo.KeyBy(all, func(p person) string { return p.Login })
}

// issuer is the provider's configuration for these people.
func (p *pocket) issuer(address string) (idp.Config, error) {
	keys, err := idp.ParseKeys(p.IDP)
	if err != nil {
		return idp.Config{}, err
	}
	return idp.Config{
		Issuer: address, Keys: keys,
		People: lo.MapToSlice(p.People, func(_ string, x person) idp.Person {
			return idp.Person{Login: x.Login, Name: x.Name, FHIRUser: x.Ref, Roles: x.Roles}
		}),
		Clients: lo.Map([]string{clinicApp, patientApp, auditApp, adminApp, enrolApp}, func(id string, _ int) idp.Client {
			return idp.Client{ID: id, Redirects: []string{redirectOf(id)}}
		}),
	}, nil
}

// loaderKey is the key of the loader's assertions with its public half, as
// registered.
func (p *pocket) loaderKey() (private, public jose.JSONWebKey, err error) {
	key, err := x509.ParsePKCS8PrivateKey(p.Loader)
	if err != nil {
		return private, public, fmt.Errorf("loader's key: %w", err)
	}
	private = jose.JSONWebKey{Key: key, KeyID: "loader-1", Algorithm: string(jose.ES384), Use: "sig"}
	return private, private.Public(), nil
}

func seed() []byte {
	b := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(b) // crypto/rand does not fail
	return b
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
