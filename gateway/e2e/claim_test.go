package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestADirectoryBelongsToOneDemoAndItsDocumentEndsWithIt(t *testing.T) {
	t.Parallel()
	dir := rest.again(t)
	h, err := serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	if said := h.stdout.String(); !strings.Contains(said, "protects nothing real") {
		t.Errorf("people are told\n%s", said)
	}
	before := contents(t, dir)
	for _, addr := range []string{"127.0.0.1:0", strings.TrimSuffix(strings.TrimPrefix(h.FHIR, "http://"), "/fhir")} {
		code, stdout, _ := wardkeyRun(t, "demo", "--dir", dir, "--addr", addr, "--json")
		var v struct {
			OK     bool
			Detail string
		}
		if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 1 || v.OK || !strings.Contains(v.Detail, "in use") {
			t.Errorf("a second one on %s: exit code %d, %v in %q", addr, code, err, stdout)
		}
	}
	if !maps.Equal(before, contents(t, dir)) {
		t.Error("the second one changed files of the first")
	}
	if r := h.ask(t, http.MethodGet, "/fhir/Patient/"+h.Patients.A, h.Tokens.Patient, nil); r.status != http.StatusOK {
		t.Errorf("the first one answers %d", r.status)
	}
	for _, name := range []string{"gateway.yaml", "custodian-2.yaml"} {
		file := filepath.Join(t.TempDir(), "evidence")
		code, stdout, stderr := wardkeyRun(t, "evidence", "--config", filepath.Join(dir, name), "--entry", "5", "-o", file, "--json")
		if code != 0 || !strings.Contains(stdout, `"ok":true`) {
			t.Fatalf("evidence by %s beside the living: exit code %d, %s%s", name, code, stdout, stderr)
		}
		if code, stdout, _ := wardkeyRun(t, "verify", file, "--json"); code != 0 || !report(t, stdout).OK {
			t.Errorf("evidence by %s: exit code %d, %s", name, code, stdout)
		}
	}
	// One that is killed leaves its document, and the next removes it.
	if _, err := h.end(os.Kill); err != nil {
		t.Fatal(err)
	}
	document := filepath.Join(dir, "demo.json")
	if _, err := os.Stat(document); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	if code, _, stderr := wardkeyRun(t, "demo", "--dir", dir, "--addr", "127.0.0.1:0", "--once"); code != 0 {
		t.Errorf("verified once: exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(document); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a verification: %v", err)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		again, err := serve(dir)
		if err != nil {
			t.Fatal(err)
		}
		if code, err := again.end(sig); code != 0 || err != nil {
			t.Errorf("%s: exit code %d, %v\n%s", sig, code, err, again.stderr.String())
		}
		if _, err := os.Stat(document); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %s: %v", sig, err)
		}
	}
}
