package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/gateway/node/demo"
)

// rest is a hospital that has played its story and is at rest: files alone.
var rest restingHospital

type restingHospital struct {
	once sync.Once
	dir  string
	err  error
}

func (r *restingHospital) open(t *testing.T) string {
	t.Helper()
	r.once.Do(func() {
		if r.dir, r.err = os.MkdirTemp("", "wardkey-e2e-rest-"); r.err != nil {
			return
		}
		var p *process
		if p, r.err = start("demo", "--once", "--json", "--dir", r.dir, "--addr", "127.0.0.1:0", "--patients", "5"); r.err == nil {
			_, r.err = p.code()
		}
	})
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.dir
}

// again copies the hospital at rest, so that it may serve once more: under ports
// of its own, for other copies may be serving too.
func (r *restingHospital) again(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.open(t))); err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(name, 0o700)
		case filepath.Ext(name) == ".yaml":
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if err := os.WriteFile(name, port.ReplaceAll(data, []byte("127.0.0.1:0")), 0o600); err != nil {
				return err
			}
		}
		return os.Chmod(name, 0o600) // key stores insist on it
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (r *restingHospital) close() {
	if r.dir != "" {
		_ = os.RemoveAll(r.dir) // a temporary folder
	}
}

func report(t *testing.T, stdout string) audit.Report {
	t.Helper()
	var r audit.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	return r
}

func TestVerifyProvesALogAndFindsAnyFlippedByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(rest.open(t), "log"))); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := wardkeyRun(t, "verify", dir, "--json")
	if r := report(t, stdout); code != 0 || !r.OK || len(r.Proved) == 0 || len(r.Findings) > 0 {
		t.Fatalf("the log itself: exit code %d, %+v\n%s", code, r, stderr)
	}
	if code, stdout, _ := wardkeyRun(t, "verify", dir, "--json", "--key", "wardkey.org/demo+c46e41b2+AYa3oYjdBqdLX5wVDBWaBpRzHFJEhFYTGAHqWBC7r2fZ"); code != 1 || report(t, stdout).OK {
		t.Errorf("pinned to another key: exit code %d", code)
	}
	tampered := 0
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		original, err := os.ReadFile(name)
		if err != nil || len(original) == 0 {
			return err
		}
		// One place in each file, another one in each, ends included.
		at := (tampered * 7919) % len(original)
		if tampered%3 == 0 {
			at = len(original) - 1
		}
		changed := bytes.Clone(original)
		changed[at] ^= 1 << (tampered % 8)
		tampered++
		if err := os.WriteFile(name, changed, 0o600); err != nil {
			return err
		}
		r, err := audit.Verify(t.Context(), dir, audit.Options{})
		if err != nil {
			return err
		}
		if r.OK {
			t.Errorf("%s: byte %d of %d was changed, and that was not found", name, at, len(original))
		}
		if tampered == 1 {
			code, stdout, _ := wardkeyRun(t, "verify", dir, "--json")
			if r := report(t, stdout); code != 1 || r.OK || len(r.Findings) == 0 || r.Findings[0].Code == "" {
				t.Errorf("exit code %d, %+v", code, r)
			}
		}
		return os.WriteFile(name, original, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if tampered < 5 {
		t.Errorf("only %d files were tampered with", tampered)
	}
}

func TestEvidenceStandsAloneAndFallsWithAnyFlippedByte(t *testing.T) {
	t.Parallel()
	dir := rest.open(t)
	people := pocket(t, dir)
	out := t.TempDir()
	config := filepath.Join(dir, "gateway.yaml")
	for name, args := range map[string][]string{
		"patient": {"--patient", strings.TrimPrefix(people["story-reader"], "Patient/")},
		"by ref":  {"--patient", people["story-expiry"]},
		"entry":   {"--entry", "5"},
	} {
		file := filepath.Join(out, strings.ReplaceAll(name, " ", "-"))
		if code, _, stderr := wardkeyRun(t, append([]string{"evidence", "--config", config, "-o", file}, args...)...); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", name, code, stderr)
		}
		code, stdout, _ := wardkeyRun(t, "verify", file, "--json")
		if r := report(t, stdout); code != 0 || !r.OK || len(r.Proved) == 0 {
			t.Fatalf("%s: exit code %d, %+v", name, code, r)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		step := max(len(data)/97, 1)
		for at := 0; at < len(data); at += step {
			changed := bytes.Clone(data)
			changed[at] ^= 1 << (at % 8)
			if audit.VerifyEvidence(changed, audit.Options{}).OK {
				t.Errorf("%s: byte %d was changed, and that was not found", name, at)
			}
		}
		changed := bytes.Clone(data)
		changed[len(data)/2] ^= 1
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, _ := wardkeyRun(t, "verify", file); code != 1 {
			t.Errorf("%s: exit code %d for a changed file", name, code)
		}
	}
	for name, args := range map[string][]string{
		"nobody":      {"--patient", "nobody", "-o", filepath.Join(out, "x")},
		"beyond":      {"--entry", "99999999", "-o", filepath.Join(out, "x")},
		"no folder":   {"--entry", "1", "-o", filepath.Join(out, "none", "x")},
		"no such log": {"--entry", "1", "-o", filepath.Join(out, "x"), "--config", filepath.Join(out, "none.yaml")},
	} {
		if code, _, stderr := wardkeyRun(t, append([]string{"evidence", "--config", config}, args...)...); code != 1 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}

// pocket reads who is who in a hospital at rest.
func pocket(t *testing.T, dir string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "pocket.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		People map[string]struct{ Ref string }
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	refs := map[string]string{}
	for login, person := range p.People {
		refs[login] = person.Ref
	}
	return refs
}

func TestCheckSaysWhatWouldRunOrWhereTheMistakesAre(t *testing.T) {
	t.Parallel()
	dir := rest.open(t)
	for _, name := range []string{"gateway.yaml", "custodian-1.yaml", "custodian-4.yaml"} {
		code, stdout, stderr := wardkeyRun(t, "check", "--config", filepath.Join(dir, name), "--json")
		if code != 0 || !strings.Contains(stdout, `"ok":true`) || stderr != "" {
			t.Errorf("%s: exit code %d, %s%s", name, code, stdout, stderr)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(bad, "gateway.yaml")
	spoilt := strings.Replace(strings.Replace(string(data), "tenant:", "tenat:", 1), "127.0.0.1", "nowhere:at:all", 1)
	if err := os.WriteFile(file, []byte(spoilt), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "gateway"} {
		code, stdout, stderr := wardkeyRun(t, command, "--config", file)
		said := stdout + stderr
		if code != 1 || !strings.Contains(said, file+":3:1: tenat: unknown setting") || !strings.Contains(said, file+":4:1: listen: is") || !strings.Contains(said, "tenant: is missing") {
			t.Errorf("%s: exit code %d:\n%s", command, code, said)
		}
	}
}

func TestWrongUseEndsWithTwo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"nosuch"}, {"verify"}, {"verify", "a", "b"}, {"demo", "--nosuch"}, {"demo", "extra"}, {"demo", "--addr", "nonsense"},
		{"gateway"}, {"custodian"}, {"check"}, {"evidence"}, {"evidence", "--config", "x", "-o", "y"},
		{"evidence", "--config", "x", "-o", "y", "--patient", "p", "--entry", "1"}, {"version", "x"},
	} {
		if code, stdout, stderr := wardkeyRun(t, args...); code != 2 || stdout != "" || !strings.HasPrefix(stderr, "wardkey: ") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"verify", "/nonexistent"}, {"gateway", "--config", "/nonexistent"}, {"custodian", "--config", "/nonexistent"}, {"check", "--config", "/nonexistent"}} {
		if code, _, _ := wardkeyRun(t, args...); code != 1 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestADirectoryThatHasServedIsVerifiedOnce(t *testing.T) {
	t.Parallel()
	dir := rest.again(t)
	code, stdout, stderr := wardkeyRun(t, "demo", "--dir", dir, "--addr", "127.0.0.1:0", "--once", "--json")
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	passed(t, verdicts(t, stdout), []string{"audit-verify", "open-sample"})

	segments, err := filepath.Glob(filepath.Join(dir, "log", "segments", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatal("no segments", err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := wardkeyRun(t, "demo", "--dir", dir, "--addr", "127.0.0.1:0", "--once", "--json"); code != 1 || stderr == "" {
		t.Errorf("with a flipped byte: exit code %d, %q", code, stderr)
	}
}

func TestAForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := wardkeyRun(t, "demo", "--dir", dir, "--once")
	if code != 1 || !strings.Contains(stderr, "something else") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files in it now, %v", len(entries), err)
	}
	if err := demo.Run(t.Context(), demo.Options{Dir: dir, Once: true}); err == nil {
		t.Error("demo.Run took the directory")
	}
}
