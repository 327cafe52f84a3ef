package vault

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wardkey/wardkey/records/keystore"
	"github.com/wardkey/wardkey/records/keystore/keystoretest"
)

func TestKeystoreAgainstARealVault(t *testing.T) {
	if !wanted() {
		t.Log("NOT RUN: set WARDKEY_E2E_VAULT=1 to build a Vault server, which takes minutes the first time, and test against it")
		return
	}
	s := newServer(t)
	t.Run("contract", func(t *testing.T) {
		keystoretest.Contract(t, func(t *testing.T) keystore.Keystore { return s.store(t) })
	})
	t.Run("every save is one version", func(t *testing.T) { everySaveIsOneVersion(t, s) })
	t.Run("a deleted secret is not found and may be made again", func(t *testing.T) { deletedIsNotFound(t, s) })
	t.Run("what the policy does not allow is denied", func(t *testing.T) { othersAreDenied(t, s) })
	t.Run("wrong credentials are denied", func(t *testing.T) { wrongCredentialsAreDenied(t, s) })
	t.Run("an unknown authority is not trusted", func(t *testing.T) { unknownAuthorityIsNotTrusted(t, s) })
	t.Run("a revoked token logs in again once", func(t *testing.T) { revokedLogsInAgain(t, s) })
	t.Run("sealed is said at once and asked once", func(t *testing.T) { sealedIsAskedOnce(t, s) })
	t.Run("what was saved survives a kill", func(t *testing.T) { survivesAKill(t, s) })
}

func save(t *testing.T, v *keystore.Vault, name, secret string) {
	t.Helper()
	if err := v.Save(t.Context(), name, []byte(secret)); err != nil {
		t.Fatal(err)
	}
}

func wantLoaded(t *testing.T, v *keystore.Vault, name, want string) {
	t.Helper()
	if got, err := v.Load(t.Context(), name); err != nil || !bytes.Equal(got, []byte(want)) {
		t.Fatalf("loaded %q, %v, want %q", got, err, want)
	}
}

func everySaveIsOneVersion(t *testing.T, s *server) {
	v := s.store(t)
	for _, secret := range []string{"one", "two", "three"} {
		save(t, v, "versions", secret)
	}
	if err := s.store(t).Save(t.Context(), "versions", []byte("four")); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("Save() error = %v, want ErrConflict", err)
	}
	metadata, err := s.admin.KVv2("secret").GetMetadata(t.Context(), "custodian-1/versions")
	if err != nil {
		t.Fatal(err)
	}
	if metadata.CurrentVersion != 3 {
		t.Errorf("%d versions, want 3", metadata.CurrentVersion)
	}
}

func deletedIsNotFound(t *testing.T, s *server) {
	v := s.store(t)
	save(t, v, "deleted", "one")
	if err := s.admin.KVv2("secret").Delete(t.Context(), "custodian-1/deleted"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Load(t.Context(), "deleted"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Load() error = %v, want ErrNotFound", err)
	}
	save(t, v, "deleted", "two")
	wantLoaded(t, s.store(t), "deleted", "two")
}

func othersAreDenied(t *testing.T, s *server) {
	config := s.config()
	config.Prefix = "custodian-2"
	v, err := keystore.OpenVault(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Load(t.Context(), "share"); !errors.Is(err, keystore.ErrDenied) {
		t.Errorf("Load() error = %v, want ErrDenied", err)
	}
	if err := v.Save(t.Context(), "share", []byte("secret")); !errors.Is(err, keystore.ErrDenied) {
		t.Errorf("Save() error = %v, want ErrDenied", err)
	}
}

func wrongCredentialsAreDenied(t *testing.T, s *server) {
	for name, change := range map[string]func(*keystore.VaultConfig){
		"role":   func(c *keystore.VaultConfig) { c.RoleID = "nobody" },
		"secret": func(c *keystore.VaultConfig) { c.SecretID = "wrong" },
	} {
		config := s.config()
		change(&config)
		_, err := keystore.OpenVault(t.Context(), config)
		if !errors.Is(err, keystore.ErrDenied) {
			t.Errorf("%s: error %v, want ErrDenied", name, err)
		}
		if err != nil && strings.Contains(err.Error(), s.secret) {
			t.Errorf("%s: the error tells the secret id", name)
		}
	}
}

func unknownAuthorityIsNotTrusted(t *testing.T, s *server) {
	config := s.config()
	config.TLS = nil
	if _, err := keystore.OpenVault(t.Context(), config); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("OpenVault() error = %v, want ErrUnavailable", err)
	}
}

// counting stands before the server and counts.
type counting struct {
	config        keystore.VaultConfig
	calls, logins atomic.Int64
}

func countCalls(t *testing.T, s *server) *counting {
	t.Helper()
	c := new(counting)
	target := &url.URL{Scheme: "https", Host: s.address}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{TLSClientConfig: s.tls()},
	}
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.calls.Add(1)
		if strings.HasSuffix(r.URL.Path, "/login") {
			c.logins.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	c.config = s.config()
	c.config.Address = front.URL
	c.config.TLS = front.Client().Transport.(*http.Transport).TLSClientConfig
	return c
}

func revokedLogsInAgain(t *testing.T, s *server) {
	c := countCalls(t, s)
	v, err := keystore.OpenVault(t.Context(), c.config)
	if err != nil {
		t.Fatal(err)
	}
	save(t, v, "revoked", "one")
	if err := s.admin.Sys().RevokePrefixWithContext(context.Background(), "auth/approle/login"); err != nil {
		t.Fatal(err)
	}
	wantLoaded(t, v, "revoked", "one")
	if logins := c.logins.Load(); logins != 2 {
		t.Errorf("%d logins, want the first and one more", logins)
	}
	save(t, v, "revoked", "two")
}

func sealedIsAskedOnce(t *testing.T, s *server) {
	c := countCalls(t, s)
	v, err := keystore.OpenVault(t.Context(), c.config)
	if err != nil {
		t.Fatal(err)
	}
	save(t, v, "sealed", "one")
	if err := s.admin.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	c.calls.Store(0)
	if _, err := v.Load(t.Context(), "sealed"); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("Load() error = %v, want ErrSealed", err)
	}
	if err := v.Save(t.Context(), "sealed", []byte("two")); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("Save() error = %v, want ErrSealed", err)
	}
	if _, err := keystore.OpenVault(t.Context(), c.config); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("OpenVault() error = %v, want ErrSealed", err)
	}
	if calls := c.calls.Load(); calls != 3 {
		t.Errorf("%d calls for three questions", calls)
	}
	s.open()
	wantLoaded(t, v, "sealed", "one")
}

func survivesAKill(t *testing.T, s *server) {
	v := s.store(t)
	save(t, v, "killed", "one")
	s.kill()
	if _, err := v.Load(t.Context(), "killed"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Load() error = %v, want ErrUnavailable", err)
	}
	s.start()
	if _, err := v.Load(t.Context(), "killed"); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("Load() error = %v, want ErrSealed", err)
	}
	s.open()
	wantLoaded(t, v, "killed", "one")
	save(t, v, "killed", "two")
	wantLoaded(t, s.store(t), "killed", "two")
}
