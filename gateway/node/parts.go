package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/threshold"
)

// readTrust reads the trust file, and refuses that of another hospital.
func readTrust(file, tenant string) (*policy.Trust, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read trust: %w", err)
	}
	trust, err := policy.ParseTrust(data)
	if err != nil {
		return nil, misread(file, err)
	}
	if trust.Tenant != tenant {
		return nil, fmt.Errorf("%s is of tenant %q, not %q", file, trust.Tenant, tenant)
	}
	return trust, nil
}

func readLabelling(folder, file string) (*policy.Labelling, error) {
	if file == "" {
		return policy.DefaultLabelling(), nil
	}
	data, err := os.ReadFile(under(folder, file))
	if err != nil {
		return nil, fmt.Errorf("read labelling: %w", err)
	}
	l, err := policy.ParseLabelling(data)
	if err != nil {
		return nil, misread(under(folder, file), err)
	}
	return l, nil
}

// readCommittee reads the committee's public keys, as text.
func readCommittee(file string) (*threshold.Committee, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read committee: %w", err)
	}
	c := &threshold.Committee{}
	if err := c.UnmarshalText([]byte(strings.TrimSpace(string(data)))); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// verifierKey derives a signed-note verifier key from the signer key.
func verifierKey(skey []byte) (string, error) {
	// PRIVATE+KEY+<name>+<hash>+<keydata>, keydata being the algorithm and a seed.
	parts := strings.SplitN(strings.TrimSpace(string(skey)), "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return "", errors.New("malformed signer key")
	}
	data, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(data) != 1+ed25519.SeedSize {
		return "", errors.New("malformed signer key")
	}
	public, ok := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("malformed signer key")
	}
	key, err := note.NewEd25519VerifierKey(parts[2], public)
	if err != nil {
		return "", fmt.Errorf("derive verifier key: %w", err)
	}
	return key, nil
}
