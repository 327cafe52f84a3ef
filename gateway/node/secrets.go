package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/wardkey/wardkey/records/keystore"
)

// The names of the secrets that roles look for in their keystore. [GatewaySecrets] and [CustodianSecrets] say
// in which form each is kept.
const (
	keyTLS        = "tls"        // both: the certificate's key, PKCS #8 in PEM
	keyAttributes = "attributes" // both: the attribute key, 32 bytes
	keyLog        = "log"        // gateway: the log's signer key, as package note writes it
	keyIndex      = "index"      // gateway: the index key, 32 bytes
	keyShare      = "share"      // custodian: its share of the committee's key
	keySigning    = "signing"    // custodian: Ed25519 seed of its answers and cosignatures, 32 bytes
)

// GatewaySecrets are what a gateway's keystore holds.
type GatewaySecrets struct {
	TLS        []byte // the certificate's key, PKCS #8 in PEM
	Log        []byte // the log's signer key, as golang.org/x/mod/sumdb/note writes it
	Attributes []byte // 32 bytes, the same at every custodian
	Index      []byte // 32 bytes
}

// CustodianSecrets are what a custodian's keystore holds.
type CustodianSecrets struct {
	TLS        []byte // the certificate's key, PKCS #8 in PEM
	Share      []byte // as threshold.Share.Secret returns it
	Signing    []byte // Ed25519 seed, 32 bytes
	Attributes []byte // 32 bytes, the same as the gateway's
}

// LogValue keeps the secrets out of logs.
func (GatewaySecrets) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Format keeps the secrets out of formatted text.
func (GatewaySecrets) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue keeps the secrets out of logs.
func (CustodianSecrets) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Format keeps the secrets out of formatted text.
func (CustodianSecrets) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

func (s *GatewaySecrets) fields() map[string]*[]byte {
	return map[string]*[]byte{keyTLS: &s.TLS, keyLog: &s.Log, keyAttributes: &s.Attributes, keyIndex: &s.Index}
}

func (s *CustodianSecrets) fields() map[string]*[]byte {
	return map[string]*[]byte{keyTLS: &s.TLS, keyShare: &s.Share, keySigning: &s.Signing, keyAttributes: &s.Attributes}
}

// Save puts the secrets where a gateway looks for them.
func (s *GatewaySecrets) Save(ctx context.Context, to keystore.Keystore) error {
	return save(ctx, to, s.fields())
}

// Save puts the secrets where a custodian looks for them.
func (s *CustodianSecrets) Save(ctx context.Context, to keystore.Keystore) error {
	return save(ctx, to, s.fields())
}

func save(ctx context.Context, to keystore.Keystore, fields map[string]*[]byte) error {
	for name, value := range fields {
		if err := to.Save(ctx, name, *value); err != nil {
			return fmt.Errorf("save secret %q: %w", name, err)
		}
	}
	return nil
}

// loadSecrets fills the fields from the configured keystore.
func (c KeystoreConfig) loadSecrets(ctx context.Context, folder string, fields map[string]*[]byte) (err error) {
	from, closeStore, err := c.open(ctx, folder)
	if err != nil {
		return err
	}
	defer closeStore()
	for name, value := range fields {
		if *value, err = from.Load(ctx, name); err != nil {
			return fmt.Errorf("keystore: secret %q: %w", name, err)
		}
	}
	return nil
}

func (c KeystoreConfig) open(ctx context.Context, folder string) (keystore.Keystore, func(), error) {
	if c.Vault == nil {
		files, err := keystore.OpenFiles(under(folder, c.Files))
		if err != nil {
			return nil, nil, fmt.Errorf("keystore: %w", err)
		}
		return files, func() { _ = files.Close() }, nil // it was only read from
	}
	v := c.Vault
	secret, err := os.ReadFile(under(folder, v.SecretID))
	if err != nil {
		return nil, nil, fmt.Errorf("keystore: %w", err)
	}
	conf := keystore.VaultConfig{
		Address: v.Address, Mount: v.Mount, Prefix: v.Path, RoleID: v.RoleID,
		SecretID: keystore.SecretID(strings.TrimSpace(string(secret))),
	}
	if v.CA != "" {
		pool, err := readPool(under(folder, v.CA))
		if err != nil {
			return nil, nil, fmt.Errorf("keystore: %w", err)
		}
		conf.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	vault, err := keystore.OpenVault(ctx, conf)
	if err != nil {
		return nil, nil, fmt.Errorf("keystore: %w", err)
	}
	return vault, func() {}, nil
}
