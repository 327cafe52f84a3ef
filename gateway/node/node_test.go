package node_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/gateway/node/demo"
	"github.com/wardkey/wardkey/records/keystore"
)

// directory makes the files of a hospital, all of whose roles have been stopped.
func directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	h, err := demo.Start(t.Context(), demo.Options{Dir: dir, Addr: "127.0.0.1:0", Patients: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func edit(t *testing.T, file, from, to string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// startGateway starts and, if that succeeds, stops a gateway.
func startGateway(t *testing.T, dir string) error {
	t.Helper()
	c, err := node.LoadGateway(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		return err
	}
	g, err := node.StartGateway(t.Context(), c, node.GatewayOptions{})
	if err != nil {
		return err
	}
	return g.Close(t.Context())
}

// startCustodian is startGateway for custodian 1.
func startCustodian(t *testing.T, dir string) error {
	t.Helper()
	c, err := node.LoadCustodian(filepath.Join(dir, "custodian-1.yaml"))
	if err != nil {
		return err
	}
	n, err := node.StartCustodian(t.Context(), c, node.CustodianOptions{})
	if err != nil {
		return err
	}
	return n.Close(t.Context())
}

func TestAStartThatIsRefusedSaysWhyAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, tc := range map[string]struct {
		start       func(*testing.T, string) error
		spoil, mend func()
		want        string
	}{
		"a gateway without its log key": {startGateway,
			func() { move(t, in("keys/gateway/log"), in("log-key")) }, func() { move(t, in("log-key"), in("keys/gateway/log")) },
			`secret "log"`},
		"keys that others may read": {startGateway,
			func() { chmod(t, in("keys/gateway/index"), 0o644) }, func() { chmod(t, in("keys/gateway/index"), 0o600) },
			"open to other users"},
		"a trust file of another hospital": {startGateway,
			func() { edit(t, in("trust.yaml"), "tenant: wardkey-demo", "tenant: elsewhere") }, func() { edit(t, in("trust.yaml"), "tenant: elsewhere", "tenant: wardkey-demo") },
			`of tenant "elsewhere"`},
		"a trust file with a mistake": {startGateway,
			func() { edit(t, in("trust.yaml"), "signers:", "singers:") }, func() { edit(t, in("trust.yaml"), "singers:", "signers:") },
			"singers"},
		"too few custodians": {startGateway,
			func() { edit(t, in("gateway.yaml"), "- index: 4", "- index: 5") }, func() { edit(t, in("gateway.yaml"), "- index: 5", "- index: 4") },
			"custodian 5 is not of the committee"},
		"somebody else's share": {startCustodian,
			func() { edit(t, in("custodian-1.yaml"), "keys/custodian-1", "keys/custodian-2") }, func() { edit(t, in("custodian-1.yaml"), "keys/custodian-2", "keys/custodian-1") },
			"with the key"},
		"a share of another number": {startCustodian,
			func() { edit(t, in("custodian-1.yaml"), "index: 1", "index: 3") }, func() { edit(t, in("custodian-1.yaml"), "index: 3", "index: 1") },
			"is share 1, and this is custodian 3"},
		"the log of another sequencer": {startCustodian,
			func() { edit(t, in("custodian-1.yaml"), "wardkey.org/demo+", "wardkey.org/demo2+") }, func() { edit(t, in("custodian-1.yaml"), "wardkey.org/demo2+", "wardkey.org/demo+") },
			"log.key: is no verifier key"},
		"a gateway's file for a custodian": {func(t *testing.T, dir string) error {
			_, err := node.LoadCustodian(filepath.Join(dir, "gateway.yaml"))
			return err
		}, func() {}, func() {}, "that of a custodian was wanted"},
	} {
		tc.spoil()
		if err := tc.start(t, dir); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want something with %q", name, err, tc.want)
		}
		tc.mend()
	}
	// Every lock and port is free again.
	for name, start := range map[string]func(*testing.T, string) error{"gateway": startGateway, "custodian": startCustodian} {
		if err := start(t, dir); err != nil {
			t.Errorf("%s, mended: %v", name, err)
		}
	}
}

func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// authority is whom the hospital's certificates are signed by.
func authority(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool
}

// serving starts a gateway for the length of a test.
func serving(t *testing.T, c *node.GatewayConfig) *node.Gateway {
	t.Helper()
	g, err := node.StartGateway(t.Context(), c, node.GatewayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context is done by now.
		if err := g.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestOnlyTheGatewayReachesACustodian(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c, err := node.LoadCustodian(filepath.Join(dir, "custodian-1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	custodian, err := node.StartCustodian(t.Context(), c, node.CustodianOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := custodian.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	pool := authority(t, dir)
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]bool{"gateway": true, "custodian-2": false, "": false} {
		conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
		if who != "" {
			files, err := keystore.OpenFiles(filepath.Join(dir, "keys", who))
			if err != nil {
				t.Fatal(err)
			}
			key, err := files.Load(t.Context(), "tls")
			if err := errors.Join(err, files.Close()); err != nil {
				t.Fatal(err)
			}
			cert, err := os.ReadFile(filepath.Join(dir, who+".pem"))
			if err != nil {
				t.Fatal(err)
			}
			own, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{own}
		}
		caller := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
		resp, err := caller.Get("https://localhost:" + port + "/v1/status")
		if err == nil {
			err = resp.Body.Close()
		}
		if (err == nil) != want {
			t.Errorf("%q calls: %v", who, err)
		}
	}
}

func TestAGatewayServesTLSWhenToldTo(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	file := filepath.Join(dir, "gateway.yaml")
	edit(t, file, "certificate: gateway.pem", "certificate: gateway.pem\n  serve: true")
	c, err := node.LoadGateway(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []int{1, 2, 3} {
		tending(t, dir, place)
	}
	serving(t, c)
	pool := authority(t, dir)
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	resp, err := caller.Get(strings.Replace(c.Base, "http:", "https:", 1) + "/fhir/metadata")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s, %v", resp.Status, err)
	}
}

func TestCheckUpstreamReadsWhatAServerDeclares(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	c, err := node.LoadGateway(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g := serving(t, c)
	report, err := node.CheckUpstream(t.Context(), g.Upstream.Base())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(report.FHIRVersion, "4.0") || len(report.Types) < 100 || len(report.Lacking) > 0 {
		t.Errorf("the embedded store: %+v", report)
	}
	if _, err := node.CheckUpstream(t.Context(), "http://"+c.Admin); err == nil {
		t.Error("an admin listener passed for a FHIR server")
	}
}
