package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/gateway/node/demo"
)

// story is the steps that are played now, in order.
var story = []string{
	"seal", "ciphertext-only", "deny-default", "grant", "read", "search", "role-limits",
	"custodian-loss", "expiry", "withdraw", "audit-verify", "tamper-found",
}

// verdicts reads JSON lines, and nothing but them.
func verdicts(t *testing.T, stdout string) []demo.Verdict {
	t.Helper()
	var all []demo.Verdict
	lines := bufio.NewScanner(strings.NewReader(stdout))
	for lines.Scan() {
		var v demo.Verdict
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("standard output has a line that is no verdict: %q", lines.Text())
		}
		all = append(all, v)
	}
	return all
}

func passed(t *testing.T, all []demo.Verdict, want []string) {
	t.Helper()
	var got []string
	for _, v := range all {
		got = append(got, v.Step)
		if !v.OK {
			t.Errorf("step %s failed: %s", v.Step, v.Detail)
		}
		if v.Detail == "" {
			t.Errorf("step %s says nothing", v.Step)
		}
		t.Logf("%-16s %6d ms  %s", v.Step, v.MS, v.Detail)
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func TestTheWholeStoryPasses(t *testing.T) {
	t.Parallel()
	h := shared.open(t)
	passed(t, verdicts(t, h.stdout.String()), story)
}

func TestADemoOnceEndsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	p, err := startIn(temp, "demo", "--once", "--json", "--addr", "127.0.0.1:0", "--patients", "5")
	if err != nil {
		t.Fatal(err)
	}
	code, err := p.code()
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
	passed(t, verdicts(t, p.stdout.String()), story)
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%d files are left in the temporary folder, %s first", len(left), left[0].Name())
	}
}
