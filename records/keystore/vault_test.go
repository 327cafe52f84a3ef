package keystore_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wardkey/wardkey/records/keystore"
	"github.com/wardkey/wardkey/records/keystore/keystoretest"
)

// fakeVault speaks as much of Vault's API as the store uses. What the real one
// does in these places is checked against it in gateway/e2e/vault.
type fakeVault struct {
	*httptest.Server

	mu       sync.Mutex // guards what follows
	logins   int
	calls    int
	tokens   map[string]bool // those that are known
	sealed   bool
	denied   bool
	dropNext bool // writes, then loses the answer
	secrets  map[string][]string
}

func newFakeVault(t testing.TB) *fakeVault {
	f := &fakeVault{tokens: make(map[string]bool), secrets: make(map[string][]string)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	fail := func(status int, words string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[%q]}`, words)
	}
	if f.sealed {
		fail(http.StatusServiceUnavailable, "Vault is sealed")
		return
	}
	if r.URL.Path == "/v1/auth/approle/login" {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
		if body["role_id"] != "role" || body["secret_id"] != "password" {
			fail(http.StatusBadRequest, "invalid role or secret ID")
			return
		}
		f.logins++
		token := fmt.Sprintf("token-%d", f.logins)
		f.tokens[token] = true
		fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":60}}`, token)
		return
	}
	if !f.tokens[r.Header.Get("X-Vault-Token")] || f.denied {
		fail(http.StatusForbidden, "permission denied")
		return
	}
	name, found := strings.CutPrefix(r.URL.Path, "/v1/secret/data/")
	if !found {
		fail(http.StatusNotFound, "no handler")
		return
	}
	versions := f.secrets[name]
	metadata := func(n int) string {
		return fmt.Sprintf(`{"version":%d,"created_time":"2026-01-02T03:04:05Z","deletion_time":"","destroyed":false}`, n)
	}
	if r.Method == http.MethodGet {
		if len(versions) == 0 {
			fail(http.StatusNotFound, "")
			return
		}
		fmt.Fprintf(w, `{"data":{"data":%s,"metadata":%s}}`, versions[len(versions)-1], metadata(len(versions)))
		return
	}
	var put struct {
		Data    json.RawMessage
		Options struct{ Cas *int }
	}
	if err := json.NewDecoder(r.Body).Decode(&put); err != nil || put.Options.Cas == nil {
		fail(http.StatusBadRequest, "a write without check-and-set")
		return
	}
	if *put.Options.Cas != len(versions) {
		fail(http.StatusBadRequest, "check-and-set parameter did not match the current version")
		return
	}
	f.secrets[name] = append(versions, string(put.Data))
	if f.dropNext {
		f.dropNext = false
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, `{"data":%s}`, metadata(len(versions)+1))
}

func (f *fakeVault) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeVault) config() keystore.VaultConfig {
	return keystore.VaultConfig{Address: f.URL, RoleID: "role", SecretID: "password", Timeout: 10 * time.Second}
}

func (f *fakeVault) open(t *testing.T) *keystore.Vault {
	t.Helper()
	v, err := keystore.OpenVault(context.Background(), f.config())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVaultKeepsTheContract(t *testing.T) {
	f := newFakeVault(t)
	keystoretest.Contract(t, func(t *testing.T) keystore.Keystore { return f.open(t) })
}

func TestSealedVaultIsAskedOnce(t *testing.T) {
	f := newFakeVault(t)
	v := f.open(t)
	f.set(func() { f.sealed, f.calls = true, 0 })
	if _, err := v.Load(context.Background(), "share"); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("Load() error = %v, want ErrSealed", err)
	}
	if err := v.Save(context.Background(), "share", []byte("secret")); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("Save() error = %v, want ErrSealed", err)
	}
	if _, err := keystore.OpenVault(context.Background(), f.config()); !errors.Is(err, keystore.ErrSealed) {
		t.Errorf("OpenVault() error = %v, want ErrSealed", err)
	}
	if f.set(func() {}); f.calls != 3 {
		t.Errorf("%d calls for three questions", f.calls)
	}
}

func TestManyWithARefusedTokenLogInOnce(t *testing.T) {
	f := newFakeVault(t)
	v := f.open(t)
	if err := v.Save(context.Background(), "share", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	f.set(func() { clear(f.tokens) })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := v.Load(context.Background(), "share"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if f.set(func() {}); f.logins != 2 {
		t.Errorf("%d logins, want the first and one more", f.logins)
	}
}

func TestDeniedIsNotTriedForEver(t *testing.T) {
	f := newFakeVault(t)
	v := f.open(t)
	f.set(func() { f.denied, f.calls = true, 0 })
	if _, err := v.Load(context.Background(), "share"); !errors.Is(err, keystore.ErrDenied) {
		t.Errorf("Load() error = %v, want ErrDenied", err)
	}
	if f.set(func() {}); f.calls != 3 {
		t.Errorf("%d calls, want the question, a login and the question", f.calls)
	}
}

func TestWrongSecretIDIsDenied(t *testing.T) {
	f := newFakeVault(t)
	config := f.config()
	config.SecretID = "wrong"
	_, err := keystore.OpenVault(context.Background(), config)
	if !errors.Is(err, keystore.ErrDenied) {
		t.Errorf("OpenVault() error = %v, want ErrDenied", err)
	}
}

func TestALostAnswerIsNoConflictWithOneself(t *testing.T) {
	f := newFakeVault(t)
	v := f.open(t)
	f.set(func() { f.dropNext = true })
	if err := v.Save(context.Background(), "share", []byte("secret")); !errors.Is(err, keystore.ErrUnavailable) {
		t.Fatalf("Save() error = %v, want ErrUnavailable", err)
	}
	if err := v.Save(context.Background(), "share", []byte("secret")); err != nil {
		t.Errorf("saving it again: %v", err)
	}
	if err := v.Save(context.Background(), "share", []byte("next")); err != nil {
		t.Errorf("replacing it: %v", err)
	}
	if n := len(f.secrets["share"]); n != 2 {
		t.Errorf("%d versions, want 2", n)
	}
}

func TestAnUnreachableVaultIsUnavailable(t *testing.T) {
	f := newFakeVault(t)
	v := f.open(t)
	f.Close()
	if _, err := v.Load(context.Background(), "share"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("Load() error = %v, want ErrUnavailable", err)
	}
}

func TestSomethingElseInThatPlaceIsNoSecret(t *testing.T) {
	f := newFakeVault(t)
	f.secrets["odd"] = []string{`{"value":7}`}
	f.secrets["more"] = []string{`{"value":"` + base64.StdEncoding.EncodeToString([]byte("a")) + `","x":"y"}`}
	f.secrets["bad"] = []string{`{"value":"%%%"}`}
	v := f.open(t)
	for name := range f.secrets {
		if secret, err := v.Load(context.Background(), name); err == nil {
			t.Errorf("%s: loaded %q", name, secret)
		}
	}
}

func TestTheEnvironmentHasNoSay(t *testing.T) {
	f := newFakeVault(t)
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "somebody-else")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	t.Setenv("VAULT_MAX_RETRIES", "7")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if err := f.open(t).Save(context.Background(), "share", []byte("secret")); err != nil {
		t.Error(err)
	}
}

func TestVaultConfigRefusesNonsense(t *testing.T) {
	for name, config := range map[string]keystore.VaultConfig{
		"no address":          {RoleID: "role", SecretID: "password"},
		"clear text afar":     {Address: "http://vault.example.org:8200", RoleID: "role", SecretID: "password"},
		"password in address": {Address: "https://a:b@vault.example.org", RoleID: "role", SecretID: "password"},
		"other scheme":        {Address: "unix:///run/vault", RoleID: "role", SecretID: "password"},
		"no role":             {Address: "https://vault.example.org", SecretID: "password"},
		"no secret":           {Address: "https://vault.example.org", RoleID: "role"},
		"time running back":   {Address: "https://vault.example.org", RoleID: "role", SecretID: "password", Timeout: -1},
		"not an address":      {Address: "https://vault.example.org:port", RoleID: "role", SecretID: "password"},
	} {
		if _, err := keystore.OpenVault(context.Background(), config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSecretIDIsRedacted(t *testing.T) {
	config := keystore.VaultConfig{RoleID: "role", SecretID: "hunter2"}
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Info("c", "config", config, "id", config.SecretID)
	slog.New(slog.NewTextHandler(&out, nil)).Info("c", "config", config, "id", config.SecretID)
	encoded, err := json.Marshal(map[string]any{"id": config.SecretID})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, config)
		fmt.Fprintf(&out, verb, config.SecretID)
		fmt.Fprintf(&out, verb, &config)
	}
	if s := out.String(); strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("leaked: %s", s)
	}
}

func FuzzSecretsSurviveVault(f *testing.F) {
	fake := newFakeVault(f)
	for _, seed := range []string{"x", "\x00", "ä\xff", `{"value":"a"}`} {
		f.Add([]byte(seed))
	}
	v, err := keystore.OpenVault(context.Background(), fake.config())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, secret []byte) {
		err := v.Save(context.Background(), "share", secret)
		if size := len(secret); size == 0 || size > keystore.MaxSize {
			if !errors.Is(err, keystore.ErrSize) {
				t.Fatalf("Save() error = %v, want ErrSize", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Load(context.Background(), "share"); err != nil || string(got) != string(secret) {
			t.Errorf("loaded %q, %v, want %q", got, err, secret)
		}
	})
}
