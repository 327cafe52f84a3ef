package node

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
)

// The roles that a file may be of.
const (
	roleGateway   = "gateway"
	roleCustodian = "custodian"
)

// A GatewayConfig is a gateway.yaml. Relative paths are relative to the file's
// folder. All settings are required unless their comment says otherwise.
type GatewayConfig struct {
	Role   string `yaml:"role"`   // "gateway"
	Tenant string `yaml:"tenant"` // the hospital, as the trust file and the labels name it
	Listen string `yaml:"listen"` // host:port of /fhir, /api, /oauth and /chain
	Base   string `yaml:"base"`   // how clients address that listener, as in "https://fhir.example.org"
	Admin  string `yaml:"admin"`  // host:port of /healthz, /readyz and /metrics; none if empty

	Trust     string `yaml:"trust"`               // file: issuers, clients and signers
	Labelling string `yaml:"labelling,omitempty"` // file: which codes make a resource sensitive; built-in rules if empty
	Committee string `yaml:"committee"`           // file: the custodians' public keys

	Keystore KeystoreConfig    `yaml:"keystore"`
	TLS      TLSConfig         `yaml:"tls"` // towards the custodians; also of the listener if serve is set
	Log      LogConfig         `yaml:"log"`
	Index    string            `yaml:"index"` // file: the blind index
	Upstream UpstreamConfig    `yaml:"upstream"`
	Modes    map[string]string `yaml:"modes,omitempty"` // resource type to seal or observe; see gateway.DefaultModes
	Peers    []PeerConfig      `yaml:"custodians"`
	Timeout  time.Duration     `yaml:"timeout,omitempty"` // how long the custodians have to answer; 2500ms if zero

	Logging LoggingConfig `yaml:"logging,omitempty"`

	folder string
}

// A CustodianConfig is a custodian.yaml. Relative paths are relative to the
// file's folder.
type CustodianConfig struct {
	Role      string `yaml:"role"`   // "custodian"
	Index     int    `yaml:"index"`  // which share of the committee this is, from 1
	Tenant    string `yaml:"tenant"` // as in the trust file
	Listen    string `yaml:"listen"` // host:port of /v1, mutual TLS
	Admin     string `yaml:"admin,omitempty"`
	Trust     string `yaml:"trust"`
	Committee string `yaml:"committee"`

	Keystore KeystoreConfig `yaml:"keystore"`
	TLS      TLSConfig      `yaml:"tls"`
	Log      LogConfig      `yaml:"log"`

	Logging LoggingConfig `yaml:"logging,omitempty"`

	folder string
}

// A KeystoreConfig says where secrets are: in files or in a Vault, never both.
type KeystoreConfig struct {
	Files string       `yaml:"files,omitempty"` // folder, readable by nobody else
	Vault *VaultConfig `yaml:"vault,omitempty"`
}

// A VaultConfig addresses a key/value store, version 2, of a HashiCorp Vault.
type VaultConfig struct {
	Address  string `yaml:"address"`
	CA       string `yaml:"ca,omitempty"`    // file: certificates to trust; the system's if empty
	Mount    string `yaml:"mount,omitempty"` // "secret" if empty
	Path     string `yaml:"path"`            // folder within the mount, one a role
	RoleID   string `yaml:"role_id"`         // of the AppRole login
	SecretID string `yaml:"secret_id_file"`  // file holding the AppRole's secret id
}

// A TLSConfig names this role's certificate; its key is "tls" in the keystore.
type TLSConfig struct {
	CA          string   `yaml:"ca"`                // file: whom to trust on both ends
	Certificate string   `yaml:"certificate"`       // file
	Clients     []string `yaml:"clients,omitempty"` // custodian: DNS names in certificates that may call
	Serve       bool     `yaml:"serve,omitempty"`   // gateway: its own listener speaks TLS too
}

// A LogConfig says where the chain is kept.
type LogConfig struct {
	Dir    string `yaml:"dir"`
	Origin string `yaml:"origin,omitempty"` // gateway: the log's name in checkpoints
	Key    string `yaml:"key,omitempty"`    // custodian: the sequencer's verifier key, pinned
}

// An UpstreamConfig says where records are kept: at a FHIR R4 server, or in the
// embedded store, which then has a listener of its own like any other.
type UpstreamConfig struct {
	URL      string          `yaml:"url,omitempty"` // FHIR base
	Embedded *EmbeddedConfig `yaml:"embedded,omitempty"`
}

// An EmbeddedConfig is the store that comes with the gateway.
type EmbeddedConfig struct {
	File   string `yaml:"file"`   // SQLite database
	Listen string `yaml:"listen"` // host:port; it asks nobody who they are, so a loopback address
}

// A PeerConfig is one custodian as the gateway knows it.
type PeerConfig struct {
	Index int    `yaml:"index"`
	URL   string `yaml:"url"`            // https address
	Name  string `yaml:"name,omitempty"` // DNS name in its certificate; the URL's host if empty
	Key   string `yaml:"key"`            // its verifier key: cosignatures and answers
}

// A LoggingConfig says how much is logged and where.
type LoggingConfig struct {
	Level string `yaml:"level,omitempty"` // debug, info, warn or error; info if empty
	File  string `yaml:"file,omitempty"`  // standard error if empty
}

// LoadGateway reads and checks a gateway's file. Mistakes come as a
// [*ConfigError].
func LoadGateway(path string) (*GatewayConfig, error) {
	c := &GatewayConfig{}
	return c, load(path, c, &c.folder)
}

// LoadCustodian reads and checks a custodian's file. Mistakes come as a
// [*ConfigError].
func LoadCustodian(path string) (*CustodianConfig, error) {
	c := &CustodianConfig{}
	return c, load(path, c, &c.folder)
}

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

func readConfig(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("configuration %s has %d bytes, at most %d", path, len(data), maxConfig)
	}
	return data, nil
}

// load reads a file of the role that c is of, and notes its folder.
func load(path string, c interface{ check(*document) }, folder *string) error {
	data, err := readConfig(path)
	if err != nil {
		return err
	}
	if *folder, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return fmt.Errorf("folder of configuration: %w", err)
	}
	d := decode(path, data, c)
	if d.legible() {
		c.check(d)
	}
	return d.err()
}

func (c *GatewayConfig) check(d *document) {
	d.role(c.Role, roleGateway)
	d.required("tenant", c.Tenant)
	d.address("listen", c.Listen, true)
	d.address("admin", c.Admin, false)
	d.link("base", c.Base, "http", "https")
	d.existing("trust", c.folder, c.Trust, true)
	d.existing("labelling", c.folder, c.Labelling, false)
	d.existing("committee", c.folder, c.Committee, true)
	c.Keystore.check(d, c.folder)
	c.TLS.check(d, c.folder)
	if len(c.TLS.Clients) > 0 {
		d.problem("tls.clients", "belongs to custodians: the gateway's callers bring tokens")
	}
	d.required("log.dir", c.Log.Dir)
	d.required("log.origin", c.Log.Origin)
	if c.Log.Key != "" {
		d.problem("log.key", "belongs to custodians: the gateway signs the log itself")
	}
	d.required("index", c.Index)
	c.Upstream.check(d)
	for typ, mode := range c.Modes {
		if mode != "seal" && mode != "observe" {
			d.problem("modes."+typ, "is %q; modes are seal and observe", mode)
		}
	}
	if len(c.Peers) == 0 {
		d.problem("custodians", "names nobody")
	}
	for i, p := range c.Peers {
		at := fmt.Sprintf("custodians[%d]", i)
		if p.Index < 1 || p.Index > 255 {
			d.problem(at+".index", "is %d; shares are numbered from 1 to 255", p.Index)
		}
		if slices.ContainsFunc(c.Peers[:i], func(q PeerConfig) bool { return q.Index == p.Index }) {
			d.problem(at+".index", "%d is named twice", p.Index)
		}
		d.link(at+".url", p.URL, "https")
		d.vkey(at+".key", p.Key, chain.NewCosignVerifier)
	}
	if c.Timeout < 0 || c.Timeout > 3*time.Second {
		d.problem("timeout", "is %s; a caller is told within 3s, so at most that", c.Timeout)
	}
	c.Logging.check(d)
}

func (c *CustodianConfig) check(d *document) {
	d.role(c.Role, roleCustodian)
	if c.Index < 1 || c.Index > 255 {
		d.problem("index", "is %d; shares are numbered from 1 to 255", c.Index)
	}
	d.required("tenant", c.Tenant)
	d.address("listen", c.Listen, true)
	d.address("admin", c.Admin, false)
	d.existing("trust", c.folder, c.Trust, true)
	d.existing("committee", c.folder, c.Committee, true)
	c.Keystore.check(d, c.folder)
	c.TLS.check(d, c.folder)
	if len(c.TLS.Clients) == 0 {
		d.problem("tls.clients", "names nobody: whose certificate may call?")
	}
	if c.TLS.Serve {
		d.problem("tls.serve", "belongs to gateways: a custodian always serves mutual TLS")
	}
	d.required("log.dir", c.Log.Dir)
	if c.Log.Origin != "" {
		d.problem("log.origin", "belongs to gateways: a custodian takes it from log.key")
	}
	d.vkey("log.key", c.Log.Key, note.NewVerifier)
	c.Logging.check(d)
}

func (c KeystoreConfig) check(d *document, folder string) {
	switch {
	case c.Vault == nil && c.Files == "":
		d.problem("keystore", "needs files or vault")
	case c.Vault != nil && c.Files != "":
		d.problem("keystore", "has both files and vault: secrets are in one place")
	case c.Files != "":
		d.folder("keystore.files", folder, c.Files)
	default:
		d.link("keystore.vault.address", c.Vault.Address, "http", "https")
		d.required("keystore.vault.path", c.Vault.Path)
		d.required("keystore.vault.role_id", c.Vault.RoleID)
		d.existing("keystore.vault.secret_id_file", folder, c.Vault.SecretID, true)
		d.existing("keystore.vault.ca", folder, c.Vault.CA, false)
	}
}

func (c TLSConfig) check(d *document, folder string) {
	d.existing("tls.ca", folder, c.CA, true)
	d.existing("tls.certificate", folder, c.Certificate, true)
}

func (c UpstreamConfig) check(d *document) {
	switch {
	case c.URL == "" && c.Embedded == nil:
		d.problem("upstream", "needs url or embedded")
	case c.URL != "" && c.Embedded != nil:
		d.problem("upstream", "has both url and embedded: records are in one place")
	case c.URL != "":
		d.link("upstream.url", c.URL, "http", "https")
	default:
		d.required("upstream.embedded.file", c.Embedded.File)
		d.address("upstream.embedded.listen", c.Embedded.Listen, true)
		if host, _, err := net.SplitHostPort(c.Embedded.Listen); err == nil && !loopback(host) {
			d.problem("upstream.embedded.listen", "is reachable from elsewhere, and the store asks nobody who they are: use a loopback address")
		}
	}
}

func (c LoggingConfig) check(d *document) {
	if _, err := c.level(); err != nil {
		d.problem("logging.level", "is %q; levels are debug, info, warn and error", c.Level)
	}
}

func (d *document) role(got, want string) {
	switch got {
	case want:
	case "":
		d.problem("role", "is missing; here it is %s", want)
	default:
		d.problem("role", "is %q, where that of a %s was wanted", got, want)
	}
}

func (d *document) required(path, value string) {
	if value == "" {
		d.problem(path, "is missing")
	}
}

// address wants host:port; without a host every interface is meant.
func (d *document) address(path, value string, required bool) {
	if value == "" {
		if required {
			d.problem(path, "is missing")
		}
		return
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.problem(path, "is %q; want host:port", value)
	}
}

func (d *document) link(path, value string, schemes ...string) {
	u, err := url.Parse(value)
	switch {
	case value == "":
		d.problem(path, "is missing")
	case err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		d.problem(path, "is %q; want a plain address beginning with %s://", value, schemes[len(schemes)-1])
	}
}

// vkey wants a verifier key of the kind that parse understands.
func (d *document) vkey(path, value string, parse func(string) (note.Verifier, error)) {
	if value == "" {
		d.problem(path, "is missing")
	} else if _, err := parse(value); err != nil {
		d.problem(path, "is no verifier key: %s", err)
	}
}

func (d *document) existing(path, folder, value string, required bool) {
	if value == "" {
		if required {
			d.problem(path, "is missing")
		}
		return
	}
	if info, err := os.Stat(under(folder, value)); err != nil {
		d.problem(path, "%s", err)
	} else if info.IsDir() {
		d.problem(path, "%s is not a file", value)
	}
}

func (d *document) folder(path, folder, value string) {
	if info, err := os.Stat(under(folder, value)); err != nil {
		d.problem(path, "%s", err)
	} else if !info.IsDir() {
		d.problem(path, "%s is not a folder", value)
	}
}

func under(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
