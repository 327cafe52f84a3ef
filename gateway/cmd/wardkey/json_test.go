package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/gateway/node"
)

// ran runs a command.
func ran(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, side bytes.Buffer
	code = run(t.Context(), args, &out, &side)
	return code, out.String(), side.String()
}

func TestWithJSONAFailureIsOneObjectOnStandardOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "thesis")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	broken, none := filepath.Join(foreign, "gateway.yaml"), filepath.Join(dir, "none")
	if err := os.WriteFile(broken, []byte("role: gateway\nlog: [\nindex: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, args := range map[string][]string{
		"verify nothing":           {"verify", none, "--json"},
		"verify what is no log":    {"verify", foreign, "--json"},
		"verify a stray file":      {"verify", broken, "--json"},
		"check nothing":            {"check", "--config", none, "--json"},
		"check what is no YAML":    {"check", "--config", broken, "--json"},
		"check nobody's upstream":  {"check", "--upstream", "http://127.0.0.1:1/fhir", "--json"},
		"evidence without a file":  {"evidence", "--config", none, "--entry", "1", "-o", filepath.Join(dir, "e"), "--json"},
		"evidence by a broken one": {"evidence", "--config", broken, "--entry", "1", "-o", filepath.Join(dir, "e"), "--json"},
		"demo in a foreign folder": {"demo", "--dir", foreign, "--json"},
		"demo on a taken port":     {"demo", "--addr", taken.Addr().String(), "--once", "--json"},
		"demo in a file":           {"demo", "--dir", broken, "--once", "--json"},
	} {
		code, stdout, stderr := ran(t, args...)
		var said struct {
			OK       *bool  `json:"ok"`
			Step     string `json:"step"`
			Detail   string `json:"detail"`
			Findings []struct {
				Detail string `json:"detail"`
			} `json:"findings"`
		}
		if err := json.Unmarshal([]byte(stdout), &said); err != nil || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s: %v in %q, %q", name, err, stdout, stderr)
			continue
		}
		told := said.Detail != "" && said.Step != "" || len(said.Findings) > 0 && said.Findings[0].Detail != ""
		if code != exitFailure || said.OK == nil || *said.OK || !told {
			t.Errorf("%s: exit code %d, %s", name, code, stdout)
		}
	}
}

func TestWithJSONWrongUseStillEndsWithTwoAndSaysNothingOnStandardOutput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"verify", "--json"}, {"check", "--json"}, {"check", "--json", "extra"}, {"evidence", "--json", "--config", "x"},
		{"evidence", "--json", "--config", "x", "-o", "y"}, {"demo", "--json", "--addr", "nonsense"}, {"demo", "--json=maybe"},
	} {
		if code, stdout, stderr := ran(t, args...); code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestAWarningIsShownAtItsPlaceAndIsNoFailure(t *testing.T) {
	t.Parallel()
	report := checkReport{OK: true, Findings: []finding{}, Warnings: places("g.yaml", []node.Problem{
		{Line: 7, Column: 1, Path: "custodians", Message: "names 3"},
	})}
	var text, object bytes.Buffer
	if err := printCheck(&text, report, nil, false); err != nil {
		t.Fatal(err)
	}
	if got := text.String(); got != "g.yaml:7:1: custodians: names 3 (a warning)\nok\n" {
		t.Errorf("text: %q", got)
	}
	if err := printCheck(&object, report, nil, true); err != nil {
		t.Fatal(err)
	}
	if got := object.String(); !strings.Contains(got, `"ok":true`) || !strings.Contains(got, `"warnings":[{"file":"g.yaml","line":7,"column":1,`) {
		t.Errorf("JSON: %s", got)
	}
}
