package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/gateway/node"
)

// evidenceDir is where the story leaves its evidence, for wardkey verify.
const evidenceDir = "evidence"

// auditVerify proves the log from its files, then makes the evidence of each of
// the story's patients, proves that too, and finds in it everything that the
// story's people did, and no gap.
func (t *tale) auditVerify(ctx context.Context) (string, error) {
	if err := t.published(ctx); err != nil {
		return "", err
	}
	proved, err := t.h.verifyLog(ctx)
	if err != nil {
		return "", err
	}
	bodies, evidence, err := t.evidence(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range t.seen {
		if err := t.recorded(s, bodies[s.index]); err != nil {
			return "", err
		}
	}
	kinds := lo.CountValuesBy(lo.Values(bodies), func(b *chain.Body) chain.Kind { return b.Kind })
	if kinds[chain.Grant] != t.grants || kinds[chain.Withdraw] != t.withdrawals {
		return "", fmt.Errorf("the log shows %d grants and %d withdrawals, and there were %d and %d",
			kinds[chain.Grant], kinds[chain.Withdraw], t.grants, t.withdrawals)
	}
	// What has been read since is nowhere in the clear either: not in logs, not in
	// evidence, not in anything temporary.
	if _, _, err := scanFiles(t.h.dir, newNeedles(fhirtest.Canaries(t.cast.sealed))); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; all %d entries that the story's people were told of are in the evidence of %d patients and the hospital, without a gap (%s)",
		proved, len(t.seen), evidence, filepath.Join(t.h.dir, evidenceDir)), nil
}

// recorded compares what somebody saw with what the log says happened.
func (t *tale) recorded(s sighting, b *chain.Body) error {
	switch {
	case b == nil:
		return fmt.Errorf("%s by %s is not in the evidence (entry %d)", s.path, s.who, s.index)
	case b.Actor != t.h.pocket.People[s.who].Ref:
		return fmt.Errorf("entry %d says that %s asked for %s, and it was %s", s.index, b.Actor, s.path, s.who)
	case !s.granted && (b.Kind != chain.Deny || b.Decision != "deny"):
		return fmt.Errorf("entry %d is %s, and %s was refused", s.index, b.Kind, s.path)
	case s.granted && b.Kind != chain.Access && b.Kind != chain.Deny:
		return fmt.Errorf("entry %d is %s, and %s was answered", s.index, b.Kind, s.path)
	}
	return nil
}

// evidence makes and proves the evidence of the story's patients, and of what
// concerns no patient. It returns the entries by index.
func (t *tale) evidence(ctx context.Context) (map[uint64]*chain.Body, int, error) {
	dir := filepath.Join(t.h.dir, evidenceDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("folder of the evidence: %w", err)
	}
	files := map[string]string{"hospital": ""}
	for _, part := range []string{storyReader, storyExpiry, storyWithdraw} {
		files[part] = "Patient/" + t.patient(part)
	}
	bodies := map[uint64]*chain.Body{}
	for name, patient := range files {
		data, err := node.PatientEvidence(ctx, t.h.gatewayPath(), patient)
		if err != nil {
			return nil, 0, fmt.Errorf("evidence of %s: %w", name, err)
		}
		file := filepath.Join(dir, name+".evidence")
		if err := replace(file, data, 0o600); err != nil {
			return nil, 0, err
		}
		if data, err = os.ReadFile(file); err != nil {
			return nil, 0, fmt.Errorf("evidence of %s: %w", name, err)
		}
		if err := failing(audit.VerifyEvidence(data, audit.Options{LogKey: t.h.logKey()})); err != nil {
			return nil, 0, fmt.Errorf("evidence of %s: %w", name, err)
		}
		e, err := audit.DecodeEvidence(data)
		if err != nil {
			return nil, 0, fmt.Errorf("evidence of %s: %w", name, err)
		}
		opened, err := e.Bodies()
		if err != nil {
			return nil, 0, fmt.Errorf("evidence of %s: %w", name, err)
		}
		if want := len(t.h.gateway.Log.ByPatient(patient)); len(opened) != want {
			return nil, 0, fmt.Errorf("evidence of %s has %d entries, the log %d", name, len(opened), want)
		}
		for i, b := range opened {
			if b.Seq != uint64(i)+1 {
				return nil, 0, fmt.Errorf("evidence of %s: entry %d is number %d, want %d", name, e.Entries[i].Index, b.Seq, i+1)
			}
			bodies[e.Entries[i].Index] = b
		}
	}
	return bodies, len(files) - 1, nil
}

// published waits until the log has come to rest and its published checkpoint
// covers every entry, under the cosignatures of a quorum: what was returned is
// logged within a second, and checkpoints are published once a second.
func (t *tale) published(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	rest, quiet := t.h.gateway.Log.Size(), time.Now()
	for {
		size, cosigners, err := t.checkpoint(ctx)
		if err != nil {
			return err
		}
		if now := t.h.gateway.Log.Size(); now != rest {
			rest, quiet = now, time.Now()
		}
		if size == rest && cosigners >= threshold && time.Since(quiet) > 1200*time.Millisecond {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the published checkpoint covers %d of %d entries under %d cosignatures", size, rest, cosigners)
		case <-tick.C:
		}
	}
}

// checkpoint fetches the published checkpoint as any mirror would, and says how
// many custodians have cosigned it.
func (t *tale) checkpoint(ctx context.Context) (size uint64, cosigners int, err error) {
	a, err := t.all.get(ctx, "/chain/checkpoint")
	if err != nil {
		return 0, 0, err
	}
	if a.status != http.StatusOK {
		return 0, 0, a.unexpected("200")
	}
	info := t.h.gateway.Log.Info()
	verifier, err := info.Verifier()
	if err != nil {
		return 0, 0, fmt.Errorf("the log's key: %w", err)
	}
	witnesses, err := info.CosignVerifiers()
	if err != nil {
		return 0, 0, fmt.Errorf("the custodians' keys: %w", err)
	}
	c, n, err := chain.OpenCheckpoint(a.body, verifier, witnesses...)
	if err != nil {
		return 0, 0, fmt.Errorf("the published checkpoint: %w", err)
	}
	return c.Size, len(n.Sigs) - 1, nil // the first is the log's own
}

// tamperFound changes one bit of a copy of the log, in one file of each kind after
// another, and wants each to be found where nothing was before.
func (t *tale) tamperFound(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "wardkey-tamper-")
	if err != nil {
		return "", fmt.Errorf("copy the log: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary copy
	if err := os.CopyFS(dir, os.DirFS(t.h.logDir())); err != nil {
		return "", fmt.Errorf("copy the log: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("copy the log: %w", err)
	}
	defer func() { _ = root.Close() }()
	report, err := audit.Verify(ctx, dir, audit.Options{LogKey: t.h.logKey()})
	if err := errors.Join(err, failing(report)); err != nil {
		return "", fmt.Errorf("the copy itself: %w", err)
	}
	files, err := sampled(root.FS())
	if err != nil {
		return "", err
	}
	found := ""
	for _, file := range files {
		if found, err = t.tampered(ctx, root, dir, file); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d copies with one bit changed, in a file of every kind: each was found (the last as %q)", len(files), found), nil
}

// tampered changes one bit in the middle of a file of a copy of the log, wants
// the change to be found, and takes it back. It returns what it was found as.
func (t *tale) tampered(ctx context.Context, root *os.Root, dir, file string) (code string, err error) {
	original, err := root.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("tamper: %w", err)
	}
	changed, at := bytes.Clone(original), len(original)/3
	changed[at] ^= 0x10
	if err := root.WriteFile(file, changed, 0o600); err != nil {
		return "", fmt.Errorf("tamper: %w", err)
	}
	report, err := audit.Verify(ctx, dir, audit.Options{LogKey: t.h.logKey()})
	if err != nil {
		return "", fmt.Errorf("verify what was tampered with: %w", err)
	}
	if report.OK || len(report.Findings) == 0 {
		return "", fmt.Errorf("a bit of %s was changed at byte %d and not found", file, at)
	}
	if err := root.WriteFile(file, original, 0o600); err != nil {
		return "", fmt.Errorf("tamper: %w", err)
	}
	return report.Findings[0].Code, nil
}

// sampled picks one file of each kind that a log directory has: from each of its
// folders, the first with anything in it; at the top, all.
func sampled(dir fs.FS) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		folder := path.Dir(name)
		if info.Size() < 3 || folder != "." && seen[folder] {
			return nil
		}
		seen[folder] = true
		out = append(out, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the copy: %w", err)
	}
	if len(out) < 4 {
		return nil, fmt.Errorf("the copy has only %d files", len(out))
	}
	return out, nil
}
