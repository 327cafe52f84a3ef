package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain/disk"
)

// contents are all files of a directory whose size does not change by itself.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(name) {
		case ".yaml", ".json", ".pem", ".txt":
			data, err := os.ReadFile(filepath.Join(dir, name))
			all[name] = string(data)
			return err
		}
		all[name] = ""
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// opened starts a small hospital that ends with the test.
func opened(t *testing.T, dir string) *Hospital {
	t.Helper()
	h, err := Start(t.Context(), Options{Dir: dir, Addr: anyPort, Patients: 5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestASecondDemonstrationOnADirectoryInUseChangesNoFileOfIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := opened(t, dir)
	document, err := h.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := document.write(dir); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	for _, addr := range []string{anyPort, h.site.gateway.Listen, ""} {
		if _, err := Start(t.Context(), Options{Dir: dir, Addr: addr}); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a second one on %q: %v", addr, err)
		}
	}
	if !maps.Equal(before, contents(t, dir)) {
		t.Error("the refused one changed files of the first")
	}
	if _, err := h.Document(t.Context()); err != nil {
		t.Errorf("the first one serves no more: %v", err)
	}
}

func TestADirectoryIsLockedBeforeItHoldsAnything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, again, err := claim(dir)
	if err != nil || again {
		t.Fatalf("claim() = %v, %v", again, err)
	}
	if _, err := Start(t.Context(), Options{Dir: dir, Addr: anyPort, Patients: 5}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("started in a directory that somebody is about to fill: %v", err)
	}
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("files of the refused one: %v", left)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, _, err = claim(dir); err != nil {
		t.Fatalf("claimed by nobody, and yet: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAStartThatFailsLeavesNoOtherPortBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := Start(t.Context(), Options{Dir: dir, Addr: anyPort, Patients: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Every port has been taken meanwhile, and the last role does not start.
	for _, c := range h.site.custodians {
		taken, err := net.Listen("tcp", c.Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
	key := filepath.Join(dir, "keys", "gateway", "log")
	if err := os.Rename(key, key+"-away"); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	if h, err := Start(t.Context(), Options{Dir: dir, Addr: "localhost:0"}); err == nil {
		t.Fatal("started without the log's key", h.Close(t.Context()))
	}
	for name, now := range contents(t, dir) {
		if now != before[name] {
			t.Errorf("%s is not as it was", name)
		}
	}
	if err := os.Rename(key+"-away", key); err != nil {
		t.Fatal(err)
	}
	opened(t, dir)
}

func TestAHospitalThatNeverOpenedLeavesItsDirectoryEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // breaks it off once there is something to clear away
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, trustFile)); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	h, err := Start(ctx, Options{Dir: dir, Addr: anyPort, Patients: 5})
	if err == nil {
		t.Fatal("opened", h.Close(t.Context()))
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%d left, %v", len(entries), err)
	}
}

func TestDemoJSONIsThereWhileTheDemonstrationServesAndNotLonger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := opened(t, dir)
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, documentFile)
	// One that was killed has left its own.
	if err := os.WriteFile(file, []byte("stale"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, _, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is only just claimed: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	// No record was ever sealed, so there is none to open.
	if err := Run(t.Context(), Options{Dir: dir, Addr: anyPort, Once: true}); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a verification: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Options{Dir: dir, Addr: anyPort}) }()
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			var d Document
			if err := json.Unmarshal(data, &d); err != nil || d.Tokens.Doctor == "" {
				t.Errorf("half a document: %v in %q", err, data)
			}
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended without a document: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a clean stop: %v", err)
	}
}

func TestWhatFailsBeforeTheStoryIsALineOfJSONToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := Run(t.Context(), Options{Dir: dir, JSON: true, Out: &out})
	if !errors.Is(err, errForeign) {
		t.Fatalf("Run() = %v", err)
	}
	var v Verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.OK || v.Step != "start" || !strings.Contains(v.Detail, "something else") {
		t.Errorf("%+v, %v in %q", v, err, out.String())
	}
}

func TestPeopleAreToldThatTheDemonstrationProtectsNothingReal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := opened(t, dir).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		var out, side bytes.Buffer
		if err := Run(t.Context(), Options{Dir: dir, Addr: anyPort, Once: true, JSON: asJSON, Out: &out, Err: &side}); !errors.Is(err, ErrFailed) {
			t.Fatal(err) // no record was ever sealed, so there is none to open
		}
		if toPeople := map[bool]string{false: out.String(), true: side.String()}[asJSON]; !strings.Contains(toPeople, "protects nothing real") {
			t.Errorf("JSON %v: people read %q", asJSON, toPeople)
		}
		if asJSON && strings.Contains(out.String(), "nothing real") {
			t.Error("standard output holds more than JSON")
		}
	}
}
