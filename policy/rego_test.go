package policy_test

import (
	"bytes"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/format"

	"github.com/wardkey/wardkey/policy"
	rules "github.com/wardkey/wardkey/policy/rego"
)

// TestCasesReachEveryRule measures, with OPA's own coverage, that no line of the
// rules is there without a case that needs it.
func TestCasesReachEveryRule(t *testing.T) {
	engine := newEngine(t)
	h := loadHospital(t)
	eachCase(t, func(_ string, c caseFile) {
		s := h.set(t, c)
		engine.Decide(t.Context(), s.hospital.State, s.request, s.at)
	})
	report, err := engine.Cover()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range report.Files {
		for _, r := range file.NotCovered {
			t.Errorf("%s: no case reaches lines %d to %d", name, r.Start.Row, r.End.Row)
		}
	}
	if report.Coverage != 100 {
		t.Errorf("coverage %.1f %%", report.Coverage)
	}
}

// TestRulesNameThemselves: each rule that a verdict names stands in the file
// that it names, or is one of those that stand together in decide.rego.
func TestRulesNameThemselves(t *testing.T) {
	name := regexp.MustCompile(`"rule": "([a-z]+)\.[a-z_]+"`)
	eachRule(t, func(file string, text []byte) {
		for _, m := range name.FindAllSubmatch(text, -1) {
			if got, want := string(m[1]), strings.TrimSuffix(file, ".rego"); got != want && (want != "decide" || (got != "gate" && got != "layers" && string(m[0]) != `"rule": "read.granted"`)) {
				t.Errorf("%s names %s", file, m[0])
			}
		}
	})
}

func eachRule(t *testing.T, visit func(file string, text []byte)) {
	t.Helper()
	files, err := fs.Glob(rules.Files, "*.rego")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	for _, f := range files {
		text, err := rules.Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		visit(f, text)
	}
}

func TestRulesAreFormatted(t *testing.T) {
	eachRule(t, func(file string, text []byte) {
		want, err := format.Source(file, text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(text, want) {
			t.Errorf("%s: opa fmt would write\n%s", file, want)
		}
	})
}

// TestRulesCompileStrictly under the capabilities, with a title on each rule.
func TestRulesCompileStrictly(t *testing.T) {
	modules, err := policy.Modules()
	if err != nil {
		t.Fatal(err)
	}
	for file, m := range modules {
		titled := map[string]bool{}
		for _, r := range m.Rules {
			for _, a := range r.Annotations {
				titled[r.Head.Name.String()] = titled[r.Head.Name.String()] || a.Title != ""
			}
		}
		for _, r := range m.Rules {
			if !titled[r.Head.Name.String()] {
				t.Errorf("%s: %s has no title", file, r.Head.Name)
			}
		}
	}
}

// TestRulesReachNothingOutside: what reads a clock, draws random numbers or
// opens connections is not among the capabilities.
func TestRulesReachNothingOutside(t *testing.T) {
	text, err := rules.Files.ReadFile("capabilities.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") && regexp.MustCompile(`^(http|net|time|rand|opa|io|trace|print|uuid|rego|crypto)\b`).MatchString(name) {
			t.Errorf("%s is allowed", name)
		}
	}
	for _, builtin := range []string{`http.send({"method": "GET", "url": "http://localhost"})`, "time.now_ns()", `rand.intn("x", 9)`, "opa.runtime()"} {
		if err := policy.CompileAlone("package x\nv := " + builtin); err == nil {
			t.Errorf("%s compiles", builtin)
		}
	}
}

// TestTheFirstLineIsAShortcut: the rules say the same without it, for every
// combination of what can match.
func TestTheFirstLineIsAShortcut(t *testing.T) {
	short, long := newEngine(t), newEngine(t)
	err := long.Replace(func(file, text string) string {
		if file != "decide.rego" {
			return text
		}
		first := regexp.MustCompile(`(?s)verdict\(item\) := \{"permit": true.*?\} else := `)
		if !first.MatchString(text) {
			t.Fatal("there is no first line")
		}
		return first.ReplaceAllString(text, "verdict(item) := ")
	})
	if err != nil {
		t.Fatal(err)
	}
	used, err := policy.Shortcut(t.Context(), short, long)
	if err != nil || used == 0 {
		t.Errorf("%d, %v", used, err)
	}
}
