package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/wardkey/wardkey/fhir"
	rules "github.com/wardkey/wardkey/policy/rego"
)

// termTable is rego/terms.rego as Go reads it: the codes that are understood.
type termTable struct {
	Workforce       []string
	Roles           []string
	Purposes        []string
	RolePurposes    map[string][]string
	RoleDefaults    map[string]string
	Confidentiality []string // least first
	Sensitivities   []string
	Actions         map[string]string // action: what it does
	Meanings        []string
	belowPurpose    map[string][]string
	belowSensitive  map[string][]string // full codings
}

// terms evaluates the term rules once. They are part of this binary: that they
// do not evaluate is a programmer's mistake.
var terms = sync.OnceValue(func() *termTable {
	t, err := loadTerms()
	if err != nil {
		panic(fmt.Sprintf("policy: terms: %v", err))
	}
	return t
})

func loadTerms() (*termTable, error) {
	modules, err := parseRules()
	if err != nil {
		return nil, err
	}
	capabilities, err := allowed()
	if err != nil {
		return nil, err
	}
	options := append(modules, rego.Query("data.wardkey.terms"), rego.Capabilities(capabilities), rego.Strict(true))
	rs, err := rego.New(options...).Eval(context.Background())
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return nil, fmt.Errorf("undefined")
	}
	doc, _ := rs[0].Expressions[0].Value.(map[string]any)
	t := &termTable{
		Workforce:       texts(doc["workforce"]),
		Roles:           texts(doc["roles"]),
		Purposes:        texts(doc["purposes"]),
		Confidentiality: texts(doc["confidentiality"]),
		Sensitivities:   texts(doc["sensitivities"]),
		Actions:         map[string]string{},
		Meanings:        texts(doc["meanings"]),
		RolePurposes:    map[string][]string{},
		RoleDefaults:    map[string]string{},
		belowPurpose:    map[string][]string{},
		belowSensitive:  map[string][]string{},
	}
	for role, list := range object(doc["role_purposes"]) {
		t.RolePurposes[role] = texts(list)
	}
	for role, purpose := range object(doc["role_defaults"]) {
		t.RoleDefaults[role], _ = purpose.(string)
	}
	for action, does := range object(doc["actions"]) {
		t.Actions[action], _ = does.(string)
	}
	below := object(doc["below"])
	for code, list := range object(below["purposes"]) {
		t.belowPurpose[code] = texts(list)
	}
	for code, list := range object(below["sensitivities"]) {
		for _, s := range texts(list) {
			key := Coding(SystemSensitivity, code)
			t.belowSensitive[key] = append(t.belowSensitive[key], Coding(SystemSensitivity, s))
		}
	}
	if len(t.Purposes) == 0 || len(t.Confidentiality) == 0 || len(t.Workforce) == 0 {
		return nil, fmt.Errorf("a table is missing")
	}
	return t, nil
}

// object and texts read what OPA returns: sets and lists are both []any. Lists
// keep their order, and sets come sorted.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// parseRules parses every rule file, with its annotations.
func parseRules() ([]func(*rego.Rego), error) {
	entries, err := rules.Files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var options []func(*rego.Rego)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".rego") {
			continue
		}
		text, err := rules.Files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		module, err := ast.ParseModuleWithOpts(e.Name(), string(text), ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			return nil, err
		}
		options = append(options, rego.ParsedModule(module))
	}
	return options, nil
}

// allowed are the capabilities of this OPA cut down to what capabilities.txt
// lists: the rules cannot call anything else, and reach no host.
func allowed() (*ast.Capabilities, error) {
	text, err := rules.Files.ReadFile("capabilities.txt")
	if err != nil {
		return nil, err
	}
	all := ast.CapabilitiesForThisVersion()
	only := &ast.Capabilities{FutureKeywords: all.FutureKeywords, Features: all.Features, AllowNet: []string{}}
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		i := slices.IndexFunc(all.Builtins, func(b *ast.Builtin) bool { return b.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("capabilities: no built-in function %q", name)
		}
		only.Builtins = append(only.Builtins, all.Builtins[i])
	}
	return only, nil
}

// purpose tells whether a short code is an understood purpose.
func (t *termTable) purpose(short string) bool { return slices.Contains(t.Purposes, short) }

// rank is the place of a confidentiality, -1 if it is not understood.
func (t *termTable) rank(conf string) int { return slices.Index(t.Confidentiality, conf) }

// sensitivity tells whether a coding is an understood sensitivity.
func (t *termTable) sensitivity(coding string) bool {
	return systemOf(coding) == SystemSensitivity && slices.Contains(t.Sensitivities, Code(coding))
}

// The following tell whether a coding of a statement is understood.

func (t *termTable) knowsPurpose(coding string) bool {
	return systemOf(coding) == SystemPurpose && t.purpose(Code(coding))
}

func (t *termTable) knowsClass(coding string) bool {
	return systemOf(coding) == SystemResourceType && fhir.KnownType(Code(coding))
}

func (t *termTable) knowsActor(a Actor) bool {
	role := a.Role == "" || (systemOf(a.Role) == SystemRole && slices.Contains(t.Roles, Code(a.Role)))
	return role && (a.Ref == "" || isRef(a.Ref, "Practitioner", "Patient", "RelatedPerson", "Client"))
}

// knowsCoding tells whether a record's code can be compared at all: equality of
// system and code needs both.
func (t *termTable) knowsCoding(coding string) bool {
	system, code := systemOf(coding), Code(coding)
	return code != "" && strings.Contains(system, ":")
}

func (t *termTable) knowsData(d Data) bool {
	typ, _, _ := strings.Cut(d.Ref, "/")
	if !slices.Contains(t.Meanings, d.Meaning) || !fhir.KnownType(typ) || !isRef(d.Ref, typ) {
		return false
	}
	return d.Meaning != "related" || typ == "Encounter" // what else is related is not among the attributes
}
