package e2e

import (
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// custodian stops or starts one through the admin listener.
func (h *hospital) custodian(t *testing.T, n int, act string) {
	t.Helper()
	if r := h.ask(t, http.MethodPost, h.Admin+"/demo/custodians/"+strconv.Itoa(n)+"/"+act, "", nil); r.status != http.StatusOK {
		t.Fatalf("%s custodian %d: %d %s", act, n, r.status, r.body)
	}
}

// eventually asks until the answer is the one wanted.
func (h *hospital) eventually(t *testing.T, url, token string, want int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r := h.ask(t, http.MethodGet, url, token, nil)
		if r.status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, want %d: %s", url, r.status, want, r.body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestARoleRunsFromItsFileInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := rest.again(t)
	h, err := serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	record := "/fhir/Patient/" + h.Patients.A
	h.custodian(t, 2, "stop")
	h.custodian(t, 2, "stop") // twice is once
	apart, err := start("custodian", "--config", h.Custodians[1].Config)
	if err != nil {
		t.Fatal(err)
	}
	h.custodian(t, 1, "stop")
	// Three are left, and one of them is another process.
	h.eventually(t, record, h.Tokens.Patient, http.StatusOK)
	if code, err := apart.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("the custodian ends with %d, %v\n%s", code, err, apart.stderr.String())
	}
	begun := time.Now()
	r := h.ask(t, http.MethodGet, record, h.Tokens.Patient, nil)
	if took := time.Since(begun); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || took > 3*time.Second {
		t.Errorf("with two custodians: %d after %s: %s", r.status, took, r.body)
	}
	for _, n := range []int{1, 2} {
		h.custodian(t, n, "start")
	}
	h.eventually(t, record, h.Tokens.Patient, http.StatusOK)
	if r := h.ask(t, http.MethodPost, h.Admin+"/demo/custodians/5/stop", "", nil); r.status != http.StatusNotFound {
		t.Errorf("custodian 5: %d", r.status)
	}
	if code, err := h.end(os.Interrupt); code != 0 || err != nil {
		t.Errorf("the demo ends with %d, %v\n%s", code, err, h.stderr.String())
	}

	// Now every role from its file.
	var all []*process
	for _, args := range [][]string{
		{"custodian", "--config", h.Custodians[0].Config}, {"custodian", "--config", h.Custodians[1].Config},
		{"custodian", "--config", h.Custodians[2].Config}, {"custodian", "--config", h.Custodians[3].Config},
		{"gateway", "--config", dir + "/gateway.yaml"},
	} {
		p, err := start(args...)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	deadline := time.Now().Add(patience)
	for {
		r, err := call(t.Context(), http.MethodGet, h.Admin+"/readyz", "", nil)
		if err == nil && r.status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %d %s %v\n%s", r.status, r.body, err, all[4].stderr.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r := h.ask(t, http.MethodGet, record, h.Tokens.Patient, nil); r.status != http.StatusUnauthorized {
		t.Errorf("a token of the last process: %d", r.status)
	}
	if r := h.ask(t, http.MethodGet, "/fhir/metadata", "", nil); r.status != http.StatusOK {
		t.Errorf("metadata: %d", r.status)
	}
	for i, p := range all {
		if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
			t.Errorf("process %d ends with %d, %v\n%s", i, code, err, p.stderr.String())
		}
	}
	code, stdout, _ := wardkeyRun(t, "verify", h.Log, "--json")
	if r := report(t, stdout); code != 0 || !r.OK {
		t.Errorf("verify: exit code %d, %+v", code, r)
	}
}

// contents are the files at the top of a directory that no process writes to
// while it serves.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		data, err := os.ReadFile(dir + "/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

func TestWhatIsTakenIsNamedAndLeftAlone(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	address := "127.0.0.1:" + h.FHIR[len("http://localhost:"):len(h.FHIR)-len("/fhir")]
	dir := t.TempDir()
	code, _, stderr := wardkeyRun(t, "demo", "--dir", dir, "--addr", address, "--once")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the directory cannot be used with another port: %d files, %v", len(left), err)
	}
	if code != 1 || !strings.Contains(stderr, address) || !strings.Contains(stderr, "--addr") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	// A second process on the same directory must neither become a second writer
	// nor touch what the first one lives by.
	before := contents(t, h.Dir)
	for _, args := range [][]string{
		{"demo", "--dir", h.Dir, "--addr", "127.0.0.1:0", "--once"}, {"gateway", "--config", h.Dir + "/gateway.yaml"},
		{"custodian", "--config", h.Custodians[0].Config},
	} {
		if code, _, stderr := wardkeyRun(t, args...); code != 1 || !strings.Contains(stderr, "in use") {
			t.Errorf("a second %s on the directory: exit code %d, %q", args[0], code, stderr)
		}
	}
	if after := contents(t, h.Dir); !maps.Equal(before, after) {
		t.Error("a second process changed the files of the first")
	}
}
