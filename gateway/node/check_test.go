package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/gateway/node/demo"
)

// without removes the custodians with these indexes from a gateway's file.
func without(t *testing.T, file string, indexes ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	inPeers, drop := false, false
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.HasPrefix(line, "custodians:"):
			inPeers = true
		case inPeers && strings.HasPrefix(strings.TrimSpace(line), "- index: "):
			_, index, _ := strings.Cut(strings.TrimSpace(line), "- index: ")
			drop = slices.Contains(indexes, index)
		case inPeers && line[0] != ' ' && line[0] != '-':
			inPeers, drop = false, false
		}
		if !drop {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheckWarnsOfMissingCustodiansAndRefusesTooFew(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	file := filepath.Join(dir, "gateway.yaml")
	plan, err := node.Check(t.Context(), file)
	if err != nil || len(plan.Warnings) > 0 || len(plan.Would) == 0 {
		t.Fatalf("with all of them: %+v, %v", plan, err)
	}
	without(t, file, "2")
	plan, err = node.Check(t.Context(), file)
	if err != nil || len(plan.Would) == 0 {
		t.Fatalf("with three of four: %+v, %v", plan, err)
	}
	if w := plan.Warnings; len(w) != 1 || w[0].Path != "custodians" || w[0].Line == 0 || !strings.Contains(w[0].Message, "names 3 of the committee's 4") {
		t.Errorf("with three of four: %+v", w)
	}
	without(t, file, "3")
	_, err = node.Check(t.Context(), file)
	config, ok := errors.AsType[*node.ConfigError](err)
	if !ok || len(config.Problems) != 1 || config.Problems[0].Line == 0 || !strings.Contains(err.Error(), "custodians: names 2 of the committee's 4, and 3 are needed") {
		t.Errorf("with two of four: %v", err)
	}
}

func TestCheckPointsAtWhatIsNotOfTheCommitteeAndIntoTheTrustFile(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	file, trust := filepath.Join(dir, "gateway.yaml"), filepath.Join(dir, "trust.yaml")
	edit(t, file, "- index: 4", "- index: 5")
	_, err := node.Check(t.Context(), file)
	if config, ok := errors.AsType[*node.ConfigError](err); !ok || len(config.Problems) != 1 || config.Problems[0].Line == 0 ||
		config.Problems[0].Path != "custodians[3].index" {
		t.Errorf("a fifth of four: %v", err)
	}
	edit(t, file, "- index: 5", "- index: 4")
	edit(t, trust, "signers:", "singers:")
	for _, name := range []string{"gateway.yaml", "custodian-3.yaml"} {
		_, err = node.Check(t.Context(), filepath.Join(dir, name))
		config, ok := errors.AsType[*node.ConfigError](err)
		if !ok || config.File != trust || len(config.Problems) != 1 || config.Problems[0].Line == 0 || config.Problems[0].Column != 1 {
			t.Errorf("%s, with a mistake in the trust file: %v", name, err)
		}
	}
}

func TestEvidenceComesFromACustodiansCopyBesideItsWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := demo.Start(t.Context(), demo.Options{Dir: dir, Addr: "127.0.0.1:0", Patients: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, running := range []bool{true, false} {
		if !running {
			if err := h.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"gateway.yaml", "custodian-1.yaml", "custodian-4.yaml"} {
			data, err := node.EntryEvidence(t.Context(), filepath.Join(dir, name), 1)
			// A checkpoint is published once a second, when the log grows.
			for running && errors.Is(err, audit.ErrNotPublished) && t.Context().Err() == nil {
				if _, err := h.Document(t.Context()); err != nil {
					t.Fatal(err)
				}
				data, err = node.EntryEvidence(t.Context(), filepath.Join(dir, name), 1)
			}
			if err != nil {
				t.Fatalf("%s, running %v: %v", name, running, err)
			}
			if report := audit.VerifyEvidence(data, audit.Options{}); !report.OK {
				t.Errorf("%s, running %v: %+v", name, running, report.Findings)
			}
		}
	}
}
