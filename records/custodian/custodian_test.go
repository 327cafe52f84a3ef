package custodian_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/recordstest"
)

func asRefused(err error) (*records.RefusedError, bool) {
	return errors.AsType[*records.RefusedError](err)
}

func TestRefusalByPolicyIsToldApartFromAbsence(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.Custodians[2].Sleep() // with one away, the others' word is still a verdict
	_, err := w.Read(t.Context(), w.nurse, "TREAT", w.envelope)
	refused, ok := asRefused(err)
	if !ok || !slices.Contains(policy.Reasons(), refused.Reason) || len(refused.By) < 2 || slices.Contains(refused.By, 3) {
		t.Fatalf("Open() = %v, want *RefusedError by two or more", err)
	}
	// One dissenter is outvoted.
	w.Custodians[2].Wake()
	w.Custodians[0].Clock.Move(time.Hour)
	w.Eventually(func() bool {
		_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		return err == nil
	})
	// Two clocks that are off are a lack of custodians, not a denial.
	w.Custodians[1].Clock.Move(-time.Hour)
	if _, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope); !errors.Is(err, records.ErrTooFewShares) {
		t.Errorf("Open() = %v with two clocks that are off, want ErrTooFewShares", err)
	}
}

func TestCustodianReplaysItsStoreOnRestart(t *testing.T) {
	w := newWard(t, recordstest.Options{Disk: true})
	c := w.Custodians[0]
	w.Eventually(func() bool { return c.Inner().Status().Size == w.Log.Size() })
	before := c.Inner().Status()
	c.Stop()
	c.Start()
	after := c.Inner().Status()
	if after.Size != before.Size || after.Keys != before.Keys || after.Checkpoint != before.Checkpoint {
		t.Errorf("after the restart %+v, before %+v", after, before)
	}
	w.Custodians[1].Sleep()
	w.Eventually(func() bool {
		_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		return err == nil
	})
	if _, err := w.Read(t.Context(), w.nurse, "TREAT", w.envelope); err == nil {
		t.Error("after the restart it permits what it did not")
	}
}

func TestConfigurationThatCannotBeSafeIsRefused(t *testing.T) {
	committee, shares, err := dkg.Deal("c", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, others, err := dkg.Deal("c", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	h := recordstest.New(t, recordstest.Options{})
	_, signer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := custodian.Config{
		Index: 2, Committee: committee, Share: shares[1], Trust: h.Trust, AttributeKey: h.Attributes,
		LogVerifier: h.Verifier, Store: chaintest.NewStore(), Signer: signer, Engine: h.Engine,
	}
	c, err := custodian.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*custodian.Config){
		"two histories could be served": func(c *custodian.Config) {
			loose := *committee
			loose.F = 2 // 3 > (4+2)/2 does not hold
			c.Committee = &loose
		},
		"another's share":        func(c *custodian.Config) { c.Share = shares[0] },
		"a share of another key": func(c *custodian.Config) { c.Share = others[1] },
		"another index":          func(c *custodian.Config) { c.Index = 3 },
		"no share":               func(c *custodian.Config) { c.Share = nil },
		"no committee":           func(c *custodian.Config) { c.Committee = nil },
		"no trust":               func(c *custodian.Config) { c.Trust = nil },
		"no attribute key":       func(c *custodian.Config) { c.AttributeKey = nil },
		"no log key":             func(c *custodian.Config) { c.LogVerifier = nil },
		"no store":               func(c *custodian.Config) { c.Store = nil },
		"no signing key":         func(c *custodian.Config) { c.Signer = nil },
		"a name that is none":    func(c *custodian.Config) { c.Name = "two words" },
	} {
		c := good
		bend(&c)
		if opened, err := custodian.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = opened.Close()
		}
	}
}

func TestForkedLogIsNotFollowed(t *testing.T) {
	w := newWard(t, still())
	w.ask(t)
	// Another history under the same key: the log restored from a backup, say.
	inner := w.Custodians[0].Inner()
	before := inner.Status()
	forked := recordstest.New(t, recordstest.Options{LogKey: w.LogKey})
	for what, grow := range map[string]bool{"shorter than its own": false, "longer than its own": true} {
		for grow && forked.Log.Size() <= before.Size {
			forked.Append(chain.Entry{Kind: chain.Admin})
		}
		for _, first := range []uint64{0, min(forked.Log.Size(), before.Size)} {
			batch, err := forked.Log.Batch(t.Context(), first, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, keys := range [][]chain.LogKey{forked.Log.Keys(0), w.Log.Keys(0)} {
				answer, err := inner.Round(t.Context(), &records.Round{ID: make([]byte, records.RoundIDSize), Batch: batch, Keys: keys})
				if answer != nil || !isFork(err) {
					t.Errorf("%s, from %d: answered %+v, %v", what, first, answer, err)
				}
			}
		}
	}
	if after := inner.Status(); after.Checkpoint != before.Checkpoint || after.Keys != before.Keys {
		t.Error("it followed")
	}
}

func isFork(err error) bool {
	_, ok := errors.AsType[*chain.ForkError](err)
	return ok
}

// pki is an authority with a certificate for a server and one for a client.
type pki struct {
	pool           *x509.CertPool
	server, client tls.Certificate
}

func newPKI(t testing.TB) pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := pki{pool: x509.NewCertPool()}
	p.pool.AddCert(authority)
	issue := func(serial int64, usage x509.ExtKeyUsage) tls.Certificate {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: template.NotBefore, NotAfter: template.NotAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}, authority, own.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	}
	p.server, p.client = issue(2, x509.ExtKeyUsageServerAuth), issue(3, x509.ExtKeyUsageClientAuth)
	return p
}

func serve(t testing.TB, h http.Handler, p pki) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = custodian.ServerTLS(p.server, p.pool)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func client(t testing.TB, index int, url string, conf *tls.Config) *custodian.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := custodian.NewClient(custodian.ClientConfig{Index: index, URL: url, HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWholePathOverMutualTLS(t *testing.T) {
	p := newPKI(t)
	w := newWard(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) {
		c.Timeout = patience
		for i, fake := range c.Custodians {
			url := serve(t, fake.(*recordstest.Custodian).Inner().Handler(), p)
			c.Custodians[i] = client(t, fake.Index(), url, custodian.ClientTLS(p.client, p.pool, ""))
		}
	}})
	got, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
	if err != nil || len(got) != 1 || got[0].ID() != "o1" {
		t.Fatalf("Open() = %v, %v", got, err)
	}
	if _, err := w.Read(t.Context(), w.nurse, "TREAT", w.envelope); err == nil {
		t.Error("the nurse reads over the network what she may not")
	}
}

func TestNobodyConnectsWithoutACertificate(t *testing.T) {
	p, foreign := newPKI(t), newPKI(t)
	w := newWard(t, still())
	url := serve(t, w.Custodians[0].Inner().Handler(), p)
	status, err := client(t, 1, url, custodian.ClientTLS(p.client, p.pool, "")).Status(t.Context())
	if err != nil || status.Index != 1 || status.Size != w.Custodians[0].Inner().Status().Size {
		t.Fatalf("Status() = %+v, %v", status, err)
	}
	for name, conf := range map[string]*tls.Config{
		"without":           {RootCAs: p.pool, MinVersion: tls.VersionTLS13},
		"of another CA":     custodian.ClientTLS(foreign.client, p.pool, ""),
		"a server's":        custodian.ClientTLS(p.server, p.pool, ""),
		"TLS 1.2":           {RootCAs: p.pool, Certificates: []tls.Certificate{p.client}, MaxVersion: tls.VersionTLS12},
		"who trusts others": custodian.ClientTLS(p.client, foreign.pool, ""),
	} {
		if _, err := client(t, 1, url, conf).Status(t.Context()); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}

func TestBadCallsGetAWordAndNothingElse(t *testing.T) {
	w := newWard(t, still())
	s := httptest.NewServer(w.Custodians[0].Inner().Handler())
	t.Cleanup(s.Close)
	for name, tc := range map[string]struct {
		method, path, media, body string
		want                      int
	}{
		"not CBOR":      {"POST", "/v1/round", "application/json", "{}", http.StatusUnsupportedMediaType},
		"garbage":       {"POST", "/v1/round", "application/cbor", "garbage", http.StatusBadRequest},
		"empty":         {"POST", "/v1/round", "application/cbor", "", http.StatusBadRequest},
		"oversized":     {"POST", "/v1/round", "application/cbor", strings.Repeat("x", records.MaxRound+1), http.StatusRequestEntityTooLarge},
		"a GET":         {"GET", "/v1/round", "", "", http.StatusMethodNotAllowed},
		"elsewhere":     {"GET", "/v1/share", "", "", http.StatusNotFound},
		"no checkpoint": {"POST", "/v1/round", "application/cbor", string((&records.Round{ID: make([]byte, 32), Batch: chain.Batch{Checkpoint: []byte("x")}}).Encode()), http.StatusServiceUnavailable},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, s.URL+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tc.media)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tc.want || len(body) > 500 {
			t.Errorf("%s: %d %.100s (%v), want %d", name, res.StatusCode, body, err, tc.want)
		}
	}
}

func TestClientIsNotTakenInByItsServer(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusServiceUnavailable)
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("garbage")) },
		"without end": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(handler)
			t.Cleanup(s.Close)
			c, err := custodian.NewClient(custodian.ClientConfig{Index: 1, URL: s.URL, HTTP: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := c.Round(t.Context(), &records.Round{ID: make([]byte, 32)}); err == nil {
				t.Errorf("Round() = %+v", answer)
			}
			if status, err := c.Status(t.Context()); err == nil {
				t.Errorf("Status() = %+v", status)
			}
		})
	}
	for _, url := range []string{"", "localhost:1", "ftp://x/", "https://x/?a=b", "https://"} {
		if _, err := custodian.NewClient(custodian.ClientConfig{Index: 1, URL: url, HTTP: http.DefaultClient}); err == nil {
			t.Errorf("%q is a custodian", url)
		}
	}
}
