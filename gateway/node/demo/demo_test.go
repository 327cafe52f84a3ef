package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
)

func told(ctx context.Context, steps ...step) (ok bool, all []Verdict) {
	ok = play(ctx, steps, func(v Verdict) { all = append(all, v) })
	return ok, all
}

func TestAStepThatFailsEndsTheStoryAndTheRestIsNotPlayed(t *testing.T) {
	fine := step{"fine", func(context.Context) (string, error) { return "saw it", nil }}
	bad := step{"bad", func(context.Context) (string, error) { return "ignored", errors.New("saw something else") }}
	never := step{"never", func(context.Context) (string, error) { t.Error("played"); return "", nil }}

	ok, all := told(t.Context(), fine, bad, never)
	if ok || len(all) != 3 || !all[0].OK || all[0].Detail != "saw it" || all[1].OK || all[1].Detail != "saw something else" ||
		all[2].OK || all[2].Step != "never" {
		t.Errorf("play() = %v, %+v", ok, all)
	}
	if ok, all := told(t.Context(), fine, fine); !ok || len(all) != 2 {
		t.Errorf("play() = %v, %+v", ok, all)
	}
}

func TestABrokenOffStoryHasNoVerdictOnWhatItDidNotSee(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ok, all := told(ctx, step{"broken off", func(context.Context) (string, error) { cancel(); return "", ctx.Err() }})
	if ok || len(all) > 0 {
		t.Errorf("play() = %v, %+v", ok, all)
	}
}

func TestVerdictsAreJSONLinesOrLinesForPeople(t *testing.T) {
	v := Verdict{Step: "read", OK: true, Detail: "a < b", MS: 1234}
	var lines, text bytes.Buffer
	teller(&lines, true)(v)
	teller(&text, false)(v)
	if lines.String() != `{"step":"read","ok":true,"detail":"a < b","ms":1234}`+"\n" {
		t.Errorf("JSON: %q", lines.String())
	}
	if !strings.HasPrefix(text.String(), "ok     read") || !strings.Contains(text.String(), "1.2s  a < b\n") {
		t.Errorf("text: %q", text.String())
	}
}

func TestProgressIsShownInTenthsWhereNothingCanBeDrawnOver(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "sealing", 1000)
	for range 1000 {
		p.add(1)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 10 || !strings.Contains(out.String(), "1000/1000") {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
}

func TestEveryCastHasIdsOfItsOwnThatAreNobodysNumber(t *testing.T) {
	a, err := newCast(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newCast(5)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.of(b.patients[patientA].ID(), "Observation")); n != len(a.of(a.patients[patientA].ID(), "Observation")) || n == 0 {
		t.Errorf("a smaller cast keeps %d of a patient's observations", n)
	}
	seen := map[string]bool{}
	for _, c := range []*cast{a, b} {
		for part, patient := range c.patients {
			if seen[patient.ID()] {
				t.Errorf("%s has an id that was used before", part)
			}
			seen[patient.ID()] = true
		}
		for _, r := range c.sealed {
			if strings.Contains(string(r.JSON()), `"value":"`+r.ID()+`"`) {
				t.Errorf("the id of %s/%s is one of its values", r.Type(), r.ID())
			}
			owner, owned, err := fhir.Owner(r)
			if err != nil || !owned || c.byRef[owner.String()] == nil {
				t.Errorf("%s/%s is of %v, whom nobody has heard of: %v", r.Type(), r.ID(), owner, err)
			}
		}
	}
	if len(a.clear) <= len(b.clear) || len(b.clear) == 0 {
		t.Errorf("%d and %d resources in the clear", len(a.clear), len(b.clear))
	}
}

func TestATakenPortIsReplacedUnlessItWasAskedFor(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := &site{listeners: map[string]net.Listener{}}
	defer s.release()
	if at, err := s.address(t.Context(), taken.Addr().String(), true); err == nil || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("asked for a taken port and got %s, %v", at, err)
	}
	at, err := s.address(t.Context(), taken.Addr().String(), false)
	if err != nil || at == taken.Addr().String() {
		t.Fatalf("got %s, %v", at, err)
	}
	if l := s.take(at)[at]; l == nil || l.Addr().String() != at {
		t.Errorf("the listener of %s is not kept", at)
	} else if err := l.Close(); err != nil {
		t.Error(err)
	}
	if s.take(at) != nil {
		t.Error("a listener was handed out twice")
	}
}

func TestAFileIsReplacedAtOnceAndForItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "demo.json")
	for _, doc := range []Document{{FHIR: "one"}, {FHIR: "two"}} {
		if err := doc.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got Document
	if err := json.Unmarshal(data, &got); err != nil || got.FHIR != "two" {
		t.Errorf("%+v, %v", got, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%d files, %v", len(left), err)
	}
	if err := (Document{}).write(filepath.Join(dir, "none")); err == nil {
		t.Error("written into a folder that is not there")
	}
}

func TestThePocketDoesNotPrintItself(t *testing.T) {
	c, err := newCast(5)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPocket(c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p.addressed("http://localhost:1", "http://localhost:2")
	p.addressed("http://localhost:3", "http://localhost:2")
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := readPocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := again.trust()
	if err != nil {
		t.Fatal(err)
	}
	if len(trust.Issuers) != 2 || trust.Issuers[1].Issuer != "http://localhost:3" || len(trust.TokenURLs) != 1 {
		t.Errorf("earlier addresses are not kept: %d issuers, %v", len(trust.Issuers), trust.TokenURLs)
	}
	for name, shown := range map[string]string{"%v": fmt.Sprintf("%v", again), "%+v": fmt.Sprintf("%+v", *again), "%#v": fmt.Sprintf("%#v", again)} {
		if shown != "[redacted]" {
			t.Errorf("%s prints %.60s", name, shown)
		}
	}
}
