package vault

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/wardkey/wardkey/records/keystore"
)

// build compiles the server once; a warm build cache makes it seconds.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vault-server-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "vault")
	command := exec.Command("go", "build", "-tags", "minimal", "-o", path, ".")
	command.Dir = "server"
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build vault: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if wanted() {
		if path, err := build(); err == nil {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	os.Exit(code)
}

func wanted() bool { return os.Getenv("WARDKEY_E2E_VAULT") == "1" }

// server is a Vault with a directory, that survives being killed.
type server struct {
	t       *testing.T
	dir     string
	address string // host:port
	roots   *x509.CertPool
	process *exec.Cmd
	exited  chan struct{}

	admin  *api.Client
	unseal string
	roleID string
	secret string
}

// newServer starts a Vault and readies it for one custodian.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.configure()
	s.start()
	t.Cleanup(s.kill)

	config := api.DefaultConfig()
	config.Address = "https://" + s.address
	config.MaxRetries = 0
	config.HttpClient.Transport = &http.Transport{TLSClientConfig: s.tls()}
	var err error
	s.admin, err = api.NewClient(config)
	s.must(err)
	s.admin.ClearToken()
	started, err := s.admin.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	s.must(err)
	s.admin.SetToken(started.RootToken)
	s.unseal = started.KeysB64[0]
	s.open()

	// One engine, in which no write goes without check-and-set; one policy; one role.
	s.must(s.admin.Sys().Mount("secret", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	s.eventually(func() error { // a new engine readies itself in the background
		_, err := s.admin.Logical().Write("secret/config", map[string]any{"cas_required": true})
		return err
	})
	s.must(s.admin.Sys().PutPolicy("custodian", `path "secret/data/custodian-1/*" { capabilities = ["create", "update", "read"] }`))
	s.must(s.admin.Sys().EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}))
	_, err = s.admin.Logical().Write("auth/approle/role/custodian-1", map[string]any{"token_policies": "custodian", "token_ttl": "1h"})
	s.must(err)
	role, err := s.admin.Logical().Read("auth/approle/role/custodian-1/role-id")
	s.must(err)
	secret, err := s.admin.Logical().Write("auth/approle/role/custodian-1/secret-id", nil)
	s.must(err)
	s.roleID, s.secret = role.Data["role_id"].(string), secret.Data["secret_id"].(string)
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// eventually repeats what a server that is readying itself refuses for a moment.
func (s *server) eventually(do func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) configure() {
	s.t.Helper()
	var cluster string
	for _, address := range []*string{&s.address, &cluster} {
		listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free, and most likely stays so
		s.must(err)
		*address = listener.Addr().String()
		defer func() { s.must(listener.Close()) }()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	s.must(err)
	certificate, err := x509.ParseCertificate(der)
	s.must(err)
	s.roots = x509.NewCertPool()
	s.roots.AddCert(certificate)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	s.must(err)
	for name, content := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		"vault.hcl": fmt.Appendf(nil, `
storage "raft" {
  path    = %[1]q
  node_id = "alone"
}
listener "tcp" {
  address         = %[2]q
  cluster_address = %[3]q
  tls_cert_file   = "%[1]s/cert.pem"
  tls_key_file    = "%[1]s/key.pem"
}
api_addr      = "https://%[2]s"
cluster_addr  = "https://%[3]s"
disable_mlock = true
`, s.dir, s.address, cluster),
	} {
		s.must(os.WriteFile(filepath.Join(s.dir, name), content, 0o600))
	}
}

func (s *server) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots}
}

// start answers when the server says that it has started. It is sealed then.
func (s *server) start() {
	s.t.Helper()
	path, err := build()
	s.must(err)
	s.process = exec.Command(path, "server", "-config="+filepath.Join(s.dir, "vault.hcl"))
	s.process.Env = append(os.Environ(), "HOME="+s.dir)
	output, err := s.process.StdoutPipe()
	s.must(err)
	s.process.Stderr = s.process.Stdout
	s.must(s.process.Start())
	s.exited = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(s.exited)
		var said strings.Builder
		lines := bufio.NewScanner(io.TeeReader(output, &said))
		for lines.Scan() {
			if strings.Contains(lines.Text(), "Vault server started!") {
				started <- nil
				break
			}
		}
		io.Copy(io.Discard, output) // until it ends
		err := s.process.Wait()
		select {
		case started <- errors.Join(err, fmt.Errorf("vault ended at once: %s", said.String())):
		default:
		}
	}()
	select {
	case err := <-started:
		s.must(err)
	case <-time.After(time.Minute):
		s.t.Fatal("vault does not start")
	}
}

// kill ends the server as a power cut would.
func (s *server) kill() {
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.exited
}

// open unseals.
func (s *server) open() {
	s.t.Helper()
	s.eventually(func() error { // right after its start it may not listen yet
		status, err := s.admin.Sys().Unseal(s.unseal)
		if err == nil && status.Sealed {
			err = errors.New("still sealed")
		}
		return err
	})
	s.eventually(func() error { // unsealed, it still has to become active
		_, err := s.admin.Sys().ListMounts()
		return err
	})
}

func (s *server) config() keystore.VaultConfig {
	return keystore.VaultConfig{
		Address: "https://" + s.address, TLS: s.tls(), Prefix: "custodian-1",
		RoleID: s.roleID, SecretID: keystore.SecretID(s.secret),
	}
}

func (s *server) store(t *testing.T) *keystore.Vault {
	t.Helper()
	v, err := keystore.OpenVault(t.Context(), s.config())
	if err != nil {
		t.Fatal(err)
	}
	return v
}
