package demo

import (
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/gateway/node/demo/idp"
	"github.com/wardkey/wardkey/policy"
)

const tenant = "wardkey-demo"

// trust is whose word counts in this hospital, the same file for the gateway and
// for every custodian.
func (p *pocket) trust() (*policy.Trust, error) {
	keys, err := idp.ParseKeys(p.IDP)
	if err != nil {
		return nil, err
	}
	_, loaderPublic, err := p.loaderKey()
	if err != nil {
		return nil, err
	}
	staff := []string{"doctor", "nurse", "auditor", "admin"}
	t := &policy.Trust{
		Tenant:    tenant,
		Implicit:  policy.ImplicitDeny,
		TokenURLs: lo.Map(p.Bases, func(base string, _ int) string { return base + "/oauth/token" }),
		Issuers: lo.Map(p.Issuers, func(address string, _ int) policy.Issuer {
			return policy.Issuer{
				Issuer:         address,
				Audiences:      []string{clinicApp, patientApp, auditApp, adminApp},
				EnrolAudiences: []string{enrolApp},
				Algorithms:     []string{string(jose.RS256)},
				Keys:           policy.NewJWKS(keys.Public().Keys...),
				Roles:          lo.SliceToMap(staff, func(role string) (string, string) { return role, role }),
			}
		}),
		Clients: []policy.Client{
			{
				ID: clinicApp, Name: "Ward application", Kind: policy.ClientUser,
				Purposes: []string{"TREAT", "ETREAT", "BTG", "CAREMGT"}, Default: "TREAT",
				Scopes: clinicScopes(), Lifetime: policy.Duration(tokenLife),
			},
			{
				ID: patientApp, Name: "Patient application", Kind: policy.ClientUser,
				Purposes: []string{"PATRQT"}, Default: "PATRQT",
				Scopes: []string{"patient/*.rs"}, Lifetime: policy.Duration(tokenLife),
			},
			{
				ID: auditApp, Name: "Audit console", Kind: policy.ClientUser,
				Purposes: []string{"HOPERAT", "HLEGAL"}, Default: "HOPERAT",
				Scopes: []string{"user/AuditEvent.rs"}, Lifetime: policy.Duration(tokenLife),
			},
			{
				ID: adminApp, Name: "Administration", Kind: policy.ClientUser,
				Purposes: []string{"HOPERAT"}, Default: "HOPERAT",
				Lifetime: policy.Duration(tokenLife),
			},
			{
				ID: loader, Name: "Loader of records", Kind: policy.ClientSystem,
				Keys: policy.NewJWKS(loaderPublic), Algorithms: []string{string(jose.ES384)},
				Types:    []string{"*"},
				Actions:  []string{policy.Create, policy.Update, policy.Delete},
				Purposes: []string{"RECORDMGT"}, Default: "RECORDMGT",
				Scopes: []string{"system/*.cruds"}, Lifetime: policy.Duration(tokenLife),
			},
		},
		Signers: append([]policy.Signer{
			{ID: "adt", Kind: policy.SignerADT, Key: public(p.ADT)},
			{ID: "registrar", Kind: policy.SignerRegistrar, Key: public(p.Registrar)},
		}, lo.Map(p.Governance, func(s []byte, i int) policy.Signer {
			return policy.Signer{ID: fmt.Sprintf("governance-%d", i+1), Kind: policy.SignerGovernance, Key: public(s)}
		})...),
	}
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return t, nil
}

// clinicScopes let clinicians document and read; what they may in fact see and
// write is policy's to say.
func clinicScopes() []string { return []string{"user/*.crus"} }

// tokenLife is how long the demonstration's people stay signed in.
const tokenLife = time.Hour

// addressed notes the present addresses, as the last ones.
func (p *pocket) addressed(issuer, base string) {
	p.Issuers = append(lo.Without(p.Issuers, issuer), issuer)
	p.Bases = append(lo.Without(p.Bases, base), base)
}

func (p *pocket) writeTrust(dir string) error {
	t, err := p.trust()
	if err != nil {
		return err
	}
	data, err := t.YAML()
	if err != nil {
		return fmt.Errorf("encode trust: %w", err)
	}
	return replace(filepath.Join(dir, trustFile), data, 0o600)
}

func public(seed []byte) policy.PublicKey {
	key, ok := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if !ok {
		panic("demo: an Ed25519 key has an Ed25519 public key")
	}
	return policy.PublicKey(key)
}
