package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/custodian"
)

// errStranger is what a caller meets whose certificate is good and whose name is
// not among those that may call.
var errStranger = errors.New("no name in the certificate may call here")

// material is a role's certificate with its key, and whom it trusts.
type material struct {
	own   tls.Certificate
	trust *x509.CertPool
}

// load reads the certificate and the authority; the key comes from the keystore.
func (c TLSConfig) load(folder string, key []byte) (material, error) {
	cert, err := os.ReadFile(under(folder, c.Certificate))
	if err != nil {
		return material{}, fmt.Errorf("read certificate: %w", err)
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return material{}, fmt.Errorf("certificate %s with the key %q: %w", c.Certificate, keyTLS, err)
	}
	pool, err := readPool(under(folder, c.CA))
	if err != nil {
		return material{}, err
	}
	return material{own: own, trust: pool}, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authority %s holds no certificate", file)
	}
	return pool, nil
}

// mutual is for a listener that only the named callers may reach.
func (m material) mutual(clients []string) *tls.Config {
	conf := custodian.ServerTLS(m.own, m.trust)
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if !lo.Some(s.PeerCertificates[0].DNSNames, clients) {
			return errStranger
		}
		return nil
	}
	return conf
}

// server is for a listener whose callers bring tokens.
func (m material) server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{m.own}}
}
