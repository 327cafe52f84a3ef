package e2e

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func keys(t *testing.T, v any) []string {
	t.Helper()
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%v is no object", v)
	}
	return slices.Sorted(maps.Keys(m))
}

func TestDemoJSONIsWhatOthersRelyOn(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	file := filepath.Join(h.Dir, "demo.json")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("demo.json has mode %v, and tokens in it", info.Mode())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string][]string{
		"": {
			"admin", "auditor", "chain", "custodians", "dir", "fhir", "idp", "keys", "log", "patientApp", "patients", "refs",
			"smart", "tokens", "upstream",
		},
		"tokens":   {"admin", "auditor", "doctor", "loader", "nurse", "outsider", "patient", "patient-b", "second-doctor"},
		"keys":     {"adt", "doctor", "governance", "nurse", "patient", "patient-b", "registrar", "second-doctor"},
		"patients": {"a", "b"},
	} {
		var v any = doc
		if at != "" {
			v = doc[at]
		}
		if got := keys(t, v); !slices.Equal(got, want) {
			t.Errorf("%q has %v, want %v", at, got, want)
		}
	}
	for _, name := range []string{"fhir", "chain", "idp", "upstream", "admin"} {
		if url, _ := doc[name].(string); !strings.HasPrefix(url, "http://localhost:") {
			t.Errorf("%s is %q", name, url)
		}
	}
	for _, name := range []string{"smart", "patientApp", "auditor"} {
		if doc[name] != nil {
			t.Errorf("%s is %v, and is not built", name, doc[name])
		}
	}
	for _, seed := range append([]string{h.Keys.Patient, h.Keys.PatientB, h.Keys.Doctor, h.Keys.Nurse, h.Keys.SecondDoctor, h.Keys.ADT, h.Keys.Registrar}, h.Keys.Governance...) {
		if b, err := base64.RawURLEncoding.DecodeString(seed); err != nil || len(b) != 32 {
			t.Errorf("key %q is no Ed25519 seed", seed)
		}
	}
	if len(h.Custodians) != 4 {
		t.Errorf("%d custodians", len(h.Custodians))
	}
	for _, c := range h.Custodians {
		if !strings.HasPrefix(c.URL, "https://localhost:") {
			t.Errorf("custodian at %s", c.URL)
		}
		if _, err := os.Stat(c.Config); err != nil {
			t.Error(err)
		}
	}
	if h.Refs.Patient != "Patient/"+h.Patients.A || h.Refs.PatientB != "Patient/"+h.Patients.B {
		t.Errorf("patients %v are not who %v says", h.Patients, h.Refs)
	}
	if !strings.HasPrefix(h.Refs.Doctor, "Practitioner/") || h.Refs.Doctor == h.Refs.SecondDoctor {
		t.Errorf("doctors %s and %s", h.Refs.Doctor, h.Refs.SecondDoctor)
	}
}

func TestNothingInTheDirectoryIsOpenToOtherUsers(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	err := filepath.WalkDir(h.Dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Dir(filepath.Dir(name)) != filepath.Join(h.Dir, "keys") && filepath.Dir(name) != h.Dir {
			return nil // folders with mode 0700, below
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(h.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.IsDir() && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

func TestEveryTokenIsOfItsPerson(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	for name, tc := range map[string]struct {
		token string
		want  int
	}{
		"patient":       {h.Tokens.Patient, http.StatusOK},
		"patient-b":     {h.Tokens.PatientB, http.StatusNotFound},
		"doctor":        {h.Tokens.Doctor, http.StatusNotFound},
		"nurse":         {h.Tokens.Nurse, http.StatusNotFound},
		"second-doctor": {h.Tokens.SecondDoctor, http.StatusNotFound},
		"outsider":      {h.Tokens.Outsider, http.StatusNotFound},
		"auditor":       {h.Tokens.Auditor, http.StatusForbidden}, // no scope for it
		"admin":         {h.Tokens.Admin, http.StatusForbidden},   // likewise
		"loader":        {h.Tokens.Loader, http.StatusNotFound},   // writes, and reads nothing
		"nobody":        {"", http.StatusUnauthorized},
		"invented":      {strings.Repeat("A", 43), http.StatusUnauthorized},
	} {
		r := h.ask(t, http.MethodGet, "/fhir/Patient/"+h.Patients.A, tc.token, nil)
		if r.status != tc.want {
			t.Errorf("%s: %d, want %d: %s", name, r.status, tc.want, r.body)
		}
		if logged := r.entry() != ""; logged != (tc.want != http.StatusUnauthorized) {
			t.Errorf("%s: Wardkey-Entry is %q", name, r.entry())
		}
	}
}

func TestWhatIsPublicNeedsNoToken(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	if r := h.ask(t, http.MethodGet, "/fhir/metadata", "", nil); r.status != http.StatusOK || r.json(t)["resourceType"] != "CapabilityStatement" {
		t.Errorf("metadata: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, h.Chain+"/checkpoint", "", nil); r.status != http.StatusOK || !strings.HasPrefix(string(r.body), "wardkey.org/demo\n") {
		t.Errorf("checkpoint: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, h.Admin+"/readyz", "", nil); r.status != http.StatusOK {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, h.Admin+"/metrics", "", nil); r.status != http.StatusOK || !strings.Contains(string(r.body), "gateway_requests_total") {
		t.Errorf("metrics: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, h.Upstream+"/Patient/"+h.Patients.A, "", nil); r.status != http.StatusOK || strings.Contains(string(r.body), "family") {
		t.Errorf("the store answers %d %.300s", r.status, r.body)
	}
}

func TestCheckAsksAStoreWhatItCanDo(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	code, stdout, stderr := wardkeyRun(t, "check", "--upstream", h.Upstream, "--json")
	if code != 0 || stderr != "" || !strings.Contains(stdout, `"fhirVersion":"4.0`) || !strings.Contains(stdout, `"Observation"`) {
		t.Errorf("the embedded store: exit code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := wardkeyRun(t, "check", "--upstream", h.Admin, "--json"); code != 1 || !strings.Contains(stdout, `"ok":false`) {
		t.Errorf("something else: exit code %d, %s", code, stdout)
	}
}
