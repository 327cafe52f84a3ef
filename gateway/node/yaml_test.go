package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"
)

type sample struct {
	Name  string            `yaml:"name"`
	Count int               `yaml:"count"`
	Wait  time.Duration     `yaml:"wait"`
	On    bool              `yaml:"on"`
	Inner sampleInner       `yaml:"inner"`
	Maybe *sampleInner      `yaml:"maybe,omitempty"`
	List  []sampleInner     `yaml:"list"`
	Words []string          `yaml:"words"`
	Table map[string]string `yaml:"table"`
}

type sampleInner struct {
	Port int `yaml:"port"`
}

func TestEveryMistakeInAFileIsReportedWithItsLineAndColumn(t *testing.T) {
	const file = `name: a
count: many
colour: red
inner:
  port: 1
  prot: 2
list:
  - port: 1
  - port: x
wait: soon
words: one
`
	var s sample
	err := decode("f.yaml", []byte(file), &s).err()
	config, ok := errors.AsType[*ConfigError](err)
	if !ok {
		t.Fatalf("decode() = %v, want a ConfigError", err)
	}
	got := lo.Map(config.Problems, func(p Problem, _ int) string {
		return fmt.Sprintf("%d:%d %s %s", p.Line, p.Column, p.Path, p.Message)
	})
	want := []string{
		"2:8 count should be a whole number",
		"3:1 colour unknown setting",
		"6:3 inner.prot unknown setting",
		"9:11 list[1].port should be a whole number",
		"10:7 wait should be a length of time",
		"11:8 words should be a list",
	}
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("problem %d: %q, want %q", i, got[i], want[i])
		}
	}
	if !strings.HasPrefix(config.Error(), "f.yaml:2:8: count: ") {
		t.Errorf("Error() begins %q, not as compilers write it", config.Error())
	}
}

func TestWhatIsNotOneYAMLDocumentIsRefused(t *testing.T) {
	for name, file := range map[string]string{
		"nothing":       "",
		"two documents": "name: a\n---\nname: b\n",
		"doubled key":   "name: a\nname: b\n",
		"not YAML":      "name: [\n",
		"a list":        "- a\n",
		"a tab":         "inner:\n\tport: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			var s sample
			if err := decode("f.yaml", []byte(file), &s).err(); err == nil {
				t.Errorf("decode(%q) was accepted as %+v", file, s)
			}
		})
	}
}

func TestAGoodFileIsRead(t *testing.T) {
	s := sample{Count: 7}
	err := decode("f.yaml", []byte("name: a\nwait: 1m30s\non: true\ninner: {port: 3}\nmaybe:\n  port: 4\nwords: [x, 'y']\ntable:\n  k: v\n"), &s).err()
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "a" || s.Count != 7 || s.Wait != 90*time.Second || !s.On || s.Inner.Port != 3 || s.Maybe.Port != 4 ||
		strings.Join(s.Words, "") != "xy" || s.Table["k"] != "v" {
		t.Errorf("decode() = %+v", s)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\ncount: 1\nlist:\n  - port: 2\n"))
	f.Add([]byte("inner: &a {port: 1}\nmaybe: *a\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("table: {1: 2, <<: {a: b}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		d := decode("f.yaml", data, &s)
		d.problem("list[3].port", "is looked at")
		if config, ok := errors.AsType[*ConfigError](d.err()); !ok || len(config.Problems) == 0 {
			t.Error("a problem was lost")
		}
	})
}

func TestASyntaxErrorIsTheOnlyThingSaidAboutAFile(t *testing.T) {
	for name, tc := range map[string]struct{ file, want string }{
		"unclosed list":    {"role: gateway\ncustodians: [1\nlisten: x\n", "3:1: ',' or ']' must be specified"},
		"a tab":            {"role: gateway\nlog:\n\tdir: x\n", "3:1: found character"},
		"doubled key":      {"role: gateway\nrole: gateway\n", "2:1: mapping key \"role\" already defined"},
		"unclosed quote":   {"role: 'gateway\ntenant: a\n", "1:7: could not find end"},
		"stray line":       {"role: gateway\ntenant\nlisten: x\n", "2:1: non-map value"},
		"second document":  {"role: gateway\n---\nrole: gateway\n", "3:1: a second document"},
		"a list":           {"- role: gateway\n", "1:1: should be a group of settings"},
		"nothing whatever": {"", " is empty"},
	} {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, gateway := LoadGateway(path)
		_, custodian := LoadCustodian(path)
		_, checked := Check(t.Context(), path)
		for who, err := range map[string]error{"gateway": gateway, "custodian": custodian, "check": checked} {
			config, ok := errors.AsType[*ConfigError](err)
			if !ok || len(config.Problems) != 1 || !strings.HasPrefix(err.Error(), path+":"+tc.want) {
				t.Errorf("%s, %s: %v", name, who, err)
			}
		}
	}
}

func TestNothingIsSaidAboutWhatIsWithinASettingOfTheWrongKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte("role: gateway\nlog: 5\ntls: [a]\nkeystore: here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadGateway(path)
	for _, want := range []string{":2:6: log: should be", ":3:6: tls: should be", ":4:11: keystore: should be", ": tenant: is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%s", want, err)
		}
	}
	for _, untrue := range []string{"log.dir", "tls.ca", "keystore: needs"} {
		if strings.Contains(err.Error(), untrue) {
			t.Errorf("%q is in\n%s", untrue, err)
		}
	}
}

func TestAFileOfNoRoleIsNotJudgedAsThatOfOne(t *testing.T) {
	for file, want := range map[string]string{
		"tenant: a\nrole: custodain\n": `:2:1: role: is "custodain"; roles are gateway and custodian`,
		"tenant: a\n":                  `:1:1: role: is missing; roles are gateway and custodian`,
	} {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Check(t.Context(), path); err == nil || err.Error() != path+want {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestAMistakeInTheTrustFileHasItsLineAndColumn(t *testing.T) {
	for file, want := range map[string]string{
		"tenant: a\nsingers: []\n":                                    `:2:1: unknown field "singers"`,
		"tenant: a\nsigners:\n  - id: x\n    kynd: adt\n":             `:4:5: unknown field "kynd"`,
		"tenant: a\nsigners: 5\n":                                     `:2:10: int was used where sequence is expected`,
		"tenant: [\n":                                                 `:1:9: sequence end token ']' not found`,
		"tenant: a\nsigners:\n  - id: x\n    kind: adt\n    key: '?'": `: trust: key: illegal base64`,
	} {
		path := filepath.Join(t.TempDir(), "trust.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readTrust(path, "a")
		if config, ok := errors.AsType[*ConfigError](err); !ok || config.File != path || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%q: %v", file, err)
		}
	}
}
