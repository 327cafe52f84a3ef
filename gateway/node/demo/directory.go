package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain/disk"
	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/index"
	"github.com/wardkey/wardkey/records/keystore"
)

// The committee: any 3 of 4 custodians open, and 1 may lie.
const (
	custodians = 4
	threshold  = 3
	faulty     = 1
)

// What a directory holds, besides demo.json and the pocket.
const (
	gatewayFile   = "gateway.yaml"
	trustFile     = "trust.yaml"
	committeeFile = "committee.txt"
	caFile        = "ca.pem"
	logOrigin     = "wardkey.org/demo"
)

// anyPort leaves the port to the system.
const anyPort = "127.0.0.1:0"

// errForeign is returned for a directory that is not empty and not ours.
var errForeign = errors.New("the directory holds something else; name an empty one, or one that an earlier demo made")

// A site is the configuration of one hospital: the files that its roles run
// from, and the listeners held for them until they start.
type site struct {
	dir        string
	gateway    *node.GatewayConfig
	custodians []*node.CustodianConfig // in the order of their indexes
	listeners  map[string]net.Listener
	issuer     net.Listener
}

const custodianFileGlob = "custodian-*.yaml"

func custodianFile(i int) string { return fmt.Sprintf("custodian-%d.yaml", i) }

// address finds a free port of this machine where addr leaves it open, or where
// the port is taken and may be another. The listener is kept, so that nobody
// else gets the port before the role starts.
func (s *site) address(ctx context.Context, addr string, fixed bool) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil && !fixed {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", anyPort)
	}
	if err != nil {
		return "", fmt.Errorf("%w; try another with --addr, port 0 takes a free one", err)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", errors.Join(fmt.Errorf("address %q: %w", addr, err), l.Close())
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "", errors.Join(fmt.Errorf("address %q: %w", l.Addr(), err), l.Close())
	}
	// The address is written as it was asked for, with the port that was got.
	at := net.JoinHostPort(host, port)
	s.listeners[at] = l
	return at, nil
}

// take hands out the listener held for an address, once.
func (s *site) take(addr string) map[string]net.Listener {
	l, held := s.listeners[addr]
	if !held {
		return nil
	}
	delete(s.listeners, addr)
	return map[string]net.Listener{addr: l}
}

// release closes the listeners that nobody took.
func (s *site) release() {
	for _, l := range s.listeners {
		_ = l.Close() // nothing was ever accepted from it
	}
}

// localhost is how an address of this machine is written in URLs.
func localhost(scheme, addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return scheme + "://" + net.JoinHostPort("localhost", port)
}

// newSite makes the directory of a hospital that has not opened yet: keys,
// certificates, a committee dealt by this process, and a file for each role.
func newSite(ctx context.Context, dir, addr string, fixed bool) (_ *site, err error) {
	s := &site{dir: dir, listeners: map[string]net.Listener{}}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	// Before anything is written: whoever asked for a port that is taken will ask
	// for another, with the same directory.
	listen, err := s.address(ctx, addr, fixed)
	if err != nil {
		return nil, err
	}
	authority, err := newAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(dir, caFile), authority.pem(), 0o600); err != nil {
		return nil, err
	}
	committee, shares, err := dkg.Deal(tenant, custodians, threshold, faulty)
	if err != nil {
		return nil, fmt.Errorf("deal shares: %w", err)
	}
	text, err := committee.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("encode committee: %w", err)
	}
	if err := replace(filepath.Join(dir, committeeFile), append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	attributes, err := records.NewAttributeKey()
	if err != nil {
		return nil, fmt.Errorf("attribute key: %w", err)
	}
	logSecret, logKey, err := note.GenerateKey(rand.Reader, logOrigin)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	var peers []node.PeerConfig
	for i := 1; i <= custodians; i++ {
		signing := seed()
		vkey, err := custodian.VerifierKey(custodian.Name(i), ed25519.NewKeyFromSeed(signing))
		if err != nil {
			return nil, fmt.Errorf("signing key of custodian %d: %w", i, err)
		}
		c, err := s.newCustodian(ctx, i, logKey)
		if err != nil {
			return nil, err
		}
		key, err := s.certificate(authority, custodian.Name(i))
		if err != nil {
			return nil, err
		}
		secrets := &node.CustodianSecrets{TLS: key, Share: shares[i-1].Secret(), Signing: signing, Attributes: attributes.Secret()}
		if err := s.keep(ctx, custodian.Name(i), secrets.Save); err != nil {
			return nil, err
		}
		shares[i-1].Destroy() // the dealer forgets
		s.custodians = append(s.custodians, c)
		peers = append(peers, node.PeerConfig{Index: i, URL: localhost("https", c.Listen), Name: custodian.Name(i) + ".wardkey", Key: vkey})
	}
	key, err := s.certificate(authority, "gateway")
	if err != nil {
		return nil, err
	}
	secrets := &node.GatewaySecrets{TLS: key, Log: []byte(logSecret), Attributes: attributes.Secret(), Index: index.NewKey()}
	if err := s.keep(ctx, "gateway", secrets.Save); err != nil {
		return nil, err
	}
	if err := s.newGateway(ctx, listen, peers); err != nil {
		return nil, err
	}
	if err := s.bindIssuer(ctx, anyPort); err != nil {
		return nil, err
	}
	return s, s.write()
}

func (s *site) newCustodian(ctx context.Context, i int, logKey string) (*node.CustodianConfig, error) {
	listen, err := s.address(ctx, anyPort, true)
	if err != nil {
		return nil, err
	}
	name := custodian.Name(i)
	return &node.CustodianConfig{
		Role: "custodian", Index: i, Tenant: tenant, Listen: listen, Trust: trustFile, Committee: committeeFile,
		Keystore: node.KeystoreConfig{Files: filepath.Join("keys", name)},
		TLS:      node.TLSConfig{CA: caFile, Certificate: name + ".pem", Clients: []string{"gateway.wardkey"}},
		Log:      node.LogConfig{Dir: filepath.Join(name, "log"), Key: logKey},
		Logging:  node.LoggingConfig{File: name + ".log"},
	}, nil
}

func (s *site) newGateway(ctx context.Context, listen string, peers []node.PeerConfig) error {
	side, err := s.address(ctx, anyPort, true)
	if err != nil {
		return err
	}
	records, err := s.address(ctx, anyPort, true)
	if err != nil {
		return err
	}
	s.gateway = &node.GatewayConfig{
		Role: "gateway", Tenant: tenant, Listen: listen, Base: localhost("http", listen), Admin: side,
		Trust: trustFile, Committee: committeeFile,
		Keystore: node.KeystoreConfig{Files: filepath.Join("keys", "gateway")},
		TLS:      node.TLSConfig{CA: caFile, Certificate: "gateway.pem"},
		Log:      node.LogConfig{Dir: "log", Origin: logOrigin},
		Index:    filepath.Join("gateway", "index.db"),
		Upstream: node.UpstreamConfig{Embedded: &node.EmbeddedConfig{File: filepath.Join("store", "store.db"), Listen: records}},
		Peers:    peers,
		Logging:  node.LoggingConfig{File: "gateway.log"},
	}
	return nil
}

// openSite reads the directory of a hospital that has served before. Where a
// port has been taken meanwhile, another is chosen and written into the files.
func openSite(ctx context.Context, dir, addr string, given bool, p *pocket) (_ *site, err error) {
	s := &site{dir: dir, listeners: map[string]net.Listener{}}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.gateway, err = node.LoadGateway(filepath.Join(dir, gatewayFile)); err != nil {
		return nil, err
	}
	if !given || strings.HasSuffix(addr, ":0") {
		addr, given = s.gateway.Listen, false
	}
	if s.gateway.Listen, err = s.address(ctx, addr, given); err != nil {
		return nil, err
	}
	if s.gateway.Admin, err = s.address(ctx, lo.CoalesceOrEmpty(s.gateway.Admin, anyPort), false); err != nil {
		return nil, err
	}
	if e := s.gateway.Upstream.Embedded; e != nil { // else somebody has put another store behind it
		if e.Listen, err = s.address(ctx, e.Listen, false); err != nil {
			return nil, err
		}
	}
	s.gateway.Base = localhost("http", s.gateway.Listen)
	for i, peer := range s.gateway.Peers {
		c, err := node.LoadCustodian(filepath.Join(dir, custodianFile(peer.Index)))
		if err != nil {
			return nil, err
		}
		if c.Listen, err = s.address(ctx, c.Listen, false); err != nil {
			return nil, err
		}
		s.gateway.Peers[i].URL = localhost("https", c.Listen)
		s.custodians = append(s.custodians, c)
	}
	if err := s.bindIssuer(ctx, strings.Replace(strings.TrimPrefix(lo.LastOrEmpty(p.Issuers), "http://"), "localhost", "127.0.0.1", 1)); err != nil {
		return nil, err
	}
	return s, s.write()
}

// bindIssuer holds the identity provider's port.
func (s *site) bindIssuer(ctx context.Context, addr string) error {
	at, err := s.address(ctx, addr, false)
	if err != nil {
		return err
	}
	s.issuer = s.take(at)[at]
	return nil
}

// write puts the files of all roles into the directory.
func (s *site) write() error {
	if err := writeYAML(filepath.Join(s.dir, gatewayFile), s.gateway); err != nil {
		return err
	}
	for _, c := range s.custodians {
		if err := writeYAML(filepath.Join(s.dir, custodianFile(c.Index)), c); err != nil {
			return err
		}
	}
	return nil
}

func writeYAML(path string, v any) error {
	data, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	head := "# Made by wardkey demo. Try: wardkey check --config " + filepath.Base(path) + "\n"
	return replace(path, append([]byte(head), data...), 0o600)
}

// certificate writes the role's certificate and returns its key.
func (s *site) certificate(a *authority, role string) (key []byte, err error) {
	cert, key, err := a.issue(role)
	if err != nil {
		return nil, err
	}
	return key, replace(filepath.Join(s.dir, role+".pem"), cert, 0o600)
}

// keep saves a role's secrets as files that nobody else may read.
func (s *site) keep(ctx context.Context, role string, save func(context.Context, keystore.Keystore) error) error {
	files, err := keystore.OpenFiles(filepath.Join(s.dir, "keys", role))
	if err != nil {
		return fmt.Errorf("keys of %s: %w", role, err)
	}
	return errors.Join(save(ctx, files), files.Close())
}

// used reports whether the directory has been served before. One that is not
// there, or empty, has not; one with anything else in it is refused.
func used(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read directory: %w", err)
	case len(entries) == 0:
		return false, nil
	}
	if _, err := os.Stat(filepath.Join(dir, pocketFile)); err != nil {
		return false, fmt.Errorf("%s: %w", dir, errForeign)
	}
	return true, nil
}

// unserved refuses a directory of which some role is running: its files, which
// say where that role listens, must stay as they are.
func unserved(dir string) error {
	logs, err := filepath.Glob(filepath.Join(dir, "custodian-*", "log"))
	if err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	for _, log := range append(logs, filepath.Join(dir, "log")) {
		if disk.Locked(log) {
			return fmt.Errorf("%s: %w", log, disk.ErrLocked)
		}
	}
	return nil
}
