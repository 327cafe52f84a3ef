package node_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lendingVault answers as a Vault would whose KV engine holds a role's secrets:
// the AppRole login, and reads. Package keystore is tested against more.
func lendingVault(t *testing.T, keys string) *httptest.Server {
	t.Helper()
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply := func(v any) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
		name, reads := strings.CutPrefix(r.URL.Path, "/v1/hospital/data/wardkey/custodian-1/")
		switch {
		case r.URL.Path == "/v1/auth/approle/login":
			var login map[string]string
			if err := json.NewDecoder(r.Body).Decode(&login); err != nil || login["role_id"] != "custodian-1" || login["secret_id"] != "s3cret" {
				w.WriteHeader(http.StatusBadRequest)
				reply(map[string]any{"errors": []string{"invalid role or secret ID"}})
				return
			}
			reply(map[string]any{"auth": map[string]any{"client_token": "t", "lease_duration": 3600}})
		case reads && r.Header.Get("X-Vault-Token") == "t":
			secret, err := os.ReadFile(filepath.Join(keys, name))
			if err != nil {
				w.WriteHeader(http.StatusNotFound)
				reply(map[string]any{"errors": []string{}})
				return
			}
			reply(map[string]any{"data": map[string]any{
				"data":     map[string]any{"value": base64.StdEncoding.EncodeToString(secret)},
				"metadata": map[string]any{"version": 1, "created_time": "2026-11-23T00:00:00Z", "deletion_time": "", "destroyed": false},
			}})
		default:
			w.WriteHeader(http.StatusForbidden)
			reply(map[string]any{"errors": []string{"permission denied"}})
		}
	}))
	t.Cleanup(v.Close)
	return v
}

func TestACustodianTakesItsSecretsFromVault(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	file := filepath.Join(dir, "custodian-1.yaml")
	vault := lendingVault(t, filepath.Join(dir, "keys", "custodian-1"))
	if err := os.WriteFile(filepath.Join(dir, "secret-id"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, file, "  files: keys/custodian-1", `  vault:
    address: `+vault.URL+`
    mount: hospital
    path: wardkey/custodian-1
    role_id: custodian-1
    secret_id_file: secret-id`)
	if err := startCustodian(t, dir); err != nil {
		t.Errorf("with secrets in Vault: %v", err)
	}
	edit(t, filepath.Join(dir, "secret-id"), "s3cret", "other")
	if err := startCustodian(t, dir); err == nil || !strings.Contains(err.Error(), "keystore") || strings.Contains(err.Error(), "other") {
		t.Errorf("with a wrong secret id: %v", err)
	}
	edit(t, file, "keystore:\n", "keystore:\n  files: keys/custodian-1\n")
	if err := startCustodian(t, dir); err == nil || !strings.Contains(err.Error(), "has both files and vault") {
		t.Errorf("with two keystores: %v", err)
	}
}
